"""Runs recipes as the demo does: each is shown as its command line."""

from collections.abc import Callable
from typing import Any, TypeVar

R = TypeVar("R")


def run(recipe: Callable[..., R], **arguments: Any) -> R:
    """Prints a recipe's command line, runs it and prints its result.

    Args:
      recipe: a function of `electra_tf.recipes`.
      arguments: its arguments.

    Returns:
      Its result.
    """
    name = recipe.__name__.replace("_", "-")
    words = [_word(key, value) for key, value in arguments.items()]
    print(f"\n$ electra-tf {name} {' '.join(words)}", flush=True)
    result = recipe(**arguments)
    output_text = "" if result is None else str(result)
    if output_text:
        print(output_text, flush=True)
    return result


def _word(key: str, value: Any) -> str:
    """Returns an argument as the command takes it."""
    if key == "overrides":
        return " ".join(f"--set={override}" for override in value)
    if value is True:
        return f"--{key}"
    if isinstance(value, str) and " " in value:
        return f'--{key}="{value}"'
    return f"--{key}={value}"
