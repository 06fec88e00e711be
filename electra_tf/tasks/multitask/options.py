"""The options of a multi-task run, and of the tasks in it."""

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from electra_tf.errors import UserError
from electra_tf.tasks.plain import from_plain


@dataclasses.dataclass(frozen=True)
class Member:
    """One of the tasks."""

    name: str  # as `task` of a settings file: glue/rte
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    data: str | None = None  # in --data, or anywhere; null is --data itself
    # What its head, scores and model are called; null takes it from the name.
    label: str | None = None

    @property
    def key(self) -> str:
        """The label: "rte" of "glue/rte", unless given."""
        plain = self.name.rpartition("/")[2]
        return self.label or re.sub(r"[^\w.-]+", "_", plain, flags=re.ASCII)


@dataclasses.dataclass(frozen=True)
class MultitaskOptions:
    """The tasks, and how often each is seen."""

    tasks: tuple[Member, ...] = ()
    # Rows of a task are drawn in proportion to their number to this power: 1
    # takes every row once an epoch, 0 as many of each task.
    power: float = 0.75

    def __post_init__(self) -> None:
        keys = [member.key for member in self.tasks]
        for key in keys:
            if not re.fullmatch(r"[\w.-]+", key, re.ASCII):
                raise UserError(
                    f"tasks: the label '{key}': expected letters, digits, "
                    "'_', '.' and '-' alone"
                )
            if keys.count(key) > 1:
                raise UserError(
                    f"tasks: two are called '{key}'; give them a label each"
                )
        if self.power < 0:
            raise UserError(f"power: expected at least 0, got {self.power}")


def parse(cls: type, values: Mapping[str, Any], where: str) -> Any:
    """The options of one of the tasks.

    Args:
      cls: a dataclass.
      values: its fields, as YAML has them.
      where: what a message begins with.

    Raises:
      UserError: an unknown key, or a value of another type.
    """
    kinds = typing.get_type_hints(cls)
    for key, value in values.items():
        if key not in kinds:
            close = difflib.get_close_matches(key, kinds, n=1)
            hint = f"did you mean '{close[0]}'?" if close else (
                f"known: {', '.join(kinds)}"
            )  # fmt: skip
            raise UserError(f"{where}: unknown key '{key}'; {hint}")
        if not _is_a(value, kinds[key]):
            raise UserError(f"{where}.{key}: cannot be {value!r:.60}")
    try:
        return from_plain(cls, values)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def _is_a(value: Any, kind: Any) -> bool:
    """Whether a value is one of a plain type; of others nothing is said."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return any(_is_a(value, part) for part in parts)
    if origin is Literal:
        return value in parts
    if origin is tuple:
        return isinstance(value, list | tuple)
    if origin is dict:
        return isinstance(value, Mapping)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind in (bool, str, type(None)):
        return isinstance(value, kind)
    return True
