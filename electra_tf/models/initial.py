"""Initialises variables: as the original, or attending to neighbours.

A masked LM with learned positions must learn, position by position, which rows
of its position table are neighbours, before it can use them. On small budgets
that takes longer than the whole run: the loss remains that of a bag of words.
`ModelConfig.local_start` avoids the search. It changes no shape and no formula,
only the initial values: positions start as sinusoids, and queries and keys so
that each head of each block attends to one neighbour at first (-1, +1, -2, +2,
...): a shift is a rotation of each (sin, cos) pair.

A model that compares two texts must find equal words in them, which takes even
longer to learn. `ModelConfig.match_heads` avoids that search: positions leave
one half of the columns to words, and the last heads of each block start with
equal queries and keys there, so that a token attends to equal tokens (and to
itself, which adds nothing new).

An encoder that is narrower than its embeddings, as generators are, starts with
a projection that keeps some (sin, cos) pairs and drops the others.
"""

import contextlib
import contextvars
import random
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from electra_tf.registration import registered

_FAST, _SLOW = 2.8, 0.05  # radians a position, the ends of the spectrum
# Standard deviation of a normal truncated at two standard deviations.
_TRUNCATED = 0.88
# Words start smaller than positions, or tokens would attend to equal ones.
WORDS_TO_POSITIONS = 0.5
# Scores of a neighbour and of an equal word before the softmax, where half of
# the columns are for words: they exceed 60 other tokens together.
_SHARPER = 2.0
_EQUAL_WORD = 6.0
# Variance of a column for words, in a normalised row: 1, in a mean of 1 there
# and 1 + WORDS_TO_POSITIONS**2 in the other half.
_WORD_VARIANCE = 1 / (1 + WORDS_TO_POSITIONS**2 / 2)


_blank = contextvars.ContextVar("blank", default=False)


@contextlib.contextmanager
def blank() -> Iterator[None]:
    """Leaves kernels and embeddings of networks made inside uninitialised.

    It is for networks whose weights are loaded next: a hundred million random
    numbers take longer than reading as many from a file, and memory that is
    never written is never allocated.
    """
    token = _blank.set(True)
    try:
        yield
    finally:
        _blank.reset(token)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Samples the initial weights of networks made inside by `seed`.

    Other random numbers are not affected. (Keras seeds initializers from
    Python's generator.)

    Args:
      seed: any integer.
    """
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)


@registered
class Blank(keras.initializers.Initializer):
    """Leaves memory uninitialised in place of a truncated normal.

    Args:
      stddev: standard deviation of that truncated normal, with which a layer
        made from this one's config starts.
    """

    def __init__(self, stddev: float):
        self.stddev = stddev

    def __call__(self, shape: tuple, dtype: str | None = None) -> tf.Tensor:
        """Returns an uninitialised tensor of `shape`."""
        return tf.raw_ops.Empty(
            shape=shape, dtype=tf.as_dtype(dtype or "float32"), init=False
        )

    def get_config(self) -> dict[str, float]:
        """Returns the config, for Keras."""
        return {"stddev": self.stddev}

    @classmethod
    def from_config(cls, config: dict[str, float]) -> object:
        """Returns a truncated normal, unless inside `blank`."""
        return truncated_normal(config["stddev"])


def truncated_normal(stddev: float) -> keras.initializers.Initializer:
    """Returns the original's initialiser of kernels and embeddings."""
    if _blank.get():
        return Blank(stddev)
    return keras.initializers.TruncatedNormal(stddev=stddev)


def _frequencies(pairs: int, narrowing: int = 1) -> np.ndarray:
    """Returns the frequencies of `pairs` pairs, evenly chosen from the
    table's.
    """
    all_pairs = np.linspace(np.log(_FAST), np.log(_SLOW), pairs * narrowing)
    return np.exp(all_pairs)[::narrowing]


@registered
class Sinusoids(keras.initializers.Initializer):
    """Initialises a position table [positions, E] by sines and cosines.

    Args:
      stddev: standard deviation of the truncated normal whose scale the table
        has.
      beside_words: whether the second half of the columns is 0.
    """

    def __init__(self, stddev: float, beside_words: bool = False):
        self.stddev = stddev
        self.beside_words = beside_words

    def __call__(self, shape: tuple, dtype: str | None = None) -> object:
        """Returns the table of `shape`; a last odd column is 0."""
        rows, size = shape
        width = size // 2 if self.beside_words else size
        angles = np.arange(rows)[:, None] * _frequencies(width // 2)[None, :]
        pairs = np.stack([np.sin(angles), np.cos(angles)], axis=-1)
        table = np.zeros(shape)
        table[:, : width // 2 * 2] = pairs.reshape(rows, -1)
        table *= _TRUNCATED * self.stddev * 2**0.5
        return keras.ops.convert_to_tensor(table, dtype or "float32")

    def get_config(self) -> dict[str, float | bool]:
        """Returns the config, for Keras."""
        return {"stddev": self.stddev, "beside_words": self.beside_words}


@registered
class EveryNthPair(keras.initializers.Initializer):
    """Initialises a projection [E, H] that keeps every E / H-th pair of
    columns.

    Their order is kept, so that halves of the columns remain halves.

    Args:
      stddev: standard deviation of the truncated normal added everywhere.
    """

    def __init__(self, stddev: float):
        self.stddev = stddev

    def __call__(self, shape: tuple, dtype: str | None = None) -> object:
        """Returns the kernel of `shape`, (E, H); H divides E."""
        size, hidden = shape
        kept = np.zeros(shape)
        columns = np.arange(hidden)
        pairs = columns // 2 * (size // hidden)
        kept[2 * pairs + columns % 2, columns] = 1.0
        noise = truncated_normal(self.stddev)(shape, dtype=dtype)
        return noise + keras.ops.convert_to_tensor(kept, dtype or "float32")

    def get_config(self) -> dict[str, float]:
        """Returns the config, for Keras."""
        return {"stddev": self.stddev}


@registered
class WordsBesidePositions(keras.initializers.Initializer):
    """Initialises a token table [V, E], smaller in the half for positions.

    Args:
      stddev: standard deviation in the half for words.
    """

    def __init__(self, stddev: float):
        self.stddev = stddev

    def __call__(self, shape: tuple, dtype: str | None = None) -> object:
        """Returns the table of `shape`."""
        scale = np.ones(shape[-1])
        scale[: shape[-1] // 2] = WORDS_TO_POSITIONS
        words = truncated_normal(self.stddev)(shape, dtype=dtype)
        return words * keras.ops.convert_to_tensor(scale, dtype or "float32")

    def get_config(self) -> dict[str, float]:
        """Returns the config, for Keras."""
        return {"stddev": self.stddev}


@registered
class NeighbourAttention(keras.initializers.Initializer):
    """Initialises query, key, value [H, 3H] to attend to neighbours.

    Args:
      stddev: standard deviation of the truncated normal added everywhere.
      num_heads: number of heads.
      match_heads: number of last heads that start with equal words instead.
      beside_words: whether positions only have the first half of the columns,
        which match_heads need.
      narrowing: size of the embeddings / H, where `EveryNthPair` precedes.
    """

    def __init__(
        self,
        stddev: float,
        num_heads: int,
        match_heads: int = 0,
        beside_words: bool = False,
        narrowing: int = 1,
    ):
        self.stddev = stddev
        self.num_heads = num_heads
        self.match_heads = match_heads
        self.beside_words = beside_words
        self.narrowing = narrowing

    def __call__(self, shape: tuple, dtype: str | None = None) -> object:
        """Returns the kernel of `shape`, (H, 3H)."""
        hidden = shape[0]
        query = np.zeros([hidden, hidden])
        key = np.zeros([hidden, hidden])
        self._neighbours(query, key)
        self._equal_words(query, key)
        start = np.concatenate([query, key, np.zeros_like(query)], axis=-1)
        noise = truncated_normal(self.stddev)(shape, dtype=dtype)
        return noise + keras.ops.convert_to_tensor(start, dtype or "float32")

    def _neighbours(self, query: np.ndarray, key: np.ndarray) -> None:
        hidden, size = len(query), len(query) // self.num_heads
        heads = self.num_heads - self.match_heads
        pairs = hidden // 4 if self.beside_words else hidden // 2
        frequencies = _frequencies(pairs, self.narrowing)
        # Scores are divided by sqrt(size): narrower heads need more.
        gain = (64 / size) ** 0.25
        if self.beside_words:
            gain *= _SHARPER**0.5
        for head in range(heads):
            offset = (head // 2 + 1) * (-1 if head % 2 == 0 else 1)
            for j in range(size // 2):
                # Every head gets frequencies from the whole spectrum.
                pair = (j * heads + head) % pairs
                sine, cosine = 2 * pair, 2 * pair + 1
                column = head * size + 2 * j
                turn = frequencies[pair] * offset
                query[sine, column] = gain * np.cos(turn)
                query[cosine, column + 1] = gain * np.cos(turn)
                query[cosine, column] = gain * np.sin(turn)
                query[sine, column + 1] = -gain * np.sin(turn)
                key[sine, column] = key[cosine, column + 1] = gain

    def _equal_words(self, query: np.ndarray, key: np.ndarray) -> None:
        hidden, size = len(query), len(query) // self.num_heads
        half = hidden // 2
        gain = (_EQUAL_WORD / (_WORD_VARIANCE * size**0.5)) ** 0.5
        for head in range(self.match_heads):
            first = (self.num_heads - self.match_heads + head) * size
            for j in range(size):
                word = half + (head * size + j) % half
                query[word, first + j] = key[word, first + j] = gain

    def get_config(self) -> dict[str, float | int]:
        """Returns the config, for Keras."""
        return {
            "stddev": self.stddev,
            "num_heads": self.num_heads,
            "match_heads": self.match_heads,
            "beside_words": self.beside_words,
            "narrowing": self.narrowing,
        }
