"""Runs networks on rows of token ids in batches, within a graph."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import tensorflow as tf

from electra_tf.prediction.predictor import Predictor
from electra_tf.text.rows import Rows

# Limits on the memory of a request.
_ROWS = 16  # rows in a batch, of similar lengths
_TOKENS = 8192  # tokens in a batch, padding included

Tensors = dict[str, tf.Tensor]
# `input_ids`, `input_mask`, `segment_ids`, each int32 [P, L] -> [P, ...].
Forward = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], Tensors]
# Name -> a tf.function of string tensors [B] that returns tensors [B, ...].
Signatures = dict[str, tf.types.experimental.GenericFunction]


# Replaces `over_rows`, to divide a signature; see `halves`.
_OverRows = Callable[[Forward, "Rows", Mapping[str, tf.TensorSpec]], Tensors]
_instead: contextvars.ContextVar[_OverRows | None] = contextvars.ContextVar(
    "instead", default=None
)


@contextlib.contextmanager
def over_rows_instead(call: _OverRows) -> Iterator[None]:
    """Replaces `over_rows` by `call`, while entered."""
    token = _instead.set(call)
    try:
        yield
    finally:
        _instead.reset(token)


def as_many(
    a: tf.Tensor, b: tf.Tensor, names: str
) -> tuple[tf.Tensor, tf.Tensor]:
    """Checks that there are as many first as second texts, and returns both.

    Args:
      a: string [B].
      b: string [B].
      names: names of both, for the message of the InvalidArgumentError.
    """
    check = tf.debugging.assert_equal(
        tf.size(a),
        tf.size(b),
        message=f"{names}: expected equally many of each",
    )
    with tf.control_dependencies([check]):
        return tf.identity(a), tf.identity(b)


class Batches(NamedTuple):
    """Rows divided into batches by length.

    Attributes:
      input_ids: int32 [B, L], with at least one column.
      segment_ids: int32 [B, L].
      lengths: int32 [B].
      order: int32 [B], the rows from the shortest to the longest.
      size: int32, number of rows in a batch.
    """

    input_ids: tf.Tensor
    segment_ids: tf.Tensor
    lengths: tf.Tensor
    order: tf.Tensor
    size: tf.Tensor

    def number(self) -> tf.Tensor:
        """Returns the number of batches, int32; at least one."""
        count = tf.size(self.order)
        return tf.maximum((count + self.size - 1) // self.size, 1)


def batches_of(rows: Rows) -> Batches:
    """Divides rows into batches."""
    # Even without rows there is a column, as heads read the first one.
    width = tf.maximum(tf.shape(rows.input_ids)[1], 1)
    missing = [[0, 0], [0, width - tf.shape(rows.input_ids)[1]]]
    return Batches(
        tf.pad(rows.input_ids, missing),
        tf.pad(rows.segment_ids, missing),
        rows.lengths,
        tf.argsort(rows.lengths),
        tf.clip_by_value(_TOKENS // width, 1, _ROWS),
    )


def over_batches(
    forward: Callable[..., Tensors],
    batches: Batches,
    first: tf.Tensor | int,
    end: tf.Tensor | int,
    outputs: Mapping[str, tf.TensorSpec],
    beside: tf.Tensor | None = None,
) -> Tensors:
    """Calls `forward` on some batches; results come in the batches' order.

    Args:
      forward: gets P rows, possibly 0, cut to the longest of them.
      batches: batches of B rows; B may be 0.
      first: int32, the first batch.
      end: int32, the batch after the last.
      outputs: specs of the results of `forward`, with shapes [None, ...].
      beside: float32 [B, L, H] or [B, H]; `forward` gets its rows as last
        argument.

    Returns:
      Tensors [rows of these batches, ...].
    """
    before = first * batches.size
    count = tf.minimum(end * batches.size, tf.size(batches.order)) - before

    def run(start: tf.Tensor, end: tf.Tensor) -> Tensors:
        some = batches.order[before + start : before + end]
        lengths = tf.gather(batches.lengths, some)
        length = tf.maximum(tf.reduce_max(lengths), 1)
        more = []
        if beside is not None:
            more = [tf.gather(beside, some)]
            if beside.shape.rank == 3:
                more = [more[0][:, :length]]
        return forward(
            tf.gather(batches.input_ids, some)[:, :length],
            tf.sequence_mask(lengths, length, tf.int32),
            tf.gather(batches.segment_ids, some)[:, :length],
            *more,
        )

    return in_parts(run, count, batches.size, outputs)


def in_order(batches: Batches, found: Tensors) -> Tensors:
    """Returns the results of all batches, in the rows' order."""
    back = tf.math.invert_permutation(batches.order)
    return {name: tf.gather(value, back) for name, value in found.items()}


def over_rows(
    forward: Forward, rows: Rows, outputs: Mapping[str, tf.TensorSpec]
) -> Tensors:
    """Calls `forward` on the rows by length; results come in the rows' order.

    Args:
      forward: see `over_batches`.
      rows: B rows; B may be 0.
      outputs: specs of the results of `forward`, with shapes [None, ...].

    Returns:
      Tensors [B, ...].
    """
    instead = _instead.get()
    if instead is not None:
        return instead(forward, rows, outputs)
    return some_at_a_time(forward, rows, outputs)


def some_at_a_time(
    forward: Callable[..., Tensors],
    rows: Rows,
    outputs: Mapping[str, tf.TensorSpec],
    beside: tf.Tensor | None = None,
) -> Tensors:
    """Runs `forward` like `over_rows`, with a further argument.

    Args:
      forward: see `over_batches`.
      rows: see `over_rows`.
      outputs: see `over_rows`.
      beside: see `over_batches`.
    """
    batches = batches_of(rows)
    count = batches.number()
    found = over_batches(forward, batches, 0, count, outputs, beside)
    return in_order(batches, found)


def in_parts(
    run: Callable[[tf.Tensor, tf.Tensor], Tensors],
    count: tf.Tensor,
    size: tf.Tensor | int,
    outputs: Mapping[str, tf.TensorSpec],
    at_once: int = 2,
) -> Tensors:
    """Runs `run(start, end)` on parts of 0 to `count`, and joins the results.

    Args:
      run: int32 bounds of a part -> tensors [end - start, ...]; where
        `count` is 0 it is called once, with (0, 0).
      count: int32.
      size: size of a part; the last one may be smaller.
      outputs: specs of the results of `run`, with shapes [None, ...].
      at_once: number of parts that may run at the same time.

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
        parallel_iterations=at_once,
    )
    return {name: array.concat() for name, array in arrays.items()}


def task_outputs(predictor: Predictor) -> Forward:
    """Returns a function that computes the task's outputs of rows."""

    def forward(
        input_ids: tf.Tensor, input_mask: tf.Tensor, segment_ids: tf.Tensor
    ) -> Tensors:
        return predictor.task.outputs(
            predictor.network(
                input_ids, input_mask, segment_ids, training=False
            )
        )

    return forward


def signature(
    answer: Callable[..., Tensors], *names: str
) -> tf.types.experimental.GenericFunction:
    """Makes a signature from a function of texts.

    Args:
      answer: string tensors [B] -> tensors [B, ...].
      names: names of its inputs.
    """
    return tf.function(
        answer,
        input_signature=[tf.TensorSpec([None], tf.string, n) for n in names],
        autograph=False,
    )
