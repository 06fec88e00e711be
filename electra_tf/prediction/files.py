"""Writes predictions to files: JSON Lines, TSV and CSV."""

import base64
import contextlib
import csv
import datetime
import decimal
import gzip
import io
import json
import math
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

import numpy as np

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.tasks import records
from electra_tf.text import inputs

_LONGEST_RESULT = 1 << 20  # bytes of JSON
# A TSV cell cannot contain them, as TSV has no quotes.
_BREAKS = str.maketrans("\t\r\n", "   ")
_CRLF = "\r\n"


def dumps(value: Any, nan: bool = False) -> str:
    """Formats a value as a line of JSON.

    NumPy's values become Python's. Of what Parquet and Arrow have and JSON has
    not, dates and times are texts in ISO 8601, decimal numbers and durations
    texts of their digits, and bytes texts, or {"b64": ...} if not UTF-8.

    Args:
      value: the value.
      nan: whether NaN and infinite numbers are written as Python's `json` reads
        them; they are null if not, as in JSON.
    """
    try:
        return _dumped(value, nan)
    except ValueError:
        return _dumped(_finite(value), nan)


def write_jsonl(path: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes JSON Lines, atomically."""
    with files.atomic_write(path) as handle:
        for row in rows:
            handle.write((dumps(row) + "\n").encode("utf-8"))


def check_name(path: str, flag: str) -> records.Format:
    """Returns the format that an output file's name implies.

    Raises:
      UserError: no format with this ending can be written.
    """
    found = records.format_of(path, flag)
    if path not in (inputs.plain_name(path), f"{path[:-3]}.gz"):
        raise UserError(f"{flag}: {path}: only .gz can be compressed")
    return found


def check_output(
    target: str | None,
    overwrite: bool,
    flag: str = "--output",
    folder: bool = False,
) -> None:
    """Refuses an output that cannot be written, or replaces a file unasked.

    Args:
      target: the output, if there is one.
      overwrite: whether an existing one may be replaced.
      flag: the flag that names it, for messages.
      folder: whether it is a folder.

    Raises:
      UserError: the file exists, a folder is in a file's place or the other
        way round, or nothing can be written there.
    """
    if not target:
        return
    files.check_place(target, flag, folder)
    if not files.exists(target):
        return
    if files.is_directory(target) and not folder:
        raise UserError(f"{flag}: {target} is a directory; name a file")
    if not overwrite:
        raise UserError(
            f"{flag}: {target} is there already; name another file, or give "
            "--overwrite"
        )


def check_result(target: str | None) -> None:
    """Refuses an output for metrics that replaces anything but metrics.

    Args:
      target: the output, if there is one.

    Raises:
      UserError: it is a folder, or a file without metrics, such as the data.
    """
    check_output(target, True)
    if target and files.exists(target) and not _is_result(target):
        raise UserError(
            f"--output: {target} is there already and holds no metrics; name "
            "another file"
        )


def _is_result(path: str) -> bool:
    """Returns whether a file has metrics as JSON, or nothing."""
    if files.size(path) > _LONGEST_RESULT:
        return False
    try:
        found = json.loads(files.read_bytes(path) or b"{}")
    except ValueError:
        return False
    return isinstance(found, dict) and (
        isinstance(found.get("scores"), dict)
        or all(isinstance(value, int | float) for value in found.values())
    )


def check_input(source: str, flag: str = "--input") -> None:
    """Checks that an input exists, before anything large is loaded.

    Raises:
      UserError: the input does not exist.
    """
    if not files.exists(source):
        raise UserError(f"{flag}: {source}: no such file")
    if files.is_directory(source):
        raise UserError(f"{flag}: {source}: is a directory; name a file")


def write_rows(
    path: str,
    format: records.Format,
    columns: Sequence[str],
    rows: Iterable[bytes],
    count: int | None = None,
) -> None:
    """Writes a file of rows, atomically; compressed if its name ends in `.gz`.

    Args:
      path: the file.
      format: JSON Lines keep the rows unchanged; in tables each has all
        columns. A cell that is not a text has JSON; in TSV a tab or line feed
        within a text becomes a space.
      columns: columns of a table, in order.
      rows: lines of JSON, with line feeds.
      count: number of rows, which these formats do not use.
    """
    del count
    with files.atomic_write(path) as raw, _compressed(path, raw) as handle:
        if format == "jsonl":
            for row in rows:
                handle.write(row)
            return
        encode = _tsv_line if format == "tsv" else _csv_encoder()
        handle.write(encode(columns))
        for row in rows:
            values = json.loads(row)
            handle.write(encode([_cell(values.get(n)) for n in columns]))


@contextlib.contextmanager
def _compressed(
    path: str, raw: IO[bytes]
) -> Iterator[IO[bytes] | gzip.GzipFile]:
    if not path.endswith(".gz"):
        yield raw
        return
    # Without name and time, so that the same rows give the same bytes.
    with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as handle:
        yield handle


def _tsv_line(cells: Sequence[str]) -> bytes:
    line = "\t".join(cell.translate(_BREAKS) for cell in cells)
    return f"{line}\n".encode()


def _csv_encoder() -> Callable[[Sequence[str]], bytes]:
    buffer = io.StringIO(newline="")
    # Of the characters that end a line, it quotes those of the terminator
    # alone: with "\n" a carriage return in a text would end the row.
    writer = csv.writer(buffer, lineterminator=_CRLF)

    def encode(cells: Sequence[str]) -> bytes:
        buffer.seek(0)
        buffer.truncate()
        writer.writerow(cells)
        line = buffer.getvalue().removesuffix(_CRLF)
        return f"{line}\n".encode()

    return encode


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else dumps(value)


def _dumped(value: Any, nan: bool) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=nan, default=_plain)


def _finite(value: Any) -> Any:
    """Returns plain values, with None for numbers that JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    if value is None or isinstance(value, str | int):
        return value
    return _finite(_plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta | decimal.Decimal | uuid.UUID):
        return str(value)
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(value).decode("ascii")}
    raise TypeError(
        f"{type(value).__name__} is not a JSON value: {value!r:.60}"
    )
