"""Resumable runs: a result for each line or row of a file, on disk.

While the output is made, what is done stands beside it:

    <output>.partial/about.json         the input, and what decides the results
    <output>.partial/part-000000.jsonl  how many results, then one a line

Each part is renamed into place whole, so that those that are there are good
whenever the process dies.
"""

import dataclasses
import hashlib
import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from electra_tf import config, files
from electra_tf.errors import UserError
from electra_tf.prediction import files as prediction_files
from electra_tf.tasks import formats, records
from electra_tf.tasks.records import BadRow
from electra_tf.text import inputs

if TYPE_CHECKING:
    from electra_tf.prediction.predictor import Predictor, Row

# A part is written when it has so many results, or after so many seconds.
PART_ROWS, PART_SECONDS = 16_384, 20.0
_ABOUT = "about.json"
_ERROR = "error"
_BYTE_ORDER_MARK = "\ufeff"

# Items, and the number of the first of them from 1 -> a result for each.
Answer = Callable[[Sequence[Any], int], Sequence[Mapping[str, Any]]]
# Is told of items done, and of bytes taken of the input.
Progress = Callable[[int, int], None]
Note = Callable[[str], None]
Position = Callable[[int], None]


def read_lines(
    path: str, position: Position = lambda taken: None
) -> Iterator[str]:
    """Yields the lines of a text file without their ends.

    What is not UTF-8 becomes U+FFFD.

    Args:
      path: the file; `.gz`, `.xz` and `.zst` are unpacked.
      position: is called with how many bytes of it were taken.

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


def answer_in_memory(
    source: str, answer: Answer, chunk: int
) -> list[Mapping[str, Any]]:
    """Returns the results of all lines at once, to be shown, not written."""
    found: list[Mapping[str, Any]] = []
    for lines in _chunks(read_lines(source), chunk):
        found += answer(lines, len(found) + 1)
    return found


class ResumableRun:
    """The results of a file's items, in parts beside the output.

    Attributes:
      heads: a mapping for each part, what its first line says; `rows` is how
        many results it holds.
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
        """Finds what an earlier process has done, if it was at the same.

        Args:
          source: the input.
          target: the output that it is for.
          about: what decides the results, the input aside; JSON values.
          note: is called where work is resumed, or starts anew.
          unit: what the items are called in that note.
          renewed: what an older version wrote as `about`, as it is today.

        Raises:
          UserError: no such input; or something else is where the parts go.
        """
        self.heads: list[dict[str, Any]] = []
        self._source = source
        self._partial = f"{target}.partial"
        self._renewed = renewed
        self._resume(_identity(source) | dict(about), note, unit)

    @property
    def done(self) -> int:
        """How many items have results."""
        return sum(head["rows"] for head in self.heads)

    def answer(
        self,
        answer: Answer,
        chunk: int,
        progress: Progress = lambda done, taken: None,
        read: Callable[[str, Position], Iterator[Any]] = read_lines,
        head: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        """Makes the results that are missing.

        Args:
          answer: makes them.
          chunk: items that it is given at a time. A part ends with a chunk,
            so that an item is always beside the same others.
          progress: is called with how far it is, after each chunk.
          read: yields the items of the input.
          head: what a part's first line says beside the number of rows; asked
            once for each part, when all of its results are made.
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
            # A number alone, where there is no more to say.
            first = rows["rows"] if head is None else rows | dict(head())
            lines = [prediction_files.dumps(first), *ready]
            text = "".join(f"{line}\n" for line in lines)
            files.write_text(self._path(len(self.heads)), text)
            self.heads.append(_head(lines[0]))

        for some in _chunks(items, chunk):
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
        """Removes what stood beside the output."""
        files.remove(self._partial)

    def _path(self, number: int) -> str:
        return files.join(self._partial, f"part-{number:06d}.jsonl")

    def _resume(self, about: dict[str, Any], note: Note, unit: str) -> None:
        about = json.loads(prediction_files.dumps(about))
        path = files.join(self._partial, _ABOUT)
        if files.exists(path):
            try:
                before = self._renewed(dict(json.loads(files.read_text(path))))
            except (ValueError, KeyError, UserError):
                before = {}
            changed = [key for key in about if before.get(key) != about[key]]
            if not changed:
                while files.exists(self._path(len(self.heads))):
                    with files.open_read(self._path(len(self.heads))) as part:
                        self.heads.append(_head(next(records.lines(part))))
                if self.done:
                    note(
                        f"resuming after {self.done:,} {unit}, in "
                        f"{self._partial}"
                    )
                return
            note(
                f"{self._partial}: was begun with another "
                f"{', '.join(changed)}; starting again"
            )
            files.remove(self._partial)
        elif files.exists(self._partial) and not _is_empty(self._partial):
            raise UserError(f"{self._partial}: is in the way; remove it")
        files.make_directory(self._partial)
        files.write_text(path, prediction_files.dumps(about) + "\n")


@dataclasses.dataclass
class Done:
    """What is in the output.

    Attributes:
      rows: how many.
      errors: of those, the ones without a prediction.
      first_error: of the first of these.
      inputs: columns of the input, in the order in which they were met.
      outputs: columns of the predictions, the same.
    """

    rows: int = 0
    errors: int = 0
    first_error: str | None = None
    inputs: dict[str, None] = dataclasses.field(default_factory=dict)
    outputs: dict[str, None] = dataclasses.field(default_factory=dict)

    def add(self, head: Mapping[str, Any]) -> None:
        """Counts a part, by its first line."""
        self.rows += head["rows"]
        self.errors += head["errors"]
        self.first_error = self.first_error or head["first_error"]
        self.inputs |= dict.fromkeys(head["inputs"])
        self.outputs |= dict.fromkeys(head["outputs"])


def predict_file(
    predictor: "Predictor",
    source: str,
    target: str,
    *,
    layout: formats.Layout | None = None,
    columns: Sequence[str] | None = None,
    keep: Iterable[str] | None = None,
    progress: Progress = lambda rows, taken: None,
    note: Note = lambda text: None,
) -> Done:
    """Predicts for each row of a file.

    A row of the output repeats the input's columns and adds the prediction's,
    or `error` where there is none. What would have the name of a column of
    the input is called `predicted_...`.

    Args:
      predictor: the model.
      source: TSV, CSV or JSON Lines; see `records`.
      target: the same; a file there is replaced at the end.
      layout: of the source; None tells it from what it holds.
      columns: names of its columns, where its first line does not tell them.
      keep: columns of the input to repeat; all where None.
      progress: is called with the rows done, and the bytes taken of the input.
      note: is called where work is resumed, or starts anew.

    Raises:
      UserError: no such file, or no rows in it; or it cannot be written.
    """
    target_format = prediction_files.check_name(target, "--output")
    layout = layout or formats.detect(source)
    if keep is not None:
        there = columns or records.columns_of(
            source, layout.format, layout.delimiter
        )
        keep = _checked(tuple(keep), source, there)
    about = _about(predictor, keep)
    if columns is not None:
        about["columns"] = list(columns)
    kind = type(predictor.task.options)

    def renewed(before: dict[str, Any]) -> dict[str, Any]:
        options = config.from_dict(kind, before["options"])
        return before | {"options": config.to_dict(options)}

    run = ResumableRun(source, target, about, note, "rows", renewed)
    part = _Part(predictor, keep)

    def read(path: str, position: Position) -> Iterator[tuple["Row", str]]:
        return records.read_records(
            path, layout.format, columns=columns, bad_rows=True,
            position=position, delimiter=layout.delimiter,
        )  # fmt: skip

    run.answer(part.answer, predictor.rows_at_once, progress, read, part.head)
    done = Done()
    for head in run.heads:
        done.add(head)
    names = [*done.inputs, *(n for n in done.outputs if n != _ERROR)]
    prediction_files.write_rows(
        target, target_format, [*names, _ERROR], run.lines()
    )
    run.close()
    return done


class _Part:
    """Makes rows of the output, and tells what is in those of a part."""

    def __init__(self, predictor: "Predictor", keep: tuple[str, ...] | None):
        self._predictor = predictor
        self._keep = keep
        self._done = Done()
        self._last: tuple[Any, ...] = ()

    def answer(
        self, rows: Sequence[tuple["Row", str]], number: int
    ) -> list[dict[str, Any]]:
        """Returns rows of the output for rows of the input."""
        del number
        found = []
        predictions = self._predictor.predict_rows(rows)
        for (row, _), prediction in zip(rows, predictions):
            record = row.record if isinstance(row, BadRow) else row
            kept = dict(record)
            if self._keep is not None:
                kept = {n: record[n] for n in self._keep if n in record}
            answer = {
                f"predicted_{name}" if name in kept else name: value
                for name, value in prediction.items()
            }
            self._count(kept, answer, prediction.get(_ERROR))
            found.append(kept | answer)
        return found

    def _count(
        self,
        kept: Mapping[str, Any],
        answer: Mapping[str, Any],
        error: str | None,
    ) -> None:
        done = self._done
        done.rows += 1
        if error is not None:
            done.errors += 1
            done.first_error = done.first_error or error
        names = (*kept, None, *answer)
        if names != self._last:  # they seldom change
            self._last = names
            done.inputs |= dict.fromkeys(kept)
            done.outputs |= dict.fromkeys(answer)

    def head(self) -> dict[str, Any]:
        """Returns what the part's first line says; a new part begins."""
        done, self._done = self._done, Done()
        self._last = ()
        return dataclasses.asdict(done) | {
            "inputs": list(done.inputs),
            "outputs": list(done.outputs),
        }


def weights_digest(networks: Iterable[Any]) -> str:
    """Returns a text that tells one set of weights from another."""
    sums = [
        float(np.sum(np.asarray(variable), dtype="float64"))
        for network in networks
        for variable in network.weights
    ]
    # Numbers that change with any of the sums, and with their order.
    values = np.array(sums, "float64")
    folded = values.sum(), values @ np.arange(1, len(values) + 1)
    return " ".join(f"{value:.17g}" for value in (len(sums), *folded))


def _head(line: str | bytes) -> dict[str, Any]:
    """What the first line of a part says."""
    found = json.loads(line)
    return {"rows": found} if isinstance(found, int) else found


def _is_empty(path: str) -> bool:
    return files.is_directory(path) and not files.list_directory(path)


def _identity(source: str) -> dict[str, Any]:
    with files.named_errors(source, "read"):
        stat = tf.io.gfile.stat(source)
    return {
        "input": source,
        "size of the input": stat.length,
        "time of the input": stat.mtime_nsec,
    }


def _chunks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


def _checked(
    keep: tuple[str, ...], source: str, columns: Sequence[str]
) -> tuple[str, ...]:
    for name in keep:
        if name not in columns:
            raise UserError(
                f"--keep: {source} has no column '{name}'; there are "
                + ", ".join(columns)
            )
    return keep


def _about(
    predictor: "Predictor", keep: tuple[str, ...] | None
) -> dict[str, Any]:
    """What decides the rows; what was made with another is of no use."""
    digest = hashlib.sha256()
    for variable in predictor.network.weights:
        digest.update(np.sum(np.asarray(variable), dtype="float64").tobytes())
    task = predictor.task
    return {
        "task": task.name,
        "options": config.to_dict(task.options),
        "state": task.state,
        "weights": digest.hexdigest(),
        "columns to keep": keep,
        **({"int8": True} if predictor.int8 else {}),
    }
