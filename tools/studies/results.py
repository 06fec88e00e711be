"""The units of a study: the finished ones, in results.jsonl, and the chosen."""

import json
import os
import statistics
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

from electra_tf.errors import UserError

# What a table or sentence says where nothing is measured.
NOTHING = "Not measured yet."

Key = TypeVar("Key", bound=Hashable)
Row = dict[str, Any]


def read(path: str | os.PathLike, key: Callable[[Row], Key]) -> dict[Key, Row]:
    """Reads the finished units; the last line of each counts.

    Args:
      path: a file, which may be missing; its last line may be incomplete.
      key: returns what identifies the unit of a line.
    """
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as handle:
        rows = [json.loads(line) for line in handle if line.endswith("\n")]
    return {key(row): row for row in rows}


def append(path: str | os.PathLike, row: Row) -> None:
    """Writes the line of a unit that is finished."""
    with open(path, "a", encoding="utf-8") as handle:
        handle.write(json.dumps(row) + "\n")


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Returns the median of the seeds' scores, and the lowest and highest.

    Args:
      values: a score of each seed.
      digits: decimal places.
    """
    if not values:
        return "not measured"
    return (
        f"{statistics.median(values):.{digits}f} "
        f"({min(values):.{digits}f} to {max(values):.{digits}f})"
    )


def spread_of_few(values: Sequence[float], digits: int = 1) -> str:
    """Returns the same as `spread`, but says so where there is one seed."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}, one seed"
    return spread(values, digits)


def chosen(text: str, known: Sequence[str], flag: str) -> list[str]:
    """Returns the names in a flag's value, divided by commas; else all known.

    Raises:
      UserError: a name is not known.
    """
    names = [name for name in text.split(",") if name] or list(known)
    for name in names:
        if name not in known:
            raise UserError(f"{flag}={name}: expected some of {list(known)}")
    return names
