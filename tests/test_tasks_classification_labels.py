"""Tests label cells: labels, lists, one-hot, a column for each label."""

import json
import logging
import math

import pytest
from classification_tables import fitted, table

from electra_tf.errors import UserError
from electra_tf.tasks.texts import labels
from electra_tf.tasks.texts.classification import Classification
from electra_tf.tasks.texts.options import ClassificationOptions
from electra_tf.text.tokenizer import Tokenizer

NAMES = ("cat", "dog", "cow")


def jsonl(path, rows, name="label"):
    path.write_text(
        "".join(
            json.dumps({"text": f"text {i}", name: value}) + "\n"
            for i, value in enumerate(rows)
        )
    )
    return str(path)


def answers(path, **options):
    _, examples = fitted(path, **options)
    return [example.answer for example in examples]


# --- one-hot ---------------------------------------------------------------


@pytest.mark.parametrize(
    "rows",
    [
        [[1, 0, 0], [0, 0, 1], [0, 1, 1], [0, 0, 0]],
        [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 0.0]],
        [[True, False, False], [False, False, True], [False, True, True],
         [False, False, False]],
        ["[1, 0, 0]", "[0, 0, 1]", "[0, 1, 1]", "[0, 0, 0]"],
        ["[1 0 0]", "[0. 0. 1.]", "(0, 1, 1)", "[0, 0, 0]"],
        [["1", "0", "0"], ["0", "0", "1"], ["0", "1", "1"], ["0", "0", "0"]],
        ["1,0,0", "0,0,1", "0, 1, 1", "0,0,0"],
    ],
)  # fmt: skip
def test_one_hot_is_reported_by_the_names(tmp_path, rows):
    path = jsonl(tmp_path / "a.jsonl", rows)
    assert answers(path, labels=NAMES, multi_label=True) == [
        ("cat",), ("cow",), ("dog", "cow"), (),
    ]  # fmt: skip
    with pytest.raises(
        UserError, match=r"a\.jsonl:1: .*looks one-hot.*options\.l"
    ):
        fitted(path, multi_label=True)


def test_one_hot_of_one_class(tmp_path):
    rows = [[1, 0, 0], "[0, 0, 1]", [0, 1, 0]]
    path = jsonl(tmp_path / "a.jsonl", rows)
    assert answers(path, labels=NAMES) == ["cat", "cow", "dog"]
    with pytest.raises(UserError, match=r"a\.jsonl:1: .*looks one-hot"):
        fitted(path)
    path = jsonl(tmp_path / "b.jsonl", [[1, 0, 0], [0, 1, 1]])
    with pytest.raises(
        UserError, match=r":2: expected one label, got 2.*multi_"
    ):
        fitted(path, labels=NAMES)


def test_one_hot_of_another_size(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", [[1, 0, 0], [0, 1]])
    with pytest.raises(UserError, match=r":2: .*2 numbers.*names 3 labels"):
        fitted(path, labels=NAMES, multi_label=True)


def test_numbers_may_be_names(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", [[0, 1], [1], [0, 2]])
    assert answers(path, labels=("0", "1", "2"), multi_label=True) == [
        ("0", "1"), ("1",), ("0", "2"),
    ]  # fmt: skip


def test_printed_arrays_of_numbers(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", ["[1]", "[1 2]", [2], "[2. 3.]"])
    assert answers(path, multi_label=True) == [
        ("1",), ("1", "2"), ("2",), ("2.0", "3.0"),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["[-]", "[E]", "[+ -]", "[.]", "[01]"])
def test_labels_in_brackets(tmp_path, name):
    path = jsonl(tmp_path / "a.jsonl", [name, "b"])
    assert answers(path) == [name, "b"]
    assert answers(path, multi_label=True) == [(name,), ("b",)]


# --- lists in texts ---------------------------------------------------------


@pytest.mark.parametrize(
    "cell",
    ["['a', 'b']", '["a", "b"]', "('a', 'b')", "{'a', 'b'}", "[ 'a','b' ]",
     "a,b", "a, b"],
)  # fmt: skip
def test_lists_as_texts(tmp_path, cell):
    path = jsonl(tmp_path / "a.jsonl", [cell, "['c']", "[]", ["a", "c"]])
    assert answers(path, multi_label=True) == [
        ("a", "b"), ("c",), (), ("a", "c"),
    ]  # fmt: skip


def test_a_list_where_one_label_is_expected(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", ["['a', 'b']", "['c']"])
    with pytest.raises(
        UserError, match=r":1: expected one label, got 2.*multi_l"
    ):
        fitted(path)
    path = jsonl(tmp_path / "b.jsonl", ["['a']", ["b"], "[unused]", "(c"])
    assert answers(path) == ["a", "b", "[unused]", "(c"]


@pytest.mark.parametrize(
    "row", [["a", "a"], "a,a", "['a', 'b', 'a ']", ["2", 2]]
)
def test_a_label_named_twice_is_refused(tmp_path, row):
    path = jsonl(tmp_path / "a.jsonl", [["b"], row])
    with pytest.raises(
        UserError, match=r"a\.jsonl:2: the label '.' is named tw"
    ):
        fitted(path, multi_label=True)


# --- a column for each label -------------------------------------------------

TOXIC = "id\tcomment_text\ttoxic\tobscene\tinsult"


@pytest.mark.parametrize(
    ("yes", "no"),
    [("1", "0"), ("True", "False"), ("1.0", "0.0"), ("yes", "no")],
)
def test_label_columns(tmp_path, yes, no):
    rows = [("1", "you", yes, no, yes), ("2", "hi", no, no, no)]
    path = table(tmp_path / "train.tsv", rows, TOXIC)
    columns = ("toxic", "obscene", "insult")
    task, examples = fitted(path, label_columns=columns)
    assert [e.answer for e in examples] == [("toxic", "insult"), ()]
    assert examples[0].text == "you"
    assert task.head().labels == columns and task.options.multi_label
    again = Classification("c", task.options, None, task.state)
    assert again.head() == task.head()


def test_label_columns_of_a_test_file_without_them(tmp_path):
    rows = [("1", "you", 1, 0, 0), ("2", "hi", 0, 1, 0)]
    table(tmp_path / "train.tsv", rows, TOXIC)
    table(tmp_path / "test.tsv", [("3", "so")], "id\tcomment_text")
    options = ClassificationOptions(label_columns=("toxic", "obscene"))
    task = Classification("c", options, str(tmp_path))
    task.fit(task.read("train"))
    (example,) = task.read("test")
    assert (example.text, example.answer) == ("so", None)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            ("1", "you", 1, 0, 0.5),
            r":3: 'insult': expected 0 or 1 .* got '0.5'",
        ),
        (("1", "you", -1, -1, -1), r":3: 'toxic': expected 0 or 1 .* got '-1'"),
        (("1", "you", 1, "", 0), r":3: the label column 'obscene' is empty"),
        (("1", "you", "", "", ""), r":3: no label in column"),
    ],
)
def test_label_columns_that_hold_something_else(tmp_path, row, message):
    rows = [("0", "a", 1, 0, 0), row]
    path = table(tmp_path / "train.tsv", rows, TOXIC)
    with pytest.raises(UserError, match=message):
        fitted(path, label_columns=("toxic", "obscene", "insult"))


def test_label_columns_that_are_not_there(tmp_path):
    path = table(tmp_path / "train.tsv", [("0", "a", 1, 0, 0)], TOXIC)
    with pytest.raises(UserError, match="no column 'tixoc'"):
        fitted(path, label_columns=("tixoc", "obscene"))
    with pytest.raises(UserError, match=r"no column 'label'.*label_columns"):
        fitted(path)
    with pytest.raises(UserError, match="twice"):
        ClassificationOptions(label_columns=("a", "a"))
    with pytest.raises(UserError, match="leave one of the two out"):
        ClassificationOptions(label_columns=("a", "b"), labels=("c", "d"))


# --- values that are no label -------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_numbers(tmp_path, value):
    path = jsonl(tmp_path / "a.jsonl", ["a", "b", value])
    with pytest.raises(
        UserError, match=r"a\.jsonl:3: no label, but (nan|-?inf)"
    ):
        fitted(path)
    path = jsonl(tmp_path / "b.jsonl", [["a"], ["b", value]])
    with pytest.raises(UserError, match=r"b\.jsonl:2: no label"):
        fitted(path, multi_label=True)


# --- what looks like a mistake ------------------------------------------------


def test_a_misspelt_label_is_reported(tmp_path, caplog):
    rows = [(f"text {i}", ("pos", "neg")[i % 2]) for i in range(299)]
    path = table(tmp_path / "a.tsv", [*rows, ("text x", "poss")])
    with caplog.at_level(logging.WARNING):
        task, _ = fitted(path)
    assert task.head().num_labels == 3
    assert "the label 'poss' is in one row alone" in caplog.text
    assert "a misspelling of 'pos'?" in caplog.text
    with pytest.raises(
        UserError, match=r":301: unknown label 'poss'; did you me"
    ):
        fitted(path, labels=("neg", "pos"))


def test_swapped_columns_are_reported(tmp_path, caplog):
    rows = [(("pos", "neg")[i % 2], f"text {i % 183}") for i in range(300)]
    with caplog.at_level(logging.WARNING):
        fitted(table(tmp_path / "a.tsv", rows))
    assert "'label' has 183 different labels in 300 rows" in caplog.text
    assert "swapped" in caplog.text


@pytest.mark.parametrize(
    ("counts", "options", "message"),
    [
        ({"pos": 100, "neg": 99, "Pos": 1}, {}, "'Pos'.*misspelling of 'pos'"),
        (
            {"pos": 100, "neg": 99, "xyz": 1},
            {},
            "'xyz' is in one row alone: opt",
        ),
        ({"a;b": 50, "b;c": 40, "d": 30}, {"multi_label": True}, "contain ';'"),
        ({"pos": 10, "neg": 9, "poss": 1}, {}, None),  # too few rows
        ({str(i): 2 for i in range(100)}, {}, None),  # many small classes
    ],
)
def test_suspicions(counts, options, message):
    found = labels.suspicions(counts, sum(counts.values()), "label", **options)
    assert len(found) == bool(message)
    if message:
        with pytest.raises(UserError, match=message):
            raise UserError(found[0])


# --- columns of the usual names ----------------------------------------------


@pytest.mark.parametrize(
    ("header", "texts"),
    [
        ("label,review", ("review", None)),
        ("label,sentence", ("sentence", None)),
        ("sentence1,sentence2,label", ("sentence1", "sentence2")),
        ("text_a,text_b,label", ("text_a", "text_b")),
    ],
)
def test_usual_names_of_columns_are_found_and_reported(
    tmp_path, header, texts, caplog
):
    path = tmp_path / "a.csv"
    names = header.split(",")
    lines = [
        ",".join(f"{name}{i}" for name in names) for i in range(2)
    ]  # fmt: skip
    path.write_text("\n".join([header, *lines]) + "\n")
    with caplog.at_level(logging.WARNING):
        task, examples = fitted(str(path))
    options = task.options
    assert (options.text_column, options.text_pair_column) == texts
    assert examples[0].text == f"{texts[0]}0"
    assert f"taking text_column={texts[0]}" in caplog.text


def test_no_column_is_guessed_where_several_could_be_meant(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("review,sentence,label\na,b,c\n")
    with pytest.raises(
        UserError, match=r"no column 'text'.*options\.text_column .*columns"
    ):
        fitted(str(path))


def test_a_pair_named_by_the_columns(tmp_path):
    path = table(tmp_path / "a.tsv", [("x", "y", "1")], "a\tb\t0")
    task, examples = fitted(path, columns=("text", "text_pair", "label"))
    assert task.options.text_pair_column == "text_pair"
    assert [(e.text, e.text_pair) for e in examples] == [("a", "b"), ("x", "y")]


# --- values for the report ----------------------------------------------------


def test_classes_truncation_and_collapse(tmp_path, tiny_vocab_file):
    rows = [("the cat sat on a mat", "x"), ("dog", "y"), ("cat", "y")]
    task, examples = fitted(table(tmp_path / "a.tsv", rows), max_seq_length=6)
    assert task.classes(examples) == {"y": 2, "x": 1}
    assert task.texts(examples[0]) == ["the cat sat on a mat"]
    features = task.features(Tokenizer(tiny_vocab_file), examples, True)
    assert features.truncated == 1
    preds = [{"label": label} for label in ("y", "y", "y")]
    assert task.one_answer(examples, preds) == "y"
    assert task.one_answer(examples, [{"label": "x"}, *preds[1:]]) is None
    assert task.one_answer(examples[1:], preds[1:]) is None  # all are "y"
    found = task.details(examples, preds)
    assert found["x"] == {
        "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1,
    }  # fmt: skip
    assert found["y"]["f1"] == pytest.approx(80.0)
