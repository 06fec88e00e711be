#!/usr/bin/env bash
# Keras on TensorFlow: an epoch over data of unknown length takes a step too many,
# without a batch: the optimizer counts it, and AdamW decays the weights for it.
#
# Expected. An epoch of three batches is three steps: `optimizer.iterations` grows
# by 3, and the weights are those after three steps, whether or not
# `cardinality()` of the data is known, compiled or eager.
#
# What happens. Where the length is unknown (a generator, `filter`, TFRecords),
# `fit` runs its compiled function until reading raises OutOfRange. That function
# reads the batch, and applies it; but adding 1 to `iterations`, and taking the
# weight decay off the weights, depend on nothing that is read, so the graph runs
# them although the batch is missing. Each epoch leaves `iterations` one too high
# and the weights decayed once more. Nothing is raised or printed, and callbacks
# see the right number of batches. Eager, or with a known length, all is well.
#
# Who meets it. Whoever trains from generators or TFRecords with AdamW, or with any
# learning rate schedule, which runs ahead by one step an epoch; with few batches
# an epoch that is much. And whoever reads `iterations` as the number of batches,
# as when a stopped run is to go on where it was.
#
# What to do. Give the data its length (`tf.data.experimental.assert_cardinality`),
# or `fit` its `steps_per_epoch`; or, in a `train_step` of one's own, apply the
# gradients under `tf.control_dependencies` of them.
#
# Versions: Keras 3.15.1, TensorFlow 2.21.0, Python 3.11, on a CPU. Takes a few
# minutes, some 2 GB.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    keras==3.15.1 tensorflow==2.21.0

cd "$folder"
cat > epochs.py <<'PYTHON'
import sys

import keras
import numpy as np
import tensorflow as tf

EPOCHS, BATCHES = 2, 3
one = np.ones((2, 1), "float32")
KNOWN = tf.data.Dataset.from_tensors((one, 0.0 * one)).repeat(BATCHES)
UNKNOWN = KNOWN.filter(lambda rows, targets: True)


class Count(keras.callbacks.Callback):
    batches = 0

    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1


def trained(data, **options):
    """Returns batches seen, steps counted, and the weight."""
    count = Count()
    dense = keras.layers.Dense(1, kernel_initializer="ones", use_bias=False)
    model = keras.Sequential([keras.Input((1,)), dense])
    optimizer = keras.optimizers.AdamW(0.1, weight_decay=0.5)
    model.compile(optimizer, "mse", **{"jit_compile": False} | options)
    model.fit(data, epochs=EPOCHS, verbose=0, callbacks=[count])
    steps = int(optimizer.iterations.numpy())
    return count.batches, steps, float(dense.kernel.numpy()[0, 0])


found = {
    "known length": trained(KNOWN),
    "unknown length, eager": trained(UNKNOWN, run_eagerly=True),
    "unknown length": trained(UNKNOWN),
}
for name, (batches, steps, weight) in found.items():
    print(f"{name}: {batches} batches, {steps} steps, weight {weight:.4f}")
right, eager, wrong = found.values()
if right[:2] != (EPOCHS * BATCHES,) * 2 or not np.allclose(right, eager):
    sys.exit("changed: data of known length, or eager steps")
if wrong[:2] != (EPOCHS * BATCHES, EPOCHS * (BATCHES + 1)):
    sys.exit("changed: the number of steps")
if not wrong[2] < right[2] - 0.01:
    sys.exit("changed: the weight")
PYTHON
export TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=-1 KERAS_BACKEND=tensorflow
"$folder/venv/bin/python" epochs.py 2> log || { cat log; exit 1; }
echo "seen: one step too many in each epoch"
