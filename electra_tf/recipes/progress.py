"""Shows the progress of a pass over files, in one line on stderr."""

import sys
import time


class ProgressLine:
    """Shows share done, speed and time left, rewritten in place."""

    def __init__(self, enabled: bool = True):
        """Starts the clock.

        Args:
          enabled: whether anything is printed; a recipe's `progress`.
        """
        self._enabled = enabled
        self._terminal = sys.stderr.isatty()
        self._start = self._last = time.monotonic()
        self._shown = False

    def update(self, bytes_done: int, bytes_total: int, note: str) -> None:
        """Prints the line, with `note` at its end, if the last one is old
        enough.
        """
        now = time.monotonic()
        pause = 0.5 if self._terminal else 10
        if not self._enabled or now - self._last < pause:
            return
        self._last = now
        rate = bytes_done / (now - self._start)
        left = (bytes_total - bytes_done) / max(rate, 1)
        line = (
            f"{bytes_done / max(bytes_total, 1):4.0%}  "
            f"{bytes_done / 1e6:.0f} of {bytes_total / 1e6:.0f} MB  "
            f"{rate / 1e6:.1f} MB/s  {left:.0f} s left  {note}"
        )
        end = "\r" if self._terminal else "\n"
        print(line.ljust(78), end=end, file=sys.stderr, flush=True)
        self._shown = self._terminal

    def close(self) -> None:
        """Ends the line and begins a new one."""
        if self._shown:
            print(file=sys.stderr)


class RowProgress:
    """Shows rows done, speed and time left of a pass over one file."""

    def __init__(self, bytes_total: int, enabled: bool = True):
        """Starts the clock.

        Args:
          bytes_total: the length of the file.
          enabled: whether anything is printed; a recipe's `progress`.
        """
        self._total = bytes_total
        self._line = ProgressLine(enabled)
        self._first: tuple[int, int] | None = None  # rows, bytes
        self._start = time.monotonic()

    def update(self, rows: int, taken: int) -> None:
        """Shows the rows done; those of the first call were done before."""
        if self._first is None:
            self._first = rows, taken
        before, passed = self._first
        rate = (rows - before) / max(1e-9, time.monotonic() - self._start)
        self._line.update(
            taken - passed,
            self._total - passed,
            f"{rows:,} rows  {rate:.0f} rows/s",
        )

    def close(self) -> None:
        """Begins a new line."""
        self._line.close()
