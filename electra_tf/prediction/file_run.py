"""Predicts for all rows of a file; resumed where it was interrupted."""

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from electra_tf.errors import UserError
from electra_tf.prediction import files as prediction_files
from electra_tf.prediction.predictor import Predictor, Row
from electra_tf.prediction.resumable import (
    Note,
    Position,
    Progress,
    ResumableRun,
)
from electra_tf.tasks import records
from electra_tf.tasks.records import BadRow

_ERROR = "error"


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
      progress: is told of rows done, and of bytes taken of the input.
      note: is told that work is resumed, or begins afresh.

    Raises:
      UserError: no such file, or no rows in it; or it cannot be written.
    """
    target_format = prediction_files.check_name(target, "--output")
    if keep is not None:
        keep = _checked(tuple(keep), source, source_format)
    about = _about(predictor, keep)
    run = ResumableRun(source, target, about, note, unit="rows")
    part = _Part(predictor, keep)

    def read(path: str, position: Position) -> Iterator[tuple[Row, str]]:
        return records.read_records(
            path, source_format, bad_rows=True, position=position
        )

    run.answer(part.answer, predictor.rows_at_once, progress, read, part.head)
    done = Done()
    for head in run.heads:
        done.add(head)
    columns = [*done.inputs, *(n for n in done.outputs if n != _ERROR)]
    prediction_files.write_rows(
        target, target_format, [*columns, _ERROR], run.lines()
    )
    run.close()
    return done


class _Part:
    """Makes rows of the output, and tells what is in those of a part."""

    def __init__(self, predictor: Predictor, keep: tuple[str, ...] | None):
        self._predictor = predictor
        self._keep = keep
        self._done = Done()

    def answer(
        self, rows: Sequence[tuple[Row, str]], number: int
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
            error = prediction.get(_ERROR)
            self._done.add(
                {
                    "rows": 1,
                    "errors": int(_ERROR in prediction),
                    "first_error": error,
                    "inputs": kept,
                    "outputs": answer,
                }
            )
            found.append(kept | answer)
        return found

    def head(self) -> dict[str, Any]:
        """Returns what the part's first line says; a new part begins."""
        done, self._done = self._done, Done()
        return dataclasses.asdict(done) | {
            "inputs": list(done.inputs),
            "outputs": list(done.outputs),
        }


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
    predictor: Predictor, keep: tuple[str, ...] | None
) -> dict[str, Any]:
    """What decides the rows; what was made with another is of no use."""
    digest = hashlib.sha256()
    for variable in predictor.network.weights:
        digest.update(np.sum(np.asarray(variable), dtype="float64").tobytes())
    task = predictor.task
    return {
        "task": task.name,
        "options": dataclasses.asdict(task.options),
        "state": task.state,
        "weights": digest.hexdigest(),
        "columns to keep": keep,
    }
