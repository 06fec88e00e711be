"""Settings of `finetune`: the task's name first, then all of its keys."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from electra_tf import config
from electra_tf.errors import UserError
from electra_tf.finetuning import settings
from electra_tf.finetuning.settings import FinetuneSettings
from electra_tf.prediction import predictor
from electra_tf.tasks import registry
from electra_tf.training.workers import Workers

_STEPS, _EPOCHS = "train.num_train_steps", "train.num_train_epochs"


@dataclasses.dataclass(frozen=True)
class _Sections:
    """The file before it is known which keys the task has."""

    task: str | None = None
    options: Any | None = None
    train: Any | None = None
    model: Any | None = None


def load(
    path: str | None,
    task: str | None,
    overrides: Sequence[str],
    num_trials: int | None,
) -> FinetuneSettings:
    """Reads a settings file; flags win over it.

    Args:
      path: YAML; None starts from the defaults.
      task: in place of the file's.
      overrides: `section.key=value`.
      num_trials: in place of the file's.

    Raises:
      UserError: no task, or see `config.load`.
    """
    words = list(overrides)
    if num_trials is not None:
        words.append(f"train.num_trials={num_trials}")
    if task is not None:
        words.append(f"task={json.dumps(task)}")
    name = config.load(_Sections, path, words).task
    if name is None:
        raise UserError(
            "--task: name one, as --task=glue/rte, or a settings file that "
            "does (configs/finetune/)"
        )
    return config.load(settings.settings_class(name), path, _lengths(words))


def _lengths(overrides: list[str]) -> list[str]:
    """With a length in steps the file's in epochs is void, and vice versa."""
    given = {word.partition("=")[0].strip() for word in overrides}
    if (_STEPS in given) == (_EPOCHS in given):
        return overrides
    void = _EPOCHS if _STEPS in given else _STEPS
    return [f"{void}=null", *overrides]


def load_predictor(
    path: str,
    task: str | None,
    data: str | None,
    overrides: Sequence[str],
    batch_size: int,
    workers: Workers | None = None,
) -> predictor.Predictor:
    """A fine-tuned model, with `options.key=value` over what it was made with.

    Raises:
      UserError: see `predictor.load` and `config.load`.
    """
    options = None
    if overrides:
        about = predictor.fine_tuning_of(path)
        kind = settings.settings_class(task or about["task"])
        stored = registry.stored_options(
            task or about["task"], about["options"], about["task"]
        )
        before = {"options": config.to_dict(stored)}
        options = config.load(
            kind, None, [*_as_overrides(before), *overrides]
        ).options
    return predictor.load(
        path,
        task=task,
        options=options,
        data=data,
        batch_size=batch_size,
        workers=workers,
    )


def _as_overrides(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Nested values as the texts that `config.load` takes."""
    found = []
    for key, value in values.items():
        if isinstance(value, Mapping) and value and not prefix:
            found += _as_overrides(value, f"{key}.")
        else:
            found.append(f"{prefix}{key}={json.dumps(value)}")
    return found
