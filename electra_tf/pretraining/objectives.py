"""What is trained, and its loss functions: tensors in, tensors out.

The token loss and the sample share one pass of exponentials over the
[rows, V] scores, which are the largest tensor of the step.
"""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from electra_tf.pretraining import sampling
from electra_tf.pretraining.settings import ObjectiveConfig as ObjectiveConfig


class TokenLoss(NamedTuple):
    """Of `token_loss_and_samples`, each [rows]."""

    loss: tf.Tensor  # float32, -log p(label), nats
    predictions: tf.Tensor  # int32, the most probable token
    sampled_ids: tf.Tensor | None  # int32, drawn; None where none was asked
    log_z: tf.Tensor  # float32, log of the sum of exp(logits); no gradient


@tf.function(jit_compile=True)
def _exponentials(scores: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, ...]:
    logits = tf.cast(scores, tf.float32) + bias
    peak = tf.reduce_max(logits, axis=-1, keepdims=True)
    return tf.exp(logits - peak), peak[:, 0]


@tf.function(jit_compile=True)
def _score_gradients(
    weights: tf.Tensor, total: tf.Tensor, labels: tf.Tensor, dy: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    d = weights * (dy / total)[:, None]
    is_label = tf.range(tf.shape(weights)[1])[None, :] == labels[:, None]
    d -= tf.where(is_label, dy[:, None], 0.0)
    # A product with ones: much quicker than a sum over rows in XLA.
    return d, tf.matmul(tf.ones([1, tf.shape(d)[0]]), d)[0]


def logits_of(
    scores: tf.Tensor, bias: tf.Tensor, tokens: tf.Tensor
) -> tf.Tensor:
    """The logit of one token a row.

    Args:
      scores: [rows, V] logits without their bias.
      bias: [V] float32.
      tokens: [rows] int32.

    Returns:
      [rows] float32.
    """
    chosen = tf.gather(scores, tokens, batch_dims=1)
    return tf.cast(chosen, tf.float32) + tf.gather(bias, tokens)


def token_loss_and_samples(
    scores: tf.Tensor,
    bias: tf.Tensor,
    labels: tf.Tensor,
    uniform: tf.Tensor | None = None,
    temperature: float | tf.Tensor = 1.0,
    disallow_correct: bool = False,
) -> TokenLoss:
    """Cross-entropy of a token LM, its argmax, and a sample from it.

    Gradients flow into `scores` and `bias` from the loss alone: sampling is
    not differentiated (paper, section 2).

    Args:
      scores: [rows, V] logits without their bias.
      bias: [V] float32.
      labels: [rows] int32, the tokens that stood there.
      uniform: [rows] float32 in [0, 1), decides the samples; None for none.
      temperature: divides the logits before sampling.
      disallow_correct: never draw the label.
    """
    drawn_here = uniform is not None and sampling.is_plain(
        temperature, disallow_correct
    )

    @tf.custom_gradient
    def compute(scores: tf.Tensor, bias: tf.Tensor):
        weights, peak = _exponentials(scores, bias)
        total = tf.reduce_sum(weights, axis=-1)
        label_logits = logits_of(scores, bias, labels)
        log_total = tf.math.log(total)
        loss = log_total + peak - label_logits
        predictions = tf.argmax(weights, axis=-1, output_type=tf.int32)
        found = (loss, predictions, log_total + peak)
        if drawn_here:
            found += (sampling.draw(weights, uniform),)

        def gradient(dy: tf.Tensor, *_: tf.Tensor) -> tuple:
            d_scores, d_bias = _score_gradients(weights, total, labels, dy)
            return tf.cast(d_scores, scores.dtype), d_bias

        return found, gradient

    bias = tf.cast(bias, tf.float32)
    loss, predictions, log_z, *sampled = compute(scores, bias)
    if uniform is not None and not drawn_here:
        sampled = [
            sampling.draw_adjusted(
                scores, bias, labels, uniform, temperature, disallow_correct
            )
        ]
    return TokenLoss(loss, predictions, sampled[0] if sampled else None, log_z)


def replaced_token_loss(logits: tf.Tensor, fake_labels: tf.Tensor) -> tf.Tensor:
    """Binary cross-entropy at every position (paper, equation 2).

    Args:
      logits: [B, L] float32.
      fake_labels: [B, L] int, 1 where the token was replaced.

    Returns:
      [B, L] float32, nats.
    """
    return tf.nn.sigmoid_cross_entropy_with_logits(
        labels=tf.cast(fake_labels, tf.float32), logits=logits
    )


def weighted_mean(
    values: tf.Tensor, weights: tf.Tensor, total_weight: tf.Tensor
) -> tf.Tensor:
    """sum(values * weights) / (1e-6 + total_weight), as the original's.

    Args:
      values: any shape, float32.
      weights: the same shape.
      total_weight: scalar; over all replicas, where there are several, so
        that their results add up to the mean of the global batch.
    """
    return tf.reduce_sum(values * weights) / (1e-6 + total_weight)


def total_weights(weights: Sequence[tf.Tensor]) -> tf.Tensor:
    """Their sums over all replicas, [terms] float32."""
    totals = tf.stack([tf.reduce_sum(w) for w in weights])
    replica = tf.distribute.get_replica_context()
    if replica is not None and replica.num_replicas_in_sync > 1:
        totals = replica.all_reduce(tf.distribute.ReduceOp.SUM, totals)
    return totals


class Term(NamedTuple):
    """A part of the joint loss: `factor` times a weighted mean."""

    factor: float | tf.Tensor
    values: tf.Tensor  # float32, nats
    weights: tf.Tensor  # the same shape


def joint_loss(
    terms: Sequence[Term], totals: tf.Tensor | None = None
) -> tf.Tensor:
    """The sum of the terms; over replicas these sums add up to the batch's.

    Args:
      terms: at least one.
      totals: `total_weights` of the whole batch, where these are a part's.

    Returns:
      Scalar float32.
    """
    if totals is None:
        totals = total_weights([term.weights for term in terms])
    return tf.add_n(
        [
            term.factor * weighted_mean(term.values, term.weights, totals[i])
            for i, term in enumerate(terms)
        ]
    )
