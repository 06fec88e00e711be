"""Converts Python programs' data to rows and columns for a server."""

import json
from collections.abc import (
    AsyncIterable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from typing import Any

from electra_tf import columns
from electra_tf.errors import UserError

_NUMBER_SIZE = 20  # bytes of JSON, about
_EXPECTED = "a text, bytes, a number, a list or a mapping of input names"


def plain_columns(data: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Converts columns to plain lists, one for each input.

    Raises:
      UserError: a column is not a list, or has values that no model takes.
    """
    found = {}
    for name, values in data.items():
        if not isinstance(name, str):
            raise UserError(f"expected names of inputs, got {name!r:.40}")
        place = f"column '{name}'"
        if isinstance(values, str | bytes | bytearray | memoryview):
            raise UserError(
                f"{place}: expected a list, got one text: columns are "
                "{'input': [...]}, one row is [{'input': ...}]"
            )
        found[name] = [
            plain(value, f"{place}, row {number}")
            for number, value in enumerate(_items(values, place))
        ]
    return found


def plain_rows(data: Any) -> Iterator[Any]:
    """Converts rows to plain values, lazily.

    Args:
      data: any iterable of rows: a list, a generator, an array of NumPy, a
        table of pandas, Polars or Arrow.

    Raises:
      UserError: the data has no rows, or a row has values that no model takes;
        each row is checked when it is read.
    """
    if isinstance(data, str | bytes | bytearray | memoryview):
        raise UserError("predict takes a list of texts, not one text")
    items = _items(data, "predict")
    return (plain(row, f"row {n}") for n, row in enumerate(items))


def _items(data: Any, place: str) -> Iterable[Any]:
    if isinstance(data, AsyncIterable):
        raise UserError(
            f"{place}: an asynchronous iterator is for electra_tf.AsyncClient"
        )
    if isinstance(data, set | frozenset):
        raise UserError(
            f"{place}: expected a list, got a set, which has no order"
        )
    found = _unpacked(columns.rows(data))
    wrong = isinstance(found, str | bytes | Mapping)
    if wrong or not isinstance(found, Iterable):
        raise UserError(
            f"{place}: expected a list, got {_called(data)} ({data!r:.40})"
        )
    return found


def plain(value: Any, place: str) -> Any:
    """Converts a value to JSON's types, and bytes.

    Args:
      value: a plain value, a scalar or array of NumPy, a tensor, or a
        bytes-like object.
      place: place of the value, for messages.

    Raises:
      UserError: no model takes such a value.
    """
    try:
        return _plain(value, place)
    except RecursionError as error:
        raise UserError(f"{place}: the lists are nested without end") from error


def _plain(value: Any, place: str) -> Any:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f"{place}: character {error.start} is half a surrogate pair, "
                "no Unicode text; read the text with the right encoding, or "
                "give bytes"
            ) from error
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, bool | int | float) and not hasattr(value, "dtype"):
        return value
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise UserError(
                    f"{place}: expected names of inputs, got {name!r:.40}"
                )
        return {
            str(name): _plain(each, f"{place}, '{name}'")
            for name, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(each, place) for each in value]
    found = _unpacked(value)
    if found is value:
        raise UserError(f"{place}: expected {_EXPECTED}, got {_called(value)}")
    return _plain(found, place)


def _unpacked(value: Any) -> Any:
    """Converts arrays and tensors to lists; anything else is unchanged."""
    if not hasattr(value, "dtype"):
        return value
    if callable(getattr(value, "numpy", None)) and not hasattr(value, "tolist"):
        value = value.numpy()  # TensorFlow's
    found = value.tolist() if hasattr(value, "tolist") else value
    return value if type(found) is type(value) else found


def _called(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def parts(rows: Iterable[Any], most: int, most_bytes: int) -> Iterator[list]:
    """Divides rows into requests.

    Args:
      rows: plain rows.
      most: most rows in a request.
      most_bytes: approximate size of a request; a larger row is sent alone.
    """
    part: list[Any] = []
    held = 0
    for row in rows:
        size = size_of(row)
        if part and (len(part) == most or held + size > most_bytes):
            yield part
            part, held = [], 0
        part.append(row)
        held += size
    if part:
        yield part


def size_of(value: Any) -> int:
    """Estimates the size in JSON of a plain value, in bytes."""
    if isinstance(value, str):
        # Exactly, as an escaped character has up to six bytes.
        return len(json.dumps(value, ensure_ascii=False).encode()) + 2
    if isinstance(value, bytes):
        return len(value) * 4 // 3 + _NUMBER_SIZE
    if isinstance(value, Mapping):
        named = (size_of(k) + size_of(each) for k, each in value.items())
        return 2 + sum(named)
    if isinstance(value, Sequence):
        return 2 + sum(map(size_of, value))
    return _NUMBER_SIZE
