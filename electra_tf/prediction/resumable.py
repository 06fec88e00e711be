"""Runs resumable jobs: a result for each line or row of a file, on disk.

Until the output is complete, finished parts are stored beside it:

    <output>.partial/about.json         the input, and what decides the results
    <output>.partial/part-000000.jsonl  how many results, then one a line

Each part is renamed into place when complete, so that existing parts are good
whenever the process dies. One process at a time works on them: how many results
a part has depends on the time, so that two would replace each other's.
"""

import contextlib
import dataclasses
import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.prediction import files as prediction_files
from electra_tf.tasks import records
from electra_tf.text import inputs

if TYPE_CHECKING:
    from electra_tf.text.tokenizer import Tokenizer

# A part is written after so many results, or so many seconds.
PART_ROWS, PART_SECONDS = 16_384, 20.0
_ABOUT = "about.json"
_ERROR = "error"
# Keys that the runs of earlier versions do not store; they count as unchanged
# there.
_LATER = (
    "vocabulary", "lower_case", "strip_accents", "engine", "text_field",
    "tokenizers", "options of the models",
)  # fmt: skip
_BYTE_ORDER_MARK = "\ufeff"

T = TypeVar("T")
# (items, number of the first one, from 1) -> a result for each item.
Answer = Callable[[Sequence[Any], int], Sequence[Mapping[str, Any]]]
# Called with the number of items done, and of bytes read from the input.
Progress = Callable[[int, int], None]
Note = Callable[[str], None]
Position = Callable[[int], None]


def read_lines(
    path: str, position: Position = lambda taken: None
) -> Iterator[str]:
    """Yields the lines of a text file without their ends.

    Bytes that are not UTF-8 become U+FFFD.

    Args:
      path: the file; `.gz`, `.xz` and `.zst` are unpacked.
      position: called with the number of bytes read so far.

    Raises:
      UserError: the file is missing or damaged.
    """
    with inputs.open_input(path) as stream:
        for number, line in enumerate(records.lines(stream)):
            text = line.decode("utf-8", "replace")
            if not number:
                text = text.removeprefix(_BYTE_ORDER_MARK)
            position(stream.position())
            yield text.removesuffix("\n").removesuffix("\r")


def answer_in_memory(
    source: str, answer: Answer, chunk: int
) -> list[Mapping[str, Any]]:
    """Returns the results of all lines in memory, to be shown."""
    found: list[Mapping[str, Any]] = []
    for lines in chunks(read_lines(source), chunk):
        found += answer(lines, len(found) + 1)
    return found


class ResumableRun:
    """The results of a file's items, stored in parts beside the output.

    As a context manager it lets other processes work on the parts again when
    it is left; otherwise they may when this process has ended.

    Attributes:
      heads: a mapping for each part, its first line; `rows` is its number of
        results.
    """

    def __init__(
        self,
        source: str,
        target: str,
        about: Mapping[str, Any],
        note: Note = lambda text: None,
        unit: str = "lines",
        renewed: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    ):
        """Finds the parts of an earlier process that did the same job.

        Args:
          source: the input.
          target: the output.
          about: what decides the results, except the input; JSON values.
          note: called with a message that work is resumed, or starts again.
          unit: name of the items in that message.
          renewed: converts an `about` of an older version to this version.

        Raises:
          UserError: no such input; something else is at the parts' path; or
            another process works on the parts.
        """
        self.heads: list[dict[str, Any]] = []
        self._source = source
        self._partial = f"{target}.partial"
        self._renewed = renewed
        self._resume(identity(source) | dict(about), note, unit)

    def __enter__(self) -> "ResumableRun":
        return self

    def __exit__(self, kind: object, *exception: object) -> None:
        if kind is not None and not self.heads:  # nothing to resume
            with contextlib.suppress(UserError):
                files.remove(self._partial)
        files.release(self._partial)

    @property
    def done(self) -> int:
        """The number of items with results."""
        return sum(head["rows"] for head in self.heads)

    def answer(
        self,
        answer: Answer,
        chunk: int,
        progress: Progress = lambda done, taken: None,
        read: Callable[[str, Position], Iterator[Any]] = read_lines,
        head: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        """Computes the missing results.

        Args:
          answer: computes results.
          chunk: number of items passed to it at a time. A part ends with a
            chunk, so that an item is always computed with the same others.
          progress: called after each chunk.
          read: yields the items of the input.
          head: returns what a part's first line has besides the number of rows;
            called once for each part, after all of its results.
        """
        taken, since = 0, time.monotonic()

        def position(count: int) -> None:
            nonlocal taken
            taken = count

        items = read(self._source, position)
        done = self.done
        for _ in range(done):
            next(items, None)
        progress(done, taken)
        ready: list[str] = []

        def write() -> None:
            rows = {"rows": len(ready)}
            # Only a number, where there is nothing else.
            first = rows["rows"] if head is None else rows | dict(head())
            lines = [prediction_files.dumps(first), *ready]
            text = "".join(f"{line}\n" for line in lines)
            files.write_text(self._path(len(self.heads)), text)
            self.heads.append(_head(lines[0]))

        for some in chunks(items, chunk):
            found = answer(some, done + 1)
            ready += map(prediction_files.dumps, found)
            done += len(found)
            late = time.monotonic() - since > PART_SECONDS
            if late or len(ready) >= PART_ROWS:
                write()
                ready, since = [], time.monotonic()
            progress(done, taken)
        if ready:
            write()

    def lines(self) -> Iterator[bytes]:
        """Yields the results as lines of JSON, in the order of the items."""
        for number in range(len(self.heads)):
            with files.open_read(self._path(number)) as handle:
                lines = records.lines(handle)
                next(lines)
                yield from lines

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yields the results, in the order of the items."""
        return map(json.loads, self.lines())

    def close(self) -> None:
        """Removes the parts beside the output."""
        files.remove(self._partial)
        files.release(self._partial)

    def _path(self, number: int) -> str:
        return files.join(self._partial, f"part-{number:06d}.jsonl")

    def _resume(self, about: dict[str, Any], note: Note, unit: str) -> None:
        if not begin(self._partial, about, note, self._renewed):
            return
        while files.exists(self._path(len(self.heads))):
            with files.open_read(self._path(len(self.heads))) as part:
                self.heads.append(_head(next(records.lines(part))))
        if self.done:
            note(f"resuming after {self.done:,} {unit}, in {self._partial}")


def begin(
    partial: str,
    about: dict[str, Any],
    note: Note = lambda text: None,
    renewed: Callable[[dict[str, Any]], dict[str, Any]] = dict,
) -> bool:
    """Makes or finds the directory of an interruptible job, and claims it.

    It is this process' until `files.release`.

    Args:
      partial: the directory.
      about: what decides the results, as JSON values.
      note: called with a message if another job's directory is removed.
      renewed: converts an `about` of an older version to this version.

    Returns:
      Whether the directory has parts of the same job.

    Raises:
      UserError: the path has something else, another process works there, or
        the directory cannot be made.
    """
    if files.is_directory(partial):
        files.claim(partial)  # before it may be removed
    about = json.loads(prediction_files.dumps(about))
    path = files.join(partial, _ABOUT)
    if files.exists(path):
        try:
            before = renewed(dict(json.loads(files.read_text(path))))
        except (ValueError, KeyError, UserError):
            before = {}
        before = {k: about[k] for k in _LATER if k in about} | before
        # Keys missing on one side count too: only some have `int8`.
        changed = [k for k in before | about if before.get(k) != about.get(k)]
        if not changed:
            return True
        note(
            f"{partial}: was started with another {', '.join(changed)}; "
            "starting again"
        )
        files.remove(partial)
    elif files.exists(partial) and not _is_empty(partial):
        raise UserError(f"{partial}: is in the way; remove it")
    files.make_directory(partial)
    files.claim(partial)
    files.write_text(path, prediction_files.dumps(about) + "\n")
    return False


@dataclasses.dataclass
class Done:
    """A summary of the output.

    Attributes:
      rows: number of rows.
      errors: number of rows without a prediction.
      first_error: error of the first of these.
      inputs: columns of the input, in order of appearance.
      outputs: columns of the predictions, likewise.
    """

    rows: int = 0
    errors: int = 0
    first_error: str | None = None
    inputs: dict[str, None] = dataclasses.field(default_factory=dict)
    outputs: dict[str, None] = dataclasses.field(default_factory=dict)

    def add(self, head: Mapping[str, Any]) -> None:
        """Adds the counts of a part's first line."""
        self.rows += head["rows"]
        self.errors += head["errors"]
        self.first_error = self.first_error or head["first_error"]
        self.inputs |= dict.fromkeys(head["inputs"])
        self.outputs |= dict.fromkeys(head["outputs"])


class Answers(Protocol):
    """Makes rows of an output; see `row_answers.RowAnswers`."""

    def answer(
        self, rows: Sequence[Any], number: int
    ) -> Sequence[Mapping[str, Any]]:
        """Returns rows of the output; `number` is the first row's, from 1."""

    def head(self) -> dict[str, Any]:
        """Returns `Done`'s fields for the rows since the last call."""


def answer_file(
    answers: Answers,
    source: str,
    target: str,
    *,
    write: Callable[..., None],
    read: Callable[..., Iterator[Any]],
    group: int,
    about: Mapping[str, Any],
    renewed: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    last: str = _ERROR,
    progress: Progress = lambda rows, taken: None,
    note: Note = lambda text: None,
) -> Done:
    """Makes a result for each row of a file; resumes after interruption.

    Args:
      answers: makes the rows of the output.
      source: the file.
      target: the output; an existing file is replaced at the end.
      write: called with `path`, `columns`, `rows` and `count`; see
        `sharded.Job`.
      read: called with `path` and `position`; yields the rows.
      group: rows that are computed together.
      about: what decides the results, except the file.
      renewed: see `begin`.
      last: the column that comes last and always exists.
      progress: called with the number of rows done and of bytes read.
      note: called with a message that work is resumed, or starts again.

    Raises:
      UserError: the file is missing or has no rows, or the output cannot be
        written.
    """

    def rows(path: str, position: Position) -> Iterator[Any]:
        return read(path=path, position=position)

    with ResumableRun(source, target, about, note, "rows", renewed) as run:
        run.answer(answers.answer, group, progress, rows, answers.head)
        done = Done()
        for head in run.heads:
            done.add(head)
        names = [n for n in done.inputs | done.outputs if n != last]
        write(
            path=target, columns=[*names, last], rows=run.lines(),
            count=done.rows,
        )  # fmt: skip
        run.close()
    return done


def weights_digest(networks: Iterable[Any]) -> str:
    """Returns a digest that distinguishes sets of weights."""
    sums = [
        float(np.sum(np.asarray(variable), dtype="float64"))
        for network in networks
        for variable in network.weights
    ]
    # The digest changes with any of the sums, and with their order.
    values = np.array(sums, "float64")
    folded = values.sum(), values @ np.arange(1, len(values) + 1)
    return " ".join(f"{value:.17g}" for value in (len(sums), *folded))


def tokenizer_settings(
    tokenizer: "Tokenizer", vocab: str | None = None
) -> dict[str, Any]:
    """Returns what decides the tokens of a text, for an `about`.

    Args:
      tokenizer: the tokenizer.
      vocab: the vocabulary that the user gave, if any. An earlier version's run
        does not store its content, so it is not resumed with one.
    """
    given = {"--vocab": True} if vocab else {}
    return given | {
        "vocabulary": tokenizer.vocab.fingerprint(),
        "lower_case": tokenizer.lower_case,
        "strip_accents": tokenizer.strip_accents,
    }


def _head(line: str | bytes) -> dict[str, Any]:
    """Parses the first line of a part."""
    found = json.loads(line)
    return {"rows": found} if isinstance(found, int) else found


def _is_empty(path: str) -> bool:
    return files.is_directory(path) and not files.list_directory(path)


def identity(source: str) -> dict[str, Any]:
    """Returns what identifies an input and its state: a change differs."""
    length, time_ns = files.size_and_time(source)
    return {
        "input": source,
        "size of the input": length,
        "time of the input": time_ns,
    }


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yields lists of `size` items; the last may be shorter."""
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk
