"""Computes losses and metrics of the scores of a query's passages.

Shapes of losses: B queries, G passages each; one number for each query.

Metrics are MRR, nDCG and MAP, in percent. Among passages with equal scores the
less relevant come first, so that equal scores gain nothing. Queries without a
relevant passage among their candidates say nothing about a ranking, and are
left out of the means.
"""

from collections.abc import Iterable

import numpy as np
import tensorflow as tf

CUTOFF = 10  # of MRR and nDCG


def pairwise(scores: tf.Tensor, relevance: tf.Tensor) -> tf.Tensor:
    """Returns RankNet's loss: -log sigmoid(better - worse), mean over pairs.

    Args:
      scores: [B, G] float32.
      relevance: [B, G] float32, the more the better.

    Returns:
      [B] float32.
    """
    better = tf.cast(
        relevance[:, :, None] > relevance[:, None, :], tf.float32
    )  # [B, G, G]
    losses = tf.nn.softplus(scores[:, None, :] - scores[:, :, None])
    count = tf.reduce_sum(better, axis=[1, 2])
    return tf.reduce_sum(losses * better, axis=[1, 2]) / tf.maximum(count, 1.0)


def listwise(scores: tf.Tensor, relevance: tf.Tensor) -> tf.Tensor:
    """Returns softmax cross-entropy, the target shared by the best passages.

    Args:
      scores: [B, G] float32.
      relevance: [B, G] float32; the highest mark the best passages.

    Returns:
      [B] float32.
    """
    top = tf.reduce_max(relevance, axis=1, keepdims=True)
    best = tf.cast(relevance == top, tf.float32)
    best /= tf.reduce_sum(best, axis=1, keepdims=True)
    return tf.nn.softmax_cross_entropy_with_logits(labels=best, logits=scores)


def listnet(scores: tf.Tensor, relevance: tf.Tensor) -> tf.Tensor:
    """Returns ListNet's top-one loss: cross-entropy with softmax(relevance).

    Args:
      scores: [B, G] float32.
      relevance: [B, G] float32, grades.

    Returns:
      [B] float32.
    """
    return tf.nn.softmax_cross_entropy_with_logits(
        labels=tf.nn.softmax(relevance), logits=scores
    )


def pointwise(scores: tf.Tensor, relevant: tf.Tensor) -> tf.Tensor:
    """Returns binary cross-entropy of each passage by itself.

    Args:
      scores: [...] float32.
      relevant: [...] float32, 1 for relevant passages, 0 for others.

    Returns:
      [...] float32.
    """
    return tf.nn.sigmoid_cross_entropy_with_logits(
        labels=relevant, logits=scores
    )


LOSSES = {"pairwise": pairwise, "listwise": listwise, "listnet": listnet}


def ranking_scores(
    queries: Iterable[tuple[np.ndarray, np.ndarray]], relevant_from: float
) -> dict[str, float]:
    """Computes the metrics' means over queries.

    Args:
      queries: for each, its candidates' scores [n] and relevances [n].
      relevant_from: lowest relevance that MRR and MAP count as relevant.

    Returns:
      `mrr@10`, `ndcg@10` and `map`; empty where no query counts.
    """
    rows = []
    for scores, relevance in queries:
        ranked = relevance[np.lexsort((relevance, -scores))]
        relevant = ranked >= relevant_from
        if relevant.any():
            rows.append(
                (
                    reciprocal_rank(relevant),
                    normalised_gain(ranked),
                    average_precision(relevant),
                )
            )
    if not rows:
        return {}
    means = 100 * np.mean(rows, axis=0)
    names = (f"mrr@{CUTOFF}", f"ndcg@{CUTOFF}", "map")
    return dict(zip(names, map(float, means)))


def reciprocal_rank(relevant: np.ndarray) -> float:
    """Returns 1 / the rank of the first relevant passage; 0 below the cut-off.

    Args:
      relevant: bool [n], best first.
    """
    ranks = np.nonzero(relevant[:CUTOFF])[0]
    return float(1 / (ranks[0] + 1)) if len(ranks) else 0.0


def average_precision(relevant: np.ndarray) -> float:
    """Returns the mean precision at the ranks of the relevant passages.

    Args:
      relevant: bool [n], best first, at least one true.
    """
    ranks = np.nonzero(relevant)[0]
    return float(np.mean(np.arange(1, len(ranks) + 1) / (ranks + 1)))


def normalised_gain(relevance: np.ndarray) -> float:
    """Returns nDCG with gains 2^relevance - 1 and discounts log2(1 + rank).

    Args:
      relevance: float [n], best first; below 0 counts as 0.
    """
    best = _gain(np.sort(relevance)[::-1])
    return _gain(relevance) / best if best else 0.0


def _gain(relevance: np.ndarray) -> float:
    kept = np.maximum(relevance[:CUTOFF], 0)
    return float(
        np.sum((np.exp2(kept) - 1) / np.log2(np.arange(2, len(kept) + 2)))
    )
