"""Losses of the scores of a query's passages, one number for each query.

Shapes: B queries, G passages each.
"""

import tensorflow as tf


def pairwise(scores: tf.Tensor, relevance: tf.Tensor) -> tf.Tensor:
    """RankNet's: -log sigmoid(better - worse), mean over unequal pairs.

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
    """Softmax cross-entropy with the best passages, which share alike.

    Args:
      scores: [B, G] float32.
      relevance: [B, G] float32; those of the highest are the best.

    Returns:
      [B] float32.
    """
    top = tf.reduce_max(relevance, axis=1, keepdims=True)
    best = tf.cast(relevance == top, tf.float32)
    best /= tf.reduce_sum(best, axis=1, keepdims=True)
    return tf.nn.softmax_cross_entropy_with_logits(labels=best, logits=scores)


def listnet(scores: tf.Tensor, relevance: tf.Tensor) -> tf.Tensor:
    """ListNet's top-one loss: cross-entropy with softmax(relevance).

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
    """Binary cross-entropy of each passage by itself.

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
