"""A batch in parts, one after another, whose update is that of the whole."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from electra_tf.errors import UserError

Batch = dict[str, tf.Tensor]


def gradients(
    batch: Batch,
    parts: int,
    of_part: Callable[[Batch], Sequence[Any]],
    variables: Sequence[Any],
) -> list[Any]:
    """The sums of what `of_part` gives, which is run once for each part.

    Args:
      batch: arrays [B, ...].
      parts: a divisor of B.
      of_part: a batch [B / parts, ...] -> a gradient for each variable, or
        None; those of all parts add up to the whole batch's.
      variables: what they are of.

    Raises:
      UserError: `parts` does not divide B.
    """
    rows = next(iter(batch.values())).shape[0]
    if rows is not None and rows % parts:
        raise UserError(
            f"train.gradient_accumulation: a replica's {rows} examples cannot "
            f"be cut into {parts} equal parts; make train.batch_size a multiple"
        )
    cut = {
        name: tf.reshape(
            value,
            tf.concat(
                [[parts, -1 if rows is None else rows // parts],
                 tf.shape(value)[1:]], axis=0
            ),
        )
        for name, value in batch.items()
    }  # fmt: skip
    shapes = {name: value.shape for name, value in batch.items()}
    size = None if rows is None else rows // parts
    unused: set[int] = set()  # variables that no loss reaches

    def body(part: tf.Tensor, sums: list[tf.Tensor]) -> tuple:
        found = of_part(
            {
                name: tf.ensure_shape(value[part], [size, *shapes[name][1:]])
                for name, value in cut.items()
            }
        )
        unused.update(i for i, gradient in enumerate(found) if gradient is None)
        sums = [
            old if new is None else old + tf.convert_to_tensor(new)
            for old, new in zip(sums, found)
        ]
        return part + 1, sums

    zeros = [tf.zeros(v.shape, v.dtype) for v in variables]
    _, sums = tf.while_loop(
        lambda part, _: part < parts,
        body,
        (tf.constant(0), zeros),
        parallel_iterations=1,
    )
    return [None if i in unused else s for i, s in enumerate(sums)]
