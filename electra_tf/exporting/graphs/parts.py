"""Many rows, some at a time: what bounds the memory that a request takes."""

from collections.abc import Callable, Mapping

import tensorflow as tf

from electra_tf.exporting.graphs.inputs import Rows

_ROWS = 16  # run together: as alike in length as rows of a request can be
_TOKENS = 8192  # run together, padding included

Tensors = dict[str, tf.Tensor]


def over_rows(
    forward: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], Tensors],
    rows: Rows,
    outputs: Mapping[str, tf.TensorSpec],
) -> Tensors:
    """`forward` over the rows, sorted by length; results in their order.

    Args:
      forward: (`input_ids`, `input_mask`, `segment_ids`), each int32 [P, L']
        -> tensors [P, ...]; P may be 0, and L' is as long as the longest of
        the P rows.
      rows: B of them; B may be 0.
      outputs: what `forward` returns; shapes [None, ...].

    Returns:
      Tensors [B, ...].
    """
    # Without rows there is a column all the same: heads read the first one.
    width = tf.maximum(tf.shape(rows.input_ids)[1], 1)
    missing = [[0, 0], [0, width - tf.shape(rows.input_ids)[1]]]
    input_ids = tf.pad(rows.input_ids, missing)
    segment_ids = tf.pad(rows.segment_ids, missing)
    size = tf.clip_by_value(_TOKENS // width, 1, _ROWS)
    order = tf.argsort(rows.lengths)

    def run(start: tf.Tensor, end: tf.Tensor) -> Tensors:
        some = order[start:end]
        lengths = tf.gather(rows.lengths, some)
        length = tf.maximum(tf.reduce_max(lengths), 1)
        return forward(
            tf.gather(input_ids, some)[:, :length],
            tf.sequence_mask(lengths, length, tf.int32),
            tf.gather(segment_ids, some)[:, :length],
        )

    found = in_parts(run, tf.shape(order)[0], size, outputs)
    back = tf.math.invert_permutation(order)
    return {name: tf.gather(value, back) for name, value in found.items()}


def in_parts(
    run: Callable[[tf.Tensor, tf.Tensor], Tensors],
    count: tf.Tensor,
    size: tf.Tensor | int,
    outputs: Mapping[str, tf.TensorSpec],
) -> Tensors:
    """`run(start, end)` over 0 to `count`, one part after another, joined.

    Args:
      run: int32 bounds of a part -> tensors [end - start, ...]; where
        `count` is 0 it is called once, with (0, 0).
      count: int32.
      size: of a part; the last one is what is left.
      outputs: what `run` returns; shapes [None, ...].

    Returns:
      Tensors [count, ...].
    """
    size = tf.convert_to_tensor(size)
    number = tf.maximum((count + size - 1) // size, 1)
    arrays = {
        name: tf.TensorArray(
            spec.dtype, number, element_shape=spec.shape, infer_shape=False
        )
        for name, spec in outputs.items()
    }

    def body(i: tf.Tensor, arrays: dict) -> tuple[tf.Tensor, dict]:
        start = i * size
        found = run(start, tf.minimum(start + size, count))
        return i + 1, {
            name: array.write(i, found[name]) for name, array in arrays.items()
        }

    _, arrays = tf.while_loop(
        lambda i, _: i < number,
        body,
        (0, arrays),
        parallel_iterations=2,
    )
    return {name: array.concat() for name, array in arrays.items()}
