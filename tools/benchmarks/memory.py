"""Measures the memory of a process and all its descendants over time."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator

# (seconds since the start, MB of all processes together)
Series = list[tuple[float, float]]


def descendants(root: int) -> list[int]:
    """Returns the process `root` and all its descendants (Linux only)."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                with open(f"/proc/{name}/stat", encoding="ascii") as handle:
                    # The name before it may hold spaces and parentheses.
                    parent = handle.read().rpartition(")")[2].split()[1]
                children.setdefault(int(parent), []).append(int(name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def proportional_megabytes(root: int) -> float:
    """Returns the memory of all; what they share counts once (PSS)."""
    total = 0
    for pid in descendants(root):
        with contextlib.suppress(OSError):  # it has just ended
            with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as handle:
                for line in handle:
                    if line.startswith("Pss:"):
                        total += 1024 * int(line.split()[1])
                        break
    return total / 1e6


@contextlib.contextmanager
def watched(root: int, seconds: float = 1.0) -> Iterator[Series]:
    """Yields a list to which readings are added until the block ends.

    Args:
      root: the process that is watched, with its descendants.
      seconds: between two readings.
    """
    series: Series = []
    ended = threading.Event()
    started = time.perf_counter()

    def look() -> None:
        while not ended.wait(seconds):
            now = time.perf_counter() - started
            series.append((now, proportional_megabytes(root)))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield series
    finally:
        ended.set()
        thread.join()


def growth(series: Series) -> float:
    """Returns by how many MB the last quarter's peak exceeds the second's.

    The first quarter is ignored: memory still grows as the work starts.
    """
    quarter = len(series) // 4
    if not quarter:
        raise ValueError(f"expected at least 4 readings, got {len(series)}")
    values = [megabytes for _, megabytes in series]
    return max(values[-quarter:]) - max(values[quarter : 2 * quarter])
