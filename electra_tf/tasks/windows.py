"""Long rows of units seen through windows that overlap.

A unit (a word, a sentence) is never cut. Each is answered for in the one
window that shows most around it.
"""

from typing import NamedTuple

import numpy as np


class Windows(NamedTuple):
    """R windows; units are numbered over all groups.

    Attributes:
      group: int64 [R], whose units are seen: a text's, a sentence's.
      first: int64 [R], the first unit that is seen.
      end: int64 [R], the unit after the last.
      own_first: int64 [R], the first unit that is answered for there.
      own_end: int64 [R], the unit after the last of these.
    """

    group: np.ndarray
    first: np.ndarray
    end: np.ndarray
    own_first: np.ndarray
    own_end: np.ndarray


def cut(splits: np.ndarray, count: np.ndarray, room: int) -> Windows:
    """One window for each group that fits, several for a longer one.

    About a quarter of a window is shared with the next.

    Args:
      splits: int64 [N + 1], where each group starts among all U units.
      count: int64 [U], the tokens of each unit, none above `room`.
      room: tokens of a window.
    """
    before = np.concatenate([[0], np.cumsum(count)])
    total = np.diff(before[splits])
    number = np.arange(len(total))
    first, end = splits[:-1], splits[1:]
    short = total <= room
    parts = [Windows(*(c[short] for c in (number, first, end, first, end)))]
    parts += [_long(i, first[i], end[i], before, room) for i in number[~short]]
    columns = [np.concatenate(column) for column in zip(*parts)]
    order = np.argsort(columns[0], kind="stable")
    return Windows(*(column[order] for column in columns))


def _long(
    group: int, first: int, end: int, before: np.ndarray, room: int
) -> Windows:
    bounds = []
    start = first
    while True:
        stop = int(np.searchsorted(before, before[start] + room, "right")) - 1
        stop = min(stop, end)
        bounds.append((start, stop))
        if stop == end:
            break
        back = before[stop] - room // 4
        start = max(int(np.searchsorted(before, back)), start + 1)
    rows = np.array(bounds, "int64")
    # What two windows share is divided in the middle.
    cuts = (rows[1:, 0] + rows[:-1, 1] + 1) // 2
    return Windows(
        np.full([len(rows)], group),
        rows[:, 0],
        rows[:, 1],
        np.concatenate([[first], cuts]),
        np.concatenate([cuts, [end]]),
    )
