"""What a settings file of `finetune` may say, and what it comes to.

Defaults are those of the paper (Clark et al. 2020, appendix B); where they
depend on the encoder's size or the task a key is null until both are known.
"""

import dataclasses
import math
import typing
from typing import Any, Literal

from electra_tf.errors import UserError
from electra_tf.models.config import SIZES, ModelConfig
from electra_tf.tasks.registry import options_class
from electra_tf.training.loop import TrainConfig

# By the encoder's width: learning rate, factor between layers' rates.
_BY_WIDTH = ((256, 3e-4, 0.8), (768, 1e-4, 0.8), (math.inf, 5e-5, 0.9))
# Checkpoints of a trial, for resuming: so many in all unless said otherwise.
_CHECKPOINTS = 10


@dataclasses.dataclass(frozen=True)
class FinetuneTrainConfig:
    """How a task is trained."""

    # Runs from one start, each with a seed of its own: seed, seed + 1, ...
    num_trials: int = 1
    seed: int = 42
    # Passes over the training data; null takes the task's (3; 10 for RTE and
    # STS-B, 2 for SQuAD).
    num_train_epochs: float | None = None
    # Updates, in place of epochs.
    num_train_steps: int | None = None
    # Take so many training examples alone, drawn at random.
    max_train_examples: int | None = None
    # Examples per update, over all replicas.
    batch_size: int = 32
    # Into how many parts a replica cuts its share of the batch, if memory is
    # short.
    gradient_accumulation: int = 1
    # Batches of like lengths: faster, and the same results but for the order.
    bucket_by_length: bool = True
    # Peak rate; null: 3e-4 up to 256 wide, 1e-4 up to 768, 5e-5 above.
    learning_rate: float | None = None
    # Factor between the rates of neighbouring layers; null: 0.8, above 768
    # wide 0.9; 1 for the same rate everywhere.
    layerwise_lr_decay: float | None = None
    # Share of the steps over which the rate rises from 0.
    warmup_proportion: float = 0.1
    # Power of the decay to 0; 1 is a straight line.
    lr_decay_power: float = 1.0
    weight_decay_rate: float = 0.0
    # Train the head alone: a probe of what the encoder has learned. It wants a
    # rate some ten times as high.
    freeze_encoder: bool = False
    # Gradients are scaled down to this global L2 norm; 0 turns it off.
    max_grad_norm: float = 1.0
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-6
    # Divide Adam's moments by 1 - beta^step. Off, as the original: the first
    # hundreds of updates are larger so, which its rates reckon with.
    bias_correction: bool = False
    # Epochs between evaluations; 0 evaluates at the end alone.
    eval_every: float = 1.0
    # The same in steps, in place of it.
    eval_every_steps: int | None = None
    # Rows at once when predicting; results do not depend on it.
    eval_batch_size: int = 64
    # Stop after so many evaluations without a gain; null never does.
    early_stopping_patience: int | None = None
    # Take the weights of the best evaluation; off, the last ones.
    select_best: bool = True
    # Take the mean of the weights of so many checkpoints, the last ones
    # (Vaswani et al. 2017, section 6.1), unless select_best finds the best one
    # better; 1 takes none.
    average_checkpoints: int = 1
    # Steps between checkpoints to resume from; null writes some 10 in all.
    checkpoint_every_steps: int | None = None
    # Checkpoints that stay when a trial has ended; its model is kept anyway.
    keep_checkpoints: int = 0
    # Steps between records of the loss; null makes some 50 in all.
    log_every_steps: int | None = None
    # Updates in one call of the compiled function; more for fast devices.
    steps_per_loop: int = 1
    # Compile the step with XLA: for GPUs and TPUs, slower on CPUs.
    jit_compile: bool = False
    # Compute activations again in the backward pass, where long sequences leave
    # no room to keep them.
    recompute: bool = False
    # Number format: 16 bits are for GPUs and TPUs, slower on CPUs.
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"

    def __post_init__(self) -> None:
        for name, least in (
            ("num_trials", 1),
            ("num_train_steps", 1),
            ("max_train_examples", 1),
            ("batch_size", 1),
            ("gradient_accumulation", 1),
            ("eval_batch_size", 1),
            ("average_checkpoints", 1),
            ("early_stopping_patience", 1),
            ("steps_per_loop", 1),
            ("eval_every", 0),
            ("eval_every_steps", 0),
            ("checkpoint_every_steps", 0),
            ("keep_checkpoints", 0),
            ("log_every_steps", 1),
            ("weight_decay_rate", 0),
            ("max_grad_norm", 0),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(
                    f"{name}: expected at least {least}, got {value}"
                )
        for name in ("num_train_epochs", "learning_rate", "layerwise_lr_decay"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"{name}: expected above 0, got {value}")
        if not 0 <= self.warmup_proportion <= 1:
            raise UserError(
                "warmup_proportion: expected a share in [0, 1], got "
                f"{self.warmup_proportion}"
            )
        if None not in (self.num_train_epochs, self.num_train_steps):
            raise UserError("give num_train_epochs or num_train_steps")


def fit(
    config: FinetuneTrainConfig,
    hidden_size: int,
    units: int,
    epochs: float,
) -> tuple[TrainConfig, float]:
    """The settings of the loop, once model and data are known.

    Args:
      config: as given.
      hidden_size: the encoder's width.
      units: rows, or groups of rows, of the training data.
      epochs: the task's, where `config` says nothing.

    Returns:
      The loop's settings, and the factor between the rates of layers.
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
            # Evenly, so that the last one is not a step before the end.
            times = round(steps / per_epoch / config.eval_every)
            evaluate = -(-steps // max(1, times))
    return TrainConfig(
        learning_rate=config.learning_rate or rate,
        num_warmup_steps=round(config.warmup_proportion * steps),
        lr_decay_power=config.lr_decay_power,
        weight_decay_rate=config.weight_decay_rate,
        beta_1=config.beta_1,
        beta_2=config.beta_2,
        epsilon=config.epsilon,
        max_grad_norm=config.max_grad_norm,
        bias_correction=config.bias_correction,
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
        steps_per_loop=config.steps_per_loop,
        jit_compile=config.jit_compile,
    ), decay


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


# The keys of `ModelConfig`, each null unless given, and `size`.
ModelSettings = dataclasses.make_dataclass(
    "ModelSettings",
    [("size", Literal[tuple(SIZES)] | None, dataclasses.field(default=None))]
    + [
        (field.name, kind | None, dataclasses.field(default=None))
        for field, kind in zip(
            dataclasses.fields(ModelConfig),
            typing.get_type_hints(ModelConfig).values(),
        )
    ],
    frozen=True,
)


@dataclasses.dataclass(frozen=True)
class FinetuneSettings:
    """All that a file in configs/finetune/ may say.

    Attributes:
      task: its name; see `tasks.registry`.
      options: the task's own, an instance of its `Options`.
      train: see there.
      model: overrides of the model's dropout, or where there is no model
        the shape of a new one.
    """

    task: str
    options: Any
    train: FinetuneTrainConfig
    model: Any  # ModelSettings


def settings_class(task: str) -> type:
    """`FinetuneSettings` with the options of this task, and all defaults.

    Raises:
      UserError: no such task.
    """
    kinds = {
        "task": str,
        "options": options_class(task),
        "train": FinetuneTrainConfig,
        "model": ModelSettings,
    }
    fields: list = [("task", str, dataclasses.field(default=task))]
    fields += [
        (name, kind, dataclasses.field(default_factory=kind))
        for name, kind in kinds.items()
        if name != "task"
    ]
    return dataclasses.make_dataclass(
        "FinetuneSettings", fields, bases=(FinetuneSettings,), frozen=True
    )
