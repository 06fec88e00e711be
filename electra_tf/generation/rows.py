"""Batches token rows of many lengths, and splits long ones into windows."""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

_MULTIPLE = 8  # of lengths, so that there are few shapes


class Batch(NamedTuple):
    """A batch of padded rows."""

    rows: np.ndarray  # int64 [B], numbers of the rows
    input_ids: np.ndarray  # int32 [B, L]
    input_mask: np.ndarray  # int32 [B, L], 1 at tokens


def padded_length(length: int, longest: int) -> int:
    """Rounds `length` up, so that few lengths occur."""
    return max(length, min(-(-length // _MULTIPLE) * _MULTIPLE, longest))


def padded(
    rows: Sequence[Sequence[int]], numbers: np.ndarray, length: int
) -> Batch:
    """Pads some rows with 0.

    Args:
      rows: all rows.
      numbers: int64 [B], numbers of the rows to take.
      length: L, at least the longest row's.
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
      which: numbers of rows, which may be repeated.
      max_tokens: most tokens of a batch, padding included; at least one row is
        taken.
      longest: upper limit of lengths.
      max_rows: most rows of a batch.

    Yields:
      Batches; equal rows keep the order of `which`. `rows` of a batch are
      positions in `which`.
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
    """A window of a row; ends are exclusive."""

    start: int  # first token that is read
    end: int
    first: int  # first token that is scored in this window
    last: int


def windows(length: int, room: int) -> list[Window]:
    """Divides a row into windows, with each token scored in exactly one.

    Neighbours overlap by half, so that a scored token has at least a quarter of
    `room` as context on either side, where the row has it.

    Args:
      length: number of tokens of the row.
      room: number of tokens read at once, at least 1.

    Returns:
      The windows in order; none for an empty row.
    """
    if length <= room:
        return [Window(0, length, 0, length)] if length else []
    starts = list(range(0, length - room, max(1, room // 2)))
    starts.append(length - room)
    # Each of two overlapping windows scores its half of the overlap.
    cuts = [(b + a + room) // 2 for a, b in itertools.pairwise(starts)]
    firsts, lasts = [0, *cuts], [*cuts, length]
    return [
        Window(start, start + room, first, last)
        for start, first, last in zip(starts, firsts, lasts)
    ]


def around(first: int, last: int, length: int, room: int) -> tuple[int, int]:
    """Returns start and end of a window with some tokens in its middle.

    Args:
      first: first of the tokens.
      last: end of the tokens, at most `room` later.
      length: number of tokens of the row.
      room: number of tokens read at once.
    """
    start = first - (room - (last - first)) // 2
    start = max(0, min(start, length - room))
    return start, min(length, start + room)
