"""Reads the texts of JSON files and tables: CSV, TSV, Parquet, Arrow."""

import codecs
import csv
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import IO, Any

from electra_tf.errors import UserError
from electra_tf.text.columnar import opened
from electra_tf.text.inputs import ByteStream

MAX_TEXT = 1 << 26
"""A longer value, in characters, is refused."""

_PEEKED = 1 << 16
_DELIMITERS = ",;\t|"
_SPACE = " \t\r\n"


class Rows:
    """Texts as a stream of bytes: a JSON string, or null, on each line."""

    def __init__(self, texts: Iterator[str | None]):
        """Takes the texts; None means a row without text."""
        self._texts = texts
        self._rest = b""

    def read(self, size: int, /) -> bytes:
        """Reads at most `size` bytes; empty at the end."""
        blocks, have = [self._rest], len(self._rest)
        while have < size:
            text = next(self._texts, "")
            if text == "":
                break
            line = json.dumps(text).encode("ascii") + b"\n"
            blocks.append(line)
            have += len(line)
        data = b"".join(blocks)
        self._rest = data[size:]
        return data[:size]


def _missing(
    name: str, field: str, there: Sequence[str], usable: Sequence[str]
) -> UserError:
    hint = usable[0] if len(usable) == 1 else "NAME"
    return UserError(
        f"{name}: has no column or field '{field}', but "
        f"{', '.join(there[:20]) or 'none'}; name the one with the text: "
        f"--text_field={hint}"
    )


def columnar(
    file: IO[bytes], name: str, text_field: str
) -> Iterator[str | None]:
    """Yields the texts of a Parquet or Arrow file.

    Args:
      file: the file, opened for random access.
      name: its name, for messages.
      text_field: the text column.

    Raises:
      UserError: the column is missing or not text, the file is damaged, or
        pyarrow is not installed.
    """
    with opened(file, name) as table:
        _check_column(table.schema, name, text_field)
        for batch in table.batches([text_field]):
            column = batch.column(batch.schema.get_field_index(text_field))
            for value in column.to_pylist():
                if isinstance(value, bytes):
                    value = value.decode("utf-8", "replace")
                yield value or None


def _check_column(schema: Any, name: str, text_field: str) -> None:
    import pyarrow as pa

    def is_text(kind: Any) -> bool:
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        return any(
            test(kind)
            for test in (
                pa.types.is_string, pa.types.is_large_string,
                pa.types.is_string_view, pa.types.is_binary,
                pa.types.is_large_binary,
            )
        )  # fmt: skip

    usable = [field.name for field in schema if is_text(field.type)]
    if text_field not in schema.names:
        raise _missing(name, text_field, schema.names, usable)
    if text_field not in usable:
        kind = schema.field(text_field).type
        raise UserError(
            f"{name}: the column '{text_field}' is of the type {kind}; "
            f"expected text, as in {', '.join(usable) or 'none of them'}"
        )


class _Text:
    """Decodes a stream; bytes that are not UTF-8 are replaced and counted."""

    def __init__(self, stream: ByteStream, counts: Counter[str], strict: bool):
        self._stream, self._counts, self._strict = stream, counts, strict
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._line = 1
        self._first = True
        self.ended = False

    def read(self) -> str:
        """Returns the next piece of text; empty only at the end."""
        text = ""
        while not text and not self.ended:
            block = self._stream.read(1 << 18)
            self.ended = not block
            text = self._decoder.decode(block, final=self.ended)
        if self._first:
            text = text.removeprefix("\ufeff")
            self._first = False
        raw = text.encode("utf-8", "surrogateescape")
        whole = raw.decode("utf-8", "replace")
        bad = whole.count("\ufffd") - text.count("\ufffd")
        if bad and self._strict:
            at = next(i for i, c in enumerate(text) if "\udc80" <= c < "\udd00")
            raise UserError(
                f"{self._stream.name}:{self._line + text.count(chr(10), 0, at)}"
                f": byte 0x{ord(text[at]) - 0xDC00:02x} is not UTF-8; drop "
                "--strict to have it replaced"
            )
        if bad > max(32, len(raw) // 20):
            raise UserError(
                f"{self._stream.name}: is not UTF-8 ({bad} of {len(raw)} "
                "bytes); convert it, or leave it out"
            )
        self._counts["invalid_utf8_replaced"] += bad
        self._line += text.count("\n")
        return whole

    def lines(self) -> Iterator[str]:
        """Yields lines with their ends; only a line feed ends one."""
        rest: list[str] = []
        held = 0
        while block := self.read():
            pieces = block.split("\n")
            if len(pieces) == 1:
                rest.append(block)
                held += len(block)
                if held > MAX_TEXT:
                    raise UserError(
                        f"{self._stream.name}: a line of more than "
                        f"{MAX_TEXT >> 20} million characters; is this a table?"
                    )
                continue
            yield "".join(rest) + pieces[0] + "\n"
            for piece in pieces[1:-1]:
                yield piece + "\n"
            rest, held = [pieces[-1]], len(pieces[-1])
        if last := "".join(rest):
            yield last


def separated(
    stream: ByteStream, text_field: str, counts: Counter[str], strict: bool
) -> Iterator[str | None]:
    """Yields the texts of a table whose first line names its columns.

    CSV has quotes, and line feeds within them; the delimiter is detected by the
    first line. TSV has tabs, and quotes mean nothing.

    Args:
      stream: the file; TSV is recognised by its name.
      text_field: the text column.
      counts: counts of repairs, which are updated.
      strict: whether to refuse what would be repaired.

    Raises:
      UserError: the column is missing, or most rows have another number of
        cells.
    """
    name = stream.name
    tsv = _ends_in(name, ".tsv")
    lines = _Text(stream, counts, strict).lines()
    header = next(lines, "")
    found: list[list[str]] = []
    for delimiter in "\t" if tsv else _DELIMITERS:
        options: dict[str, Any] = {"delimiter": delimiter}
        if tsv:
            options["quoting"] = csv.QUOTE_NONE
        try:
            names = next(csv.reader([header], **options), [])
        except csv.Error as error:
            raise UserError(
                f"{name}:1: has a carriage return in the line that names the "
                "columns; where lines end so (old Mac's), end them with line "
                "feeds"
            ) from error
        cells = [c.strip() for c in names]
        if text_field in cells:
            break
        found.append(cells)
    else:
        cells = max(found, key=len)
        raise _missing(name, text_field, cells, cells)
    csv.field_size_limit(max(csv.field_size_limit(), MAX_TEXT))
    column, bad, good = cells.index(text_field), 0, 0
    reader = csv.reader(lines, **options)
    try:
        for row in reader:
            if not row:
                continue
            if len(row) == len(cells):
                good += 1
                yield row[column] or None
                continue
            bad += 1
            if strict:
                raise UserError(
                    f"{name}:{reader.line_num + 1}: {len(row)} cells, where "
                    f"the first line names {len(cells)} columns; correct it or "
                    "drop --strict to have it left out"
                )
            yield None
    except csv.Error as error:
        raise UserError(
            f"{name}:{reader.line_num + 1}: not a row of a table ({error})"
        ) from error
    if bad > good:
        raise UserError(
            f"{name}: {bad} of {bad + good} rows do not have the {len(cells)} "
            "cells that the first line names; if this is not a table, give it "
            "a name that ends in .txt"
        )


def _ends_in(name: str, suffix: str) -> bool:
    return suffix in name.lower().rpartition("/")[2]


EXTRACTED = b"<doc "
"""What a file that WikiExtractor wrote begins with."""


def extracted(
    stream: ByteStream, counts: Counter[str], strict: bool
) -> Iterator[str | None]:
    """Yields the texts between <doc ...> and </doc>, in WikiExtractor's form.

    Args:
      stream: the file.
      counts: counts of repairs, which are updated.
      strict: whether to refuse what would be repaired.
    """
    lines: list[str] = []
    for line in _Text(stream, counts, strict).lines():
        if line.startswith("<doc ") and line.rstrip().endswith(">"):
            lines = []
        elif line.strip() == "</doc>":
            yield "".join(lines).strip() or None
            lines = []
        else:
            lines.append(line)
    rest = "".join(lines).strip()
    if rest:
        yield rest


def holds_json_lines(stream: ByteStream, text_field: str) -> bool:
    """Returns whether a file that may be JSON has an object on each line.

    Args:
      stream: the file; nothing is consumed. Its first line decides.
      text_field: a field that the first line must have if it is the only one.
    """
    size = _PEEKED
    while True:
        head = stream.peek(size)
        start = head.removeprefix(codecs.BOM_UTF8).lstrip()
        if not start.startswith(b"{"):
            return False
        line, end, after = start.partition(b"\n")
        if end or len(head) < size or size >= MAX_TEXT:
            break
        size *= 4
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return False
    if text_field in found:
        return isinstance(found[text_field], str)
    return after.lstrip().startswith(b"{")


def json_texts(
    stream: ByteStream, text_field: str, counts: Counter[str], strict: bool
) -> Iterator[str | None]:
    """Yields the texts of a JSON file that is not JSON lines.

    It may be an array of objects or texts; an object that has one, or whose
    text field has; or a sequence of such values.

    Args:
      stream: the file.
      text_field: field of the objects.
      counts: counts of repairs, which are updated.
      strict: whether to refuse what would be repaired.

    Raises:
      UserError: it is not JSON, or no object has the field.
    """
    keys: dict[str, None] = {}
    rows = good = 0
    for value in json_values(stream, counts, strict):
        for text in _texts_in(value, text_field, keys):
            rows += 1
            good += text is not None
            yield text
    if rows and not good:
        raise _missing(stream.name, text_field, list(keys), list(keys))


def _texts_in(
    value: Any, text_field: str, keys: dict[str, None]
) -> Iterator[str | None]:
    """Yields the texts of one value, and notes keys of objects without any."""
    if isinstance(value, str):
        yield value or None
    elif isinstance(value, dict):
        found = value.get(text_field)
        if isinstance(found, str):
            yield found or None
        elif isinstance(found, list):
            for item in found:
                yield item if isinstance(item, str) and item else None
        else:
            lists = [v for v in value.values() if isinstance(v, list)]
            if len(lists) == 1 and lists[0] and isinstance(lists[0][0], dict):
                for item in lists[0]:
                    yield from _texts_in(item, text_field, keys)
            else:
                keys.update(dict.fromkeys(value))
                yield None
    else:
        yield None


def json_values(
    stream: ByteStream, counts: Counter[str], strict: bool
) -> Iterator[Any]:
    """Yields the elements of an array, or of a sequence of values.

    Args:
      stream: the file.
      counts: counts of repairs, which are updated.
      strict: whether to refuse what would be repaired.

    Raises:
      UserError: it is not JSON; the value's number is named.
    """
    text, buffer, at = _Text(stream, counts, strict), "", 0
    decode = json.JSONDecoder().raw_decode
    number, in_array, begun = 0, False, False

    def more(least: int) -> bool:
        """Reads more; returns false if nothing is left."""
        nonlocal buffer, at
        blocks, have = [buffer[at:]], len(buffer) - at
        had = have
        while have < least and not text.ended:
            blocks.append(text.read())
            have += len(blocks[-1])
        buffer, at = "".join(blocks), 0
        return have > had

    def skip(characters: str) -> str:
        """Skips `characters`; returns the next one, or nothing."""
        nonlocal at
        while True:
            while at < len(buffer) and buffer[at] in characters:
                at += 1
            if at < len(buffer):
                return buffer[at]
            if not more(1 << 16):
                return ""

    while True:
        first = skip(_SPACE if not begun else _SPACE + ",")
        if not begun and first == "[":
            at += 1
            in_array = begun = True
            continue
        begun = True
        if not first:
            if in_array:
                raise _not_json(stream, number, "the array does not end")
            return
        if in_array and first == "]":
            at += 1
            if skip(_SPACE):
                raise _not_json(stream, number, "more follows the array")
            return
        if first not in '{["-0123456789tfnN':
            raise _not_json(stream, number, f"{first!r} does not begin a value")
        while True:
            problem = ""
            try:
                value, end = decode(buffer, at)
                # A value at the end of the buffer may continue, as numbers do.
                if end < len(buffer) or text.ended:
                    break
            except (ValueError, RecursionError) as error:
                problem = str(error)
            held = len(buffer) - at
            if held > MAX_TEXT:
                raise _not_json(stream, number, "a value too large to read")
            if not more(max(1 << 18, 2 * held)) and text.ended:
                if problem:
                    raise _not_json(stream, number, problem)
                break
        at = end
        number += 1
        yield value


def _not_json(stream: ByteStream, number: int, problem: str) -> UserError:
    return UserError(
        f"{stream.name}: not JSON, at value {number + 1} ({problem}); expected "
        "an array of objects, or an object a line"
    )
