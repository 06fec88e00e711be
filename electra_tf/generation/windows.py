"""Long rows of tokens, read in overlapping windows."""

import itertools
from typing import NamedTuple


class Window(NamedTuple):
    """A stretch of a row; ends are exclusive."""

    start: int  # the first token that is read
    end: int
    first: int  # of these, the tokens that are looked at here
    last: int


def windows(length: int, room: int) -> list[Window]:
    """Windows in which each token is looked at once, near the middle of one.

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
    """The window, start and end, that has some tokens in its middle.

    Args:
      first: of the tokens, and so
      last: the end after them, no more than `room` later.
      length: tokens of the row.
      room: tokens that are read at once.
    """
    start = first - (room - (last - first)) // 2
    start = max(0, min(start, length - room))
    return start, min(length, start + room)
