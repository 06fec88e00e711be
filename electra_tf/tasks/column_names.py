"""Finds the columns that options do not name, by names that are usual."""

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
    """Returns options that name columns which are there.

    Args:
      options: a dataclass; kept where one of `keys` is not its default, or
        all of the columns that they name are there.
      keys: of the options that name columns.
      usual: what these columns are called together, in lower case. If but one
        of these sets is there it is taken, and reported.
      there: the columns of the file; capitals do not count.
      path: of the file, to be told.
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
    told = ", ".join(f"{key}={name}" for key, name in chosen.items())
    _log.warning("%s: taking %s", path, told)
    return dataclasses.replace(options, **chosen)  # type: ignore[type-var]
