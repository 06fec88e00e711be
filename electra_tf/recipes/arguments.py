"""Checks a recipe's arguments by the annotations of its signature."""

import collections.abc
import difflib
import functools
import inspect
import numbers
import os
import types
import typing
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union

from electra_tf import config
from electra_tf.errors import UserError

P = ParamSpec("P")
R = TypeVar("R")


def checked(recipe: Callable[P, R]) -> Callable[P, R]:
    """Decorates a recipe to refuse arguments that its annotations do not allow.

    The command line checks its flags by the same annotations; this is for
    callers in Python.

    Args:
      recipe: parameters that are flags (numbers, texts, lists of texts,
        choices) are checked.

    Returns:
      The recipe, which raises `UserError` for a value of a wrong type, a number
      out of its bounds and an unknown choice, and `TypeError` for an argument
      that it lacks or does not have. Paths may be `os.PathLike`, numbers
      NumPy's, and a single text stands for a list of one.
    """

    @functools.wraps(recipe)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        signature = inspect.signature(recipe)
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            name = getattr(recipe, "__name__", "recipe")
            hint = _nearest(kwargs, signature)
            raise TypeError(f"{name}(): {error}{hint}") from None
        hints = typing.get_type_hints(recipe, include_extras=True)
        for name, value in bound.arguments.items():
            kinds = _kinds(hints[name])
            if kinds & {str, list}:
                bound.arguments[name] = value = _texts(value)
            if isinstance(value, str) and list in kinds and str not in kinds:
                bound.arguments[name] = value = (value,)  # not its letters
            expected = _wrong(value, kinds)
            if expected:
                raise UserError(
                    f"{name}: expected {expected}, got {value!r}"
                    + _section_hint(name, value, signature)
                )
            bound.arguments[name] = value = _plain(value)
            expected = _expected(value, hints[name])
            if expected:
                raise UserError(f"--{name}={value}: expected {expected}")
        return recipe(*bound.args, **bound.kwargs)

    return call


def _texts(value: Any) -> Any:
    """Returns paths, or a list that has some, as texts; else the value."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    paths = isinstance(value, list | tuple) and any(
        isinstance(one, os.PathLike) for one in value
    )
    return [_texts(one) for one in value] if paths else value


def _plain(value: Any) -> Any:
    """Returns a number of NumPy's as one of Python's, which JSON can have."""
    if type(value) in (bool, int, float) or isinstance(value, str):
        return value
    if _TYPES[bool][1](value):
        return bool(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    return float(value) if isinstance(value, numbers.Real) else value


def _nearest(given: Any, signature: inspect.Signature) -> str:
    """Suggests the argument that an unknown one was perhaps meant for."""
    for name in given:
        if name not in signature.parameters:
            close = difflib.get_close_matches(name, signature.parameters, n=1)
            if close:
                return f"; did you mean '{close[0]}'?"
            if "overrides" in signature.parameters:
                return (
                    '; settings are given as overrides={"section.key": value}'
                )
    return ""


def _section_hint(name: str, value: Any, signature: inspect.Signature) -> str:
    """Says where a section's keys go whose name means something else here."""
    if not isinstance(value, collections.abc.Mapping | config.Settings) or (
        "config" not in signature.parameters
    ):
        return ""
    return (
        f"; keys of the settings' section `{name}` are given as config="
        f'{{"{name}": {{...}}}} or overrides={{"{name}.KEY": VALUE}}'
    )


def _kinds(kind: Any) -> set[Any]:
    """Returns the types that may stand for `kind`: list for a sequence, ..."""
    origin = typing.get_origin(kind)
    if origin is Annotated:
        return _kinds(typing.get_args(kind)[0])
    if origin in (Union, types.UnionType):
        return set().union(*map(_kinds, typing.get_args(kind)))
    return {list if origin is collections.abc.Sequence else kind}


def _wrong(value: Any, kinds: set[Any]) -> str:
    """Describes the expected type; empty where `value` has it."""
    known = {name: text for name, (text, _) in _TYPES.items() if name in kinds}
    if kinds - known.keys() - {type(None)} or not known:
        return ""  # mappings, objects and choices: not ours to check
    if value is None and type(None) in kinds:
        return ""
    if any(_TYPES[kind][1](value) for kind in known):
        return ""
    return " or ".join(known.values())


# The name of a parameter's type, and the types accepted for it.
_TYPES: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    bool: (
        "true or false",
        lambda value: type(value).__name__ in ("bool", "bool_"),
    ),
    int: (
        "a whole number",
        lambda value: (
            isinstance(value, numbers.Integral) and not isinstance(value, bool)
        ),
    ),
    float: (
        "a number",
        lambda value: (
            isinstance(value, numbers.Real) and not isinstance(value, bool)
        ),
    ),
    str: ("a text", lambda value: isinstance(value, str)),
    list: (
        "a list of texts",
        lambda value: (
            isinstance(value, str)
            or (
                isinstance(value, Sequence)
                and all(isinstance(one, str) for one in value)
            )
        ),
    ),
}


def _expected(value: Any, kind: Any) -> str:
    """Describes what `value` should be; empty where it is valid."""
    bounds = config.setting_of(kind)
    if isinstance(value, int | float) and not bounds.allows(value):
        return bounds.wanted(value)
    choices = _choices(kind)
    if choices and value is not None and value not in choices:
        return "one of " + ", ".join(map(str, choices))
    return ""


def _choices(kind: Any) -> tuple[Any, ...]:
    """Returns the values of a `Literal` anywhere in `kind`."""
    if typing.get_origin(kind) is Literal:
        return typing.get_args(kind)
    for part in typing.get_args(kind):
        found = _choices(part)
        if found:
            return found
    return ()
