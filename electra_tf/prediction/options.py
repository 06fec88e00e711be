"""The options that a fine-tuned model's task answers with.

Importing this starts no TensorFlow: options are checked before it does.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Annotated, Any

from electra_tf import config as configs
from electra_tf import files
from electra_tf.config import Setting, Settings
from electra_tf.errors import UserError
from electra_tf.tasks import registry


def stored(path: str) -> dict[str, Any] | None:
    """Returns what a model of ours says of its fine-tuning, if it is near.

    Args:
      path: a model directory, or a run that contains one.

    Returns:
      `task`, `options`, `state` and so on; None where `path` is something
      else, or not on this machine.
    """
    for folder in (path, files.join(path, "model")):
        file = files.join(folder, "config.json")
        if not (files.is_local(file) and files.exists(file)):
            continue
        try:
            content = json.loads(files.read_text(file))
        except ValueError:
            continue
        found = content.get("fine_tuning") if isinstance(content, dict) else 0
        if isinstance(found, dict):
            return found
    return None


def settings_class(task: str | None) -> type:
    """Returns the settings class with the one section `options`.

    Args:
      task: whose options; None takes any.

    Raises:
      UserError: no such task.
    """
    about = Setting("The task's own; --model=... or --task=... lists them.")
    field: tuple[str, Any, Any] = (
        "options",
        Annotated[Any, about] | None,
        None,
    )
    if task is not None:
        kind = registry.options_class(task)
        field = ("options", kind, dataclasses.field(default_factory=kind))
    return dataclasses.make_dataclass(
        "PredictionSettings", [field], bases=(Settings,), frozen=True
    )


def chosen(
    about: Mapping[str, Any],
    task: str | None = None,
    options: Any = None,
    overrides: configs.Overrides = (),
    where: str = "the model",
) -> Any:
    """Returns the options to answer with, an instance of the task's `Options`.

    Args:
      about: what `stored` returns.
      task: another task than the one there.
      options: all of them, as an instance; or keys over those there.
      overrides: `options.key=value`, over both.
      where: where `about` is from, for messages.

    Raises:
      UserError: an unknown key or a wrong value; or those there do not fit
        the task.
    """
    name = task or about["task"]
    if dataclasses.is_dataclass(options):
        if not overrides:
            return options
        before, options = options, None
    else:
        try:
            before = registry.stored_options(
                name, about["options"], about["task"]
            )
        except UserError as error:
            raise UserError(
                f"{where}: its options do not fit the task {name} ({error}); "
                "was it made by another version?"
            ) from error
        if not overrides and not options:
            return before
    found: Any = configs.resolve(
        settings_class(name), {"options": before}, overrides, options=options
    )
    return found.options
