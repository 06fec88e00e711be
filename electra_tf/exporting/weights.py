"""How an export keeps a model's weights."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.models import packed_encoder

# "float32": variables. "float16": variables of half the size, widened at each
# request. "constants": in the graph, which TensorFlow then fuses and folds.
Storage = Literal["float32", "float16", "constants"]

# How far outputs may be from those of the model itself: by so much, and by
# this share of their size.
TOLERANCES: dict[Storage, float] = {
    "float32": 1e-5, "float16": 3e-2, "constants": 1e-5,
}  # fmt: skip


class Stored(NamedTuple):
    """Signatures, and what they read."""

    functions: dict[str, Callable]  # tf.functions
    variables: list[tf.Variable]


def stored(
    functions: Mapping[str, Callable], network: keras.Model, storage: Storage
) -> Stored:
    """Signatures that read the weights as they are kept.

    Args:
      functions: tf.functions with an input signature that call the network,
        and no tf.function inside.
      network: read now; what it is trained later is not seen, but for
        "float32".
      storage: how.

    Raises:
      UserError: a weight is too large for float16.
    """
    if storage == "float32":
        return Stored(dict(functions), [v.value for v in network.weights])
    variables: list[tf.Variable] = []
    if storage == "float16":
        variables = [_half(v) for v in network.weights]

        @contextlib.contextmanager
        def reading() -> Iterator[None]:
            values = [tf.cast(v, tf.float32) for v in variables]
            with keras.StatelessScope(list(zip(network.weights, values))):
                yield
    else:
        constants = [tf.constant(v.numpy()) for v in network.weights]

        @contextlib.contextmanager
        def reading() -> Iterator[None]:
            with (
                keras.StatelessScope(list(zip(network.weights, constants))),
                packed_encoder.installed(network),
            ):
                yield

    return Stored(
        {n: _reading(f, reading) for n, f in functions.items()}, variables
    )


def _half(variable: keras.Variable) -> tf.Variable:
    value = variable.numpy()
    if np.abs(value).max(initial=0.0) > np.finfo(np.float16).max:
        raise UserError(
            f"--float16: {variable.path} has a weight of "
            f"{np.abs(value).max():g}, which float16 cannot hold; leave the "
            "flag out"
        )
    return tf.Variable(value.astype(np.float16), trainable=False)


def _reading(function: Callable, reading: Callable) -> Callable:
    """The tf.function, traced anew while `reading()` is in force."""
    inner = function.python_function

    @functools.wraps(inner)
    def call(*args: tf.Tensor) -> dict[str, tf.Tensor]:
        with reading():
            return inner(*args)

    return tf.function(
        call, input_signature=function.input_signature, autograph=False
    )


def largest_difference(
    one: Mapping[str, Any], other: Mapping[str, Any], tolerance: float
) -> float:
    """Between outputs, as a share of what is allowed.

    Args:
      one: name -> tensor, of the model itself.
      other: the same, of the export; other than floats they are not looked
        at.
      tolerance: allowed, and allowed again for each 1 of `one`'s size.

    Returns:
      1 where the largest is just allowed.
    """
    worst = 0.0
    for name, value in one.items():
        if value.dtype.is_floating and tf.size(value) > 0:
            a, b = value.numpy(), other[name].numpy()
            share = np.abs(a - b) / (tolerance * (1.0 + np.abs(a)))
            worst = max(worst, float(np.nan_to_num(share, nan=np.inf).max()))
    return worst
