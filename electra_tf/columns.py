"""Reads tables and columns of other libraries, without importing these.

The libraries are pandas, Polars, PyArrow and Hugging Face Datasets. Their
columns have different methods and some are no sequences, and to iterate over a
table gives its rows in one library and the names of its columns in another.
"""

from collections.abc import Collection, Mapping
from typing import Any

# A list of a column's values in Python's types; the first that there is.
_TO_LIST = ("to_pylist", "tolist", "to_list")


def names(values: Any) -> list[str] | None:
    """Returns the names of a table's columns; None for what is no table."""
    if isinstance(values, Mapping) or isinstance(values, type):
        return None
    for attribute in ("column_names", "columns"):
        found = getattr(values, attribute, None)
        if isinstance(found, Collection) and hasattr(values, "__getitem__"):
            return [str(name) for name in found]
    return None


def listed(values: Any) -> Any:
    """Converts a column, or another collection of values, to a list.

    Args:
      values: a column of a table, an array of PyArrow, a deque, the values of
        a dictionary, or anything else.

    Returns:
      The list; what is no collection, has no order (a set), or is text, bytes,
      a mapping or a table is returned as it is.
    """
    kept = list | str | bytes | bytearray | memoryview | Mapping
    if isinstance(values, kept | set | frozenset):
        return values
    if names(values) is not None:
        return values
    for method in _TO_LIST:
        found = getattr(values, method, None)
        if callable(found):
            return found()
    if isinstance(values, Collection):
        return list(values)
    return values


def rows(values: Any) -> Any:
    """Converts a table to its rows, and a column to a list.

    Args:
      values: a table, or whatever `listed` takes.

    Returns:
      A list of {name: value} for a table; else as `listed` returns it.
    """
    known = names(values)
    if known is None:
        return listed(values)
    parts = [listed(values[name]) for name in known]
    return [dict(zip(known, row)) for row in zip(*parts)]
