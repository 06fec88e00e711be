"""Detects a file's format by content: tables, JSON, Parquet, Arrow."""

import csv
import json
import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.tasks import documents, json_rows
from electra_tf.text import columnar, inputs, sources

Format = Literal[
    "tsv", "csv", "jsonl", "json", "parquet", "arrow", "fasttext", "folders"
]
# File name ending, without the compression's -> format.
SUFFIXES: dict[str, Format] = {
    ".tsv": "tsv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
_HEAD = 1 << 16  # bytes that are inspected
_ROWS = 20  # rows among them
_DELIMITERS = (",", ";", "\t", "|")
_NAMED = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";"}
# JSON over several lines, or with a long first line.
_JSON = re.compile(r'[\[{]\s*(["\[{]|$)')
_SEP = re.compile(r"sep=(.)\r?\n")  # for Excel, before the header
_MARKUP = ("<?xml", "<!doctype", "<html", "<tmx")
_LIBSVM = re.compile(r"[-+]?\d+(\.\d+)?( \d+:[-+.\deE]+)+")
_TREE = re.compile(r"\(\d \(|\([A-Z]+ ?\(")
# A quoted cell with doubled quotes in it.
_DOUBLED = re.compile(
    r'(?:^|\t)"(?:[^"\t\n]|"")*""(?:[^"\t\n]|"")*"(?=\t|\r?$)', re.MULTILINE
)
_ONE_OBJECT = re.compile(r'\{\s*"(version|data)"\s*:')


class Layout(NamedTuple):
    """How a file's rows are written."""

    format: Format
    delimiter: str = ","  # for CSV


def named_format(path: str) -> Format | None:
    """Returns the format that a file name's ending means, or None."""
    plain = inputs.plain_name(path).lower().removesuffix(".zip")
    return next((f for s, f in SUFFIXES.items() if plain.endswith(s)), None)


def is_folder(path: str) -> bool:
    """Returns whether a directory was written by `datasets`' save_to_disk."""
    if not files.is_directory(path):
        return False
    names = files.list_directory(path)
    return "state.json" in names and any(n.endswith(".arrow") for n in names)


def detect(
    path: str, format: str | None = None, delimiter: str | None = None
) -> Layout:
    """Detects how a file's rows are written.

    Args:
      path: a file, compressed or not, or a folder of `datasets`.
      format: one of `Format`; None or "auto" detects it.
      delimiter: between the columns of CSV; None detects it.

    Raises:
      UserError: no such file, or the format cannot be detected.
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
        if documents.class_folders(path):
            return Layout("folders")
        raise UserError(
            f"{path}: is a directory, and neither a data set of `datasets` "
            "(save_to_disk) nor one with a folder of texts for each class; "
            "name a file in it"
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
    found_delimiter = delimiter or _delimiter(head)
    if found_delimiter is None and format != "csv" and _all_tabbed(head):
        return Layout("tsv")
    return Layout("csv", found_delimiter or ",")


def _head(path: str) -> bytes:
    with inputs.open_single(path) as stream:
        return stream.peek(_HEAD)


def _of_content(path: str, head: bytes, delimiter: str | None) -> Layout | None:
    """Detects the layout; None for CSV whose delimiter is not yet known."""
    if head.startswith(columnar.PARQUET):
        return Layout("parquet")
    if columnar.is_columnar(head):
        return Layout("arrow")
    named = named_format(path)
    text = head.decode("utf-8-sig", "replace")
    _refuse(path, head, text)
    if text.lstrip().startswith(documents.LABEL):
        return Layout("fasttext")
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
        quoted = _is_quoted(lines, head)
        return Layout("csv", "\t") if quoted else Layout("tsv")
    other = _delimiter(head)
    if other is not None and len(lines) > 1:
        return Layout("csv", other)
    if named == "tsv" or not lines:
        return Layout("tsv")
    raise UserError(
        f"{path}: the format is not recognised: expected JSON, Parquet or a "
        f"table whose rows have the same columns; it begins '{lines[0]:.60}'; "
        "give the format (options.format, or --format of predict: tsv, csv, "
        "jsonl, json) or the delimiter"
    )


def _refuse(path: str, head: bytes, text: str) -> None:
    """Raises a `UserError` for known kinds of files without rows."""
    what = sources.known_as(head)
    start = text.lstrip()[:200].lower()
    line = text.partition("\n")[0].strip()
    if what is None and start.startswith(_MARKUP):
        what = "XML or HTML"
    elif what is None and _LIBSVM.fullmatch(line):
        what = "a file of numbers for each row (libsvm's)"
    elif what is None and line.startswith("(") and _TREE.match(line):
        what = "a file of trees in brackets"
    elif what is None and "\r" in text and "\n" not in text:
        what = "a text whose lines end in carriage returns alone (old Mac's)"
    if what is not None:
        raise UserError(
            f"{path}: is {what}; expected a table, JSON, Parquet or Arrow"
        )


def _is_quoted(lines: Sequence[str], head: bytes) -> bool:
    """Returns whether a tab-separated table quotes cells as CSV does.

    It does if the whole first line is quoted, or if some quoted cell has
    doubled quotes and, read with quotes, all rows have the same number of
    cells.
    """
    first = lines[0].rstrip("\r").split("\t")
    if all(len(c) > 1 and c[0] == c[-1] == '"' for c in first):
        return True
    text = head.decode("utf-8-sig", "replace")
    if not _DOUBLED.search(text):
        return False
    rows = _parsed(
        [f"{line}\n" for line in text.split("\n")], "\t", len(head) < _HEAD
    )
    return bool(rows) and len(set(map(len, rows or ()))) == 1


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
        one = json_rows.is_wrapped(found) and named != "jsonl"
        return "json" if one else "jsonl"
    listed = isinstance(found, list) and any(isinstance(x, dict) for x in found)
    empty = found == [] and not text[len(line) :].strip()
    return "json" if listed or empty else None


def _lines(head: bytes) -> list[str]:
    """Returns the first complete lines that are not empty."""
    lines = head.decode("utf-8-sig", "replace").split("\n")
    if len(head) >= _HEAD and len(lines) > 1:
        lines.pop()
    return [line for line in lines if line.strip()][:_ROWS]


def _all_tabbed(head: bytes) -> bool:
    """Returns whether every row has a tab, whatever their number."""
    lines = _lines(head)
    return bool(lines) and all("\t" in line for line in lines)


def _delimiter(head: bytes) -> str | None:
    """Returns the delimiter that gives all rows as many columns, or None."""
    text = head.decode("utf-8-sig", "replace")
    for_excel = _SEP.match(text)
    if for_excel:
        return for_excel[1]
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
    """Parses the first rows; None where they are not CSV."""
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
        rows = rows[:-1]  # it may be incomplete
    return rows[:_ROWS]
