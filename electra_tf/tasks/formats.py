"""Tells a file's format from what it holds: tables, JSON, Parquet, Arrow."""

import csv
import json
import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.text import columnar, inputs

Format = Literal["tsv", "csv", "jsonl", "json", "parquet", "arrow"]
# What a file's name ends in, compression aside -> its format.
SUFFIXES: dict[str, Format] = {
    ".tsv": "tsv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
_HEAD = 1 << 16  # bytes that are looked at
_ROWS = 20  # rows among them
_DELIMITERS = (",", ";", "\t", "|")
_NAMED = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";"}
# JSON that goes over several lines, or whose first line is a long one.
_JSON = re.compile(r'[\[{]\s*(["\[{]|$)')
_ONE_OBJECT = re.compile(r'\{\s*"(version|data)"\s*:')


class Layout(NamedTuple):
    """How a file's rows are written."""

    format: Format
    delimiter: str = ","  # of CSV


def named_format(path: str) -> Format | None:
    """The format that a name's end tells; None where it tells none."""
    plain = inputs.plain_name(path).lower()
    return next((f for s, f in SUFFIXES.items() if plain.endswith(s)), None)


def is_folder(path: str) -> bool:
    """Whether a directory is a data set that `datasets` saved to disk."""
    if not files.is_directory(path):
        return False
    names = files.list_directory(path)
    return "state.json" in names and any(n.endswith(".arrow") for n in names)


def detect(
    path: str, format: str | None = None, delimiter: str | None = None
) -> Layout:
    """Tells how a file's rows are written.

    Args:
      path: a file, compressed or not, or a folder of `datasets`.
      format: of `Format`, where it is known; None or "auto" looks.
      delimiter: between the columns of CSV; None looks.

    Raises:
      UserError: no such file, or it cannot be told.
    """
    if delimiter is not None:
        delimiter = _NAMED.get(delimiter, delimiter)
        if len(delimiter) != 1:
            raise UserError(
                f"delimiter: expected one character, got '{delimiter}'"
            )
    if files.is_directory(path):
        if is_folder(path):
            return Layout("arrow")
        raise UserError(
            f"{path}: is a directory, and no data set of `datasets` "
            "(save_to_disk); name a file in it"
        )
    if format not in (None, "auto", "csv"):
        return Layout(format)  # type: ignore[arg-type]
    if format == "csv" and delimiter is not None:
        return Layout("csv", delimiter)
    head = _head(path)
    if format is None or format == "auto":
        found = _of_content(path, head, delimiter)
        if found is not None:
            return found
    return Layout("csv", delimiter or _delimiter(head) or ",")


def _head(path: str) -> bytes:
    found = b""
    with inputs.open_input(path) as stream:
        while len(found) < _HEAD and (block := stream.read(_HEAD)):
            found += block
    return found


def _of_content(path: str, head: bytes, delimiter: str | None) -> Layout | None:
    """None for CSV whose delimiter is still to be found."""
    if head.startswith(columnar.PARQUET):
        return Layout("parquet")
    if columnar.is_columnar(head):
        return Layout("arrow")
    if head.startswith(b"PK\x03\x04"):
        raise UserError(
            f"{path}: is a zip archive or an Excel sheet; unpack it, or save "
            "the sheet as CSV"
        )
    named = named_format(path)
    text = head.decode("utf-8-sig", "replace")
    found = _json(path, text.lstrip(), named)
    if found is not None:
        return Layout(found)
    if named == "jsonl":
        return Layout("jsonl")
    lines = _lines(head)
    tabbed = bool(lines) and "\t" in lines[0]
    if delimiter is not None:
        plain = delimiter == "\t" and named != "csv"
        return Layout("tsv") if plain else Layout("csv", delimiter)
    if named == "csv":
        return None
    if tabbed:
        return Layout("tsv")
    other = _delimiter(head)
    if other is not None and len(lines) > 1:
        return Layout("csv", other)
    if named == "tsv" or not lines:
        return Layout("tsv")
    raise UserError(
        f"{path}: what format is it? expected JSON, Parquet or a table whose "
        f"rows have the same columns; it begins '{lines[0]:.60}'; give the "
        "format (options.format, or --format of predict: tsv, csv, jsonl, "
        "json) or the delimiter"
    )


def _json(path: str, text: str, named: Format | None) -> Format | None:
    if text[:1] not in ("{", "["):
        return None
    line, end, _ = text.partition("\n")
    try:
        found: Any = json.loads(line)
    except (ValueError, RecursionError):
        if named == "jsonl":
            return "jsonl"
        whole = inputs.plain_name(path).lower().endswith(".json")
        pretty = bool(_JSON.match(line)) and (
            line.strip() in ("{", "[") or not end
        )
        return "json" if whole or (pretty and named is None) else None
    if isinstance(found, dict):
        one = isinstance(found.get("data"), list) and named != "jsonl"
        return "json" if one else "jsonl"
    listed = isinstance(found, list) and any(isinstance(x, dict) for x in found)
    return "json" if listed else None


def _lines(head: bytes) -> list[str]:
    """The whole lines that hold anything, a few of them."""
    lines = head.decode("utf-8-sig", "replace").split("\n")
    if len(head) >= _HEAD and len(lines) > 1:
        lines.pop()
    return [line for line in lines if line.strip()][:_ROWS]


def _delimiter(head: bytes) -> str | None:
    """What divides all rows into as many columns; None where nothing does."""
    text = head.decode("utf-8-sig", "replace")
    whole = len(head) < _HEAD
    for delimiter in _DELIMITERS:
        lines = [f"{line}\n" for line in text.split("\n")]
        rows = _parsed(lines, delimiter, whole)
        if rows and len(rows[0]) > 1 and len(set(map(len, rows))) == 1:
            return delimiter
    return None


def _parsed(
    lines: Sequence[str], delimiter: str, whole: bool
) -> list[list[str]] | None:
    """The first rows; None where they are no CSV."""
    rows: list[list[str]] = []
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        for row in reader:
            if row:
                rows.append(row)
            if len(rows) > _ROWS:
                break
    except csv.Error:
        if whole or len(rows) < 2:
            return None
    if not whole and len(rows) <= _ROWS:
        rows = rows[:-1]  # it may be cut
    return rows[:_ROWS]
