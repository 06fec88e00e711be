"""Predicts for all rows of a file; goes on where it was interrupted.

While the output is made, what is done stands beside it:

    <output>.partial/about.json         what is predicted, and with what
    <output>.partial/part-000000.jsonl  a line about the rows, then the rows

Each part is renamed into place whole, so that those that are there are good
whenever the process dies. At the end they become the output.
"""

import contextlib
import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.prediction import files as prediction_files
from electra_tf.prediction.predictor import Predictor
from electra_tf.tasks import records
from electra_tf.tasks.records import BadRow
from electra_tf.tasks.task import Prediction

# A part is written when it has so many rows, or after so many seconds.
_PART_ROWS, _PART_SECONDS = 16_384, 20.0
_ABOUT = "about.json"
_ERROR = "error"

# Told of rows done, and bytes taken of the input.
Progress = Callable[[int, int], None]
Note = Callable[[str], None]


@dataclasses.dataclass
class Done:
    """What is in the parts.

    Attributes:
      parts: how many there are.
      rows: how many they hold.
      errors: of those, the ones without a prediction.
      first_error: of the first of these.
      inputs: columns of the input, in the order in which they were met.
      outputs: columns of the predictions, the same.
    """

    parts: int = 0
    rows: int = 0
    errors: int = 0
    first_error: str | None = None
    inputs: dict[str, None] = dataclasses.field(default_factory=dict)
    outputs: dict[str, None] = dataclasses.field(default_factory=dict)

    def add(self, head: Mapping[str, Any]) -> None:
        """Counts a part, by its first line."""
        self.parts += 1
        self.rows += head["rows"]
        self.errors += head["errors"]
        self.first_error = self.first_error or head["first_error"]
        self.inputs |= dict.fromkeys(head["inputs"])
        self.outputs |= dict.fromkeys(head["outputs"])


def predict_file(
    predictor: Predictor,
    source: str,
    target: str,
    *,
    source_format: records.Format | None = None,
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
      source_format: None takes it from the name.
      keep: columns of the input to repeat; all where None.
      progress: see there; called after each part.
      note: is told that work goes on, or begins afresh.

    Raises:
      UserError: no such file, or no rows in it; or it cannot be written.
    """
    target_format = prediction_files.check_name(target, "--output")
    if keep is not None:
        keep = _checked(tuple(keep), source, source_format)
    partial = f"{target}.partial"
    done = _resume(partial, _about(predictor, source, keep), note)
    taken = 0

    def position(count: int) -> None:
        nonlocal taken
        taken = count

    rows = records.read_records(
        source, source_format, bad_rows=True, position=position
    )
    for _ in range(done.rows):
        next(rows, None)
    progress(done.rows, taken)
    part = _Part(keep)
    for chunk in predictor.predict_chunks(rows):
        for row, prediction in chunk:
            part.add(row, prediction)
        # At the end of a chunk alone: then rows are predicted beside the
        # same others, and come out the same to the last digit.
        if part.due:
            done.add(part.write(partial, done.parts))
            part = _Part(keep)
            progress(done.rows, taken)
    if part.lines:
        done.add(part.write(partial, done.parts))
        progress(done.rows, taken)
    columns = [*done.inputs, *(n for n in done.outputs if n != _ERROR)]
    prediction_files.write_rows(
        target, target_format, [*columns, _ERROR], _all_rows(partial, done)
    )
    files.remove(partial)
    return done


class _Part:
    """Rows of the output, until there are enough for a file."""

    def __init__(self, keep: tuple[str, ...] | None):
        self._keep = keep
        self._inputs: dict[str, None] = {}
        self._outputs: dict[str, None] = {}
        self._errors: list[str] = []
        self._began = time.monotonic()
        self.lines: list[bytes] = []

    @property
    def due(self) -> bool:
        """Whether it should be written."""
        late = time.monotonic() - self._began > _PART_SECONDS
        return late or len(self.lines) >= _PART_ROWS

    def add(
        self, row: Mapping[str, Any] | BadRow, prediction: Prediction
    ) -> None:
        """Takes a row of the input and what was predicted for it."""
        record = row.record if isinstance(row, BadRow) else row
        kept = dict(record)
        if self._keep is not None:
            kept = {n: record[n] for n in self._keep if n in record}
        answer = {
            f"predicted_{name}" if name in kept else name: value
            for name, value in prediction.items()
        }
        self._inputs |= dict.fromkeys(kept)
        self._outputs |= dict.fromkeys(answer)
        if _ERROR in prediction:
            self._errors.append(prediction[_ERROR])
        line = prediction_files.dumps(kept | answer)
        self.lines.append(f"{line}\n".encode())

    def write(self, partial: str, number: int) -> dict[str, Any]:
        """Writes the file; returns its first line."""
        head = {
            "rows": len(self.lines),
            "errors": len(self._errors),
            "first_error": self._errors[0] if self._errors else None,
            "inputs": list(self._inputs),
            "outputs": list(self._outputs),
        }
        with files.atomic_write(_part_path(partial, number)) as handle:
            handle.write((prediction_files.dumps(head) + "\n").encode())
            handle.write(b"".join(self.lines))
        return head


def _part_path(partial: str, number: int) -> str:
    return files.join(partial, f"part-{number:06d}.jsonl")


@contextlib.contextmanager
def _opened(partial: str, number: int) -> Iterator[Iterator[bytes]]:
    with files.open_read(_part_path(partial, number)) as handle:
        yield records.lines(handle)


def _all_rows(partial: str, done: Done) -> Iterator[bytes]:
    for number in range(done.parts):
        with _opened(partial, number) as lines:
            next(lines)
            yield from lines


def _checked(
    keep: tuple[str, ...], source: str, format: records.Format | None
) -> tuple[str, ...]:
    columns = records.columns_of(source, format)
    for name in keep:
        if name not in columns:
            raise UserError(
                f"--keep: {source} has no column '{name}'; there are "
                + ", ".join(columns)
            )
    return keep


def _about(
    predictor: Predictor, source: str, keep: tuple[str, ...] | None
) -> dict[str, Any]:
    """What decides the rows; what was made with another is of no use."""
    digest = hashlib.sha256()
    for variable in predictor.network.weights:
        digest.update(np.sum(np.asarray(variable), dtype="float64").tobytes())
    task = predictor.task
    with files.named_errors(source, "read"):
        stat = tf.io.gfile.stat(source)
    found = {
        "input": source,
        "size of the input": stat.length,
        "time of the input": stat.mtime_nsec,
        "task": task.name,
        "options": dataclasses.asdict(task.options),
        "state": task.state,
        "weights": digest.hexdigest(),
        "columns to keep": keep,
    }
    return json.loads(prediction_files.dumps(found))


def _resume(partial: str, about: dict[str, Any], note: Note) -> Done:
    """What an earlier process has done, if it was at the same."""
    path = files.join(partial, _ABOUT)
    done = Done()
    if files.exists(path):
        try:
            before = dict(json.loads(files.read_text(path)))
        except ValueError:
            before = {}
        changed = [key for key in about if before.get(key) != about[key]]
        if not changed:
            while files.exists(_part_path(partial, done.parts)):
                with _opened(partial, done.parts) as lines:
                    done.add(json.loads(next(lines)))
            if done.rows:
                note(f"going on after {done.rows:,} rows, in {partial}")
            return done
        note(
            f"{partial}: was begun with another {', '.join(changed)}; "
            "starting afresh"
        )
        files.remove(partial)
    elif files.is_directory(partial) and files.list_directory(partial):
        raise UserError(f"{partial}: is in the way; remove it")
    files.make_directory(partial)
    files.write_text(path, prediction_files.dumps(about) + "\n")
    return done
