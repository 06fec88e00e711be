"""Answers for the lines of a text file; goes on where it was interrupted.

While the output is made, what is done stands beside it:

    <output>.partial/about.json         what is answered, and with what
    <output>.partial/part-000000.jsonl  how many lines, then an answer a line

Each part is renamed into place whole.
"""

import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.prediction import files as prediction_files
from electra_tf.tasks import records
from electra_tf.text import inputs

_PART_SECONDS = 20.0
_ABOUT = "about.json"
_BYTE_ORDER_MARK = "\ufeff"

# Lines, and the number of the first of them from 1 -> an answer for each.
Answer = Callable[[Sequence[str], int], Sequence[Mapping[str, Any]]]
Progress = Callable[[int, int], None]


def read_lines(
    path: str, position: Callable[[int], None] = lambda taken: None
) -> Iterator[str]:
    """Lines of a text file, `.gz`, `.xz` or `.zst` too, without their ends.

    What is not UTF-8 becomes U+FFFD.

    Args:
      path: the file.
      position: is told how many bytes of it were taken.

    Raises:
      UserError: no such file, or damaged.
    """
    with inputs.open_input(path) as stream:
        for number, line in enumerate(records.lines(stream)):
            text = line.decode("utf-8", "replace")
            if not number:
                text = text.removeprefix(_BYTE_ORDER_MARK)
            position(stream.position())
            yield text.removesuffix("\n").removesuffix("\r")


def in_memory(
    source: str, answer: Answer, chunk: int
) -> list[Mapping[str, Any]]:
    """All answers at once, for what is shown and not written."""
    found: list[Mapping[str, Any]] = []
    for lines in _chunks(read_lines(source), chunk):
        found += answer(lines, len(found) + 1)
    return found


class LineRun:
    """The answers to a file, on disk.

    Attributes:
      done: lines that have been answered.
    """

    def __init__(
        self,
        source: str,
        target: str,
        about: Mapping[str, Any],
        note: Callable[[str], None],
    ):
        """Finds what an earlier process has done, if it was at the same.

        Args:
          source: the input.
          target: the output that it is for.
          about: what decides the answers, the input aside.
          note: is told that work goes on, or begins afresh.
        """
        self.done = 0
        self._source = source
        self._partial = f"{target}.partial"
        self._parts = 0
        self._resume(_plain(_identity(source) | dict(about)), note)

    def answer(self, answer: Answer, chunk: int, progress: Progress) -> None:
        """Answers the lines that are left.

        Args:
          answer: what does it.
          chunk: lines that it is given at a time.
          progress: is told of lines done and bytes taken of the input.
        """
        taken, since = 0, time.monotonic()

        def position(count: int) -> None:
            nonlocal taken
            taken = count

        lines = read_lines(self._source, position)
        for _ in range(self.done):
            next(lines, None)
        progress(self.done, taken)
        ready: list[Mapping[str, Any]] = []
        for some in _chunks(lines, chunk):
            ready += answer(some, self.done + len(ready) + 1)
            if time.monotonic() - since > _PART_SECONDS:
                self._write(ready)
                ready, since = [], time.monotonic()
            progress(self.done + len(ready), taken)
        if ready:
            self._write(ready)

    def rows(self) -> Iterator[dict[str, Any]]:
        """The answers, in the order of the lines."""
        for number in range(self._parts):
            with files.open_read(self._path(number)) as handle:
                lines = records.lines(handle)
                next(lines)
                for line in lines:
                    yield json.loads(line)

    def close(self) -> None:
        """Removes what stood beside the output."""
        files.remove(self._partial)

    def _path(self, number: int) -> str:
        return files.join(self._partial, f"part-{number:06d}.jsonl")

    def _write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        lines = [str(len(rows)), *map(prediction_files.dumps, rows)]
        files.write_text(
            self._path(self._parts), "".join(f"{line}\n" for line in lines)
        )
        self._parts += 1
        self.done += len(rows)

    def _resume(
        self, about: dict[str, Any], note: Callable[[str], None]
    ) -> None:
        path = files.join(self._partial, _ABOUT)
        if files.exists(path):
            try:
                before = dict(json.loads(files.read_text(path)))
            except ValueError:
                before = {}
            changed = [key for key in about if before.get(key) != about[key]]
            if not changed:
                self._count()
                if self.done:
                    note(
                        f"going on after {self.done:,} lines, in "
                        f"{self._partial}"
                    )
                return
            note(
                f"{self._partial}: was begun with another "
                f"{', '.join(changed)}; starting afresh"
            )
            files.remove(self._partial)
        elif files.exists(self._partial):
            raise UserError(f"{self._partial}: is in the way; remove it")
        files.make_directory(self._partial)
        files.write_text(path, prediction_files.dumps(about) + "\n")

    def _count(self) -> None:
        while files.exists(self._path(self._parts)):
            with files.open_read(self._path(self._parts)) as handle:
                self.done += int(next(records.lines(handle)))
            self._parts += 1


def weights_digest(networks: Iterable[Any]) -> str:
    """What tells one set of weights from another."""
    sums = [
        float(np.sum(np.asarray(variable), dtype="float64"))
        for network in networks
        for variable in network.weights
    ]
    return " ".join(f"{value:.17g}" for value in (len(sums), *_folded(sums)))


def check_output(target: str | None, overwrite: bool) -> None:
    """Refuses to replace a file unasked.

    Raises:
      UserError: it is there.
    """
    if target and files.exists(target) and not overwrite:
        raise UserError(
            f"--output: {target} is there already; name another file, or give "
            "--overwrite"
        )


def check_input(source: str, flag: str = "--input") -> None:
    """Looks for an input before anything large is loaded.

    Raises:
      UserError: it is not there.
    """
    if not files.exists(source):
        raise UserError(f"{flag}: {source}: no such file")
    if files.is_directory(source):
        raise UserError(f"{flag}: {source}: is a directory; name a file")


def _folded(sums: Sequence[float]) -> tuple[float, float]:
    """Two numbers that change with any of them, and with their order."""
    values = np.array(sums, "float64")
    return float(values.sum()), float(values @ np.arange(1, len(values) + 1))


def _identity(source: str) -> dict[str, Any]:
    with files.named_errors(source, "read"):
        stat = tf.io.gfile.stat(source)
    return {
        "input": source,
        "size of the input": stat.length,
        "time of the input": stat.mtime_nsec,
    }


def _plain(about: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(prediction_files.dumps(about))


def _chunks(lines: Iterable[str], size: int) -> Iterator[list[str]]:
    iterator = iter(lines)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk
