"""Attributes a network's output to tokens by integrated gradients.

The attribution of a token is the integral of the output's gradient along the
straight line from a baseline, where [PAD] stands in the token's place, to its
own embedding (Sundararajan et al. 2017). Attributions add up to the difference
of both outputs, up to the error of the quadrature.
"""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

STEPS = 24  # default number of points on the line
_AT_ONCE = 2048  # tokens in one pass


class Attributions(NamedTuple):
    """The attributions of a row of L tokens, for one of K outputs."""

    scores: tf.Tensor  # float32 [L]; 0 at the fixed tokens
    logits: tf.Tensor  # float32 [K], of the row
    target: tf.Tensor  # int32, the output that is explained
    output: tf.Tensor  # float32, its logit
    baseline: tf.Tensor  # float32, the same with [PAD] for the tokens
    error: tf.Tensor  # float32, see `integrated_gradients`


def integrated_gradients(
    network: Any,
    input_ids: tf.Tensor,
    segment_ids: tf.Tensor,
    fixed: tf.Tensor,
    pad_id: int,
    target: tf.Tensor | int,
    steps: int = STEPS,
) -> Attributions:
    """Computes each token's contribution to an output of a classifier.

    It runs eagerly and in graphs.

    Args:
      network: a `task_networks.SequenceClassifier`.
      input_ids: int32 [L].
      segment_ids: int32 [L].
      fixed: bool [L], tokens that the baseline has too.
      pad_id: the token that the baseline has in place of the others.
      target: int32, the number of an output; -1 for the largest.
      steps: points on the line from baseline to row; more are more exact.

    Returns:
      The attributions. `error` is how far the sum of the scores is from
      output - baseline, as a share of the larger of that difference and of 1.
    """
    table = tf.convert_to_tensor(network.encoder.embeddings.word_embeddings)
    own = tf.cast(tf.gather(table, input_ids), tf.float32)
    empty = tf.cast(table[pad_id], tf.float32)
    base = tf.where(fixed[:, tf.newaxis], own, empty)
    difference = own - base

    ends = _outputs(network, tf.stack([base, own]), segment_ids)
    target = tf.convert_to_tensor(target, tf.int32)
    largest = tf.argmax(ends[1], output_type=tf.int32)
    target = tf.where(target < 0, largest, target)
    # Gauss and Legendre's points, from -1 to 1, and their weights.
    points, weights = np.polynomial.legendre.leggauss(steps)
    points = tf.constant((points + 1) / 2, tf.float32)[:, None, None]
    weights = tf.constant(weights / 2, tf.float32)[:, None, None]
    at_once = tf.maximum(_AT_ONCE // tf.shape(input_ids)[0], 1)

    def add(start: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        some = slice(start, start + at_once)
        line = base + points[some] * difference
        with tf.GradientTape() as tape:
            tape.watch(line)
            outputs = _outputs(network, line, segment_ids)
            output = tf.reduce_sum(tf.gather(outputs, target, axis=1))
        gradient = tape.gradient(output, line)
        more = tf.reduce_sum(gradient * weights[some], axis=0)
        return start + at_once, tf.ensure_shape(total + more, own.shape)

    _, total = tf.while_loop(
        lambda start, total: start < steps,
        add,
        (tf.constant(0), tf.zeros_like(own)),
        parallel_iterations=1,
    )
    scores = tf.reduce_sum(total * difference, axis=1)
    before, after = ends[0, target], ends[1, target]
    rest = tf.abs(tf.reduce_sum(scores) - (after - before))
    error = rest / tf.maximum(tf.abs(after - before), 1.0)
    return Attributions(scores, ends[1], target, after, before, error)


def _outputs(
    network: Any, vectors: tf.Tensor, segment_ids: tf.Tensor
) -> tf.Tensor:
    """Computes the logits of rows given as vectors in place of tokens.

    Args:
      network: the classifier.
      vectors: float32 [B, L, E].
      segment_ids: int32 [L].

    Returns:
      float32 [B, K].
    """
    found = network(
        inputs_embeds=vectors,
        segment_ids=tf.broadcast_to(segment_ids, tf.shape(vectors)[:2]),
        training=False,
    )
    return tf.cast(found.logits, tf.float32)
