#!/usr/bin/env bash
# Keras on TensorFlow: Adam moves an embedding too far where a token repeats.
#
# Expected. The gradient of an embedding's row is the sum over all places where
# its token occurs. Adam's first step has the size of the learning rate whatever
# the size of the gradient, and after `global_clipnorm=c` no gradient is longer
# than c. The same program gives the same weights on all backends.
#
# What happens with the TensorFlow backend. The gradient of `Embedding` holds a
# row for each place. Keras squares these rows (Adam, AdamW, RMSprop, Adagrad:
# the second moment) and takes their norm (`clipnorm`, `global_clipnorm`) before
# it adds the ones that belong to the same token. Where n places pull in the same
# direction, the second moment is n times too small: the step is sqrt(n) times
# too long, and so is a clipped gradient. Nothing is raised or printed. With JAX,
# or with the same lookup as a product with one-hot rows, the step is right; so
# it was in Keras 2, which added equal rows first.
#
# Who meets it. Whoever trains an encoder on text with TensorFlow: separators,
# punctuation and articles stand in every row of a batch, so the most frequent
# tokens have the largest effective learning rate, and a table of segments has
# one of two rows at every position of a batch. Weights, losses and the best
# settings differ from those of the JAX backend.
#
# What to do. Make the gradient dense before the optimizer sees it, in a
# `train_step` of one's own or by a `tf.custom_gradient` around the table; or use
# `gradient_accumulation_steps`, which adds rows before squaring.
#
# Versions: Keras 3.15.1, TensorFlow 2.21.0, JAX 0.10.2, Python 3.11 to 3.13.
# Takes a few minutes, some 2 GB.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    keras==3.15.1 tensorflow==2.21.0 jax==0.10.2

cd "$folder"
cat > steps.py <<'PYTHON'
import sys

import keras
import numpy as np

backend, rate, clip = keras.backend.backend(), 0.1, 0.1
print("Keras", keras.__version__, "on", backend)


class OneHot(keras.layers.Layer):
    """The same lookup as a product."""

    def build(self, shape):
        self.table = self.add_weight(shape=(5, 1), initializer="zeros")

    def call(self, ids):
        return keras.ops.one_hot(ids, 5) @ self.table


def step(lookup, optimizer, tokens):
    """Returns how far one step moves the row of token 1."""
    model = keras.Sequential(
        [keras.Input((4,), dtype="int32"), lookup,
         keras.layers.GlobalAveragePooling1D()]
    )
    model.compile(optimizer, "mse")
    model.train_on_batch(np.array([tokens], "int32"), np.array([[10.0]]))
    return float(lookup.get_weights()[0][1, 0])


def embedding():
    return keras.layers.Embedding(5, 1, embeddings_initializer="zeros")


adam, sgd = keras.optimizers.Adam, keras.optimizers.SGD
found = {
    "Adam, token once": step(embedding(), adam(rate), [1, 2, 3, 4]),
    "Adam, token 4 times": step(embedding(), adam(rate), [1, 1, 1, 1]),
    "Adam, one-hot": step(OneHot(), adam(rate), [1, 1, 1, 1]),
    "global_clipnorm, 4 times": step(
        embedding(), sgd(1.0, global_clipnorm=clip), [1, 1, 1, 1]
    ),
    "clipped, one-hot": step(
        OneHot(), sgd(1.0, global_clipnorm=clip), [1, 1, 1, 1]
    ),
}
for name, moved in found.items():
    print(f"  {name}: moved by {moved:.4f}, expected at most {rate}")
times = {"jax": 1, "tensorflow": 2}[backend]  # sqrt(4)
expected = np.array([1, times, 1, times, 1]) * rate
if not np.allclose([*found.values()], expected, rtol=1e-3):
    sys.exit(f"changed: expected {expected}")
PYTHON
export JAX_PLATFORMS=cpu TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=-1
for backend in jax tensorflow; do
    KERAS_BACKEND=$backend "$folder/venv/bin/python" steps.py
done
echo "seen: on TensorFlow four equal tokens move twice as far"
