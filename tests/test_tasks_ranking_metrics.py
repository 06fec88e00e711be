"""Tests ranking metrics and losses by hand and against scikit-learn."""

import math

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score

from electra_tf.tasks.ranking import scores
from electra_tf.tasks.ranking.scores import ranking_scores


def scores_of(*queries, relevant_from=1.0):
    arrays = [tuple(map(np.array, query)) for query in queries]
    return ranking_scores(arrays, relevant_from)


def test_by_hand():
    found = scores_of(
        ([0.9, 0.8, 0.7], [0, 1, 0]),  # rank 2
        ([0.1, 0.2, 0.3], [1, 0, 1]),  # ranks 1 and 3
        ([0.3, 0.2], [0, 0]),  # not counted
    )
    assert found["mrr@10"] == pytest.approx(100 * (1 / 2 + 1) / 2)
    assert found["map"] == pytest.approx(100 * (1 / 2 + (1 + 2 / 3) / 2) / 2)
    first = 1 / math.log2(3)
    second = (1 + 1 / math.log2(4)) / (1 + 1 / math.log2(3))
    assert found["ndcg@10"] == pytest.approx(100 * (first + second) / 2)


def test_only_ten_count():
    relevance = [0] * 10 + [1]
    found = scores_of((-np.arange(11.0), relevance))
    assert found["mrr@10"] == found["ndcg@10"] == 0
    assert found["map"] == pytest.approx(100 / 11)


def test_equal_scores_gain_nothing():
    found = scores_of(([0.5] * 4, [1, 0, 0, 0]))
    assert found["mrr@10"] == found["map"] == pytest.approx(25)


def test_grades():
    found = scores_of(([3, 2, 1], [1, 3, 0]), relevant_from=2)
    assert found["mrr@10"] == pytest.approx(50)
    gain = (1 + 7 / math.log2(3)) / (7 + 1 / math.log2(3))
    assert found["ndcg@10"] == pytest.approx(100 * gain)
    # Grades below 0 (spam, in TREC) count as 0.
    spam = scores_of(([3, 2, 1], [-2, 1, 0]))
    assert spam == scores_of(([3, 2, 1], [0, 1, 0]))


def test_no_query_counts():
    assert scores_of(([1.0], [0])) == {} == scores_of()


@hypothesis.given(st.integers(0, 10**6), st.integers(2, 25))
def test_scikit_learn_agrees(seed, size):
    rng = np.random.default_rng(seed)
    scores = rng.permutation(size).astype(float)
    relevance = rng.integers(0, 4, size).astype(float)
    relevance[0] = 1
    found = scores_of((scores, relevance))
    ndcg = ndcg_score([2**relevance - 1], [scores], k=10)
    assert found["ndcg@10"] == pytest.approx(100 * ndcg)
    precision = average_precision_score(relevance >= 1, scores)
    assert found["map"] == pytest.approx(100 * precision)


SCORES = np.array([[1.0, 3.0, -2.0], [0.0, 0.5, 0.5]], "float32")


def test_pairwise():
    relevance = tf.constant([[2.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    found = scores.pairwise(SCORES, relevance).numpy()

    def soft(x):
        return math.log1p(math.exp(x))

    first = (soft(3 - 1) + soft(-2 - 1) + soft(3 - -2)) / 3
    np.testing.assert_allclose(found, [first, soft(0.5)], rtol=1e-5)
    # Without pairs to compare, the loss is 0.
    same = scores.pairwise(SCORES, np.ones_like(SCORES))
    np.testing.assert_array_equal(same, [0, 0])


def test_listwise():
    relevance = tf.constant([[1.0, 0.0, 0.0], [1.0, 0.0, 1.0]])
    found = scores.listwise(SCORES, relevance).numpy()
    log_probs = tf.nn.log_softmax(SCORES).numpy()
    np.testing.assert_allclose(
        found, [-log_probs[0, 0], -log_probs[1, [0, 2]].mean()], rtol=1e-5
    )


def test_listnet():
    relevance = tf.constant([[3.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    found = scores.listnet(SCORES, relevance).numpy()
    wanted = np.exp(relevance) / np.exp(relevance).sum(-1, keepdims=True)
    log_probs = tf.nn.log_softmax(SCORES).numpy()
    np.testing.assert_allclose(found, -(wanted * log_probs).sum(-1), rtol=1e-5)


def test_pointwise():
    found = scores.pointwise(tf.constant([2.0, -1.0]), tf.constant([1.0, 0.0]))
    expected = [math.log1p(math.exp(-2)), math.log1p(math.exp(-1))]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("name", scores.LOSSES)
def test_losses_fall_as_the_order_improves(name):
    relevance = tf.constant([[1.0, 0.0, 0.0]])
    loss = scores.LOSSES[name]
    bad, good = (
        loss(tf.constant([scores]), relevance).numpy()[0]
        for scores in ([0.0, 4.0, 1.0], [4.0, 0.0, 1.0])
    )
    assert good < bad


def test_cutoff_is_that_of_the_metrics_names():
    assert scores.CUTOFF == 10
