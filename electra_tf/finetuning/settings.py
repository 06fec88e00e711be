"""Defines the settings of fine-tuning, and derives the loop's settings.

Importing this does not import TensorFlow. Defaults are those of the paper
(Clark et al. 2020, appendix B); where they depend on the encoder's size or the
task, a key is null until both are known.
"""

import dataclasses
import json
import math
import typing
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import yaml

from electra_tf import config as configs
from electra_tf import files
from electra_tf.config import Setting, Settings
from electra_tf.errors import UserError
from electra_tf.models.config import SIZES, ModelConfig
from electra_tf.tasks import registry
from electra_tf.training.settings import (
    MAX_SEED,
    AdamConfig,
    BasicComputeConfig,
    StepConfig,
    TrainConfig,
)

# By the encoder's width: learning rate, layer-wise decay.
_BY_WIDTH = ((256, 3e-4, 0.8), (768, 1e-4, 0.8), (math.inf, 5e-5, 0.9))
# Default number of checkpoints of a trial, for resuming.
_CHECKPOINTS = 10
# Settings that do not change a trial's result: not in config.json.
FREE = ("num_trials", "eval_batch_size", "keep_checkpoints")
# Two ways to set the length; the last one set overrides the other.
_LENGTHS = ("num_train_steps", "num_train_epochs")


@dataclasses.dataclass(frozen=True)
class FinetuneTrainConfig(BasicComputeConfig, StepConfig, AdamConfig):
    """How a task is trained."""

    num_trials: Annotated[
        int,
        Setting(
            "Trials from one start, each with a seed of its own: seed, seed "
            "+ 1 and so on.",
            at_least=1,
        ),
    ] = 1
    folds: Annotated[
        int | None,
        Setting(
            "Cross-validation: divide the training and validation examples "
            "into this many folds, and train once for each, with that fold "
            "held out; null for no cross-validation.",
            at_least=2,
        ),
    ] = None
    num_train_epochs: Annotated[
        float | None,
        Setting(
            "Passes over the training data; null takes the task's own number "
            "(3; 10 for RTE and STS-B, 2 for SQuAD).",
            above=0,
        ),
    ] = None
    num_train_steps: Annotated[
        int | None,
        Setting(
            "Updates of the weights, in place of epochs; null counts epochs.",
            at_least=1,
        ),
    ] = None
    max_train_examples: Annotated[
        int | None,
        Setting(
            "Train on only this many examples, sampled at random; null takes "
            "all.",
            at_least=1,
        ),
    ] = None
    batch_size: Annotated[
        int,
        Setting("Examples per update, over all replicas.", at_least=1),
    ] = 32
    bucket_by_length: Annotated[
        bool,
        Setting(
            "Put rows of similar length into a batch: faster, and only the "
            "order of the rows changes."
        ),
    ] = True
    learning_rate: Annotated[
        float | None,
        Setting(
            "Peak learning rate; null takes 3e-4 up to 256 wide, 1e-4 up to "
            "768, 5e-5 above.",
            above=0,
        ),
    ] = None
    layerwise_lr_decay: Annotated[
        float | None,
        Setting(
            "Factor between the learning rates of neighbouring layers, 1 for "
            "the same everywhere; null takes 0.8, above 768 wide 0.9.",
            above=0,
        ),
    ] = None
    warmup_proportion: Annotated[
        float,
        Setting(
            "Share of the steps over which the learning rate rises from 0.",
            at_least=0,
            at_most=1,
        ),
    ] = 0.1
    weight_decay_rate: Annotated[
        float,
        Setting(
            "Decoupled weight decay: each step subtracts learning rate * this "
            "* weight.",
            at_least=0,
        ),
    ] = 0.0
    freeze_encoder: Annotated[
        bool,
        Setting(
            "Train the head alone: a probe of what the encoder has learned. It "
            "needs a learning rate about ten times as high."
        ),
    ] = False
    eval_every: Annotated[
        float,
        Setting(
            "Epochs between evaluations; 0 evaluates only at the end.",
            at_least=0,
        ),
    ] = 1.0
    min_evaluations: Annotated[
        int,
        Setting(
            "Minimum number of evaluations in a run; a short run has several "
            "in each epoch. 1 leaves it to eval_every.",
            at_least=1,
        ),
    ] = 3
    eval_every_steps: Annotated[
        int | None,
        Setting(
            "Steps between evaluations, in place of eval_every; null counts "
            "epochs.",
            at_least=0,
        ),
    ] = None
    eval_batch_size: Annotated[
        int,
        Setting(
            "Rows at once when predicting; results do not depend on it.",
            at_least=1,
        ),
    ] = 64
    early_stopping_patience: Annotated[
        int | None,
        Setting(
            "Stop after this many evaluations without an improvement; null "
            "never stops early.",
            at_least=1,
        ),
    ] = None
    select_best: Annotated[
        bool,
        Setting("Keep the weights of the best evaluation, not the last ones."),
    ] = True
    average_checkpoints: Annotated[
        int,
        Setting(
            "Keep the mean of the weights of this many last checkpoints "
            "(Vaswani et al. 2017, section 6.1), unless select_best finds the "
            "best one better; 1 averages none.",
            at_least=1,
        ),
    ] = 1
    checkpoint_every_steps: Annotated[
        int | None,
        Setting(
            "Steps between checkpoints to resume from; null writes about 10 in "
            "all, 0 only one at the end.",
            at_least=0,
        ),
    ] = None
    keep_checkpoints: Annotated[
        int,
        Setting(
            "Checkpoints to keep when a trial has ended; its model is always "
            "kept.",
            at_least=0,
        ),
    ] = 0
    log_every_steps: Annotated[
        int | None,
        Setting(
            "Steps between records of the loss; null makes about 50 in all.",
            at_least=1,
        ),
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.folds is not None and self.num_trials > 1:
            raise UserError("give folds or num_trials: a fold is a trial")
        if self.seed + self.num_trials - 1 > MAX_SEED:
            raise UserError(
                f"seed: {self.seed} leaves no seeds for num_trials "
                f"{self.num_trials}; expected at most "
                f"{MAX_SEED - self.num_trials + 1}"
            )
        if None not in (self.num_train_epochs, self.num_train_steps):
            raise UserError("give num_train_epochs or num_train_steps")


def fit(
    config: FinetuneTrainConfig,
    hidden_size: int,
    units: int,
    epochs: float,
) -> tuple[TrainConfig, float]:
    """Makes the settings of the loop, once model and data are known.

    Args:
      config: the given settings.
      hidden_size: the encoder's width.
      units: number of rows, or groups of rows, of the training data.
      epochs: the task's number of epochs, unless `config` has one.

    Returns:
      The loop's settings, and the layer-wise decay.
    """
    _, rate, decay = next(s for s in _BY_WIDTH if hidden_size <= s[0])
    decay = config.layerwise_lr_decay or decay
    per_epoch = units / config.batch_size
    steps = config.num_train_steps or max(
        1, round((config.num_train_epochs or epochs) * per_epoch)
    )
    evaluate = config.eval_every_steps
    if evaluate is None:
        evaluate = 0
        if config.eval_every:
            # Evenly spaced, so that the last one is not one step before the
            # end.
            times = max(1, round(steps / per_epoch / config.eval_every))
            # Further ones within each epoch, as one is at its end anyway.
            times *= -(-config.min_evaluations // times)
            evaluate = -(-steps // min(times, steps))
    shared = {
        field.name: getattr(config, field.name)
        for kind in (AdamConfig, StepConfig)
        for field in dataclasses.fields(kind)
    }
    return TrainConfig(
        **shared,
        learning_rate=config.learning_rate or rate,
        num_warmup_steps=round(config.warmup_proportion * steps),
        layerwise_lr_decay=decay,
        num_train_steps=steps,
        batch_size=config.batch_size,
        eval_every_steps=evaluate,
        checkpoint_every_steps=_or(
            config.checkpoint_every_steps, -(-steps // _CHECKPOINTS)
        ),
        keep_checkpoints=max(
            config.average_checkpoints, config.keep_checkpoints
        ),
        log_every_steps=_or(config.log_every_steps, max(1, steps // 50)),
    ), decay


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def _model_settings() -> type:
    """Returns `ModelConfig` with null as default of every key, and `size`."""
    sizes: Any = Literal[tuple(SIZES)]
    size: Any = Annotated[
        sizes | None,
        Setting(
            "Size of a new model; null is small. Other keys of this section "
            "override it."
        ),
    ]
    hints = typing.get_type_hints(ModelConfig, include_extras=True)
    kinds = [("size", size)] + [
        (field.name, hints[field.name] | None)
        for field in dataclasses.fields(ModelConfig)
    ]
    return dataclasses.make_dataclass(
        "ModelSettings",
        [(n, kind, dataclasses.field(default=None)) for n, kind in kinds],
        bases=(Settings,),
        frozen=True,
    )


ModelSettings: Any = _model_settings()


@dataclasses.dataclass(frozen=True)
class FinetuneSettings(Settings):
    """All settings of a file in configs/finetune/.

    Attributes:
      task: its name; see `tasks.registry`.
      options: an instance of the task's `Options`; None means their defaults.
      train: how it is trained.
      model: `ModelSettings`: changes to the model's dropout, or without a model
        the shape of a new one.
    """

    task: Annotated[str, Setting("The task's name, such as glue/rte.")]
    options: (
        Annotated[
            Any,
            Setting(
                "Options of the task; --help=settings --task=NAME lists them."
            ),
        ]
        | None
    ) = None
    train: FinetuneTrainConfig = dataclasses.field(
        default_factory=FinetuneTrainConfig
    )
    model: Annotated[
        Any, Setting("Keys of the model's shape and dropout, and its size.")
    ] = dataclasses.field(default_factory=ModelSettings)


def settings_class(task: str | None) -> type[FinetuneSettings]:
    """Returns `FinetuneSettings` with the options of this task.

    Args:
      task: its name, which becomes the default; None accepts any options.

    Raises:
      UserError: no such task.
    """
    kinds = {"train": FinetuneTrainConfig, "model": ModelSettings}
    if task is not None:
        kinds = {"options": registry.options_class(task)} | kinds
    fields: list[Any] = [
        (name, kind, dataclasses.field(default_factory=kind))
        for name, kind in kinds.items()
    ]
    if task is not None:
        about = FinetuneSettings.__annotations__["task"]
        fields.append(("task", about, dataclasses.field(default=task)))
    return dataclasses.make_dataclass(
        "FinetuneSettings", fields, bases=(FinetuneSettings,), frozen=True
    )


def run_class(task: str) -> type:
    """Returns the class of the settings in a run's config.json.

    It compares runs of older versions under current names; see
    `training.settings.check_run`.

    Args:
      task: the task's name.
    """
    hints = typing.get_type_hints(FinetuneTrainConfig, include_extras=True)
    train = dataclasses.make_dataclass(
        "KeptTrainConfig",
        [
            (field.name, hints[field.name], field.default)
            for field in dataclasses.fields(FinetuneTrainConfig)
            if field.name not in FREE
        ],
    )
    return dataclasses.make_dataclass(
        "FinetuneRun",
        [
            ("options", registry.options_class(task)),
            ("train", train),
            ("model", ModelConfig),
        ],
    )


def task_of(
    config: configs.Config, overrides: configs.Overrides, task: str | None
) -> str | None:
    """Returns the task's name, wherever it is given, or None.

    Other errors in the settings are not reported here.

    Raises:
      UserError: the name is not a text.
    """
    given = overrides
    if not isinstance(given, Mapping):
        texts = [given] if isinstance(given, str) else given
        given = dict(text.partition("=")[::2] for text in texts)
    if task or "task" in given:
        return task or str(given["task"]).strip("\"' ")
    where = f"{config}: " if isinstance(config, str) else ""
    if isinstance(config, str):
        try:
            config = yaml.safe_load(files.read_text(config))
        except yaml.YAMLError:
            return None
    if isinstance(config, Mapping):
        found = config.get("task")
    else:
        found = getattr(config, "task", None)
    if found is not None and not isinstance(found, str):
        raise UserError(
            f"{where}task: {found!r:.40}; expected the name of a task, such as "
            "glue/rte; put a name that YAML reads as another value in quotes"
        )
    return found


def load(
    config: configs.Config = None,
    overrides: configs.Overrides = (),
    *,
    task: str | None = None,
    num_trials: int | None = None,
    folds: int | None = None,
    options: Mapping[str, Any] | Settings | None = None,
    train: Mapping[str, Any] | Settings | None = None,
) -> FinetuneSettings:
    """Makes the settings from any form.

    Args:
      config: a YAML file's path, nested dicts, a settings object, or None for
        the defaults.
      overrides: `section.key=value` texts, or dotted keys with values.
      task: the task, which overrides all others.
      num_trials: the number of trials, which overrides all others.
      folds: the number of folds, which overrides all others.
      options: keys of the task's options, which override `config`.
      train: keys of the section `train`, which override `config`.

    Raises:
      UserError: there is no task; or see `config.resolve`.
    """
    name = task_of(config, overrides, task)
    if name is None:
        configs.resolve(settings_class(None), config, {"task": "unknown"})
        raise UserError(
            "--task: name one, as --task=glue/rte, or a settings file that "
            "does (configs/finetune/)"
        )
    registry.check_member(name)
    # A length in steps overrides the file's in epochs, and vice versa.
    given = [key.removeprefix("train.") for key in _keys(overrides)]
    before = {f"train.{key}": None for key in _other_length(given)}
    sections: dict[str, Any] = {
        name: configs.to_dict(section)
        if dataclasses.is_dataclass(section)
        else section
        for name, section in (("options", options), ("train", train))
    }
    if sections["train"]:
        void = dict.fromkeys(_other_length(sections["train"]))
        sections["train"] = void | sections["train"]
    flags: dict[str, Any] = {"task": name}
    if num_trials is not None:
        flags["train.num_trials"] = num_trials
    if folds is not None:
        flags["train.folds"] = folds
    if isinstance(overrides, Mapping):
        overrides = before | dict(overrides) | flags
    else:
        texts = [overrides] if isinstance(overrides, str) else overrides
        overrides = [*_texts(before), *texts, *_texts(flags)]
    return configs.resolve(settings_class(name), config, overrides, **sections)


def _other_length(given: Iterable[str]) -> list[str]:
    """Returns the key of the length that is overridden by the other one."""
    void = [name for name in _LENGTHS if name not in given]
    return void if len(void) == 1 else []


def _keys(overrides: configs.Overrides) -> list[str]:
    if isinstance(overrides, str):
        overrides = [overrides]
    return [text.partition("=")[0].strip() for text in overrides]


def _texts(values: Mapping[str, Any]) -> list[str]:
    return [f"{key}={json.dumps(value)}" for key, value in values.items()]
