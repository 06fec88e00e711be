"""Terms, BM25 over passages, and how scores are put together."""

import json

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
    digests = {f"{n}.txt": f"{hash(text)}" for n, text in enumerate(TEXTS)}
    return passages.Documents(found, digests, 0)


@pytest.fixture(scope="module")
def made(documents):
    return index.Index(documents.passages, Terms())


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("The Cities' CAFÉS", ["the", "citi", "cafe"]),
        ("天气好a1", ["天", "气", "好", "天气", "气好", "a1"]),
        ("\uff21\uff22\uff23 ß", ["abc", "ss"]),
        ("?! \ufffd", []),
        ("", []),
    ],
)
def test_terms(text, want):
    assert Terms()(text) == want


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


def test_what_has_no_term(made):
    assert made.search("Xylophones?", 3) == []
    assert made.search("", 3) == [] == made.search("[?]", 3)


def test_kept_on_disk(made, documents, tmp_path):
    path, terms = str(tmp_path / "index"), Terms()
    about = index.about(documents, terms, longest=9)
    made.save(path, about)
    made.save(path, about)  # replaced
    assert [p.name for p in tmp_path.iterdir()] == ["index"]
    again = index.load(path, documents.passages, terms, about)
    for question in ("the river and Vienna", "天气", "no such xylophone"):
        assert again.search(question, 9) == made.search(question, 9)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"0.txt": "other"}, "0.txt is changed"),
        ({"new.txt": "1"}, "new.txt is new"),
        ({"0.txt": None}, "0.txt is gone"),
    ],
)
def test_of_documents_that_have_changed(
    made, documents, tmp_path, change, told
):
    path, terms = str(tmp_path / "index"), Terms()
    made.save(path, index.about(documents, terms))
    now = {k: v for k, v in (documents.digests | change).items() if v}
    about = index.about(passages.Documents([], now, 0), terms)
    with pytest.raises(UserError, match=rf"{told}.*give --overwrite"):
        index.load(path, documents.passages, terms, about)


def test_of_other_settings_or_damaged(made, documents, tmp_path):
    path, terms = tmp_path / "index", Terms()
    about = index.about(documents, terms)
    made.save(str(path), about)

    def load(**words):
        return index.load(str(path), documents.passages, terms, about | words)

    with pytest.raises(UserError, match="language: english, now none"):
        load(language="none")
    for file in sorted((path / "bm25s").iterdir()):
        whole = file.read_bytes()
        file.write_bytes(whole[:20])
        with pytest.raises(UserError, match="is damaged"):
            load()
        file.write_bytes(whole)
    load()
    (path / "about.json").write_text(json.dumps([]))
    with pytest.raises(UserError, match=r"index.*--overwrite"):
        load()
    (path / "about.json").unlink()
    with pytest.raises(UserError, match="and no index"):
        load()


def test_a_save_that_fails_leaves_nothing(made, tmp_path):
    with pytest.raises(TypeError):
        made.save(str(tmp_path / "index"), {"not JSON": {1, 2}})
    assert list(tmp_path.iterdir()) == []


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
