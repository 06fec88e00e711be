"""Tests that columns and tables of other libraries are read alike everywhere.

The stand-ins have the methods by which a library's objects are recognized,
as pandas 3.0, Polars 2.1, PyArrow 26.0 and Datasets 5.2 have them; where a
library is installed, it is used too.
"""

import collections
import collections.abc

import numpy as np
import pytest

import electra_tf
from electra_tf import columns
from electra_tf.errors import UserError

TEXTS = ["a good film", "a bad film", "good and good", "bad and bad"]
LABELS = ["good", "bad", "good", "bad"]
TABLE = {"text": TEXTS, "label": LABELS}


class Column:
    """A column that has one method for its values, and is no sequence."""

    def __init__(self, values, method):
        self._values = values
        setattr(self, method, lambda: list(values))


class Lazy(collections.abc.Sequence):
    """Datasets' column, whose values are read one by one."""

    def __init__(self, values):
        self._values = values

    def __len__(self):
        return len(self._values)

    def __getitem__(self, key):
        return self._values[key]


class Table:
    """A table whose iterator gives what the library's gives."""

    def __init__(self, data, attribute, column, iterated):
        self._data, self._column, self._iterated = data, column, iterated
        setattr(self, attribute, list(data))

    def __getitem__(self, name):
        return self._column(self._data[name])

    def __len__(self):
        return len(TEXTS)

    def __iter__(self):
        return iter(self._iterated(self._data))


def _rows(data):
    return [dict(zip(data, row)) for row in zip(*data.values())]


def _arrow(data):
    arrow = pytest.importorskip("pyarrow")
    return arrow.table(data)


def _pandas(data):
    return pytest.importorskip("pandas").DataFrame(data)


def _polars(data):
    return pytest.importorskip("polars").DataFrame(data)


def _datasets(data):
    return pytest.importorskip("datasets").Dataset.from_dict(data)


TABLES = {
    "like pandas": lambda data: Table(
        data, "columns", lambda v: Column(v, "tolist"), list
    ),
    "like Polars": lambda data: Table(
        data,
        "columns",
        lambda v: Column(v, "to_list"),
        lambda d: [Column(v, "to_list") for v in d.values()],
    ),
    "like Arrow": lambda data: Table(
        data, "column_names", lambda v: Column(v, "to_pylist"), list
    ),
    "like Datasets": lambda data: Table(data, "column_names", Lazy, _rows),
    "pandas": _pandas,
    "polars": _polars,
    "arrow": _arrow,
    "datasets": _datasets,
}
OTHERS = {
    "deque": collections.deque,
    "dict's values": lambda values: dict(enumerate(values)).values(),
    "range": None,
}


@pytest.fixture(scope="module")
def classifier():
    """A classifier of the model that ships."""
    found = electra_tf.TextClassifier.from_pretrained(
        "electra-tf-mini", labels=["bad", "good"], max_seq_length=16, seed=0
    )
    found.compile(learning_rate=1e-3)
    return found


@pytest.fixture(scope="module")
def expected(classifier):
    """The probabilities for a list of the same texts."""
    return classifier.predict(TEXTS, verbose=0)


@pytest.fixture(params=TABLES)
def table(request):
    """A table with the columns text and label."""
    return TABLES[request.param](TABLE)


def test_names_and_rows(table):
    assert columns.names(table) == ["text", "label"]
    assert columns.rows(table) == _rows(TABLE)
    assert columns.listed(table["text"]) == TEXTS
    assert columns.rows(table["text"]) == TEXTS


@pytest.mark.parametrize("value", ["ab", b"ab", {"a": 1}, {"a"}, 3, None, str])
def test_no_columns(value):
    """What is no column stays as it is, for the message of the caller."""
    assert columns.names(value) is None
    assert columns.rows(value) is value


def test_a_generator_stays_lazy():
    given = iter(TEXTS)
    assert columns.rows(given) is given and next(given) == TEXTS[0]


@pytest.mark.parametrize("kind", OTHERS)
def test_other_collections(kind):
    if kind == "range":
        assert columns.listed(range(3)) == [0, 1, 2]
    else:
        assert columns.listed(OTHERS[kind](TEXTS)) == TEXTS


def test_keras_predicts_for_columns(classifier, expected, table):
    found = classifier.predict(table["text"], verbose=0)
    np.testing.assert_array_equal(found, expected)
    names = np.array(["bad", "good"])[expected.argmax(axis=1)].tolist()
    assert classifier.classify(table["text"]) == names


def test_keras_scores_columns(classifier, table):
    found = classifier.scores(table["text"], table["label"])
    assert found == classifier.scores(TEXTS, LABELS)


def test_keras_refuses_a_table_with_its_columns_named(classifier, table):
    """Some tables iterate over names of columns, which were read as texts."""
    with pytest.raises(UserError, match="text, label"):
        classifier.predict(table, verbose=0)
    with pytest.raises(UserError, match=r"^y: .*text, label"):
        classifier.scores(TEXTS, table)


@pytest.mark.parametrize("kind", TABLES)
def test_keras_takes_a_table_of_texts_alone(classifier, expected, kind):
    table = TABLES[kind]({"text": TEXTS})
    found = classifier.predict(table, verbose=0)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", TABLES)
def test_questions_in_a_table(kind):
    data = {
        "question": ["who came?", "who left?"],
        "context": ["Anna came in.", "Only Ben left."],
    }
    model = electra_tf.QuestionAnswerer.from_pretrained(
        "electra-tf-mini", max_seq_length=96, seed=0
    )
    table = TABLES[kind](data)
    rows = model.answer((data["question"], data["context"]))
    assert model.answer(table) == rows
    assert model.answer((table["question"], table["context"])) == rows
    assert not model.has_answers(table, None)


def test_tags_in_columns():
    model = electra_tf.TokenClassifier.from_pretrained(
        "electra-tf-mini", labels=["O", "X"], max_seq_length=16, seed=0
    )
    words = [text.split() for text in TEXTS]
    table = TABLES["like Datasets"]({"words": words, "tags": words})
    assert model.classify(table["words"]) == model.classify(words)
    with pytest.raises(UserError, match="words, tags"):
        model.classify(table)


def test_a_model_predicts_for_rows_of_a_table(classifier, tmp_path, table):
    """`electra_tf.load(...).predict(DataFrame)` read the names as texts."""
    classifier.save_pretrained(str(tmp_path / "model"))
    model = electra_tf.load(str(tmp_path / "model"))
    assert model.predict(table) == model.predict(TEXTS)
    assert model.predict(table["text"]) == model.predict(TEXTS)


def test_explain(classifier, table):
    found = electra_tf.explain(classifier, table["text"], steps=2)
    assert [each.tokens for each in found] == [
        each.tokens for each in electra_tf.explain(classifier, TEXTS, steps=2)
    ]
    with pytest.raises(UserError, match="texts"):
        electra_tf.explain(classifier, table)


def test_labels_are_no_table(table):
    with pytest.raises(UserError, match="labels"):
        electra_tf.TextClassifier.from_pretrained(
            "electra-tf-mini", labels=table
        )
