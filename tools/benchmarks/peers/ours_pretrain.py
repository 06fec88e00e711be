"""Runs our pre-training step: mask, generate, corrupt, discriminate, update.

Settings: size, batch_size, seq_length, vocab_size, jit_compile, recompute,
precision (of `train.precision`), cores.
Requests: {"do": "steps", "count": n}.
"""

import os
import time

import numpy as np
from serve import serve


def build(settings):
    """Returns the model as `electra-tf pretrain` makes it."""
    from electra_tf.models.config import GENERATOR_FRACTIONS, ModelConfig
    from electra_tf.pretraining.masking import MaskingConfig, SpecialIds
    from electra_tf.pretraining.pretrainer import (
        ElectraPretrainer,
        GeneratorConfig,
    )
    from electra_tf.pretraining.settings import ObjectiveConfig
    from electra_tf.training import optimizer

    size, precision = settings["size"], settings["precision"]
    with optimizer.precision_policy(precision):
        model = ElectraPretrainer(
            ModelConfig.of_size(size, vocab_size=settings["vocab_size"]),
            GeneratorConfig(hidden_fraction=GENERATOR_FRACTIONS[size]),
            MaskingConfig(),
            ObjectiveConfig(),
            SpecialIds(cls_id=101, sep_id=102, mask_id=103),
        )
    model.bfloat16_products = precision == "bfloat16_products"
    model.compile(
        optimizer.make_optimizer(optimizer.OptimizerConfig(), 1_000_000)
    )
    model.optimizer.build(model.trainable_variables)
    for network in (model.generator, model.discriminator):
        network.encoder.recompute = settings["recompute"]
    return model


def batches(settings):
    """Returns an endless dataset of batches of random full-length rows."""
    import tensorflow as tf

    rows, length = settings["batch_size"], settings["seq_length"]
    rng = np.random.default_rng(0)
    shape = (8, rows, length)
    ids = rng.integers(1000, settings["vocab_size"], shape, dtype=np.int32)
    ids[..., 0], ids[..., -1] = 101, 102
    same = {
        "input_ids": ids,
        "input_mask": np.ones_like(ids),
        "segment_ids": np.zeros_like(ids),
        "example_id": np.arange(8 * rows, dtype=np.int64).reshape(8, rows),
    }
    return tf.data.Dataset.from_tensor_slices(same).repeat().prefetch(2)


def prepare(settings):
    """Builds the model and runs two steps; returns facts and the handler."""
    # The command sets this too (cli/app.py).
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")
    import tensorflow as tf

    from electra_tf.training import steps

    model = build(settings)
    run = steps.make_train_steps(
        model,
        tf.distribute.get_strategy(),
        in_graph_loop=False,
        jit_compile=settings["jit_compile"],
    )
    iterator = iter(batches(settings))
    start = time.perf_counter()
    run(iterator, 1).numpy()
    first = time.perf_counter() - start
    run(iterator, 1).numpy()

    def handle_request(request):
        for _ in range(request["count"]):
            done = run(iterator, 1)
        if not np.all(done.numpy() == 1):
            raise RuntimeError("the loss is not finite")
        return {}

    parameters = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    return {
        "version": f"tensorflow {tf.__version__}",
        "first_step_seconds": first,
        "parameters": parameters,
    }, handle_request


if __name__ == "__main__":
    serve(prepare)
