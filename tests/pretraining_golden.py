"""A pre-trainer from a recorded run of the original, and its inputs."""

import json
import pathlib

import numpy as np
import tensorflow as tf

from electra_tf.hub import names
from electra_tf.models.config import GeneratorConfig, ModelConfig
from electra_tf.pretraining.masking import (
    CorruptedBatch,
    MaskedBatch,
    MaskingConfig,
    SpecialIds,
)
from electra_tf.pretraining.pretrainer import ElectraPretrainer
from electra_tf.pretraining.settings import ObjectiveConfig


class Recorded:
    """A folder of `golden/pretrain`: settings, checkpoint, recorded arrays."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.settings = json.loads((folder / "config.json").read_text())
        self.numbers = np.load(folder / "forward.npz")

    def __getitem__(self, name):
        return self.numbers[name]

    def __contains__(self, name):
        return name in self.numbers

    def model(self) -> ElectraPretrainer:
        """Returns our pre-trainer with the recorded settings and weights."""
        bert, options = self.settings["bert_config"], self.settings["kwargs"]
        electric = options.get("electric_objective", False)
        electra = options.get("electra_objective", True)
        kind = "electric" if electric else "electra" if electra else "mlm"
        generator = "separate"
        if options.get("uniform_generator"):
            generator = "uniform"
        elif not options.get("untied_generator", True):
            generator = "tied"
        elif electric or options.get("two_tower_generator"):
            generator = "two_tower"
        untied = options.get("untied_generator_embeddings", False)
        model = ElectraPretrainer(
            ModelConfig(
                vocab_size=bert["vocab_size"],
                embedding_size=self.settings["embedding_size"]
                or bert["hidden_size"],
                hidden_size=bert["hidden_size"],
                num_layers=bert["num_hidden_layers"],
                num_heads=bert["num_attention_heads"],
                intermediate_size=bert["intermediate_size"],
                max_positions=bert["max_position_embeddings"],
                type_vocab_size=bert["type_vocab_size"],
            ),
            GeneratorConfig(
                options.get("generator_hidden_size", 0.25),
                options.get("generator_layers", 1.0),
                kind=generator,
                embeddings="untied" if untied else "shared",
                wrap_around=generator == "two_tower",
            ),
            MaskingConfig(mask_prob=options.get("mask_prob", 0.15)),
            ObjectiveConfig(
                kind=kind,
                gen_weight=options.get("gen_weight", 1.0),
                disc_weight=options.get("disc_weight", 50.0),
                temperature=options.get("temperature", 1.0),
                disallow_correct=options.get("disallow_correct", False),
            ),
            SpecialIds(101, 102, 103),
        )
        reader = tf.train.load_checkpoint(str(self.folder / "model.ckpt"))
        load(model, reader.get_tensor)
        return model

    def masked(self) -> MaskedBatch:
        """Returns the recorded masking."""
        names = [n for n in MaskedBatch._fields if n != "packed"]
        return MaskedBatch(*(tf.constant(self[n]) for n in names))

    def corrupted(self) -> CorruptedBatch:
        """Returns the recorded discriminator's inputs and labels."""
        return CorruptedBatch(
            *(tf.constant(self[n]) for n in CorruptedBatch._fields)
        )


def theirs(model: ElectraPretrainer, variable) -> list[str]:
    """Returns the original's names of a variable.

    Query, key and value are three there and one here.
    """
    two_tower = model.generator_config.kind == "two_tower"
    name = variable.path.removeprefix("electra/")
    return list(names.tf1(two_tower=two_tower).theirs(name))


def load(model: ElectraPretrainer, array_of) -> None:
    """Assigns each variable from `array_of(the original's name)`."""
    for variable in model.trainable_variables:
        variable.assign(recorded_of(model, variable, array_of))


def recorded_of(model: ElectraPretrainer, variable, array_of) -> np.ndarray:
    """Returns a variable's array, made of those of the original."""
    found = theirs(model, variable)
    assert found, variable.path
    return np.concatenate([array_of(name) for name in found], axis=-1)
