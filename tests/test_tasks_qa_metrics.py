"""Tests scores of answers against recorded values and by hand."""

import json

import numpy as np
import pytest

from electra_tf.tasks.qa import examples as qa_examples
from electra_tf.tasks.qa import features as qa_features
from electra_tf.tasks.qa import metrics as qa_metrics
from electra_tf.text.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def recorded(shared_dir):
    path = shared_dir / "golden" / "metrics.json"
    if not path.exists():
        pytest.skip(f"no {path}")
    return json.loads(path.read_text(encoding="utf-8"))


def test_recorded_scores_of_answers(recorded):
    for row in recorded["qa/squad2"]:
        assert qa_metrics.exact(row["a"], row["b"]) == row["exact"]
        assert qa_metrics.f1_with_null(row["a"], row["b"]) == pytest.approx(
            row["f1"]
        )
    for row in recorded["qa/squad1"]:
        assert bool(qa_metrics.exact(row["a"], row["b"])) is row["em"]
        if row["f1"] is not None:  # the original fails on two empty texts
            assert qa_metrics.f1(row["a"], row["b"]) == pytest.approx(row["f1"])


def test_recorded_texts_of_answers(recorded, shared_dir):
    """The text at the pieces of an answer is the one that the original finds.

    The original searches the words for the pieces; here their places are
    known, so that the two rows without a match have no counterpart.
    """
    vocab = shared_dir / "data" / "vocab" / "bert_uncased_en.txt"
    if not vocab.exists():
        pytest.skip(f"no {vocab}")
    tokenizer = Tokenizer(str(vocab))
    compared = 0
    for row in recorded["qa/get_final_text"]:
        (document,) = qa_features.make_documents(tokenizer, [row["orig"]])
        wanted = row["pred"].split()
        pieces = [tokenizer.vocab.tokens[i] for i in document.ids]
        for first in range(len(pieces)):
            for last in range(first, len(pieces)):
                text = " ".join(pieces[first : last + 1]).replace(" ##", "")
                if wanted and text.split() == wanted:
                    compared += 1
                    start, end = document.span(first, last)
                    assert row["orig"][start:end] == row["out"]
    assert compared == len(recorded["qa/get_final_text"]) - 2


def test_recorded_evaluation(shared_dir):
    folder = shared_dir / "golden" / "finetune"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    settings = json.loads((folder / "squad" / "finetune.json").read_text())
    path = folder / "data_dir" / "finetuning_data" / "squad" / "dev.json"
    examples = qa_examples.read_squad(str(path))
    texts, odds = (settings["dev_preds"][name] for name in ("preds", "na"))
    found = qa_metrics.squad2_scores(
        [e.answers for e in examples],
        [texts[e.question_id] for e in examples],
        [odds[e.question_id] for e in examples],
        -2.75,  # the original's threshold
    )
    assert found == pytest.approx(settings["dev_metrics"])


def test_texts_are_compared_without_punctuation_and_articles():
    assert qa_metrics.normalize("The  U.S.A's\tan-d a the") == "usas and"
    assert qa_metrics.exact("an apple", "Apple!") == 1
    assert qa_metrics.f1("new york city", "york new new") == pytest.approx(
        2 / 3
    )


def test_the_best_true_answer_counts():
    truths = [("dog", "the black dog"), ("cat",)]
    found = qa_metrics.squad1_scores(truths, ["a black dog", "dog"])
    assert found == {"exact_match": 50.0, "f1": 50.0}
    found = qa_metrics.squad1_scores(truths, ["black", ""])
    assert found == {"exact_match": 0.0, "f1": pytest.approx(100 / 3)}
    assert qa_metrics.squad1_scores([], []) == {}


def test_unanswerable_questions():
    truths = [("cat",), ("dog",), (), ("the.",)]  # "the." normalises to ""
    answers = ["cat", "black dog", "mat", "a"]
    odds = [-2.0, 0.5, -1.0, -3.0]
    found = qa_metrics.squad2_scores(truths, answers, odds, 0.0)
    assert found["exact"] == 50.0  # the first and the last
    assert found["HasAns_f1"] == pytest.approx(200 / 3)
    assert found["HasAns_total"] == 3
    assert found["NoAns_exact"] == 0.0 and found["NoAns_total"] == 1
    assert found["total"] == 4
    # Without any answer, question 3 alone is right. Answering questions 4 and
    # 1 adds 1 each; then question 3 would lose 1, and question 2 add 2/3.
    for name in ("exact", "f1"):
        assert found[f"best_{name}"] == 75.0
        assert found[f"best_{name}_thresh"] == -2.0


def test_never_to_answer_may_be_best():
    value, threshold = qa_metrics.best_threshold(
        np.array([0.0, 0.0]), np.array([True, True]), np.array([True, False]),
        [-1.0, 1.0],
    )  # fmt: skip
    assert (value, threshold) == (50.0, 0.0)
    # An empty prediction costs nothing on an unanswerable question.
    value, threshold = qa_metrics.best_threshold(
        np.array([0.0, 1.0]), np.array([False, True]), np.array([False, True]),
        [-1.0, 1.0],
    )  # fmt: skip
    assert (value, threshold) == (100.0, 1.0)


@pytest.mark.parametrize(
    ("truth", "answer", "characters", "blanks"),
    [
        ("北京大学", "北京", 2 / 3, 0.0),
        ("北京 大学", "大学", 2 / 3, 2 / 3),
        ("3.5公里", "5公里", 2 * (2 / 3) * (2 / 3) / (4 / 3), 0.0),
        ("東京タワー", "タワー", 0.75, 0.0),
        ("กรุงเทพ", "กรุง", 2 * (4 / 7) / (1 + 4 / 7), 0.0),
        ("the cat", "a cat sat", 2 / 3, 2 / 3),
        ("NBA 球員", "nba", 0.5, 2 / 3),
    ],
)
def test_f1_by_characters(truth, answer, characters, blanks):
    assert qa_metrics.f1_characters(truth, answer) == pytest.approx(characters)
    assert qa_metrics.f1(truth, answer) == pytest.approx(blanks)


def test_scripts_without_blanks_are_scored_by_characters():
    truths = [("北京大学",), ("上海",), ("1999",)]
    answers = ["北京", "上海", "1999"]
    scores = qa_metrics.squad1_scores(truths, answers)
    assert scores["f1"] == pytest.approx(100 * (2 / 3 + 2) / 3)
    assert scores["squad_f1"] == pytest.approx(200 / 3)
    assert "squad_f1" not in qa_metrics.squad1_scores([("a",)], ["b"])
    odds = [-1.0, -1.0, -1.0, 1.0]
    found = qa_metrics.squad2_scores([*truths, ()], [*answers, "x"], odds, 0.0)
    assert found["f1"] == pytest.approx(100 * (2 / 3 + 3) / 4)
    assert (found["squad_f1"], found["total"]) == (75.0, 4.0)
    assert found["HasAns_f1"] == pytest.approx(100 * (2 / 3 + 2) / 3)


@pytest.mark.parametrize(
    ("text", "differs"),
    [
        ("人民's", True), ("don't", True), ("苹果Inc.公司", True),
        ("a,b", True), ("3.5公里", False), ("1,000元", False),
        ("NBA 球員", False), ("50%", False), ("cannot", True),
    ],
)  # fmt: skip
def test_texts_that_nltk_may_split_differently(text, differs):
    assert qa_metrics.cmrc_may_differ(text) == differs
