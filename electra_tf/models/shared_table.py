"""One reading of a token table, by all lookups and the output layer.

The gradient of the table has some rows from each lookup and every row from the
output layer. Where each reads the variable for itself, every part is made whole
before they are added: four times the table at once. Here the rows of the
lookups are added into the output layer's.
"""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import NamedTuple

import keras
import tensorflow as tf


class Reading(NamedTuple):
    """The table [V, E], by what it is used for."""

    lookups: tf.Tensor
    outputs: tf.Tensor


# By id() of the variable. Of this thread: replicas are traced in turns, each in
# a thread of its own.
_Readings = dict[int, Reading]
_readings: contextvars.ContextVar[_Readings | None] = contextvars.ContextVar(
    "readings", default=None
)


@contextlib.contextmanager
def once(table: keras.Variable | tf.Tensor) -> Iterator[None]:
    """What follows reads `table` together, inside one forward pass.

    Worth it where an output layer uses the table: a gradient of all rows is
    made in any case.
    """
    reading = Reading(*_fork(tf.convert_to_tensor(table)))
    token = _readings.set((_readings.get() or {}) | {id(table): reading})
    try:
        yield
    finally:
        _readings.reset(token)


def read(table: keras.Variable | tf.Tensor) -> Reading:
    """The reading in force, or one by itself."""
    found = (_readings.get() or {}).get(id(table))
    if found is None:
        found = Reading(*[tf.convert_to_tensor(table)] * 2)
    return found


@tf.custom_gradient
def _fork(table: tf.Tensor) -> tuple:
    def gradient(
        of_lookups: tf.Tensor | tf.IndexedSlices, of_outputs: tf.Tensor
    ) -> tf.Tensor:
        if not isinstance(of_lookups, tf.IndexedSlices):
            return of_lookups + of_outputs
        rows = of_lookups.indices[:, None]
        return tf.tensor_scatter_nd_add(of_outputs, rows, of_lookups.values)

    return (tf.identity(table), tf.identity(table)), gradient
