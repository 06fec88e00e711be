#!/usr/bin/env bash
# Keras on TensorFlow: each replica's gradient is clipped by itself, so that n
# GPUs raise the limit n times.
#
# Expected. `global_clipnorm=c` is documented as clipping the gradient of all
# weights "so that their global norm is no higher than this value". Training of
# the same global batch takes the same steps on one device and, by
# `MirroredStrategy`, on several.
#
# What happens. A replica has the gradient of its share of the batch, divided by
# the number of replicas. Keras clips that, and then adds up the replicas: the
# sum can be n times as long as the limit, and a gradient between c and n times c
# is not clipped at all. `clipnorm` and `clipvalue` do the same. Without clipping
# one step is the same on one, two and four replicas, so nothing else differs,
# and nothing is raised or printed. TensorFlow 2.2 refused clipping under a
# strategy for this reason (its issue 33929), and later Keras 2 clipped the sum.
#
# Who meets it. Whoever tunes a limit on one device, as transformers need one,
# and then trains on several: with eight GPUs and the same global batch a
# `global_clipnorm` of 1 is one of 8, which in practice is none.
#
# What to do. Divide the limit by `strategy.num_replicas_in_sync`, which is right
# where the replicas' gradients agree; or clip in a `train_step` of one's own,
# after an `all_reduce`.
#
# Versions: Keras 3.15.1, TensorFlow 2.21.0, Python 3.11 to 3.13, replicas on
# logical devices of a CPU. Takes a few minutes, some 2 GB.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    keras==3.15.1 tensorflow==2.21.0

cd "$folder"
cat > steps.py <<'PYTHON'
import sys

import keras
import numpy as np
import tensorflow as tf

replicas, limit = int(sys.argv[1]), 0.1
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * replicas,
)
devices = [f"CPU:{number}" for number in range(replicas)]
rows, targets = np.ones((8, 1), "float32"), np.full((8, 1), 10.0, "float32")


def step(rate=1.0, **clipping):
    """Returns how far one step on eight rows moves the only weight."""
    with tf.distribute.MirroredStrategy(devices).scope():
        model = keras.Sequential(
            [keras.Input((1,)),
             keras.layers.Dense(1, kernel_initializer="zeros", use_bias=False)]
        )
        model.compile(keras.optimizers.SGD(rate, **clipping), "mse")
    model.fit(rows, targets, batch_size=8, epochs=1, verbose=0)
    return float(model.get_weights()[0][0, 0])


plain = step(0.01)
clipped = {
    name: step(**{name: limit})
    for name in ("global_clipnorm", "clipnorm", "clipvalue")
}
print(f"{replicas} replicas: unclipped step {plain:.4f}; clipped at {limit}:")
print("  " + ", ".join(f"{name} {x:.4f}" for name, x in clipped.items()))
if not np.isclose(plain, 0.2):
    sys.exit("changed: the steps without clipping")
if not np.allclose([*clipped.values()], replicas * limit, rtol=1e-4):
    sys.exit(f"changed: expected {replicas * limit}")
PYTHON
export TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=-1 KERAS_BACKEND=tensorflow
for replicas in 1 2 4; do
    "$folder/venv/bin/python" steps.py "$replicas" 2> log || { cat log; exit 1; }
done
echo "seen: the limit grows with the number of replicas"
