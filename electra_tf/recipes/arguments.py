"""A recipe's own arguments, checked as its signature annotates them."""

import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any, Literal, ParamSpec, TypeVar

from electra_tf import config
from electra_tf.errors import UserError

P = ParamSpec("P")
R = TypeVar("R")


def checked(recipe: Callable[P, R]) -> Callable[P, R]:
    """Lets a recipe refuse what its annotations do not allow.

    The command line checks its flags by the same annotations; this is for
    callers in Python.

    Args:
      recipe: parameters with `Setting` bounds, or of a `Literal` type, are
        checked.

    Returns:
      The recipe, which raises `UserError` for a number out of its bounds and
      for an unknown choice.
    """

    @functools.wraps(recipe)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        given = inspect.signature(recipe).bind(*args, **kwargs).arguments
        hints = typing.get_type_hints(recipe, include_extras=True)
        for name, value in given.items():
            expected = _expected(value, hints[name])
            if expected:
                raise UserError(f"--{name}={value}: expected {expected}")
        return recipe(*args, **kwargs)

    return call


def _expected(value: Any, kind: Any) -> str:
    """Says what `value` should be; empty where it is that."""
    bounds = config.setting_of(kind)
    if isinstance(value, int | float) and not bounds.allows(value):
        return bounds.bounds()
    choices = _choices(kind)
    if choices and value is not None and value not in choices:
        return "one of " + ", ".join(map(str, choices))
    return ""


def _choices(kind: Any) -> tuple[Any, ...]:
    """The values of a `Literal`, wherever in `kind` it stands."""
    if typing.get_origin(kind) is Literal:
        return typing.get_args(kind)
    for part in typing.get_args(kind):
        found = _choices(part)
        if found:
            return found
    return ()
