"""Adds the predictions of a fine-tuned model to the rows of files."""

import contextlib
import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from electra_tf import config
from electra_tf.errors import UserError
from electra_tf.prediction import files as prediction_files
from electra_tf.prediction import marked_names
from electra_tf.prediction.resumable import (
    Done,
    Note,
    Position,
    Progress,
    answer_file,
    tokenizer_settings,
)
from electra_tf.tasks import formats, records
from electra_tf.tasks.records import BadRow

if TYPE_CHECKING:
    from electra_tf.prediction.predictor import Predictor, Row

_ERROR = "error"
_ROW = "row"  # place of a row that is not from a file
_INPUT, _PREDICTED = marked_names.INPUT, marked_names.PREDICTED
LAST = f"{_PREDICTED}{_ERROR}"  # the column that always exists


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
    or `error` where there is none. Predicted columns with the name of a column
    that any row of the input has are called `predicted_...`, in all rows.

    Args:
      predictor: the model.
      source: TSV, CSV or JSON Lines; see `records`.
      target: the output, of the same kinds; an existing file is replaced at the
        end.
      layout: layout of the source; None detects it.
      columns: names of its columns, where it has no header.
      keep: columns of the input to repeat; None means all.
      progress: called with the number of rows done and of bytes read.
      note: called with a message that work is resumed, or starts again.

    Raises:
      UserError: the file is missing or has no rows, or the output cannot be
        written.
    """
    target_format = prediction_files.check_name(target, "--output")
    marked_names.renew(f"{target}.partial")
    given, layout = layout, layout or formats.detect(source)
    kept = checked_columns(keep, source, layout, columns)
    return answer_file(
        RowAnswers(predictor, kept), source, target,
        write=functools.partial(write, format=target_format),
        read=functools.partial(
            read_rows, format=layout.format, columns=columns,
            delimiter=layout.delimiter,
        ),
        group=predictor.rows_at_once,
        about=about_parts(predictor, kept, columns, given),
        renewed=renewed_options(predictor), last=LAST,
        progress=progress, note=note,
    )  # fmt: skip


def write(
    path: str,
    format: records.Format,
    columns: Sequence[str],
    rows: Iterable[bytes],
    count: int | None = None,
) -> None:
    """Writes the output; no prediction has the name of an input's column.

    Args:
      path: see `files.write_rows`.
      format: see `files.write_rows`.
      columns: of all rows, as `RowAnswers.head` marks them.
      rows: lines of JSON, from `RowAnswers.answer`.
      count: number of rows.
    """
    names = marked_names.names(columns)

    def lines() -> Iterator[bytes]:
        for line in rows:
            row = {names[n]: value for n, value in json.loads(line).items()}
            yield f"{prediction_files.dumps(row)}\n".encode()

    # As each row lists them: repeated columns, the prediction, the error.
    named = [names[column] for column in columns]
    prediction_files.write_rows(
        path=path, format=format, columns=named, rows=lines(), count=count
    )


class RowAnswers:
    """Makes rows of the output, and summarizes those of a part.

    Args:
      predictor: the model.
      keep: columns of the input to repeat; None means all.
    """

    def __init__(
        self, predictor: "Predictor", keep: tuple[str, ...] | None = None
    ):
        self._predictor = predictor
        self._keep = keep
        self._done = Done()
        self._last: tuple[Any, ...] = ()
        self._tokens = predictor.tokens

    def answer(
        self, rows: Sequence[tuple["Row", str]], number: int
    ) -> list[dict[str, Any]]:
        """Returns an answer for each row; names are marked, see `write`."""
        del number
        found = []
        predictions = self._predictor.predict_rows(rows)
        for (given, _), prediction in zip(rows, predictions):
            record = given.record if isinstance(given, BadRow) else given
            kept = dict(record)
            if self._keep is not None:
                kept = {n: record[n] for n in self._keep if n in record}
            row = {f"{_INPUT}{n}": value for n, value in kept.items()}
            answer = {f"{_PREDICTED}{n}": v for n, v in prediction.items()}
            self._count(row, answer, prediction.get(_ERROR))
            found.append(row | answer)
        return found

    def answer_elements(self, elements: Sequence[Any]) -> list[dict[str, Any]]:
        """Returns rows of the output for a program's inputs.

        Args:
          elements: mappings, texts or pairs of texts; see `Task.record`.

        Returns:
          Rows of the output: a predicted name that is a column of the element
          already becomes `predicted_...`.
        """
        rows: list[tuple[Any, str]] = []
        for element in elements:
            try:
                record = self._predictor.task.record(element)
                rows.append((record, _ROW))
            except UserError as error:
                rows.append((BadRow(str(error), {}), _ROW))
        size = self._predictor.rows_at_once
        found = [
            row
            for start in range(0, len(rows), size)
            for row in self.answer(rows[start : start + size], 0)
        ]
        self.head()  # resets it; the summary is not needed
        return [
            {names[n]: value for n, value in row.items()}
            for row, names in ((row, marked_names.names(row)) for row in found)
        ]

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
        if names != self._last:  # names seldom change
            self._last = names
            done.inputs |= dict.fromkeys(kept)
            done.outputs |= dict.fromkeys(answer)

    def head(self) -> dict[str, Any]:
        """Returns the part's first line, and begins a new part."""
        done, self._done = self._done, Done()
        self._last = ()
        before, self._tokens = self._tokens, self._predictor.tokens
        tokens, unknown = self._tokens
        return dataclasses.asdict(done) | {
            "inputs": list(done.inputs),
            "outputs": list(done.outputs),
            "sums": {
                "tokens": tokens - before[0], "unknown": unknown - before[1],
            },
        }  # fmt: skip


def load(
    model: str, keep: Sequence[str] | None = None, **arguments: Any
) -> RowAnswers:
    """Loads a `RowAnswers`.

    Args:
      model: `path` of `predictor.load`.
      keep: columns of the input to repeat; None means all.
      **arguments: arguments of `predictor.load`.

    Raises:
      UserError: see `predictor.load`.
    """
    from electra_tf.prediction import predictor

    kept = None if keep is None else tuple(keep)
    return RowAnswers(predictor.load(model, **arguments), kept)


def read_rows(
    path: str,
    format: str | None = None,
    columns: Sequence[str] | None = None,
    delimiter: str | None = None,
    position: Position | None = None,
) -> Iterator[tuple["Row", str]]:
    """Yields the rows of a file, including bad ones, with their places.

    Args:
      path: the file.
      format: see `formats.detect`.
      columns: see `records.read_records`.
      delimiter: see `formats.detect`.
      position: see `records.read_records`.

    Raises:
      UserError: see `records.read_records`.
    """
    layout = formats.detect(path, format, delimiter)
    return records.read_records(
        path, layout.format, columns=columns, bad_rows=True,
        position=position, delimiter=layout.delimiter,
    )  # fmt: skip


def checked_columns(
    keep: Iterable[str] | None,
    source: str,
    layout: formats.Layout,
    columns: Sequence[str] | None = None,
) -> tuple[str, ...] | None:
    """Returns the columns to keep; None means all.

    Args:
      keep: names of the columns.
      source: the file.
      layout: its layout.
      columns: names of its columns, where it has no header.

    Raises:
      UserError: a column does not exist, or names are given for a format whose
        rows name their columns themselves.
    """
    if columns is not None and not columns:
        raise UserError("--columns: names none; leave it out, or name them all")
    if columns is not None and layout.format not in ("tsv", "csv"):
        raise UserError(
            f"--columns: is for tables without a header; {source} is "
            f"{layout.format}, whose rows name their columns; leave it out"
        )
    if keep is None:
        return None
    keep = tuple(keep)
    there = columns or _names_in(source, layout, keep)
    for name in keep:
        if name not in there:
            raise UserError(
                f"--keep: {source} has no column '{name}'; there are "
                + ", ".join(there)
            )
    return keep


def check_delimiter(
    source: str, layout: formats.Layout, delimiter: str | None
) -> None:
    """Refuses a delimiter that the file's format does not have.

    Args:
      source: the file.
      layout: its layout, detected with the delimiter.
      delimiter: the delimiter that was asked for, if any.

    Raises:
      UserError: the format has another delimiter, or none.
    """
    if delimiter is None or layout.format == "csv":
        return
    if layout.format == "tsv" and delimiter in ("\t", "\\t", "tab"):
        return
    raise UserError(
        f"--delimiter: is for CSV; {source} is read as {layout.format}; leave "
        "it out, or give --format=csv"
    )


def _names_in(
    source: str, layout: formats.Layout, wanted: Sequence[str]
) -> list[str]:
    """Returns the columns of the rows, up to where all `wanted` have come."""
    found: dict[str, None] = {}
    rows = read_rows(source, layout.format, delimiter=layout.delimiter)
    with contextlib.closing(rows):  # type: ignore[type-var]
        for row, _ in rows:
            record = row.record if isinstance(row, BadRow) else row
            found |= dict.fromkeys(record)
            if found.keys() >= set(wanted):
                break
    return list(found)


def about_rows(
    predictor: "Predictor",
    keep: tuple[str, ...] | None,
    columns: Sequence[str] | None,
    layout: formats.Layout | None,
) -> dict[str, Any]:
    """Returns what decides the rows: parts made with another are not reused.

    Args:
      predictor: the model.
      keep: columns of the input to repeat; None means all.
      columns: see `read_rows`.
      layout: layout of the input, if given; None if detected.
    """
    digest = hashlib.sha256()
    for variable in predictor.network.weights:
        digest.update(np.sum(np.asarray(variable), dtype="float64").tobytes())
    task = predictor.task
    about: dict[str, Any] = {
        "task": task.name,
        "options": config.to_dict(task.options),
        "state": task.state,
        "weights": digest.hexdigest(),
        "columns to keep": keep,
        **tokenizer_settings(predictor.tokenizer),
        "engine": predictor.engine,
        **({"int8": True} if predictor.int8 else {}),
    }
    if columns is not None:
        about["columns"] = list(columns)
    if layout is not None:
        about["layout"] = list(layout)
    return about


def about_parts(*arguments: Any) -> dict[str, Any]:
    """Returns `about_rows` and what the parts of this version look like."""
    return about_rows(*arguments) | marked_names.FORM


def renewed_options(
    predictor: "Predictor",
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Returns a function that converts an earlier version's `about_rows`."""
    kind = type(predictor.task.options)

    def renewed(before: dict[str, Any]) -> dict[str, Any]:
        options = config.from_dict(kind, before["options"])
        return before | {"options": config.to_dict(options)}

    return renewed
