"""Makes random numbers from counters: the same on any device, in any batch.

Every random number is a hash of (example key, salt, index). It depends on
nothing else, so a run that is resumed, distributed over replicas or batched
differently has the same masks, samples and dropout for the same example. The
hash is elementwise integer work, which fuses into its neighbours; a stateful or
Philox generator does not.
"""

import keras
import tensorflow as tf


def _constant(value: int) -> tf.Tensor:
    return tf.constant(value & 0xFFFFFFFF, tf.uint32)


def mix(value: tf.Tensor) -> tf.Tensor:
    """Mixes uint32 by a bijection with full avalanche (Wellons' lowbias32)."""
    shift, xor = tf.bitwise.right_shift, tf.bitwise.bitwise_xor
    value = xor(value, shift(value, _constant(16))) * _constant(0x7FEB352D)
    value = xor(value, shift(value, _constant(15))) * _constant(0x846CA68B)
    return xor(value, shift(value, _constant(16)))


def example_keys(example_id: tf.Tensor, seed: int) -> tf.Tensor:
    """Makes one random key for each example.

    Args:
      example_id: [B] int64, the example's position in the whole stream.
      seed: the run's seed.

    Returns:
      [B] uint32.
    """
    example_id = tf.cast(example_id, tf.int64)
    low = tf.cast(tf.bitwise.bitwise_and(example_id, 0xFFFFFFFF), tf.uint32)
    high = tf.cast(tf.bitwise.right_shift(example_id, 32), tf.uint32)
    key = mix(low + _constant(seed * 0x9E3779B9 + 0x5BD1E995))
    return mix(tf.bitwise.bitwise_xor(key, high + _constant(seed >> 32)))


def batches_done(optimizer: keras.optimizers.Optimizer) -> keras.Variable:
    """Returns the number of batches that an optimizer had gradients of.

    Its `iterations` are its updates: with Keras' gradient_accumulation_steps
    they stay the same for several batches, which must not have the same keys.

    Args:
      optimizer: an optimizer that is built.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if not getattr(inner, "gradient_accumulation_steps", None):
        return inner.iterations
    return next(v for v in inner.variables if v.name == "iteration")


def fresh_keys(
    seed: keras.random.SeedGenerator, batch: int | tf.Tensor
) -> tf.Tensor:
    """Makes keys that differ from call to call, [batch] uint32.

    Args:
      seed: the layer's seed generator, which each call advances.
      batch: number of keys.
    """
    words = keras.random.randint((2,), 0, 2**31 - 1, dtype="int32", seed=seed)
    words = tf.cast(words, tf.uint32)
    rows = tf.cast(tf.range(batch), tf.uint32)
    return mix(mix(rows + words[0]) + words[1])


def salted(keys: tf.Tensor, salt: int) -> tf.Tensor:
    """Makes independent keys for another use, [B] uint32."""
    return mix(keys + _constant((salt + 1) * 0x9E3779B9))


def bits(keys: tf.Tensor, count: int | tf.Tensor) -> tf.Tensor:
    """Makes `count` random words for each key, [B, count] uint32."""
    return bits_at(keys, tf.cast(tf.range(count), tf.uint32))


def bits_at(keys: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """Makes the random words of some indices for each key, [B, ...] uint32."""
    index = mix(index * _constant(0x9E3779B9))
    keys = tf.reshape(keys, [-1] + [1] * index.shape.rank)
    return mix(tf.bitwise.bitwise_xor(keys, index[None]))


def uniform(keys: tf.Tensor, count: int | tf.Tensor) -> tf.Tensor:
    """Makes numbers in [0, 1), multiples of 2^-24, [B, count] float32."""
    words = tf.bitwise.right_shift(bits(keys, count), _constant(8))
    return tf.cast(words, tf.float32) * (1.0 / (1 << 24))


def dropout(
    x: tf.Tensor,
    keys: tf.Tensor,
    rate: float,
    index: tf.Tensor | None = None,
) -> tf.Tensor:
    """Zeroes a share `rate` of `x` and scales the rest by 1 / (1 - rate).

    Args:
      x: [B, ...] floats.
      keys: [B] uint32.
      rate: in [0, 1).
      index: uint32 in the shape of x[0], the number of each element, which with
        the key decides its random number. None counts them: no number changes
        when the first axis of x[0] grows, but all do when another one does.
    """
    if not rate:
        return x
    if index is None:
        shape = tf.shape(x)[1:]
        index = tf.range(tf.reduce_prod(shape))
        index = tf.reshape(tf.cast(index, tf.uint32), shape)
        index = tf.ensure_shape(index, x.shape[1:])
    keep = bits_at(keys, index) >= _constant(int(rate * (1 << 32)))
    return tf.where(keep, x * (1.0 / (1.0 - rate)), tf.zeros([], x.dtype))


def square_index(shape: tf.Tensor) -> tf.Tensor:
    """Numbers the elements of [A, L, L], independently of L.

    Args:
      shape: int32 [3]. Numbers repeat above an L of 4,096.

    Returns:
      uint32 [A, L, L].
    """
    head, row, column = (
        tf.cast(tf.range(shape[axis]), tf.uint32) for axis in range(3)
    )
    head = tf.bitwise.left_shift(head, _constant(24))
    row = tf.bitwise.left_shift(row, _constant(12))
    return head[:, None, None] + row[:, None] + column
