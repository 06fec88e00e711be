"""Tests metrics against scikit-learn, SciPy and recorded values."""

import json
import pathlib
import warnings

import hypothesis
import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from hypothesis import strategies as st

from electra_tf.tasks import metrics

LABELS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from("abc")),
    min_size=1,
    max_size=30,
)
NUMBERS = st.lists(
    st.tuples(
        st.integers(-5, 5).map(float), st.floats(-1e3, 1e3, allow_nan=False)
    ),
    min_size=2,
    max_size=30,
)


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture(scope="module")
def recorded():
    """Returns labels, predictions and the original's scores of them."""
    path = pathlib.Path(__file__).parent / "golden/classification_metrics.json"
    return json.loads(path.read_text(encoding="utf-8"))


def test_recorded(recorded):
    y, p = (recorded["accuracy"][k] for k in "yp")
    assert metrics.accuracy(y, p) == pytest.approx(
        recorded["accuracy"]["result"]["accuracy"], abs=1e-9
    )
    y, p = (recorded["mcc"][k] for k in "yp")
    assert metrics.matthews(y, p) == pytest.approx(
        recorded["mcc"]["result"]["mcc"], abs=1e-9
    )
    t, p = (recorded["regression"][k] for k in "tp")
    found = {
        "pearson": metrics.pearson(t, p),
        "spearman": metrics.spearman(t, p),
        "mse": metrics.mean_squared_error(t, p),
    }
    for name, value in found.items():
        assert value == pytest.approx(
            recorded["regression"]["result"][name], abs=1e-9
        )


def test_f1_of_the_recorded_answers(recorded):
    """The recorded F1 counts predictions as labels; ours is correct."""
    y, p = recorded["f1"]["y"], recorded["f1"]["p"]
    assert metrics.precision_recall_f1(y, p, 1) == pytest.approx(
        [
            100 * sklearn.metrics.precision_score(y, p),
            100 * sklearn.metrics.recall_score(y, p),
            100 * sklearn.metrics.f1_score(y, p),
        ]
    )


@hypothesis.given(LABELS)
def test_labels_by_their_definitions(pairs):
    gold, pred = map(np.array, zip(*pairs))
    assert metrics.accuracy(gold, pred) == pytest.approx(
        100 * np.mean(gold == pred)
    )
    each = []
    for label in sorted({*gold, *pred}):
        right = np.sum((gold == label) & (pred == label))
        both = np.sum(gold == label) + np.sum(pred == label)
        each.append(200 * right / both)
        precision, recall, f1 = metrics.precision_recall_f1(gold, pred, label)
        assert f1 == pytest.approx(each[-1])
        assert precision == pytest.approx(
            100 * right / max(1, np.sum(pred == label))
        )
        assert recall == pytest.approx(
            100 * right / max(1, np.sum(gold == label))
        )
    assert metrics.macro_f1(gold, pred) == pytest.approx(np.mean(each))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = 100 * sklearn.metrics.matthews_corrcoef(gold, pred)
    assert metrics.matthews(gold, pred) == pytest.approx(expected)


@hypothesis.given(NUMBERS)
def test_numbers_by_their_definitions(pairs):
    gold, pred = map(np.array, zip(*pairs))
    assert metrics.mean_squared_error(gold, pred) == pytest.approx(
        sklearn.metrics.mean_squared_error(gold, pred)
    )
    if np.ptp(gold) > 0:
        assert metrics.determination(gold, pred) == pytest.approx(
            100 * sklearn.metrics.r2_score(gold, pred)
        )
    if np.ptp(gold) > 0 and np.ptp(pred) > 1e-6:
        ranks = [scipy.stats.rankdata(v) for v in (gold, pred)]
        for function, (x, y) in (
            (metrics.pearson, (gold, pred)),
            (metrics.spearman, ranks),
        ):
            expected = 100 * np.corrcoef(x, y)[0, 1]
            assert function(gold, pred) == pytest.approx(expected, abs=1e-6)


def test_macro_f1_is_over_labels_that_occur():
    assert metrics.macro_f1(["a", "b"], ["a", "a"]) == pytest.approx(100 / 3)


def test_multi_label_f1():
    gold = np.array([[1, 0, 1, 0], [0, 0, 1, 0], [1, 0, 0, 0]])
    pred = np.array([[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]])
    micro, macro = metrics.multi_label_f1(gold, pred)
    assert micro == pytest.approx(
        100 * sklearn.metrics.f1_score(gold, pred, average="micro")
    )
    # The fourth label occurs nowhere; the second was never right.
    assert macro == pytest.approx((200 / 3 + 0 + 200 / 3) / 3)
    nothing = np.zeros([2, 3])
    assert metrics.multi_label_f1(nothing, nothing) == (0.0, 0.0)
    assert metrics.multi_label_f1(np.ones([2, 1]), np.ones([2, 1])) == (
        100.0, 100.0,
    )  # fmt: skip


def test_constant_predictions_are_no_error():
    assert metrics.matthews(["a", "b", "b"], ["b"] * 3) == 0.0
    assert metrics.precision_recall_f1([1, 0], [0, 0], 1) == (0.0, 0.0, 0.0)
    assert metrics.pearson([1, 2, 3], [2, 2, 2]) == 0.0
    assert metrics.spearman([2, 2, 2], [1, 2, 3]) == 0.0
    assert metrics.pearson([1, 2, 3], [1, 1 + 1e-15, 1]) == pytest.approx(
        0.0, abs=100
    )
    assert metrics.determination([2, 2], [1, 3]) == 0.0


def test_no_or_broken_predictions():
    assert metrics.accuracy([], []) == metrics.matthews([], []) == 0.0
    assert metrics.pearson([1.0], [2.0]) == 0.0
    for broken in (float("nan"), float("inf")):
        assert metrics.pearson([1, 2], [broken, 1]) == 0.0
        assert metrics.mean_squared_error([1, 2], [broken, 1]) == float("inf")
        assert metrics.determination([1, 2], [broken, 1]) == -float("inf")
    with pytest.raises(ValueError, match="1 answers, 2 predictions"):
        metrics.accuracy(["a"], ["a", "b"])
