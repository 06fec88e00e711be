#!/usr/bin/env bash
# Keras: after a fit that was restored from a backup, the next one skips epochs.
#
# Expected. `model.fit(..., epochs=3)` trains for three epochs, unless this call
# asks for a later `initial_epoch`. `BackupAndRestore` documents that it
# restores a stopped run "at the beginning of a new `Model.fit` run", and that
# the backup is deleted at the end of that run. So the next call of `fit`, with
# or without the callback, is a run of its own: another stage of training, the
# next task, the held-out part of the data for the last epochs.
#
# What happens. The callback gives the restored epoch to `fit` by an attribute
# of the model that nothing clears. Every later `fit` of the same object starts
# there: of `epochs=3` after a backup of two epochs it runs the third alone, and
# of `epochs=2` none. Nothing is raised or printed, the history is merely
# shorter, or empty; an `initial_epoch` that is given is overruled, and so are
# `model.compile()` and a deleted backup.
#
# Who meets it. Whoever trains in stages on machines that are taken away now
# and then (frozen body first, then all layers; pre-training, then a task on
# the same object): the second stage is shortened only in runs that were
# interrupted in the first.
#
# What to do. Load the weights into a new object before the next stage, or save
# the model and load it.
#
# Versions: Keras 3.15.1, JAX 0.10.2 (the TensorFlow backend behaves alike),
# Python 3.11 to 3.13. Takes a minute, some 500 MB.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    keras==3.15.1 jax==0.10.2

cd "$folder"
KERAS_BACKEND=jax JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PYTHON'
import os

import keras
import numpy as np

print("Keras", keras.__version__, "on", keras.backend.backend())
rows = np.ones((8, 1), "float32")


def network():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.01), "mse")
    return model


class Steps(keras.callbacks.Callback):
    number = 0

    def on_train_batch_end(self, batch, logs=None):
        self.number += 1


def fit(model, callbacks=(), **settings):
    steps = Steps()
    history = model.fit(
        rows, rows, batch_size=2, verbose=0,
        callbacks=[*callbacks, steps], **settings,
    )
    print(f"  {steps.number} steps in epochs {history.epoch}")
    return history.epoch, steps.number


class Taken(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise InterruptedError


def backup():
    return keras.callbacks.BackupAndRestore("backup")


print("documented: each call trains for its epochs, of four steps each")
print("a model without backup, epochs=4, then 3, then 2:")
plain = network()
assert fit(plain, epochs=4) == ([0, 1, 2, 3], 16)
assert fit(plain, epochs=3) == ([0, 1, 2], 12)
assert fit(plain, epochs=2) == ([0, 1], 8)

try:
    fit(network(), epochs=4, callbacks=[backup(), Taken()])
except InterruptedError:
    print("a run of four epochs is stopped after two, and started again:")
model = network()
assert fit(model, epochs=4, callbacks=[backup()]) == ([2, 3], 8)
assert not os.path.exists("backup")

print("the next stages, without the callback: epochs=3")
model.compile(keras.optimizers.SGD(0.001), "mse")
assert fit(model, epochs=3) == ([2], 4)
print("epochs=3, initial_epoch=1")
assert fit(model, epochs=3, initial_epoch=1) == ([2], 4)
print("epochs=2")
before = model.get_weights()
assert fit(model, epochs=2) == ([], 0)
for then, now in zip(before, model.get_weights()):
    assert np.array_equal(then, now)

print("the same weights in a new object: epochs=2")
model.save("model.keras")
again = keras.models.load_model("model.keras")
assert fit(again, epochs=2) == ([0, 1], 8)
print("seen: the restored epoch stays, and later calls start from it")
PYTHON
