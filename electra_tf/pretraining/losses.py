"""Computes losses, and samples from the scores of a language model.

The token loss and the sample share one pass of exponentials over the [rows, V]
scores, which are the largest tensor of the step.
"""

from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.models import kernels
from electra_tf.models.networks import TokenLMHead

_BLOCK = 256  # tokens summed together before a sample is sought among them
# Terms of a joint loss that its running mean has room for; ours have 3 at most.
_MOST_TERMS = 8


class Scores(NamedTuple):
    """Holds logits of a token LM as two parts, whose sum is never stored."""

    scores: tf.Tensor  # [rows, V]
    bias: tf.Tensor  # [V] float32


def scores_of(head: TokenLMHead, hidden: tf.Tensor, training: bool) -> Scores:
    """Returns the head's `Scores` of [..., H] hidden states."""
    bias = tf.cast(head.output_bias, tf.float32)
    return Scores(head.scores(hidden, training), bias)


class TokenLoss(NamedTuple):
    """Holds the results of `token_loss_and_samples`, each [rows]."""

    loss: tf.Tensor  # float32, -log p(label), nats
    predictions: tf.Tensor  # int32, the most probable token
    sampled_ids: tf.Tensor | None  # int32 samples; None if not requested
    log_z: tf.Tensor  # float32, log of the sum of exp(logits); no gradient

    def shaped(self, shape: tf.Tensor) -> "TokenLoss":
        """Returns the same values with their rows in another shape."""
        return TokenLoss(
            *(None if t is None else tf.reshape(t, shape) for t in self)
        )


@tf.function(jit_compile=True)
def _exponentials(scores: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, ...]:
    logits = tf.cast(scores, tf.float32) + bias
    peak = tf.reduce_max(logits, axis=-1, keepdims=True)
    weights = tf.exp(logits - peak)
    if scores.dtype == tf.float32:
        return weights, peak[:, 0]
    # Kept until the gradient is computed, so in as few bits as the scores.
    return weights, peak[:, 0], tf.cast(weights, scores.dtype)


@tf.function(jit_compile=True)
def _score_gradients(
    weights: tf.Tensor, total: tf.Tensor, labels: tf.Tensor, dy: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    d = weights * (dy / total)[:, None]
    is_label = tf.range(tf.shape(weights)[1])[None, :] == labels[:, None]
    d -= tf.where(is_label, dy[:, None], 0.0)
    return d, kernels.row_sums(d)


@tf.function(jit_compile=True)
def _rounded_score_gradients(
    weights: tf.Tensor, total: tf.Tensor, labels: tf.Tensor, dy: tf.Tensor
) -> tf.Tensor:
    d = tf.cast(weights, tf.float32) * (dy / total)[:, None]
    is_label = tf.range(tf.shape(weights)[1])[None, :] == labels[:, None]
    return tf.cast(d - tf.where(is_label, dy[:, None], 0.0), weights.dtype)


def logits_of(
    scores: tf.Tensor, bias: tf.Tensor, tokens: tf.Tensor
) -> tf.Tensor:
    """Returns the logit of one token a row.

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
    """Returns the cross-entropy of a token LM, its argmax and a sample from it.

    Gradients flow into `scores` and `bias` from the loss alone: sampling is
    not differentiated (paper, section 2).

    Args:
      scores: [rows, V] logits without their bias.
      bias: [V] float32.
      labels: [rows] int32, the tokens that stood there.
      uniform: [rows] float32 in [0, 1), random numbers that decide the samples;
        None for no samples.
      temperature: divides the logits before
      disallow_correct: whether the label is never sampled.
    """
    drawn_here = uniform is not None and is_plain(temperature, disallow_correct)

    @tf.custom_gradient
    def compute(scores: tf.Tensor, bias: tf.Tensor):
        weights, peak, *rounded = _exponentials(scores, bias)
        total = tf.reduce_sum(weights, axis=-1)
        label_logits = logits_of(scores, bias, labels)
        log_total = tf.math.log(total)
        loss = log_total + peak - label_logits
        predictions = tf.argmax(weights, axis=-1, output_type=tf.int32)
        found: tuple[tf.Tensor, ...] = (loss, predictions, log_total + peak)
        if drawn_here:
            found += (draw(weights, uniform),)

        def gradient(dy: tf.Tensor, *_: tf.Tensor) -> tuple:
            if rounded:
                d = _rounded_score_gradients(rounded[0], total, labels, dy)
                return d, tf.cast(kernels.row_sums(d), tf.float32)
            return _score_gradients(weights, total, labels, dy)

        return found, gradient

    bias = tf.cast(bias, tf.float32)
    loss, predictions, log_z, *sampled = compute(scores, bias)
    if uniform is not None and not drawn_here:
        sampled = [
            draw_adjusted(
                scores, bias, labels, uniform, temperature, disallow_correct
            )
        ]
    return TokenLoss(loss, predictions, sampled[0] if sampled else None, log_z)


def replaced_token_loss(logits: tf.Tensor, fake_labels: tf.Tensor) -> tf.Tensor:
    """Returns binary cross-entropy at every position (paper, equation 2).

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
    """Returns sum(values * weights) / (1e-6 + total_weight), as the original.

    Args:
      values: any shape, float32.
      weights: the same shape.
      total_weight: scalar; over all replicas, where there are several, so
        that their results add up to the mean of the global batch.
    """
    return tf.reduce_sum(values * weights) / (1e-6 + total_weight)


def total_weights(weights: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns the sums of the terms' weights over all replicas, [terms]
    float32.
    """
    totals = tf.stack([tf.reduce_sum(w) for w in weights])
    replica = tf.distribute.get_replica_context()
    if replica is not None and replica.num_replicas_in_sync > 1:
        totals = replica.all_reduce(tf.distribute.ReduceOp.SUM, totals)
    return totals


class Term(NamedTuple):
    """Holds a part of the joint loss: `factor` times a weighted mean."""

    factor: float | tf.Tensor
    values: tf.Tensor  # float32, nats
    weights: tf.Tensor  # the same shape


def joint_loss(
    terms: Sequence[Term], totals: tf.Tensor | None = None
) -> tf.Tensor:
    """Returns the sum of the terms; sums of all replicas add up to the batch's.

    Args:
      terms: at least one.
      totals: `total_weights` of the whole batch, if the terms are of a part of
        it.

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


class JointMean(keras.metrics.Metric):
    """Computes the joint loss of many batches: each term's mean is over all.

    Terms have weights of their own (masked tokens, all tokens), so that a mean
    of the batches' losses would depend on how examples are divided into
    batches.

    Args:
      name: the metric's name.
    """

    def __init__(self, name: str = "loss", dtype: str | None = None):
        super().__init__(name=name, dtype=dtype)
        shape = [_MOST_TERMS]
        self._sums = self.add_variable(shape, "zeros", name="sums")
        self._weights = self.add_variable(shape, "zeros", name="weights")

    def update_state(self, terms: Sequence[Term]) -> None:
        """Adds the terms of a batch, or of a part of one.

        Args:
          terms: see `joint_loss`; their number and order is always the same.

        Raises:
          UserError: there are more than this metric has room for.
        """
        if len(terms) > _MOST_TERMS:
            raise UserError(
                f"an objective has {len(terms)} terms; expected "
                f"{_MOST_TERMS} at most: add up those of the same weights"
            )
        room = [[0, _MOST_TERMS - len(terms)]]
        sums = [t.factor * tf.reduce_sum(t.values * t.weights) for t in terms]
        weights = [tf.reduce_sum(t.weights) for t in terms]
        self._sums.assign_add(tf.pad(tf.stack(sums), room))
        self._weights.assign_add(tf.pad(tf.stack(weights), room))

    def result(self) -> tf.Tensor:
        """Returns the loss, a float32 scalar."""
        sums = tf.convert_to_tensor(self._sums)
        return tf.reduce_sum(tf.math.divide_no_nan(sums, self._weights))


# --- samples ----------------------------------------------------------------


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
    """Samples one index a row, with probability proportional to its weight.

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


@tf.function(jit_compile=True)
def adjusted_weights(
    scores: tf.Tensor,
    bias: tf.Tensor,
    labels: tf.Tensor,
    temperature: tf.Tensor,
    disallow_correct: bool,
) -> tf.Tensor:
    """Returns exp((scores + bias) / temperature), up to a factor for each row.

    Args:
      scores: [rows, V] logits without their bias.
      bias: [V] float32.
      labels: [rows] int32, the right tokens.
      temperature: scalar float32.
      disallow_correct: whether the right token gets no weight.
    """
    logits = (tf.cast(scores, tf.float32) + bias) / temperature
    if disallow_correct:
        right = tf.range(tf.shape(scores)[1])[None, :] == labels[:, None]
        # The original subtracts 1000, which low temperatures exceed.
        logits = tf.where(right, -np.inf, logits)
    return tf.exp(logits - tf.reduce_max(logits, axis=-1, keepdims=True))


def is_plain(temperature: float | tf.Tensor, disallow_correct: bool) -> bool:
    """Returns whether samples come from the unchanged softmax."""
    plain = isinstance(temperature, (int, float)) and temperature == 1.0
    return plain and not disallow_correct


def draw_adjusted(
    scores: tf.Tensor,
    bias: tf.Tensor,
    labels: tf.Tensor,
    uniform: tf.Tensor,
    temperature: float | tf.Tensor = 1.0,
    disallow_correct: bool = False,
) -> tf.Tensor:
    """Returns [rows] int32 samples from adjusted scores; not differentiated.

    Args:
      scores: [rows, V] logits without their bias.
      bias: [V] float32.
      labels: [rows] int32, the right tokens.
      uniform: [rows] float32 in [0, 1), decides the samples.
      temperature: divides the logits.
      disallow_correct: whether the right token is never sampled.
    """
    weights = adjusted_weights(
        tf.stop_gradient(scores),
        tf.stop_gradient(bias),
        labels,
        tf.cast(temperature, tf.float32),
        disallow_correct,
    )
    return draw(weights, uniform)


def draw_uniform(
    vocab_size: int,
    labels: tf.Tensor,
    uniform: tf.Tensor,
    disallow_correct: bool = False,
) -> tf.Tensor:
    """Samples tokens of the vocabulary, all equally likely.

    Args:
      vocab_size: V.
      labels: int32, any shape, the right tokens.
      uniform: float32 in [0, 1), the same shape.
      disallow_correct: whether the right token is never sampled.
    """
    size = vocab_size - int(disallow_correct)
    drawn = tf.minimum(tf.cast(uniform * float(size), tf.int32), size - 1)
    if disallow_correct:
        drawn += tf.cast(drawn >= labels, tf.int32)
    return drawn


def temperature_at(
    step: tf.Tensor, start: float, end: float, decay_steps: int
) -> tf.Tensor:
    """Returns `end + (start - end) * exp(-step / decay_steps)`, scalar float32.

    Easy negatives first: samples begin closer to uniform and come down to
    the generator's own distribution (Fast-ELECTRA, Dong et al. 2023).

    Args:
      step: scalar, updates done.
      start: at step 0.
      end: what it comes down to.
      decay_steps: steps in which the distance shrinks by e.
    """
    passed = tf.cast(step, tf.float32) / float(decay_steps)
    return end + (start - end) * tf.exp(-passed)
