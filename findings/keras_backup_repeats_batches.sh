#!/usr/bin/env bash
# Keras: a backup made within an epoch continues from the epoch's first batch.
#
# Expected. `BackupAndRestore(save_freq=N)` saves every N batches, and a run that
# is started again continues from "the most recently saved state". The backup
# has the number of the batch in its training_metadata.json. The integer is there
# for epochs that are longer than the time between two interruptions: an epoch of
# pre-training can take days.
#
# What happens. The weights and the optimizer are those after that batch, but the
# number is never read: `fit` begins the epoch anew, with the data from its first
# batch on. What lies between is trained on twice, the optimizer's step and with
# it the learning rate's schedule run ahead of the data, and an epoch that takes
# longer than two interruptions are apart never ends, while its first batches
# are learned over and over. Nothing is printed, and the loss looks well.
#
# Who meets it. Whoever trains long epochs on machines that are taken away.
#
# What to do. `save_freq="epoch"` with short epochs: `steps_per_epoch` on a
# dataset that repeats.
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
import json

import keras
import numpy as np

print("Keras", keras.__version__, "on", keras.backend.backend())
rows = np.arange(20, dtype="float32")[:, None]  # an epoch of ten batches


class Taken(keras.callbacks.Callback):
    """Ends the run after some batches, as a machine that is taken away."""

    def __init__(self, after):
        super().__init__()
        self.after, self.batches = after, []

    def on_train_batch_end(self, batch, logs=None):
        self.batches.append(batch)
        if len(self.batches) == self.after:
            raise InterruptedError


def run(after):
    """Starts the program anew: returns batches done, steps in all."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1e-6), "mse")
    backup = keras.callbacks.BackupAndRestore("backup", save_freq=2)
    taken = Taken(after)
    try:
        model.fit(
            rows, rows, batch_size=2, epochs=1, shuffle=False, verbose=0,
            callbacks=[backup, taken],
        )
    except InterruptedError:
        with open("backup/training_metadata.json") as file:
            print("  backup:", json.load(file))
    steps = int(model.optimizer.iterations.value)
    print(f"  batches {taken.batches}, steps of the optimizer so far {steps}")
    return taken.batches, steps


print("one epoch of 10 batches; the run is stopped twice after 7 of its own:")
assert run(7) == ([*range(7)], 7)
assert run(7) == ([*range(7)], 13)  # the 6 of the backup, and 7 more
print("and then let run to its end:")
assert run(None) == ([*range(10)], 22)
print("seen: 22 steps in an epoch of 10; the backup's batch is ignored")
PYTHON
