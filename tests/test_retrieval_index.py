"""Tests of terms, BM25 over passages, and combined scores."""

import numpy as np
import pytest

from electra_tf.errors import UserError
from electra_tf.retrieval import index, passages
from electra_tf.retrieval.index import Terms

TEXTS = (
    "The café opened in 1921 and was rebuilt by two sisters from Vienna.",
    "Ships carried grain and coal along the river until the winter came.",
    "Chemists isolated the gas by heating minerals, which glowed faintly.",
    "北京大学建立于一八九八年。",
    "今天天气很好\uff0c阳光明媚。",
)


@pytest.fixture(scope="module")
def documents():
    found = [
        passage
        for number, text in enumerate(TEXTS)
        for passage in passages.divide(text, f"{number}.txt")
    ]
    return passages.Documents(found, {}, 0)


@pytest.fixture(scope="module")
def made(documents):
    return index.Index(documents.passages, Terms())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Cities' CAFÉS", ["the", "citi", "cafe"]),
        ("天气好a1", ["天", "气", "好", "天气", "气好", "a1"]),
        ("\uff21\uff22\uff23 ß", ["abc", "ss"]),
        ("한국어", ["한", "국", "어", "한국", "국어"]),
        ("เมือง", ["เ", "ม", "ื", "อ", "ง", "เม", "มื", "ือ", "อง"]),
        ("हिन्दी शब्द", ["हिन्दी", "शब्द"]),
        ("كِتَاب שָׁלוֹם", ["كتاب", "שלום"]),
        ("?! \ufffd", []),
        ("", []),
    ],
)
def test_terms(text, expected):
    assert Terms()(text) == expected


def test_terms_of_other_languages():
    assert Terms("none")("The Cities") == ["the", "cities"]
    assert Terms("german")("Häuser") == Terms("german")("haus")
    with pytest.raises(UserError, match="--language=klingon: no stemmer"):
        Terms("klingon")


@pytest.mark.parametrize(
    ("question", "number"),
    [
        ("Who rebuilds cafes?", 0),
        ("What did a ship carry?", 1),
        ("heated mineral", 2),
        ("北京大学是哪一年建立的\uff1f", 3),
        ("天气", 4),
    ],
)
def test_the_right_passage_is_first(made, question, number):
    found = made.search(question, 3)
    assert found[0].passage.text == TEXTS[number]
    assert [f.score for f in found] == sorted(
        (f.score for f in found), reverse=True
    )
    assert all(f.score > 0 for f in found)


def test_copies_are_found_once(documents):
    copies = [p._replace(file="copy.txt") for p in documents.passages]
    twice = index.Index([*documents.passages, *copies], Terms())
    found = twice.search("the river and the café", 9)
    assert len({f.passage.text for f in found}) == len(found) > 1
    assert not any(f.passage.file == "copy.txt" for f in found)


def test_questions_without_terms(made):
    assert made.search("Xylophones?", 3) == []
    assert made.search("", 3) == [] == made.search("[?]", 3)


def test_scripts():
    assert index.script_of("北京 is big, 大学很好") == "Chinese"
    assert index.script_of("a b 中") == "Latin"
    assert index.script_of("12 ?!") == ""


def test_scores_together():
    shares = index.combined([2.0, 1.0, 0.0], [0.0, 3.0, 1.0], 0.5)
    want = np.exp([1.0, 2.0, 0.5])
    np.testing.assert_allclose(shares, want / want.sum())
    assert index.combined([2, 1], [0, 9], 0.0).argmax() == 0
    assert index.combined([2, 1], [0, 9], 1.0).argmax() == 1
    assert index.combined([-1e9, 1e9], [0, 0], 0.5).tolist() == [0, 1]
    assert index.combined([], [], 0.5).shape == (0,)
    with pytest.raises(UserError, match="--reading_weight=2"):
        index.combined([1], [1], 2)
