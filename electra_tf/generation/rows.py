"""Token rows of many lengths as padded batches, made as they are needed."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

_MULTIPLE = 8  # of lengths: few shapes


class Batch(NamedTuple):
    """Rows beside one another."""

    rows: np.ndarray  # int64 [B], their numbers
    input_ids: np.ndarray  # int32 [B, L]
    input_mask: np.ndarray  # int32 [B, L], 1 at tokens


def padded_length(length: int, longest: int) -> int:
    """`length`, or a little more, so that few lengths occur."""
    return max(length, min(-(-length // _MULTIPLE) * _MULTIPLE, longest))


def padded(
    rows: Sequence[Sequence[int]], numbers: np.ndarray, length: int
) -> Batch:
    """Some rows, padded with 0.

    Args:
      rows: all of them.
      numbers: int64 [B], which to take.
      length: L, at least that of the longest.
    """
    ids = np.zeros([len(numbers), length], "int32")
    mask = np.zeros_like(ids)
    for i, number in enumerate(numbers):
        row = rows[number]
        ids[i, : len(row)] = row
        mask[i, : len(row)] = 1
    return Batch(numbers, ids, mask)


def batches(
    rows: Sequence[Sequence[int]],
    which: Sequence[int] | np.ndarray,
    max_tokens: int,
    longest: int,
    max_rows: int = 256,
) -> Iterator[Batch]:
    """Batches of rows, the shortest first.

    Args:
      rows: lists of token ids.
      which: numbers of rows, as often as each is wanted.
      max_tokens: of a batch, padding included; one row is always taken.
      longest: what no length may exceed.
      max_rows: of a batch.

    Yields:
      Batches; equal rows stay in the order of `which`. `rows` of a batch are
      places in `which`.
    """
    which = np.asarray(which, "int64")
    lengths = np.array([len(rows[i]) for i in which], "int64")
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        end = start + 1
        length = padded_length(int(lengths[order[start]]), longest)
        while end < len(order) and end - start < max_rows:
            longer = padded_length(int(lengths[order[end]]), longest)
            if longer * (end - start + 1) > max_tokens:
                break
            length, end = longer, end + 1
        chosen = order[start:end]
        yield padded(rows, which[chosen], length)._replace(rows=chosen)
        start = end
