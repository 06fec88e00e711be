"""Rows of different lengths, side by side in one array."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from electra_tf.text.tokenizer import Tokenizer

_TEXTS = 1 << 15  # tokenized at once


def ranges(first: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of R ranges, one after another.

    Args:
      first: int64 [R], where each begins.
      end: int64 [R], the number after its last.

    Returns:
      int64 numbers, and the range that each is of.
    """
    count = end - first
    of = np.repeat(np.arange(len(first)), count)
    within = np.arange(len(of)) - np.repeat(np.cumsum(count) - count, count)
    return first[of] + within, of


class Pieces(NamedTuple):
    """The WordPieces of N texts, of which some may be equal."""

    table: np.ndarray  # int32, those of the different texts
    start: np.ndarray  # int64 [N], where a text's are in the table
    count: np.ndarray  # int64 [N], how many


def pieces(tokenizer: Tokenizer, texts: Iterable[str]) -> Pieces:
    """Tokenizes texts; each different one once.

    Args:
      tokenizer: the model's.
      texts: N of them.
    """
    numbers: dict[str, int] = {}
    text = np.array(
        [numbers.setdefault(t, len(numbers)) for t in texts], "int64"
    )
    different = [*numbers, ""]  # one at least
    tables, counts = [], []
    for i in range(0, len(different), _TEXTS):
        table = tokenizer(different[i : i + _TEXTS])
        tables.append(table.flat_values.numpy())
        counts.append(table.row_lengths().numpy())
    count = np.concatenate(counts)
    start = np.cumsum(count) - count
    return Pieces(np.concatenate(tables), start[text], count[text])
