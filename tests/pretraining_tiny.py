"""A very small pre-trainer and batches for it, for several tests."""

import pathlib

import numpy as np
import tensorflow as tf

from electra_tf.models.config import GeneratorConfig, ModelConfig
from electra_tf.pretraining.masking import MaskingConfig, SpecialIds
from electra_tf.pretraining.pretrainer import ElectraPretrainer
from electra_tf.pretraining.settings import ObjectiveConfig
from electra_tf.training.optimizer import OptimizerConfig, make_optimizer

ROOT = pathlib.Path(__file__).resolve().parent.parent
VOCAB, LENGTH, BATCH = 150, 24, 8
SPECIAL = SpecialIds(2, 3, 4)


# Every objective and option by name: settings of (generator, objective).
VARIANTS = {
    "electra": ({}, {}),
    "electra_15": ({}, {"kind": "electra_15"}),
    "mlm": ({}, {"kind": "mlm"}),
    "electric": ({"kind": "two_tower"}, {"kind": "electric"}),
    "replaced_mlm": ({}, {"kind": "replaced_mlm", "disc_weight": 1.0}),
    "all_tokens_mlm": ({}, {"kind": "all_tokens_mlm", "disc_weight": 1.0}),
    "tied": ({"kind": "tied"}, {}),
    "untied": ({"embeddings": "untied"}, {}),
    "disentangled": ({"embeddings": "disentangled"}, {}),
    "uniform": ({"kind": "uniform"}, {}),
    "two_tower": ({"kind": "two_tower"}, {}),
    "two_tower_untied": ({"kind": "two_tower", "embeddings": "untied"}, {}),
    "disallow_correct": ({}, {"disallow_correct": True}),
    "adversarial": ({}, {"adversarial": True}),
    "two_stage": (
        {"hidden_fraction": 1.0, "embeddings": "untied"},
        {"two_stage_steps": 3},
    ),
    "fast_electra": (
        {"frozen": True, "embeddings": "untied"},
        {"temperature_start": 2.0, "temperature_decay_steps": 5},
    ),
}


def variant(name, **options):
    """Returns the tiny model with an objective or option of `VARIANTS`."""
    generator, objective = VARIANTS[name]
    if name == "two_stage":  # both networks of one shape
        options = {
            "embedding_size": 32, "num_heads": 1, "intermediate_size": 128
        } | options  # fmt: skip
    return model(
        generator=GeneratorConfig(**{"hidden_fraction": 0.5} | generator),
        objective=ObjectiveConfig(**objective),
        **options,
    )


def model(
    seed=5,
    dropout=0.1,
    generator=None,
    objective=None,
    **shape,
):
    """Returns a pre-trainer of one layer of width 32.

    Its initial weights depend on `seed` alone.
    """
    import keras

    keras.utils.set_random_seed(seed)
    sizes = {
        "vocab_size": VOCAB, "embedding_size": 16, "hidden_size": 32,
        "num_layers": 1, "num_heads": 2, "intermediate_size": 64,
        "max_positions": LENGTH,
        "hidden_dropout": dropout, "attention_dropout": dropout,
    }  # fmt: skip
    pretrainer = ElectraPretrainer(
        ModelConfig(**sizes | shape),
        generator or GeneratorConfig(0.5),
        MaskingConfig(),
        objective or ObjectiveConfig(),
        SPECIAL,
        seed=seed,
    )
    pretrainer.compile(
        make_optimizer(
            OptimizerConfig(learning_rate=3e-3, num_warmup_steps=5), 200
        )
    )
    return pretrainer


def dataset(batches=20, batch=BATCH, seed=0):
    """Returns a finite dataset of global batches, with example ids."""
    random = np.random.default_rng(seed)
    count = batches * batch
    # Skewed tokens, so that there is something to learn.
    ids = 5 + (random.exponential(20, [count, LENGTH]) % (VOCAB - 5))
    ids = ids.astype("int32")
    lengths = random.integers(8, LENGTH + 1, count)
    mask = (np.arange(LENGTH) < lengths[:, None]).astype("int32")
    ids[:, 0] = 2
    ids[np.arange(count), lengths - 1] = 3
    second = np.arange(LENGTH) >= lengths[:, None] // 2
    return tf.data.Dataset.from_tensor_slices(
        {
            "input_ids": ids * mask,
            "input_mask": mask,
            "segment_ids": second.astype("int32") * mask,
            "example_id": np.arange(count, dtype="int64"),
        }
    ).batch(batch)
