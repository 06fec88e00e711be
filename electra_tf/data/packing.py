"""Packs several short examples into one row, to reduce padding.

A batch keeps its examples, and with them its place in the stream: they are
packed into as few rows as possible, and everything else still counts examples.
It only uses graph operations on integers, with the same results everywhere.
"""

import numpy as np
import tensorflow as tf

Batch = dict[str, tf.Tensor]

# An example takes at least so many positions: this limits the number of
# examples in a row, so that arrays over them have a fixed shape.
_PLACE = 8
# Number of steps between two powers of two to which the number of rows is
# rounded up: each is a shape to compile, and rounding adds padding.
_STEPS = 16


def places(max_seq_length: int) -> int:
    """E, the most examples in a row of `max_seq_length` positions."""
    return max(1, max_seq_length // _PLACE)


def pack(batch: Batch, multiple: int = 1) -> Batch:
    """Packs a batch of B examples into R rows.

    It is first-fit decreasing: the longest example first, each into the first
    row with room for it. The number of rows is rounded up a little, so that few
    different ones occur; rows without an example are padding.

    Args:
      batch: `input_ids`, `input_mask`, `segment_ids` and what else there is
        of each token, int32 [B, L]; `example_id`, int64 [B].
      multiple: number of which R is a multiple.

    Returns:
      What was [B, L] as [R, L]; `sequence_ids`, int32 [R, L], which of the
      row's examples a token belongs to, from 1, and 0 for padding;
      `example_id`, int64 [R, E], those of the row's examples, in their order,
      and -1 where there are no more (E as in `places`).
    """
    length = batch["input_ids"].shape[1]
    lengths = tf.reduce_sum(batch["input_mask"], axis=1)
    longest = tf.argsort(lengths, direction="DESCENDING", stable=True)
    size = -(-length // places(length))
    rows = _first_fit(
        tf.maximum(tf.gather(lengths, longest), min(size, length)), length
    )
    by_row = tf.argsort(rows, stable=True)
    order, rows = tf.gather(longest, by_row), tf.gather(rows, by_row)
    needed = rows[-1] + 1
    total = _rounded_up(needed, tf.shape(rows)[0], multiple)
    counts = tf.math.bincount(rows, minlength=total, maxlength=total)
    number = tf.range(tf.shape(rows)[0]) - tf.gather(
        tf.cumsum(counts, exclusive=True), rows
    )  # position of each example in its row
    lengths = tf.gather(lengths, order)
    filled = tf.math.segment_sum(lengths, rows)
    filled = tf.pad(filled, [[0, total - needed]])

    def in_rows(values: tf.Tensor, lengths: tf.Tensor, width: int, rest: int):
        ragged = tf.RaggedTensor.from_row_lengths(
            values, tf.cast(lengths, tf.int64), validate=False
        )
        return ragged.to_tensor(rest, shape=[None, width])

    real = tf.gather(batch["input_mask"], order) > 0
    packed = {
        name: in_rows(
            tf.boolean_mask(tf.gather(values, order), real), filled, length, 0
        )
        for name, values in batch.items()
        if name != "example_id"
    }
    packed["sequence_ids"] = in_rows(
        tf.repeat(number + 1, lengths), filled, length, 0
    )
    packed["example_id"] = in_rows(
        tf.gather(batch["example_id"], order), counts, places(length), -1
    )
    return packed


def _first_fit(sizes: tf.Tensor, room: int) -> tf.Tensor:
    """Returns the first row with room for each example in turn, [B] int32."""
    count = tf.shape(sizes)[0]

    def put(
        i: tf.Tensor, left: tf.Tensor, rows: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        row = tf.argmax(left >= sizes[i], output_type=tf.int32)
        left = tf.tensor_scatter_nd_sub(left, [[row]], [sizes[i]])
        return i + 1, left, tf.tensor_scatter_nd_update(rows, [[i]], [row])

    start = (tf.constant(0), tf.fill([count], room), tf.zeros_like(sizes))
    return tf.while_loop(
        lambda i, *_: i < count, put, start, parallel_iterations=1
    )[2]


def _rounded_up(needed: tf.Tensor, most: tf.Tensor, multiple: int) -> tf.Tensor:
    """Returns a number of rows of which few occur:

    `needed`, or a little more.
    """
    units = -(-needed // multiple)
    powers = tf.constant([1 << i for i in range(24)])
    step = tf.reduce_max(tf.where(powers * _STEPS <= units, powers, 1))
    rounded = -(-units // step) * step * multiple
    return tf.minimum(rounded, -(-most // multiple) * multiple)


def fill(data: tf.data.Dataset, batches: int = 8) -> tuple[float, float]:
    """Measures packing on the first batches.

    Args:
      data: a dataset of packed batches.
      batches: number of batches to use.

    Returns:
      The mean number of rows in a batch, and the mean share of positions with
      tokens.
    """
    masks = [b["input_mask"] for b in data.take(batches).as_numpy_iterator()]
    rows = [len(mask) for mask in masks]
    return float(np.mean(rows)), float(np.mean(np.concatenate(masks)))
