"""Token rows of many lengths: as padded batches, and long ones in windows."""

import itertools
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
    """Returns `length`, or a little more, so that few lengths occur."""
    return max(length, min(-(-length // _MULTIPLE) * _MULTIPLE, longest))


def padded(
    rows: Sequence[Sequence[int]], numbers: np.ndarray, length: int
) -> Batch:
    """Returns some rows, padded with 0.

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
    """Yields batches of rows, the shortest first.

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


class Window(NamedTuple):
    """A stretch of a row; ends are exclusive."""

    start: int  # the first token that is read
    end: int
    first: int  # of these, the tokens that are looked at here
    last: int


def windows(length: int, room: int) -> list[Window]:
    """Returns windows in which each token is looked at once, near the middle of
    one.

    Neighbours overlap by half: so a token has at least a quarter of `room` of
    context on either side, where the row has so much.

    Args:
      length: tokens of the row.
      room: tokens that are read at once, at least 1.

    Returns:
      In order; none for an empty row.
    """
    if length <= room:
        return [Window(0, length, 0, length)] if length else []
    starts = list(range(0, length - room, max(1, room // 2)))
    starts.append(length - room)
    # Where two overlap, each looks at its half of what both read.
    cuts = [(b + a + room) // 2 for a, b in itertools.pairwise(starts)]
    firsts, lasts = [0, *cuts], [*cuts, length]
    return [
        Window(start, start + room, first, last)
        for start, first, last in zip(starts, firsts, lasts)
    ]


def around(first: int, last: int, length: int, room: int) -> tuple[int, int]:
    """Returns the window, start and end, that has some tokens in its middle.

    Args:
      first: of the tokens, and so
      last: the end after them, no more than `room` later.
      length: tokens of the row.
      room: tokens that are read at once.
    """
    start = first - (room - (last - first)) // 2
    start = max(0, min(start, length - room))
    return start, min(length, start + room)
