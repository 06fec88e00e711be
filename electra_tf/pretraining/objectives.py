"""Loss functions of pre-training, pure: tensors in, tensors out.

The token loss and the sample share one pass of exponentials over the
[rows, V] scores, which are the largest tensor of the step.
"""

import dataclasses
from typing import NamedTuple

import tensorflow as tf

from electra_tf.errors import UserError

_BLOCK = 256  # tokens summed together before a sample is sought among them


@dataclasses.dataclass(frozen=True)
class ObjectiveConfig:
    """The joint loss (paper, end of section 2; weights of Table 6)."""

    gen_weight: float = 1.0  # of the generator's token loss
    disc_weight: float = 50.0  # of the discriminator's loss
    temperature: float = 1.0  # of the distribution that samples are drawn from

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise UserError(
                "objective.temperature: expected above 0, got "
                f"{self.temperature}"
            )


class TokenLoss(NamedTuple):
    """Of `token_loss_and_samples`, each [rows]."""

    loss: tf.Tensor  # float32, -log p(label), nats
    predictions: tf.Tensor  # int32, the most probable token
    sampled_ids: tf.Tensor  # int32, drawn from softmax(logits / temperature)


@tf.function(jit_compile=True)
def _exponentials(scores: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, ...]:
    logits = tf.cast(scores, tf.float32) + bias
    peak = tf.reduce_max(logits, axis=-1, keepdims=True)
    return tf.exp(logits - peak), peak[:, 0]


@tf.function(jit_compile=True)
def _tempered(
    scores: tf.Tensor, bias: tf.Tensor, peak: tf.Tensor, temperature: float
) -> tf.Tensor:
    logits = tf.cast(scores, tf.float32) + bias
    return tf.exp((logits - peak[:, None]) / temperature)


@tf.function(jit_compile=True)
def _score_gradients(
    weights: tf.Tensor, total: tf.Tensor, labels: tf.Tensor, dy: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    d = weights * (dy / total)[:, None]
    is_label = tf.range(tf.shape(weights)[1])[None, :] == labels[:, None]
    d -= tf.where(is_label, dy[:, None], 0.0)
    # A product with ones: much quicker than a sum over rows in XLA.
    return d, tf.matmul(tf.ones([1, tf.shape(d)[0]]), d)[0]


@tf.function(jit_compile=True)
def _block_sums(weights: tf.Tensor) -> tf.Tensor:
    rows, size = tf.shape(weights)[0], weights.shape[1]
    blocks = -(-size // _BLOCK)
    padded = tf.pad(weights, [[0, 0], [0, blocks * _BLOCK - size]])
    return tf.reduce_sum(tf.reshape(padded, [rows, blocks, _BLOCK]), axis=-1)


def _first_above(cumulative: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    below = tf.cast(cumulative <= target[:, None], tf.int32)
    found = tf.reduce_sum(below, axis=-1)
    return tf.minimum(found, tf.shape(cumulative)[1] - 1)


def draw(weights: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """One index a row, with probability proportional to its weight.

    Inverse of the cumulative distribution, in two stages: the same
    distribution as adding Gumbel noise and taking the largest, with one
    random number a row in place of V.

    Args:
      weights: [rows, V] float32, not negative.
      uniform: [rows] float32 in [0, 1).

    Returns:
      [rows] int32.
    """
    size = weights.shape[1]
    sums = tf.cumsum(_block_sums(weights), axis=-1)  # [rows, V / 256]
    target = uniform * sums[:, -1]
    block = _first_above(sums, target)
    before = tf.where(
        block > 0, tf.gather(sums, tf.maximum(block - 1, 0), batch_dims=1), 0.0
    )
    index = block[:, None] * _BLOCK + tf.range(_BLOCK)[None, :]
    inside = tf.gather(
        weights, tf.minimum(index, size - 1), batch_dims=1
    ) * tf.cast(index < size, tf.float32)
    inside = before[:, None] + tf.cumsum(inside, axis=-1)
    # Rounding may leave the target above the block's own sum: then the last
    # index whose weight is not zero.
    target = tf.minimum(target, _just_below(inside[:, -1]))
    offset = _first_above(inside, target)
    return tf.minimum(block * _BLOCK + offset, size - 1)


def _just_below(x: tf.Tensor) -> tf.Tensor:
    return tf.math.nextafter(
        tf.cast(x, tf.float32), tf.zeros_like(x, tf.float32)
    )


def token_loss_and_samples(
    scores: tf.Tensor,
    bias: tf.Tensor,
    labels: tf.Tensor,
    uniform: tf.Tensor,
    temperature: float = 1.0,
) -> TokenLoss:
    """Cross-entropy of a token LM, its argmax, and a sample from it.

    Gradients flow into `scores` and `bias` from the loss alone: sampling is
    not differentiated (paper, section 2).

    Args:
      scores: [rows, V] logits without their bias.
      bias: [V] float32.
      labels: [rows] int32, the tokens that stood there.
      uniform: [rows] float32 in [0, 1), decides the samples.
      temperature: divides the logits before sampling.
    """

    @tf.custom_gradient
    def compute(scores: tf.Tensor, bias: tf.Tensor):
        weights, peak = _exponentials(scores, bias)
        total = tf.reduce_sum(weights, axis=-1)
        label_logits = tf.cast(
            tf.gather(scores, labels, batch_dims=1), tf.float32
        ) + tf.gather(bias, labels)
        loss = tf.math.log(total) + peak - label_logits
        predictions = tf.argmax(weights, axis=-1, output_type=tf.int32)
        if temperature != 1.0:
            tempered = _tempered(scores, bias, peak, temperature)
        else:
            tempered = weights
        sampled = draw(tempered, uniform)

        def gradient(dy: tf.Tensor, *_: tf.Tensor) -> tuple:
            d_scores, d_bias = _score_gradients(weights, total, labels, dy)
            return tf.cast(d_scores, scores.dtype), d_bias

        return (loss, predictions, sampled), gradient

    return TokenLoss(*compute(scores, tf.cast(bias, tf.float32)))


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
