"""Fine-tunes a classifier as `electra-tf finetune` does, on given rows.

Settings: size, rows (an .npz: row_splits, input_ids, labels), vocab_size,
batch_size, steps (an epoch of the rows), jit_compile, precision ("float32" or
"bfloat16_products"), cores.
Requests: {"do": "steps", "count": n}.
"""

import os
import time

import numpy as np
from serve import serve

# The run that steps are planned for: SST-2's training split, three epochs.
SENTENCES, EPOCHS = 67_349, 3


def build(settings):
    """Returns the model and the data, as the command makes them."""
    import tensorflow as tf

    from electra_tf.finetuning.fine_tuner import FineTuner, plan_steps
    from electra_tf.models.config import ModelConfig
    from electra_tf.models.task_networks import layer_rates, task_network
    from electra_tf.tasks.batches import training_dataset
    from electra_tf.tasks.features import Features
    from electra_tf.tasks.registry import task_class
    from electra_tf.training import optimizer

    task = task_class("glue/sst2")("glue/sst2")
    found = np.load(settings["rows"])
    ids = found["input_ids"].astype("int32")
    features = Features(
        found["row_splits"],
        {"input_ids": ids, "segment_ids": np.zeros_like(ids)},
        rows={"label_ids": found["labels"]},
    )
    config = ModelConfig.of_size(
        settings["size"], vocab_size=settings["vocab_size"]
    )
    network = task_network(config, task.head())
    network.build()
    rounded = settings["precision"] == "bfloat16_products"
    layout = plan_steps(
        config,
        features,
        settings["batch_size"],
        EPOCHS * SENTENCES // settings["batch_size"],
        tf.distribute.get_strategy(),
        settings["jit_compile"],
        bfloat16_products=rounded,
    )
    model = FineTuner(
        network,
        task,
        side_by_side=layout.side_by_side,
        kernel_mode=layout.kernel_mode,
    )
    model.bfloat16_products = rounded
    rates = optimizer.OptimizerConfig(
        learning_rate=3e-4, num_warmup_steps=1000, weight_decay_rate=0.0
    )
    model.compile(
        optimizer.make_optimizer(
            rates,
            1_000_000,
            learning_rate_multipliers=layer_rates(0.8, config.num_layers),
        )
    )
    return model, training_dataset(
        features,
        settings["batch_size"],
        seed=0,
        pad_to_multiple=layout.pad_to_multiple,
    )


def prepare(settings):
    """Builds the model and trains one epoch; returns facts and the handler."""
    # The command sets this too (cli/app.py).
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")
    import tensorflow as tf

    from electra_tf.training import steps

    model, data = build(settings)
    run = steps.make_train_steps(
        model,
        tf.distribute.get_strategy(),
        in_graph_loop=False,
        jit_compile=settings["jit_compile"],
    )
    iterator = iter(data)
    start = time.perf_counter()
    run(iterator, 1).numpy()
    first = time.perf_counter() - start
    for _ in range(settings["steps"] - 1):
        run(iterator, 1).numpy()  # compiles for each length
    epoch = time.perf_counter() - start

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
        "first_epoch_seconds": epoch,
        "parameters": parameters,
    }, handle_request


if __name__ == "__main__":
    serve(prepare)
