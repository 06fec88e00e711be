"""Finds the columns that options do not name, by their usual names."""

import dataclasses
import logging
from collections.abc import Collection, Sequence
from typing import Any, TypeVar

_log = logging.getLogger(__name__)
Options = TypeVar("Options")


def with_usual(
    options: Options,
    keys: Sequence[str],
    usual: Sequence[Sequence[str]],
    there: Collection[str],
    path: str,
) -> Options:
    """Returns options that name columns which exist in the file.

    Args:
      options: a dataclass; returned unchanged where one of `keys` is not its
        default, or where all the columns that they name exist.
      keys: the options that name columns.
      usual: sets of usual column names, in lower case. If exactly one set
        exists in the file, it is used and logged.
      there: the columns of the file; case is ignored.
      path: the file, for the log.
    """
    fields: Any = type(options)
    defaults = {f.name: f.default for f in dataclasses.fields(fields)}
    now = {key: getattr(options, key) for key in keys}
    given = any(now[key] != defaults[key] for key in keys)
    if given or all(name in there for name in now.values()):
        return options
    named = {name.lower(): name for name in reversed(list(there))}
    found = [names for names in usual if set(names) <= set(named)]
    if len(found) != 1:
        return options
    chosen = {key: named[name] for key, name in zip(keys, found[0])}
    taken = ", ".join(f"{key}={name}" for key, name in chosen.items())
    _log.warning("%s: taking %s", path, taken)
    return dataclasses.replace(options, **chosen)  # type: ignore[type-var]
