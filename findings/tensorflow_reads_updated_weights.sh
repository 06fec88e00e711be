#!/usr/bin/env bash
# Keras on TensorFlow: a weight that is also read under `stop_gradient` may be
# read after the optimizer has updated it, in the same step.
#
# Expected. `tf.function` keeps the order of a program: a variable that is read
# before it is assigned has its old value there, whenever the read happens to
# run. So a compiled step of `fit` has the loss and the gradients of an eager one.
#
# What happens. The traced graph has that order, an edge from each read to the
# update. But Keras leads all gradients through one all-reduce, whose `IdentityN`
# has every gradient wait for every other. TensorFlow's dependency optimizer finds
# that the read precedes the update by way of this node too, removes the edge as
# needless, and then bypasses the node. Most reads still come first, since a
# weight's gradient needs them. One whose gradient is stopped does not, nor one of
# `tf.recompute_grad` whose value its own gradient does not need (the scale of a
# LayerNorm). They race with the update: a wrong loss and wrong gradients in rare
# steps of a busy machine, and in every step where the read is late, as here.
#
# Who meets it. Networks that share weights with a target whose gradient is
# stopped (two views of an image, quantised codes, DeBERTaV3's embeddings), and
# whoever recomputes activations to save memory. A clipped global norm hides it:
# then each update really needs all gradients.
#
# What to do. Pass the gradients through `tf.identity` under
# `tf.control_dependencies` of them all, in a `train_step` of one's own; clip by
# `global_clipnorm`; or switch `dependency_optimization` off.
#
# Versions: TensorFlow 2.21.0, Keras 3.15.1, Python 3.11, on a CPU. Takes
# a few minutes, some 2 GB.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    keras==3.15.1 tensorflow==2.21.0

cd "$folder"
cat > step.py <<'PYTHON'
import sys
import time

import keras
import tensorflow as tf


def late(value):
    time.sleep(0.5)
    return value


class Views(keras.layers.Layer):
    """Returns x (3 a + stop_gradient(a) b), whose second `a` is read late."""

    def build(self, input_shape):
        self.a = self.add_weight(shape=(), initializer="ones", name="a")
        self.b = self.add_weight(shape=(), initializer="ones", name="b")

    def call(self, x):
        trained = 3.0 * tf.convert_to_tensor(self.a)
        with tf.control_dependencies([tf.py_function(late, [1.0], tf.float32)]):
            target = tf.stop_gradient(tf.convert_to_tensor(self.a))
        return x * (trained + target * self.b)


def step(optimizer, **options):
    """Returns the loss of one step on x = 1, and a and b after it."""
    inputs = keras.Input((1,))
    model = keras.Model(inputs, Views()(inputs))
    model.compile(
        optimizer,
        loss=lambda _, found: tf.reduce_mean(found),
        **{"jit_compile": False} | options,
    )
    one = tf.ones([1, 1])
    loss = model.train_on_batch(one, one)
    return [float(loss), *(float(w) for w in model.get_weights())]


SGD = keras.optimizers.SGD
right, wrong = [4.0, -2.0, 0.0], [1.0, -2.0, 3.0]
found = {
    "eager": step(SGD(1.0), run_eagerly=True),
    "compiled": step(SGD(1.0)),
    "compiled, global_clipnorm": step(SGD(1.0, global_clipnorm=100.0)),
}
tf.config.optimizer.set_experimental_options({"dependency_optimization": False})
found["compiled, no dependency optimizer"] = step(SGD(1.0))
for name, values in found.items():
    print("{}: loss {:g}, a {:g}, b {:g}".format(name, *values))
if found.pop("compiled") != wrong:
    sys.exit("changed: the compiled step")
if any(values != right for values in found.values()):
    sys.exit("changed: the other steps")
PYTHON
export TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=-1 KERAS_BACKEND=tensorflow
"$folder/venv/bin/python" step.py 2> log || { cat log; exit 1; }
echo "seen: the compiled step reads the updated weight"
