"""Checks arguments of `compile`, `fit` and `evaluate` of the task models."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.finetuning.settings import FinetuneTrainConfig
from electra_tf.keras_api.tasks import inputs

# Settings of ELECTRA's optimizer, and others that `fit` uses.
_OF_OPTIMIZER = (
    "learning_rate", "layerwise_lr_decay", "warmup_proportion",
    "weight_decay_rate", "lr_decay_power", "beta_1", "beta_2", "epsilon",
    "max_grad_norm", "bias_correction",
)  # fmt: skip
_OF_FIT = (
    "batch_size", "gradient_accumulation", "recompute", "precision",
    "freeze_encoder",
)  # fmt: skip
# What takes the place of the others in Keras.
_INSTEAD = {
    "seed": "give seed to from_pretrained",
    "jit_compile": "give jit_compile to compile",
    "steps_per_loop": "give steps_per_execution to compile",
    "num_train_epochs": "give epochs to fit",
    "num_train_steps": "give epochs and steps_per_epoch to fit",
    "max_train_examples": "give fit fewer examples",
    "bucket_by_length": "give shuffle to fit",
    "eval_every": "give validation_freq to fit",
    "eval_every_steps": "give validation_freq to fit",
    "min_evaluations": "give validation_freq to fit",
    "eval_batch_size": "give validation_batch_size to fit",
    "early_stopping_patience": "take keras.callbacks.EarlyStopping",
    "select_best": "take keras.callbacks.ModelCheckpoint",
    "checkpoint_every_steps": "take keras.callbacks.ModelCheckpoint",
    "keep_checkpoints": "take keras.callbacks.ModelCheckpoint",
    "log_every_steps": "take keras.callbacks.TensorBoard",
}
# The same of options of tasks.
_INSTEAD_OF_OPTIONS = {
    "validation_fraction": "give validation_split to fit",
    "split_seed": "give validation_data to fit",
    "metric": "take keras.callbacks.ModelCheckpoint",
    "negatives_file": "give their pairs to fit",
}
_OWN = (
    "is a setting of ELECTRA's optimizer; leave optimizer out, or set it in "
    "your optimizer"
)


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Held-out examples that are already read."""

    examples: Sequence[Any]
    weights: Sequence[float] | None


def check_train(settings: FinetuneTrainConfig, own_optimizer: bool) -> None:
    """Refuses settings of `finetune` that `fit` does not use.

    Args:
      settings: the section `train`; only values other than the defaults count.
      own_optimizer: whether the optimizer is the user's, not ELECTRA's.

    Raises:
      UserError: a setting would be ignored.
    """
    for name in _changed(settings):
        if own_optimizer and name in _OF_OPTIMIZER:
            raise UserError(f"train: {name} {_OWN}")
        if name not in (*_OF_OPTIMIZER, *_OF_FIT):
            instead = _INSTEAD.get(name, "take electra-tf finetune")
            raise UserError(
                f"train: {name} is not used by fit; leave it out, and {instead}"
            )


def check_options(options: Mapping[str, Any]) -> None:
    """Refuses options of tasks that only `finetune` uses, in training.

    Args:
      options: those that were given.

    Raises:
      UserError: an option would be ignored.
    """
    for name, instead in _INSTEAD_OF_OPTIONS.items():
        if options.get(name):
            raise UserError(
                f"options: {name} is not used by fit; leave it out, and "
                f"{instead}"
            )


def usable(
    settings: FinetuneTrainConfig, own_optimizer: bool
) -> FinetuneTrainConfig:
    """Returns the settings without those that `check_train` refuses."""
    used = _OF_FIT if own_optimizer else (*_OF_OPTIMIZER, *_OF_FIT)
    kept = {name: getattr(settings, name) for name in used}
    return FinetuneTrainConfig(**kept)


def check_optimizer(optimizer: Any, given: Sequence[str]) -> None:
    """Refuses settings of ELECTRA's optimizer for another one.

    Args:
      optimizer: the user's; None is ELECTRA's.
      given: names of the settings.

    Raises:
      UserError: both are given.
    """
    if optimizer is not None and given:
        raise UserError(f"{given[0]}: {_OWN}")


def _changed(settings: FinetuneTrainConfig) -> list[str]:
    return [
        field.name
        for field in dataclasses.fields(settings)
        if getattr(settings, field.name) != field.default
    ]


def check_callbacks(callbacks: Any) -> None:
    """Refuses callbacks that set the learning rate, which is planned.

    Args:
      callbacks: the argument of `fit`.

    Raises:
      UserError: there is such a callback.
    """
    given = getattr(callbacks, "callbacks", callbacks)
    for one in tf.nest.flatten(given):
        if isinstance(
            one,
            keras.callbacks.ReduceLROnPlateau
            | keras.callbacks.LearningRateScheduler,
        ):
            raise UserError(
                f"callbacks: {type(one).__name__} sets the learning rate, "
                "which ELECTRA's optimizer plans over the whole run; leave it "
                'out, or compile with an optimizer of Keras, as "adam"'
            )


def check_held_out(data: Any) -> None:
    """Refuses held-out data that has only texts, or a single text.

    Args:
      data: the argument `validation_data` of `fit`.

    Raises:
      UserError: answers are missing.
    """
    if data is None or isinstance(data, (*inputs.STREAMS, HeldOut)):
        return
    if (
        not isinstance(data, tuple | list)
        or not 0 < len(data) < 4
        or isinstance(data[0], str | bytes)
    ):
        raise UserError(
            "validation_data: expected (x, y), (x, y, sample_weight) or a "
            f"dataset, got {data!r:.60}"
        )


def refuse(what: str, **given: Any) -> None:
    """Refuses arguments that something given holds itself.

    Args:
      what: that, for the message.
      **given: the arguments, None where they are not given.

    Raises:
      UserError: one is given.
    """
    for name, value in given.items():
        if value is not None:
            raise UserError(f"{name}: {what} holds its own; leave it out")
