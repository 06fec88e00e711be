"""Tests which questions are unanswerable, in each form of marking them."""

import json

import pytest
import qa_toys

from electra_tf.errors import UserError
from electra_tf.tasks.qa.examples import read_squad
from electra_tf.tasks.qa.task import QuestionAnswering
from electra_tf.tasks.records import truth_of

NOBODY = {"id": "no", "question": "who?", "answers": []}


def read(path, *qas):
    return read_squad(qa_toys.write(path / "dev.json", qa_toys.squad(qas)))


@pytest.mark.parametrize(
    "mark", [False, "false", "False", " FALSE ", "no", 0, "0", 0.0, None, ""]
)
def test_a_marked_question_keeps_its_answer(tmp_path, mark):
    qa = qa_toys.question("a", "she ran") | {"is_impossible": mark}
    (found,) = read(tmp_path, qa)
    assert (found.answers, found.impossible) == (("she ran",), False)


@pytest.mark.parametrize("mark", [True, "true", "True", "YES", 1, "1", 1.0])
def test_a_marked_question_has_none(tmp_path, mark):
    (found,) = read(tmp_path, NOBODY | {"is_impossible": mark})
    assert (found.answers, found.impossible) == ((), True)


@pytest.mark.parametrize("mark", ["maybe", 2, [], {}, "nan"])
def test_marks_that_mean_nothing_are_refused(tmp_path, mark):
    with pytest.raises(UserError, match=r"qas\[0\].*is_impossible: expected t"):
        read(tmp_path, NOBODY | {"is_impossible": mark})


def test_a_mark_against_the_answers_is_refused(tmp_path):
    qa = qa_toys.question("a", "she") | {"is_impossible": "true"}
    with pytest.raises(UserError, match=r"qas\[0\].*there are answers; empty"):
        read(tmp_path, qa)


@pytest.mark.parametrize(
    "unanswered",
    [
        NOBODY,
        NOBODY | {"answers": None},
        {k: v for k, v in NOBODY.items() if k != "answers"},
        NOBODY | {"is_impossible": False},
        NOBODY | {"answers": {"text": [], "answer_start": []}},
    ],
)
def test_no_answers_is_no_answer_and_counts(tmp_path, unanswered):
    """All 3 questions of such exports of SQuAD 2.0 are scored, not only 1."""
    qas = [qa_toys.question("a", "she"), unanswered, unanswered | {"id": "c"}]
    examples = read(tmp_path, *qas)
    assert [e.impossible for e in examples] == [False, True, True]
    task = QuestionAnswering("squad")
    task.fit(examples)
    assert task.unanswerable
    preds = [
        {"n_best": [{"text": "she"}], "null_odds": odds}
        for odds in (-1.0, 1.0, 1.0)
    ]
    scores = task.scores(examples, preds)
    assert (scores["total"], scores["HasAns_total"]) == (3, 1)
    assert scores["exact"] == 100.0


def test_totals_are_the_files_where_each_has_an_answer(tmp_path):
    examples = read(tmp_path, qa_toys.question("a", "she"), NOBODY)
    preds = [{"n_best": [{"text": "she"}], "null_odds": None}] * 2
    scores = QuestionAnswering("squad/v1.1").scores(examples, preds)
    assert scores["exact_match"] == 50.0


def test_without_any_answer_they_are_not_known(tmp_path):
    examples = read(tmp_path, NOBODY)
    assert not examples[0].impossible
    assert QuestionAnswering("squad/v1.1").scores(examples, [{}]) == {}


def test_answers_as_tables_hold_them(tmp_path):
    answers = {"text": ["she", "the cat"], "answer_start": [23, 0]}
    (found,) = read(
        tmp_path, qa_toys.question("a", "she") | {"answers": answers}
    )
    assert (found.answers, found.answer_start) == (("she", "the cat"), 23)
    alone = {"text": "she", "answer_start": 23}
    (found,) = read(tmp_path, qa_toys.question("a", "she") | {"answers": alone})
    assert (found.answers, found.answer_start) == (("she",), 23)
    for bad in ({"text": ["she"], "answer_start": []}, "she"):
        with pytest.raises(UserError, match=r"qas\[0\].*answers"):
            read(tmp_path, qa_toys.question("a", "she") | {"answers": bad})


def test_truths():
    assert truth_of(None, "x") is None and truth_of("", "x") is None
    assert json.dumps([truth_of("1.0", "x"), truth_of(0, "x")]) == (
        "[true, false]"
    )
