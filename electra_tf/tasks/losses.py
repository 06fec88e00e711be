"""Computes the losses of the task heads, one number for each example."""

import functools
from collections.abc import Callable

import tensorflow as tf

from electra_tf.models import kernels
from electra_tf.models.task_heads import SpanOutput


def classification_loss(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns cross-entropy: [..., labels] float32, [...] int32 -> [...]."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=labels, logits=logits
    )


def span_loss(
    spans: SpanOutput,
    start_positions: tf.Tensor,
    end_positions: tf.Tensor,
    is_impossible: tf.Tensor | None = None,
    impossible_weight: float = 0.5,
) -> tf.Tensor:
    """Returns the loss of a span head: start, end and answerability.

    Args:
      spans: output of a span head; a joint one was given the true start.
      start_positions: [B] int32, 0 where there is no answer. The loss is the
        mean of the cross-entropy of start and end.
      end_positions: [B] int32, the same.
      is_impossible: [B] 1 where the question has no answer in its text;
        required where the head predicts it.
      impossible_weight: weight of answerability's binary cross-entropy; the
        original's is 0.5.

    Returns:
      [B] float32.
    """
    start_logits, end_logits = spans.inside()
    loss = 0.5 * (
        classification_loss(start_logits, start_positions)
        + classification_loss(end_logits, end_positions)
    )
    if spans.impossible_logit is not None:
        if is_impossible is None:
            raise ValueError("the head predicts answerability: is_impossible?")
        loss += impossible_weight * (
            tf.nn.sigmoid_cross_entropy_with_logits(
                labels=tf.cast(is_impossible, tf.float32),
                logits=spans.impossible_logit,
            )
        )
    return loss


def smoothed_token_loss(
    logits: tf.Tensor, labels: tf.Tensor, smoothing: float
) -> tf.Tensor:
    """Returns cross-entropy of tokens with smoothed labels.

    Args:
      logits: [B, T, V] float32.
      labels: [B, T] int32.
      smoothing: share of the label's probability that is spread evenly over all
        V (Szegedy et al. 2016, section 7).

    Returns:
      [B, T] float32.
    """
    vocab = logits.shape[-1]
    flat = tf.reshape(logits, [-1, vocab])
    loss = _smoothed(smoothing, kernels.mode())
    losses = loss(flat, tf.reshape(labels, [-1]))
    return tf.reshape(losses, tf.shape(labels))


def _exponentials(logits: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Returns exp(logits - peak), the peak and the mean of each row."""
    peak = tf.reduce_max(logits, axis=-1, keepdims=True)
    return tf.exp(logits - peak), peak[:, 0], tf.reduce_mean(logits, axis=-1)


def _smoothed_gradient(
    weights: tf.Tensor,
    total: tf.Tensor,
    labels: tf.Tensor,
    dy: tf.Tensor,
    smoothing: float,
) -> tf.Tensor:
    vocab = weights.shape[-1]
    found = weights * (dy / total)[:, tf.newaxis]
    is_label = tf.range(vocab)[tf.newaxis] == labels[:, tf.newaxis]
    truth = tf.where(is_label, 1.0 - smoothing, 0.0) + smoothing / vocab
    return found - truth * dy[:, tf.newaxis]


@functools.cache
def _smoothed(smoothing: float, mode: str) -> Callable[..., tf.Tensor]:
    """Returns a function whose loss and gradient share the exponentials.

    Args:
      smoothing: see `smoothed_token_loss`.
      mode: a mode of `models.kernels`; "xla" compiles the passes over the
        logits.
    """
    exponentials = _exponentials
    gradients = functools.partial(_smoothed_gradient, smoothing=smoothing)
    if mode == "xla":
        exponentials = tf.function(exponentials, jit_compile=True)
        gradients = tf.function(gradients, jit_compile=True)

    @tf.custom_gradient
    def op(
        logits: tf.Tensor, labels: tf.Tensor
    ) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple]]:
        weights, peak, mean = exponentials(logits)
        total = tf.reduce_sum(weights, axis=-1)
        truth = tf.gather(logits, labels, batch_dims=1)
        losses = tf.math.log(total) + peak
        losses -= (1.0 - smoothing) * truth + smoothing * mean

        def gradient(dy: tf.Tensor) -> tuple[tf.Tensor, None]:
            return gradients(weights, total, labels, dy), None

        return losses, gradient

    return op
