"""What was sent and what came back, by kind; and the server over time."""

import collections
import dataclasses
import json
import pathlib
import sys
import time
from typing import Any

from abuse.attacks import Outcome

_SHOWN = 20
_KEPT = 1000


@dataclasses.dataclass
class Kind:
    """Counts of one kind of request."""

    sent: int = 0
    statuses: collections.Counter[int] = dataclasses.field(
        default_factory=collections.Counter
    )
    problems: int = 0


class Tally:
    """Counts of a run.

    Attributes:
      kinds: by kind.
      good: good requests that were sent, alone or among others.
      malformed: the others.
      unanswered: good requests without an answer.
      wrong: good requests with a wrong answer.
      again: requests sent anew, because a kept connection had been closed
        before them.
      problems: the first of them, in words.
    """

    def __init__(self) -> None:
        self.kinds: dict[str, Kind] = {}
        self.good = self.malformed = 0
        self.unanswered = self.wrong = self.again = 0
        self.problems: list[str] = []

    @property
    def sent(self) -> int:
        """Requests so far."""
        return self.good + self.malformed

    def add(self, kind: str, outcome: Outcome, good: bool) -> None:
        """Counts a request or an attack."""
        found = self.kinds.setdefault(kind, Kind())
        found.sent += 1
        found.statuses.update(outcome.statuses)
        found.problems += len(outcome.problems)
        self.good += good
        self.malformed += not good
        self.unanswered += outcome.unanswered
        self.wrong += outcome.wrong
        for problem in outcome.problems:
            self.problem(f"{kind}: {problem}")

    def problem(self, message: str) -> None:
        """Notes what is wrong."""
        if len(self.problems) < _KEPT:
            self.problems.append(message)
        if len(self.problems) <= _SHOWN:
            print(f"wrong: {message}", file=sys.stderr, flush=True)

    def table(self) -> str:
        """Kinds and what was answered, for people; 0 is no answer."""
        lines = [f"{'kind':<20} {'sent':>8}  wrong  statuses"]
        for name, kind in sorted(self.kinds.items()):
            statuses = "  ".join(
                f"{status or 'closed'}: {count:,}"
                for status, count in sorted(kind.statuses.items())
            )
            lines.append(
                f"{name:<20} {kind.sent:>8,}  {kind.problems:>5}  {statuses}"
            )
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "sent": self.sent,
            "good": self.good,
            "malformed": self.malformed,
            "good_unanswered": self.unanswered,
            "good_wrong": self.wrong,
            "sent_again": self.again,
            "problems": self.problems,
            "kinds": {
                name: {
                    "sent": kind.sent,
                    "problems": kind.problems,
                    "statuses": {
                        str(status): count
                        for status, count in sorted(kind.statuses.items())
                    },
                }
                for name, kind in sorted(self.kinds.items())
            },
        }


class Journal:
    """`metrics.jsonl`: the server and the rate, from time to time."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.rows: list[dict[str, Any]] = []
        self._start = time.monotonic()
        self._file = open(directory / "metrics.jsonl", "w", encoding="utf-8")

    def add(self, requests: int, **facts: Any) -> None:
        """One row, with the rate since the row before."""
        seconds = time.monotonic() - self._start
        before = self.rows[-1] if self.rows else {"seconds": 0, "requests": 0}
        passed = max(1e-9, seconds - before["seconds"])
        row = {
            "seconds": round(seconds, 3),
            "requests": requests,
            "rate": round((requests - before["requests"]) / passed, 1),
            **facts,
        }
        self.rows.append(row)
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Ends the file."""
        self._file.close()


class Progress:
    """A line on stderr now and then: how many, how fast, how long yet."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._terminal = sys.stderr.isatty()
        self._start = self._last = time.monotonic()

    def update(self, done: int, note: str = "") -> None:
        """Prints it if the last one is old enough."""
        now = time.monotonic()
        if now - self._last < (0.5 if self._terminal else 10):
            return
        self._last = now
        rate = done / max(1e-9, now - self._start)
        left = (self._total - done) / max(rate, 1e-9)
        line = (
            f"{done:,} of {self._total:,} requests  {rate:,.0f}/s  "
            f"{left:,.0f} s left  {note}"
        )
        end = "\r" if self._terminal else "\n"
        print(line.ljust(78), end=end, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Begins a new line."""
        if self._terminal:
            print(file=sys.stderr)
