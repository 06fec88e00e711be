"""How variables start: the original's way, and on neighbours.

A masked LM with learned positions has to find out, position by position,
which rows of its position table lie side by side, before it can use a
neighbour. On small budgets that takes longer than the whole run: the loss
stays where a bag of words would put it. `ModelConfig.local_start` spares the
search. It changes no shape and no formula, only where training begins:
positions start as sinusoids, and queries and keys so that each head of each
block attends to one neighbour at first (-1, +1, -2, +2, ...): a shift is a
rotation of each (sin, cos) pair.
"""

import contextlib
import contextvars
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

_FAST, _SLOW = 2.8, 0.05  # radians a position, the ends of the spectrum
# Share of a standard deviation that truncation at two of them leaves.
_TRUNCATED = 0.88
# Words start smaller than positions, or tokens would attend to their like.
WORDS_TO_POSITIONS = 0.5


_blank = contextvars.ContextVar("blank", default=False)


@contextlib.contextmanager
def blank() -> Iterator[None]:
    """Networks made inside have kernels and embeddings without values.

    For those whose every weight is loaded next: a hundred million random
    numbers take longer than reading as many from a file, and memory that is
    not written to is not taken.
    """
    token = _blank.set(True)
    try:
        yield
    finally:
        _blank.reset(token)


class _Blank(keras.initializers.Initializer):
    """Whatever is in the memory."""

    def __call__(self, shape: tuple, dtype: str | None = None) -> tf.Tensor:
        return tf.raw_ops.Empty(
            shape=shape, dtype=tf.as_dtype(dtype or "float32"), init=False
        )


def truncated_normal(stddev: float) -> keras.initializers.Initializer:
    """The original's initialiser of kernels and embeddings."""
    if _blank.get():
        return _Blank()
    return keras.initializers.TruncatedNormal(stddev=stddev)


def _frequencies(pairs: int) -> np.ndarray:
    return np.exp(np.linspace(np.log(_FAST), np.log(_SLOW), pairs))


class Sinusoids(keras.initializers.Initializer):
    """[positions, E]: a sine and a cosine for each of E / 2 frequencies.

    Args:
      stddev: of the truncated normal whose size the table shall have.
    """

    def __init__(self, stddev: float):
        self.stddev = stddev

    def __call__(self, shape: tuple, dtype: str | None = None) -> object:
        """The table of `shape`; a last odd column is 0."""
        rows, size = shape
        angles = np.arange(rows)[:, None] * _frequencies(size // 2)[None, :]
        pairs = np.stack([np.sin(angles), np.cos(angles)], axis=-1)
        table = np.zeros(shape)
        table[:, : size // 2 * 2] = pairs.reshape(rows, -1)
        table *= _TRUNCATED * self.stddev * 2**0.5
        return keras.ops.convert_to_tensor(table, dtype or "float32")

    def get_config(self) -> dict[str, float]:
        """For Keras."""
        return {"stddev": self.stddev}


class NeighbourAttention(keras.initializers.Initializer):
    """The [H, 3H] kernel of query, key, value, with heads on neighbours.

    Args:
      stddev: of the truncated normal that is added everywhere.
      num_heads: heads.
    """

    def __init__(self, stddev: float, num_heads: int):
        self.stddev = stddev
        self.num_heads = num_heads

    def __call__(self, shape: tuple, dtype: str | None = None) -> object:
        """The kernel of `shape`, (H, 3H)."""
        hidden = shape[0]
        size = hidden // self.num_heads
        frequencies = _frequencies(hidden // 2)
        query = np.zeros([hidden, hidden])
        key = np.zeros([hidden, hidden])
        # Scores are divided by sqrt(size): narrower heads need more.
        gain = (64 / size) ** 0.25
        for head in range(self.num_heads):
            offset = (head // 2 + 1) * (-1 if head % 2 == 0 else 1)
            for j in range(size // 2):
                # Every head gets frequencies from the whole spectrum.
                pair = (j * self.num_heads + head) % (hidden // 2)
                sine, cosine = 2 * pair, 2 * pair + 1
                column = head * size + 2 * j
                turn = frequencies[pair] * offset
                query[sine, column] = query[cosine, column + 1] = np.cos(turn)
                query[cosine, column] = np.sin(turn)
                query[sine, column + 1] = -np.sin(turn)
                key[sine, column] = key[cosine, column + 1] = 1.0
        start = np.concatenate([query, key, np.zeros_like(query)], axis=-1)
        noise = truncated_normal(self.stddev)(shape, dtype=dtype)
        return noise + keras.ops.convert_to_tensor(
            gain * start, dtype or "float32"
        )

    def get_config(self) -> dict[str, float | int]:
        """For Keras."""
        return {"stddev": self.stddev, "num_heads": self.num_heads}
