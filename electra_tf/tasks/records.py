"""Streams the rows of tables, JSON, Parquet and Arrow files, with their places.

The first line of a TSV or CSV file names its columns. TSV is the plain kind:
tabs separate cells, line feeds end rows, and quotes mean nothing (GLUE's
files). CSV has quotes, and line feeds within them. JSON Lines has an object on
each line.
"""

import ast
import contextlib
import csv
import dataclasses
import functools
import io
import json
import re
import tokenize
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, overload

from electra_tf.errors import UserError
from electra_tf.tasks import arrow, documents, formats, json_rows
from electra_tf.tasks.formats import SUFFIXES, Format
from electra_tf.tasks.splits import TableOptions
from electra_tf.text import inputs

Record = dict[str, Any]
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_TRUTHS = {
    "true": True, "yes": True, "1": True, "1.0": True,
    "false": False, "no": False, "0": False, "0.0": False,
}  # fmt: skip
_BESIDE = re.compile(r"""['"]\s+['"]""")  # between two texts
_QUOTED = (
    "; where quotes protect tabs and line breaks, the format is csv and the "
    "delimiter tab"
)
_REPEATED = (
    "repeats the first line, the names of the columns (were files joined?); "
    "leave it out"
)
_ENCODED = (
    "not UTF-8 text; save the file as UTF-8 (iconv -f cp1252 -t utf-8 FILE)"
)
_CHUNK = 1 << 16  # bytes read at a time
_MAX_FIELD = 1 << 24  # characters; csv's default is too low for long documents


@dataclasses.dataclass(frozen=True)
class BadRow:
    """A row that cannot be read.

    Attributes:
      message: what is wrong with it, without its place.
      record: the columns that could be read.
    """

    message: str
    record: Record


def format_of(path: str, flag: str | None = None) -> Format:
    """Returns the format that a file's name implies.

    Args:
      path: its name, ending in `.tsv`, `.csv`, `.jsonl` or `.ndjson`, and
        perhaps `.gz`, `.xz` or `.zst` after that.
      flag: the flag that gave the path, for the message.

    Raises:
      UserError: the name has another ending.
    """
    found = formats.named_format(path)
    if found is not None:
        return found
    raise UserError(
        (f"{flag}: " if flag else "")
        + f"{path}: expected a name that ends in {', '.join(SUFFIXES)}, and "
        "perhaps .gz after that"
    )


@overload
def read_records(
    path: str,
    format: Format | None = None,
    *,
    columns: Sequence[str] | None = None,
    bad_rows: Literal[False] = False,
    position: Callable[[int], None] | None = None,
    delimiter: str | None = None,
    blank_rows: bool = False,
) -> Iterator[tuple[Record, str]]: ...


@overload
def read_records(
    path: str,
    format: Format | None = None,
    *,
    columns: Sequence[str] | None = None,
    bad_rows: bool,
    position: Callable[[int], None] | None = None,
    delimiter: str | None = None,
    blank_rows: bool = False,
) -> Iterator[tuple[Record | BadRow, str]]: ...


def read_records(
    path: str,
    format: Format | None = None,
    *,
    columns: Sequence[str] | None = None,
    bad_rows: bool = False,
    position: Callable[[int], None] | None = None,
    delimiter: str | None = None,
    blank_rows: bool = False,
) -> Iterator[tuple[Any, str]]:
    """Yields each row, as column -> value, and its place, "file:line".

    Values are texts from TSV and CSV, JSON values from all other formats. The
    file is streamed; only a JSON object that contains rows is read into memory
    as a whole. Empty lines are skipped, but in a table with one column they are
    rows with an empty value, except the last ones.

    Args:
      path: the file, `.gz`, `.xz` and `.zst` too; or a folder of `datasets`.
      format: format of the file; None detects it.
      columns: names of the columns, where the file's first line has none.
      bad_rows: whether to yield a `BadRow` for a bad row and continue.
      position: called now and then with the number of bytes read so far.
      delimiter: between the columns of CSV; None detects it.
      blank_rows: whether to yield an empty record for an empty line of a table.

    Raises:
      UserError: the file is missing, damaged or without a header; or has a bad
        row, unless `bad_rows`. File and line are named.
    """
    layout = formats.detect(path, format, delimiter)
    format = layout.format
    if format in ("parquet", "arrow"):
        yield from arrow.rows(path, position)
        return
    if format == "json":
        for number, found in json_rows.numbered(path):
            if not isinstance(found, str):
                yield found, f"{path}:[{number}]"
            elif bad_rows:
                yield BadRow(found, {}), f"{path}:[{number}]"
            else:
                raise UserError(f"{path}: [{number}]: {found}")
        return
    if format == "folders":
        yield from documents.folder_rows(path)
        return
    with inputs.open_single(path) as stream:
        taken = lines(_Stream(stream, position))
        if format == "jsonl":
            rows = _json_rows(taken)
        elif format == "fasttext":
            rows = (
                (n, BadRow(row, {}) if isinstance(row, str) else row)
                for n, row in documents.marked_rows(taken)
            )
        else:
            rows = _table_rows(taken, layout, path, columns, blank_rows)
        empty = True
        for line, row in rows:
            empty = False
            if isinstance(row, BadRow) and not bad_rows:
                raise UserError(f"{path}:{line}: {row.message}")
            yield row, f"{path}:{line}"
    if empty:
        raise UserError(f"{path}: holds no rows")


def columns_of(
    path: str, format: Format | None = None, delimiter: str | None = None
) -> list[str]:
    """Returns the columns that the header, or the first JSON object, names.

    Raises:
      UserError: as for `read_records`.
    """
    with contextlib.closing(
        read_records(path, format, delimiter=delimiter)
    ) as rows:  # type: ignore
        return list(next(rows)[0])


def names_in(path: str, options: TableOptions) -> list[str]:
    """Returns the column names of a file, or the first row of a table without.

    Raises:
      UserError: as for `read_records`.
    """
    layout = formats.detect(path, options.format, options.delimiter)
    if options.columns and layout.format in ("tsv", "csv"):
        return list(options.columns)
    if layout.format in ("tsv", "csv"):
        return first_row(path, layout)
    return columns_of(path, layout.format)


def read_table(
    path: str,
    options: TableOptions,
    key: str,
    names: Sequence[str] | None = None,
) -> Iterator[tuple[Record, str]]:
    """Reads a table, whether or not its first line names the columns.

    Args:
      path: the file.
      options: its format, and column names where it has none.
      key: name of a column that a header must have.
      names: column names, where neither the options nor a header give any.

    Raises:
      UserError: as for `read_records`.
    """
    layout = formats.detect(path, options.format, options.delimiter)
    columns = options.columns or names
    if columns and (
        layout.format not in ("tsv", "csv") or key in first_row(path, layout)
    ):
        columns = None
    return read_records(
        path, layout.format, columns=columns, delimiter=layout.delimiter
    )


def first_row(path: str, layout: formats.Layout) -> list[str]:
    """Returns the cells of a table's first line that is not empty.

    Raises:
      UserError: the file is unreadable or empty.
    """
    parse = _parser(layout)
    with inputs.open_single(path) as stream:
        for number, cells in parse(lines(_Stream(stream, None))):
            if isinstance(cells, str):
                raise UserError(f"{path}:{number}: {cells}")
            if cells and cells != ["sep=", ""]:
                return [cell.strip() for cell in cells]
    raise UserError(f"{path}: holds no rows")


def text_in(
    record: Mapping[str, Any],
    column: str,
    place: str,
    hint: str = "",
    may_be_empty: bool = False,
) -> str:
    """Returns the text in a column of a record.

    Args:
      record: column -> value.
      column: name of the column.
      place: where the record stands, for messages.
      hint: added to the message where there is no such column.
      may_be_empty: whether an empty text is accepted.

    Raises:
      UserError: no such column, or its value is empty or not a text.
    """
    if column not in record:
        raise missing_column(record, place, column, hint)
    value = record[column]
    if isinstance(value, str) and value[:2] in ("b'", 'b"'):
        value = _of_bytes(value)
    if not isinstance(value, str):
        raise UserError(
            f"{place}: expected a text in '{column}', got {value!r:.40}"
        )
    if not (may_be_empty or value.strip()):
        raise UserError(f"{place}: the text in '{column}' is empty")
    return value


def _of_bytes(text: str) -> str:
    """Decodes bytes as Python prints them: "b'caf\\xc3\\xa9'"."""
    if len(text) < 3 or text[-1] != text[1]:
        return text
    try:
        found = ast.literal_eval(text)
        return found.decode("utf-8") if isinstance(found, bytes) else text
    except (ValueError, SyntaxError):
        return text


def literal(text: str) -> Any:
    """Parses a value that a table's cell has as text.

    JSON, and what Python, NumPy and pandas print: "['a', 'b']", "['a' 'b']",
    "{'text': array(['a'], dtype=object), 'answer_start': array([3])}".

    Raises:
      ValueError: the text is none of these.
    """
    if "array(" not in text:
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(text)
    try:
        if _BESIDE.search(text):
            text = _with_commas(text)
        return _value(ast.parse(text.strip(), mode="eval").body)
    except (
        ValueError, SyntaxError, RecursionError, MemoryError,
        tokenize.TokenError,
    ) as error:  # fmt: skip
        raise ValueError(f"expected JSON, got {text!r:.40}") from error


def _with_commas(text: str) -> str:
    """Puts commas between adjacent texts, which NumPy prints without."""
    parts: list[str] = []
    before = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.STRING == before:
            parts.append(",")
        if token.type != tokenize.NL:
            before = token.type
            parts.append(token.string)
    return " ".join(parts)


def _value(node: ast.expr) -> Any:
    """Evaluates like `ast.literal_eval`, and arrays as NumPy prints them."""
    if isinstance(node, ast.Call):
        if not (isinstance(node.func, ast.Name) and node.func.id == "array"):
            raise ValueError("expected a list")
        return _value(node.args[0]) if node.args else []
    if isinstance(node, ast.Dict):
        return {
            _value(k): _value(v)
            for k, v in zip(node.keys, node.values)
            if k is not None
        }
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(part) for part in node.elts]
    return ast.literal_eval(node)


def missing_column(
    record: Mapping[str, Any], place: str, column: str, hint: str = ""
) -> UserError:
    """Makes the error for a missing column; see `text_in`."""
    there = ", ".join(f"'{name:.30}'" for name in list(record)[:12])
    return UserError(
        f"{place}: no column '{column}'; there are {there or 'none'}"
        + (f" ({hint})" if hint else "")
    )


def truth_of(value: Any, name: str) -> bool | None:
    """Parses a yes or no as JSON, CSV and people write it.

    Args:
      value: true, 1, "true", "False", "0", ...; None or "" means not given.
      name: the key, for the message.

    Raises:
      ValueError: the value is anything else.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        word = value.strip().lower()
        if not word:
            return None
        if word in _TRUTHS:
            return _TRUTHS[word]
    elif isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    raise ValueError(f"{name}: expected true or false, got {value!r:.40}")


def lines(handle: Any) -> Iterator[bytes]:
    """Yields lines of bytes with their line feeds.

    Only \\n ends a line: texts may contain U+2028 and the like.

    Args:
      handle: an object with `read(size)`.
    """
    rest = b""
    while block := handle.read(_CHUNK):
        *whole, rest = (rest + block).split(b"\n")
        for line in whole:
            yield line + b"\n"
    if rest:
        yield rest


def text_lines(path: str) -> Iterator[tuple[int, str]]:
    """Yields the number, from 1, and the text of each line of a text file.

    Raises:
      UserError: the file is unreadable, or not UTF-8; file and line are named.
    """
    with inputs.open_single(path) as stream:
        for number, line in enumerate(lines(_Stream(stream, None)), 1):
            try:
                yield number, line.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise UserError(
                    f"{path}:{number}: {_not_utf8(error.start)}; save the file "
                    "as UTF-8"
                ) from error


_Rows = Iterator[tuple[int, Record | BadRow]]


class _Stream:
    """An input without its byte-order mark, which counts the bytes read."""

    def __init__(
        self,
        stream: inputs.ByteStream,
        position: Callable[[int], None] | None,
    ):
        self._stream = stream
        self._position = position
        self._first = True

    def read(self, size: int) -> bytes:
        block = self._stream.read(size)
        if self._first:
            self._first = False
            block = block.removeprefix(_BYTE_ORDER_MARK)
        if self._position is not None:
            self._position(self._stream.position())
        return block


def _json_rows(lines: Iterator[bytes]) -> _Rows:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except UnicodeDecodeError as error:
            yield number, BadRow(_not_utf8(error.start), {})
        except (ValueError, RecursionError) as error:
            yield number, BadRow(f"not JSON ({error})", {})
        else:
            if not isinstance(found, dict):
                kind = type(found).__name__
                message = f"expected a JSON object a line, got a {kind}"
                yield number, BadRow(message, {})
                continue
            escaped = b"\\ud" in line.lower()
            half = json_rows.half_characters(found) if escaped else None
            yield number, BadRow(half, {}) if half else found


def _table_rows(
    lines: Iterator[bytes],
    layout: formats.Layout,
    path: str,
    columns: Sequence[str] | None,
    blank_rows: bool,
) -> _Rows:
    parse = _parser(layout)
    header = None if columns is None else list(columns)
    for i, name in enumerate(header or ()):
        if name in columns[:i]:  # type: ignore[index]
            raise UserError(f"{path}: its columns are named '{name}' twice")
    blank: list[int] = []
    for number, cells in parse(lines):
        if isinstance(cells, str):
            if header is None:
                raise UserError(f"{path}:{number}: {cells}")
            yield number, BadRow(cells, {})
            continue
        if not cells:
            blank.append(number)
            if blank_rows and header is not None and len(header) > 1:
                yield number, {}
            continue
        if number == 1 and cells == ["sep=", ""]:
            continue  # for Excel
        if header is None:
            header = _checked_header(cells, f"{path}:{number}")
            continue
        if len(header) == 1:
            for before in blank:
                yield before, {header[0]: ""}
        blank.clear()
        if cells == header and columns is None and len(cells) > 1:
            yield number, BadRow(_REPEATED, {})
            continue
        bad = next(filter(None, map(_bad_text, cells)), None)
        if bad:
            yield number, BadRow(bad, {})
        elif len(cells) != len(header):
            quoted = layout.format == "tsv" and any(
                cell.startswith('"') for cell in cells
            )
            message = (
                f"{len(cells)} columns, expected {len(header)}: "
                + ", ".join(header)
                + (_QUOTED if quoted else "")
            )
            yield number, BadRow(message, dict(zip(header, cells)))
        else:
            yield number, dict(zip(header, cells))


def _tsv_cells(lines: Iterator[bytes]) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(lines, 1):
        text = line.decode("utf-8", "surrogateescape")
        text = text.removesuffix("\n").removesuffix("\r")
        yield number, text.split("\t") if text else []


def _parser(
    layout: formats.Layout,
) -> Callable[[Iterator[bytes]], Iterator[tuple[int, Any]]]:
    if layout.format == "tsv":
        return _tsv_cells
    return functools.partial(_csv_cells, delimiter=layout.delimiter)


def _csv_cells(
    lines: Iterator[bytes], delimiter: str = ","
) -> Iterator[tuple[int, list[str] | str]]:
    """Yields (first line, cells, or what is wrong with them)."""
    csv.field_size_limit(max(csv.field_size_limit(), _MAX_FIELD))
    texts = (line.decode("utf-8", "surrogateescape") for line in lines)
    # Strict, or an unclosed quote would swallow the rest unnoticed.
    reader = csv.reader(texts, strict=True, delimiter=delimiter)
    while True:
        first = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            message = f"not CSV ({error})"
            if reader.line_num > first:
                message = (
                    f"not CSV ({error}, lines {first} to {reader.line_num}): "
                    "is a quote not closed?"
                )
            yield first, message
        else:
            yield first, cells


def _checked_header(cells: list[str], place: str) -> list[str]:
    cells = [
        name.strip() or (f"column {number}" if number > 1 else "")
        for number, name in enumerate(cells, 1)
    ]
    for number, name in enumerate(cells):
        bad = _bad_text(name)
        if bad:
            raise UserError(f"{place}: {bad}")
        if name in cells[:number]:
            raise UserError(f"{place}: the column '{name}' is there twice")
    return cells


def _bad_text(text: str) -> str | None:
    """Describes the bad bytes of a text decoded with surrogates for them."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return _ENCODED
    return None


def _not_utf8(byte: int) -> str:
    return f"byte {byte + 1} of the line is not UTF-8 text"
