"""A very small pre-trainer and batches for it, for several tests."""

import numpy as np
import tensorflow as tf

from electra_tf.models.config import ModelConfig
from electra_tf.pretraining.masking import MaskingConfig, SpecialIds
from electra_tf.pretraining.objectives import ObjectiveConfig
from electra_tf.pretraining.pretrainer import ElectraPretrainer, GeneratorConfig
from electra_tf.training.optimizer import OptimizerConfig, make_optimizer

VOCAB, LENGTH, BATCH = 150, 24, 8


def model(seed=5, dropout=0.1):
    """One layer of width 32; its initial weights depend on `seed` alone."""
    import keras

    keras.utils.set_random_seed(seed)
    pretrainer = ElectraPretrainer(
        ModelConfig(
            vocab_size=VOCAB, embedding_size=16, hidden_size=32, num_layers=1,
            num_heads=2, intermediate_size=64, max_positions=LENGTH,
            hidden_dropout=dropout, attention_dropout=dropout,
        ),
        GeneratorConfig(0.5),
        MaskingConfig(),
        ObjectiveConfig(),
        SpecialIds(2, 3, 4),
        seed=seed,
    )  # fmt: skip
    pretrainer.compile(
        make_optimizer(
            OptimizerConfig(learning_rate=3e-3, num_warmup_steps=5), 200
        )
    )
    return pretrainer


def dataset(batches=20, batch=BATCH, seed=0):
    """Finite dataset of `batches` global batches, with example ids."""
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
