"""Defines the settings of pre-training, without importing TensorFlow.

`PretrainSettings` has the keys of a file in configs/pretrain/. A run keeps its
settings in its config.json, and so does its model directory.
"""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any

from electra_tf import config as configs
from electra_tf import files
from electra_tf.config import Setting, Settings
from electra_tf.errors import UserError
from electra_tf.models.config import (
    GENERATOR_FRACTIONS,
    SIZES,
    GeneratorConfig,
    ModelConfig,
)
from electra_tf.pretraining.settings import MaskingConfig, ObjectiveConfig
from electra_tf.training.settings import (
    MAX_SEED,
    ComputeConfig,
    TrainConfig,
    recorded_settings,
)

_CONFIG = "config.json"


@dataclasses.dataclass(frozen=True)
class DataConfig(Settings):
    """How the examples are read."""

    shuffle: Annotated[
        bool, Setting("Shuffle files and examples, differently in each epoch.")
    ] = True
    pack_examples: Annotated[
        bool,
        Setting(
            "Put several short examples into one row: the same losses in less "
            "time. train.batch_size still counts examples."
        ),
    ] = False


@dataclasses.dataclass(frozen=True)
class PretrainTrainConfig(TrainConfig, ComputeConfig):
    """How long and how to train, and how the model computes."""

    # Keys that earlier versions took, and passed over.
    without_effect = ("layerwise_lr_decay",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layerwise_lr_decay is not None:
            raise UserError(
                "train.layerwise_lr_decay: is for fine-tuning; pre-training "
                "has one learning rate for all layers: expected null, got "
                f"{self.layerwise_lr_decay:g}"
            )


@dataclasses.dataclass(frozen=True)
class PretrainSettings(Settings):
    """All settings of a pre-training run."""

    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    generator: GeneratorConfig = dataclasses.field(
        default_factory=GeneratorConfig
    )
    masking: MaskingConfig = dataclasses.field(default_factory=MaskingConfig)
    objective: ObjectiveConfig = dataclasses.field(
        default_factory=ObjectiveConfig
    )
    train: PretrainTrainConfig = dataclasses.field(
        default_factory=PretrainTrainConfig
    )
    data: DataConfig = dataclasses.field(default_factory=DataConfig)

    @classmethod
    def of_size(cls, size: str) -> "PretrainSettings":
        """Returns the settings of configs/pretrain/<size>.yaml.

        Args:
          size: "tiny", "mini", "small", "base" or "large".

        Raises:
          UserError: no such size.
        """
        if size not in SIZES:
            raise UserError(
                f"size '{size}': expected one of {', '.join(SIZES)}"
            )
        sections: dict[str, dict[str, Any]] = {
            "model": dict(SIZES[size]),
            "generator": {"hidden_fraction": GENERATOR_FRACTIONS[size]},
        }
        for section, values in _OF_SIZES[size].items():
            sections[section] = sections.get(section, {}) | values
        return configs.from_dict(cls, sections)

    def with_vocab_size(
        self, size: int, rows: int | None = None
    ) -> "PretrainSettings":
        """Returns the settings for a vocabulary of `size` tokens.

        Args:
          size: the vocabulary's tokens.
          rows: rows of a checkpoint's token table, which may be more; None
            makes as many as tokens.

        Raises:
          UserError: `model.vocab_size` has another value.
        """
        if rows is not None:
            if rows < size:
                raise UserError(
                    f"the token table has {rows} rows, but the vocabulary "
                    f"{size} tokens; take both from the same model"
                )
            size = rows
        elif self.model.vocab_size not in (ModelConfig.vocab_size, size):
            raise UserError(
                f"model.vocab_size is {self.model.vocab_size}, the vocabulary "
                f"has {size} tokens; set it to that, or give the vocabulary "
                "that these settings were made with"
            )
        model = dataclasses.replace(self.model, vocab_size=size)
        return dataclasses.replace(self, model=model)


# The values in configs/pretrain/ for each size, except shapes. small, base,
# large: Table 6 of the paper. tiny and mini train for minutes on CPUs.
_SHORT = {"hidden_dropout": 0.0, "attention_dropout": 0.0,
          "initializer_range": 0.05, "local_start": True}  # fmt: skip
_OF_SIZES: dict[str, dict[str, dict[str, Any]]] = {
    "tiny": {
        "model": _SHORT,
        "generator": {"layers_fraction": 0.5},
        "objective": {"disc_weight": 20.0, "temperature": 1.75},
        "train": {
            "learning_rate": 1e-3, "num_warmup_steps": 100,
            "bias_correction": True, "num_train_steps": 2000,
            "batch_size": 16, "eval_every_steps": 500,
            "checkpoint_every_steps": 500, "log_every_steps": 50,
        },
    },
    "mini": {
        "model": {**_SHORT, "match_heads": 2},
        "generator": {"layers_fraction": 0.25},
        "objective": {"disc_weight": 20.0},
        "train": {
            "learning_rate": 1e-3, "num_warmup_steps": 300,
            "bias_correction": True, "num_train_steps": 22_000,
            "batch_size": 16, "eval_every_steps": 1000, "num_eval_steps": 40,
            "checkpoint_every_steps": 500,
        },
    },
    "small": {},
    "base": {
        "train": {
            "learning_rate": 2e-4, "num_train_steps": 766_000,
            "batch_size": 256,
        },
    },
    "large": {
        "masking": {"mask_prob": 0.25},
        "train": {
            "learning_rate": 2e-4, "num_train_steps": 400_000,
            "batch_size": 2048,
        },
    },
}  # fmt: skip


def recorded(content: Mapping[str, Any], where: str) -> PretrainSettings:
    """Parses the settings that a run has saved.

    Args:
      content: content of a run's config.json, or of "pretraining" in that of a
        model directory: settings, and what identifies data and start.
      where: the file, for messages.

    Raises:
      UserError: the content has no such settings.
    """
    known = {field.name for field in dataclasses.fields(PretrainSettings)}
    values = {name: content[name] for name in known & content.keys()}
    # Runs from before this setting existed.
    values["train"] = {"precision": "float32", **values.get("train", {})}
    for name in PretrainTrainConfig.without_effect:
        values["train"].pop(name, None)
    if isinstance(values["train"].get("seed"), int):
        values["train"]["seed"] &= MAX_SEED  # any integer was taken once
    # What identifies the training data is not a setting.
    keys = {field.name for field in dataclasses.fields(DataConfig)}
    data = values.get("data", {})
    values["data"] = {name: data[name] for name in keys & data.keys()}
    return configs.from_dict(PretrainSettings, values, where)


def read_record(path: str) -> tuple[dict[str, Any], str]:
    """Reads the settings saved by a run, or in its model directory.

    Args:
      path: the directory; a run's own record is preferred to its model's.

    Returns:
      Content for `recorded`, with "vocab_fingerprint" in it; and the file.

    Raises:
      UserError: the directory has neither, or was not pre-trained by a run.
    """
    if not files.is_directory(path):
        raise UserError(f"{path}: no such model directory")
    found = [
        file
        for folder in (path, files.join(path, "model"))
        if files.exists(file := files.join(folder, _CONFIG))
    ]
    if not found:
        raise UserError(
            f"{path}: no {_CONFIG} there; expected a run of `electra-tf "
            "pretrain`, or its model directory"
        )
    content = recorded_settings(found[0])
    if "format" in content:  # of a model directory
        content = content.get("pretraining") or {}
    if "vocab_fingerprint" not in content:
        raise UserError(
            f"{found[0]}: has no settings of pre-training; expected a run of "
            "`electra-tf pretrain`, or its model directory"
        )
    return content, found[0]
