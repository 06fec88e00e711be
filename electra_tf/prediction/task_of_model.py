"""Reads a fine-tuned model's task: name, options and head.

Importing this does not import TensorFlow, so that options are checked first.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Annotated, Any

from electra_tf import config as configs
from electra_tf import files
from electra_tf.config import Setting, Settings
from electra_tf.errors import UserError
from electra_tf.hub.config import DirectoryConfig, window_options
from electra_tf.models.config import HeadConfig, TaskHeadConfig
from electra_tf.tasks import registry
from electra_tf.tasks.glue import sets

# Keys that do not change what was learned: dropout, the width of a search, the
# source of weights.
_UNLEARNED = ("dropout", "beam_size", "from_encoder")
_LONGEST = 512  # tokens in a row of an imported model
_UNTOLD = "the model does not record its task; name it with --task"


def stored(path: str) -> dict[str, Any] | None:
    """Returns what a model of ours stores about its fine-tuning, if local.

    Args:
      path: a model directory, or a run that contains one.

    Returns:
      `task`, `options`, `state` and so on; None where `path` is another format,
      or remote.
    """
    for folder in (path, files.join(path, "model")):
        file = files.join(folder, "config.json")
        if not (files.is_local(file) and files.exists(file)):
            continue
        try:
            content = json.loads(files.read_text(file))
        except (ValueError, RecursionError):
            continue
        found = content.get("fine_tuning") if isinstance(content, dict) else 0
        if isinstance(found, dict):
            return found
    return None


def settings_class(task: str | None) -> type:
    """Returns the settings class whose only section is `options`.

    Args:
      task: the task of the options; None accepts any keys.

    Raises:
      UserError: no such task.
    """
    about = Setting(
        "Options of the task; --model=... or --task=... lists them."
    )
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
    """Returns the options to predict with, an instance of the task's `Options`.

    Args:
      about: result of `stored`.
      task: a task other than the stored one.
      options: all options, as an instance; or changes to the stored ones.
      overrides: `options.key=value`, which override both.
      where: source of `about`, for messages.

    Raises:
      UserError: a key is unknown or a value wrong; or the stored options do not
        fit the task.
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


def row_length(config: DirectoryConfig | None) -> int | None:
    """Returns how many tokens a fine-tuned model's rows have at most.

    Args:
      config: the config of the model's directory, if it has one.

    Returns:
      `options.max_seq_length` of its task; None where the model was not
      fine-tuned, or does not say of what.
    """
    if config is None or config.task is None:
        return None
    about, model = config.fine_tuning, config.discriminator
    try:
        if about is None:
            most = model.max_positions if model else None
            about = described(config.task, most)
        options = about["options"]
        if "max_seq_length" in options:
            return int(options["max_seq_length"])
        found = registry.stored_options(about["task"], options)
    except UserError:
        return None
    return getattr(found, "max_seq_length", None)


def fits(there: HeadConfig, wanted: TaskHeadConfig) -> bool:
    """Returns whether one head's weights fit another head."""
    return _learned(there) == _learned(wanted)


def with_options(
    there: HeadConfig, wanted: HeadConfig, before: Any, now: Any
) -> HeadConfig:
    """Returns a model's head with what changed options say of its use.

    Args:
      there: the model's head.
      wanted: the head of the task with the changed options.
      before: the task's options as stored.
      now: the changed ones.
    """
    changed = {
        key: getattr(wanted, key)
        for key in _UNLEARNED
        if hasattr(there, key)
        and getattr(before, key, None) != getattr(now, key, None)
    }
    return dataclasses.replace(there, **changed)


def check(there: HeadConfig, wanted: TaskHeadConfig, what: str) -> None:
    """Refuses a head whose outputs mean something else to a task.

    Args:
      there: the model's head.
      wanted: the task's head.
      what: the sentence before the differences, in the message.

    Raises:
      UserError: the heads differ.
    """
    _compare(_learned(there), _learned(wanted), what)


def check_outputs(there: HeadConfig, wanted: TaskHeadConfig, what: str) -> None:
    """Checks a head without names like `check`: kind and number of outputs."""
    names = ("kind", "num_labels", "answerable")
    _compare(
        {name: getattr(there, name, None) for name in names},
        {name: getattr(wanted, name, None) for name in names},
        what,
    )


def _compare(there: dict[str, Any], wanted: dict[str, Any], what: str) -> None:
    changed = [
        f"{name} {_short(there[name])} there, {_short(wanted.get(name))} needed"
        for name in there
        if there[name] != wanted.get(name)
    ]
    if changed:
        raise UserError(f"{what}: {'; '.join(changed)}")


def described(
    head: HeadConfig, max_positions: int | None = None
) -> dict[str, Any]:
    """Derives task, options and state from a head that has none.

    A model of another format has only its head, which does not show whether it
    reads texts or pairs, so both are accepted.

    Args:
      head: the model's head.
      max_positions: size of its position table; longer texts are truncated.

    Raises:
      UserError: no task supports such a head.
    """
    if not isinstance(head, TaskHeadConfig):
        raise UserError(_UNTOLD)
    kind = head.kind
    if kind == "sequence" and head.num_labels == 1:
        return {
            "task": "regression",
            "options": _of_texts(head, max_positions),
            "state": {"offset": 0.0, "scale": 1.0, "pairs": "either"},
        }
    if kind == "sequence":
        return {
            "task": "classification",
            "options": _of_texts(head, max_positions),
            "state": {"labels": list(names(head)), "pairs": "either"},
        }
    if kind == "token":
        from electra_tf.tasks.tagging import schemes  # imports numpy

        labels = list(names(head))
        scheme = schemes.of_labels(labels)
        return {
            "task": "tagging",
            # As in its own framework: the best label of each word.
            "options": {"constrained": False},
            "state": {
                "scheme": scheme,
                "learned": scheme,
                "labels": labels,
                "default": "O" if "O" in labels else labels[0],
            },
        }
    if kind in ("span", "joint_span"):
        return {
            "task": "squad",
            "options": {
                "head": "joint" if kind == "joint_span" else "independent",
                "answerability": "head" if head.answerable else "first_token",
                **(window_options(max_positions) if max_positions else {}),
            },
            # Unknown otherwise: a threshold in the options means that there are
            # such questions.
            "state": {"unanswerable": True} if head.answerable else {},
        }
    raise UserError(_UNTOLD)


def _of_texts(
    head: TaskHeadConfig, max_positions: int | None
) -> dict[str, Any]:
    """Returns the options of a task of texts that has the same head."""
    longest = {}
    if max_positions is not None:
        longest["max_seq_length"] = max(3, min(_LONGEST, max_positions))
    return longest | {
        "hidden_layer": head.hidden_layer,
        "hidden_activation": head.hidden_activation,
    }


def in_general(about: Mapping[str, Any]) -> dict[str, Any]:
    """Replaces a benchmark's set by its kind of task, for other frameworks.

    Args:
      about: result of `stored`.

    Returns:
      The same mapping; for a set with numbers, with their scale.
    """
    family, _, member = str(about["task"]).partition("/")
    if family != "glue" or member not in sets.SETS:
        return dict(about)
    if sets.SETS[member].labels is not None:
        return dict(about)
    options = about["options"]
    kept = ("max_seq_length", "dropout", "hidden_layer", "hidden_activation")
    return {
        **about,
        "task": "regression",
        "options": {
            **{key: options[key] for key in kept if key in options},
            "text_pair_column": "text_pair",
            "scale": sets.SCALE,
        },
        "state": {"offset": 0.0, "scale": sets.SCALE},
    }


def names(head: TaskHeadConfig) -> tuple[str, ...]:
    """Returns the labels' names; numbers where they have none."""
    if head.labels is not None:
        return head.labels
    return tuple(f"LABEL_{i}" for i in range(head.num_labels))


def _learned(head: Any) -> dict[str, Any]:
    values = dataclasses.asdict(head)
    return {k: v for k, v in values.items() if k not in _UNLEARNED}


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
