"""Draws of tokens from the scores of a language model."""

import tensorflow as tf

_BLOCK = 256  # tokens summed together before a sample is sought among them
# What the original takes from the score of a token that must not be drawn.
_DISALLOWED = 1000.0


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


@tf.function(jit_compile=True)
def adjusted_weights(
    scores: tf.Tensor,
    bias: tf.Tensor,
    labels: tf.Tensor,
    temperature: tf.Tensor,
    disallow_correct: bool,
) -> tf.Tensor:
    """exp((scores + bias) / temperature), up to a factor for each row.

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
        logits -= tf.where(right, _DISALLOWED, 0.0)
    return tf.exp(logits - tf.reduce_max(logits, axis=-1, keepdims=True))


def is_plain(temperature: float | tf.Tensor, disallow_correct: bool) -> bool:
    """Whether samples come from the softmax as it is."""
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
    """[rows] int32 samples from adjusted scores; not differentiated.

    Args:
      scores: [rows, V] logits without their bias.
      bias: [V] float32.
      labels: [rows] int32, the right tokens.
      uniform: [rows] float32 in [0, 1), decides the samples.
      temperature: divides the logits.
      disallow_correct: never draw the right token.
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
    """Tokens of the vocabulary, all equally likely.

    Args:
      vocab_size: V.
      labels: int32, any shape, the right tokens.
      uniform: float32 in [0, 1), the same shape.
      disallow_correct: never draw the right token.
    """
    size = vocab_size - int(disallow_correct)
    drawn = tf.minimum(tf.cast(uniform * float(size), tf.int32), size - 1)
    if disallow_correct:
        drawn += tf.cast(drawn >= labels, tf.int32)
    return drawn


def temperature_at(
    step: tf.Tensor, start: float, end: float, decay_steps: int
) -> tf.Tensor:
    """`end + (start - end) * exp(-step / decay_steps)`, scalar float32.

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
