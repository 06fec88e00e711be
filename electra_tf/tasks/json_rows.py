"""Reads rows of JSON files that are an array, or an object that has one.

An array is streamed, whatever its size. An object is read into memory as a
whole: {"data": [...]}, {"rows": [...]}, and the forms that pandas and the data
set viewer of Hugging Face write.
"""

import collections
import json
from collections.abc import Iterator, Mapping
from typing import Any

from electra_tf.errors import UserError
from electra_tf.tasks import arrow
from electra_tf.text import inputs, tables

_LISTS = ("data", "rows")
_EXTRA = "Extra data"  # json's message for values one after another


def load(path: str) -> Any:
    """Loads a JSON file, compressed or not.

    Raises:
      UserError: the file is unreadable, or not JSON; file and line are named.
    """
    content = _content(path)
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        raise _not_json(path, error) from error
    except RecursionError as error:
        raise UserError(f"{path}: nested too deeply for JSON") from error


def _content(path: str) -> str:
    with inputs.open_single(path) as stream:
        blocks = []
        while block := stream.read(1 << 20):
            blocks.append(block)
    try:
        return b"".join(blocks).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: byte {error.start} is not UTF-8 text"
        ) from error


def _not_json(path: str, error: json.JSONDecodeError) -> UserError:
    return UserError(
        f"{path}:{error.lineno}: not JSON ({error.msg}, column {error.colno})"
    )


def is_wrapped(value: Any) -> bool:
    """Returns whether an object contains rows, rather than being one."""
    if not isinstance(value, dict) or not value:
        return False
    if any(isinstance(value.get(key), list) for key in _LISTS):
        return True
    if _holds_splits(value):
        return True
    return _by_number(value) is not None


def rows(path: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Yields each row of a file, and its place, "file:[number]".

    Raises:
      UserError: the file is not JSON, or has no rows, or a bad one.
    """
    for number, row in numbered(path):
        if isinstance(row, str):
            raise UserError(f"{path}: [{number}]: {row}")
        yield row, f"{path}:[{number}]"


def numbered(path: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Yields the number of each row, from 0, and the row.

    In place of a bad row it yields what is wrong with it.

    Raises:
      UserError: the file is not JSON, or has no rows.
    """
    number = -1
    for number, row in enumerate(_values(path)):
        if isinstance(row, dict):
            yield number, half_characters(row) or row
        else:
            kind = type(row).__name__
            yield number, f"expected an object, got {kind}"
    if number < 0:
        raise UserError(f"{path}: holds no rows")


def half_characters(row: Mapping[str, Any]) -> str | None:
    """Describes lone surrogates in a row, which UTF-8 cannot hold.

    Returns:
      What is wrong; None where there are none.
    """
    for key, value in row.items():
        if _is_half(key) or _holds_half(value):
            name = key.encode("utf-8", "backslashreplace").decode()
            return (
                f"'{name}' holds half of a surrogate pair (\\ud800 to \\udfff)"
            )
    return None


def _holds_half(value: Any) -> bool:
    if isinstance(value, str):
        return _is_half(value)
    if isinstance(value, dict | list):
        return _is_half(json.dumps(value, ensure_ascii=False))
    return False


def _holds_splits(value: Mapping[str, Any]) -> bool:
    return "train" in value and all(
        isinstance(part, list) for part in value.values()
    )


def _is_half(text: str) -> bool:
    """Returns whether a text has lone surrogates, which UTF-8 cannot hold."""
    if text.isascii():
        return False
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _no_rows(path: str, found: Any = None) -> UserError:
    if isinstance(found, dict) and _holds_splits(found):
        return UserError(
            f"{path}: holds several splits ({', '.join(found):.60}); write "
            "each to a file of its own, as train.json"
        )
    return UserError(
        f"{path}: expected an array of objects, or an object with one"
    )


def _values(path: str) -> Iterator[Any]:
    with inputs.open_single(path) as stream:
        if _begins_array(stream):
            yield from _streamed(stream)
            return
    content = _content(path)
    try:
        found = json.loads(content)
    except RecursionError as error:
        raise UserError(f"{path}: nested too deeply for JSON") from error
    except json.JSONDecodeError as error:
        if error.msg != _EXTRA:
            raise _not_json(path, error) from error
        with inputs.open_single(path) as stream:
            yield from _streamed(stream)
        return
    listed = unwrapped(found)
    if listed is None or _holds_splits(found):
        raise _no_rows(path, found)
    yield from listed


def _streamed(stream: inputs.ByteStream) -> Iterator[Any]:
    counts: collections.Counter[str] = collections.Counter()
    for value in tables.json_values(stream, counts, strict=False):
        if counts["invalid_utf8_replaced"]:
            raise UserError(
                f"{stream.name}: not UTF-8 text; save the file as UTF-8"
            )
        yield value


def is_array(path: str) -> bool:
    """Returns whether a file of JSON is one array."""
    with inputs.open_single(path) as stream:
        return _begins_array(stream)


def _begins_array(stream: inputs.ByteStream) -> bool:
    head = stream.peek(1 << 12).removeprefix(b"\xef\xbb\xbf")
    return head.lstrip().startswith(b"[")


def unwrapped(found: Any) -> list[Any] | None:
    """Returns the rows in an object; None where there are none."""
    if not isinstance(found, Mapping):
        return None
    numbered = _by_number(found)
    if numbered is not None:
        return numbered
    several = [v for v in found.values() if isinstance(v, list)]
    listed = next(
        (found[key] for key in _LISTS if isinstance(found.get(key), list)),
        several[0] if len(several) == 1 else None,
    )
    columns = found.get("columns")
    if isinstance(columns, list) and isinstance(found.get("data"), list):
        return [
            dict(zip(columns, row)) if isinstance(row, list) else row
            for row in found["data"]
        ]
    if listed and all(isinstance(r, dict) and "row" in r for r in listed):
        return _viewed(listed, found.get("features"))
    return listed


def _by_number(found: Mapping[str, Any]) -> list[Any] | None:
    """Returns the rows of pandas' {column: {number: value}}, or transposed."""
    parts = list(found.values())
    if not parts or not all(isinstance(p, dict) and p for p in parts):
        return None
    same = len(parts) > 1 and all(p.keys() == parts[0].keys() for p in parts)
    if all(key.isdigit() for key in found) or (
        same and not all(key.isdigit() for key in parts[0])
    ):
        return parts
    numbers = list(parts[0])
    if not all(key.isdigit() for key in numbers) or any(
        part.keys() != parts[0].keys() for part in parts
    ):
        return None
    return [
        {column: part[number] for column, part in found.items()}
        for number in numbers
    ]


def _viewed(listed: list[Any], features: Any) -> list[Any]:
    """Returns rows of the data set viewer, with the names of classes."""
    names = {
        feature.get("name"): arrow.class_names(feature.get("type"))
        for feature in (features if isinstance(features, list) else ())
        if isinstance(feature, dict)
    }
    found: list[Any] = []
    for item in listed:
        row = item["row"]
        if isinstance(row, dict):
            row = row | {
                column: arrow.named(row[column], known)
                for column, known in names.items()
                if known and column in row
            }
        found.append(row)
    return found
