#!/usr/bin/env bash
# Keras on TensorFlow: with `mixed_float16` on several GPUs, only an overflow on
# the first one is noticed; one on another makes the weights infinite for good.
#
# Expected. `LossScaleOptimizer`, which `compile` puts around every optimizer
# under `mixed_float16`, skips a step whose gradients are not finite, and halves
# the scale of the loss. Overflows are its everyday business: it doubles the scale
# until one comes. Training on n replicas skips what training on one skips.
#
# What happens. Under a strategy each replica looks at its own gradients, before
# they are added up, and what the first one found decides for all. If the others
# have the overflow, the step is taken: infinity is added to the weights, on every
# replica, the scale stays as it is, and nothing is raised or printed. All later
# losses are NaN. Clipping by value even hides it: an infinite gradient becomes
# the limit.
#
# Who meets it. Whoever trains in float16 with `MirroredStrategy`: of n replicas
# n - 1 are not watched, so that the first real overflow ends the run with a
# probability of some (n - 1) / n.
#
# What to do. Train in `mixed_bfloat16`, which needs no scale; or, in a
# `train_step` of one's own, `all_reduce` whether the gradients are finite, and
# make them NaN on all replicas if they are not on one.
#
# Versions: Keras 3.15.1, TensorFlow 2.21.0, Python 3.11, replicas on logical
# devices of a CPU. Takes a few minutes, some 2 GB.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    keras==3.15.1 tensorflow==2.21.0

cd "$folder"
cat > overflow.py <<'PYTHON'
import sys

import keras
import numpy as np
import tensorflow as tf

replicas, where = int(sys.argv[1]), sys.argv[2]
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * replicas,
)
keras.mixed_precision.set_global_policy("mixed_float16")
rows = np.ones((4, 1), "float32")
# Its own product fits float16, its scaled gradient does not.
rows[0 if where == "first" else -1] = 60_000.0
devices = [f"CPU:{number}" for number in range(replicas)]
with tf.distribute.MirroredStrategy(devices).scope():
    dense = keras.layers.Dense(1, kernel_initializer="ones", use_bias=False)
    model = keras.Sequential(
        [keras.Input((1,)), dense,
         keras.layers.Activation("linear", dtype="float32")]
    )
    model.compile("sgd", "mse")
model.fit(rows, np.zeros((4, 1)), batch_size=4, verbose=0, shuffle=False)
weight = float(dense.kernel.numpy()[0, 0])
optimizer = model.optimizer
ratio = float(optimizer.dynamic_scale.numpy()) / optimizer.initial_scale
print(f"{replicas} replica(s), overflow in the {where} row: "
      f"weight 1 -> {weight:g}, scale times {ratio:g}")
skipped = (weight, ratio) == (1.0, 0.5)
ruined = not np.isfinite(weight) and ratio == 1.0
unwatched = replicas > 1 and where == "last"
if not (ruined if unwatched else skipped):
    sys.exit("changed: another outcome")
PYTHON
export TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=-1 KERAS_BACKEND=tensorflow
for replicas in 1 2; do
    for where in first last; do
        "$folder/venv/bin/python" overflow.py "$replicas" "$where" 2> log ||
            { cat log; exit 1; }
    done
done
echo "seen: an overflow on the second replica goes into the weights"
