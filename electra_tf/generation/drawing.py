"""Draws of tokens from logits: temperature, top-k, top-p."""

import dataclasses

import tensorflow as tf

from electra_tf.errors import UserError

BANNED = -1e9  # the logit of a token that is never drawn


@dataclasses.dataclass(frozen=True)
class Draw:
    """How tokens are drawn.

    Attributes:
      temperature: divides the logits; 0 takes the most probable token.
      top_k: only from so many of the most probable; 0: from all.
      top_p: only from the fewest of the most probable that together have
        this probability (Holtzman et al. 2020, section 3.1), at the
        temperature; 1: from all.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise UserError(
                f"--temperature={self.temperature}: expected 0 or above"
            )
        if self.top_k < 0:
            raise UserError(f"--top_k={self.top_k}: expected 0 or above")
        if not 0 < self.top_p <= 1:
            raise UserError(
                f"--top_p={self.top_p}: expected a share above 0, 1 at most"
            )


def draw(logits: tf.Tensor, uniform: tf.Tensor, how: Draw) -> tf.Tensor:
    """One token a row.

    By the inverse of the cumulative distribution: the number decides, so the
    same numbers give the same tokens in any batch.

    Args:
      logits: [rows, V] float32; `BANNED` at what must not be drawn.
      uniform: [rows] float32 in [0, 1).
      how: temperature, top-k, top-p.

    Returns:
      [rows] int32.
    """
    if how.temperature == 0 or how.top_k == 1:
        return tf.argmax(logits, axis=-1, output_type=tf.int32)
    scaled = logits / how.temperature
    size = tf.shape(logits)[-1]
    if not how.top_k and how.top_p == 1:
        return _inverse(tf.nn.softmax(scaled), uniform)
    kept = tf.minimum(how.top_k or size, size)
    values, tokens = tf.math.top_k(scaled, k=kept)  # the largest first
    weights = tf.nn.softmax(values)
    if how.top_p < 1:
        before = tf.cumsum(weights, axis=-1, exclusive=True)
        weights = tf.where(before < how.top_p, weights, 0.0)
    return tf.gather(tokens, _inverse(weights, uniform), batch_dims=1)


def _inverse(weights: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """[rows, V] weights, [rows] in [0, 1) -> [rows] int32 indices."""
    cumulative = tf.cumsum(weights, axis=-1)
    total = cumulative[:, -1]
    # Rounding must not take the target to the end, where weights may be 0.
    target = tf.minimum(
        uniform * total, tf.math.nextafter(total, tf.zeros_like(total))
    )
    below = tf.cast(cumulative <= target[:, None], tf.int32)
    return tf.reduce_sum(below, axis=-1)
