"""Dataclasses out of what JSON made of them."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def from_plain(cls: type[T], values: Mapping[str, Any]) -> T:
    """A dataclass from what JSON made of `dataclasses.asdict`.

    Lists become tuples, and mappings dataclasses, where the fields say so.

    Raises:
      TypeError: other fields.
    """
    kinds = typing.get_type_hints(cls)
    return cls(
        **{
            name: _typed(value, kinds.get(name, Any))
            for name, value in values.items()
        }
    )


def _typed(value: Any, kind: Any) -> Any:
    """`value` as `kind`, if that is a tuple, dataclass or holds such."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        options = [part for part in parts if part is not type(None)]
        return _typed(value, options[0]) if len(options) == 1 else value
    if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        return from_plain(kind, value)
    if origin is tuple and isinstance(value, list):
        if len(parts) == 2 and parts[1] is Ellipsis:
            parts = (parts[0],) * len(value)
        return tuple(map(_typed, value, parts))
    if origin is dict and isinstance(value, Mapping):
        return {key: _typed(item, parts[1]) for key, item in value.items()}
    return value
