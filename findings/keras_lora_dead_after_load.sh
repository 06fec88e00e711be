#!/usr/bin/env bash
# Keras: load weights into a model whose LoRA is on, and it never learns again.
#
# Expected. `keras.layers.Dense` documents `lora_rank`: the kernel is frozen
# and a delta, the product of two low-rank TRAINABLE matrices, is learnt. The
# docstring also says that LoRA can be set in the constructor. So one builds
# the network with `lora_rank=2`, reads the pre-trained weights with
# `load_weights` and fine-tunes. As in the LoRA paper, and as `enable_lora`
# does by itself (a_initializer="he_uniform", b_initializer="zeros"), ONE of
# the two matrices should start at zero, so that the other gets a gradient.
#
# What happens. Loading (`load_weights`, `load_model`) sets BOTH matrices to
# zero. The gradient of each is a multiple of the other, so both gradients are
# zero too: the loss stays where it was for as long as one trains. Nothing
# warns; outputs right after loading are correct, `trainable_variables` lists
# both matrices. The same layer with `enable_lora` called AFTER loading learns.
#
# Who meets it. Whoever sets LoRA in the constructor and then loads weights;
# whoever loads a `.keras` file of a LoRA model (its layers come back with
# LoRA on) and compiles it for a second round. Layers with a bias hide it: the
# biases still learn a little. An optimizer whose old momentum is restored,
# too, may push the matrices off zero by chance.
# Dense, EinsumDense and Embedding do the same.
#
# What to do. Call `enable_lora` after the weights are read. On a model that
# was loaded with LoRA on, assign new values to every `lora_kernel_a`, e.g.
# `layer.lora_kernel_a.assign(keras.initializers.HeUniform()(shape))`.
#
# Versions: Keras 3.15.1, JAX 0.10.2 (the backend does not matter), Python
# 3.10 to 3.13. Takes a minute, some 500 MB.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    keras==3.15.1 jax==0.10.2

cd "$folder"
KERAS_BACKEND=jax JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PYTHON'
import keras
import numpy as np

print("Keras", keras.__version__, "on", keras.backend.backend())
assert "two lower-rank trainable matrices" in " ".join(
    keras.layers.Dense.__doc__.split()
)

rng = np.random.default_rng(0)
features = rng.normal(size=(64, 8)).astype("float32")
change = rng.normal(size=(8, 2)) @ rng.normal(size=(2, 4))


def network(lora_rank=None):
    keras.utils.set_random_seed(1)
    layer = keras.layers.Dense(4, use_bias=False, lora_rank=lora_rank)
    return keras.Sequential([keras.Input((8,)), layer])


def losses(model):
    model.compile(keras.optimizers.Adam(0.05), "mse")
    return model.fit(features, answers, epochs=20, verbose=0).history["loss"]


def largest(model):
    return [
        float(np.abs(keras.ops.convert_to_numpy(v)).max())
        for v in model.trainable_variables
    ]


def show(what, model, history):
    print(f"{what}:")
    print(f"  loss {history[0]:.4f} -> {history[-1]:.4f}")
    names = [v.name for v in model.trainable_variables]
    print(f"  largest entries {dict(zip(names, largest(model)))}")


pretrained = network()
pretrained.save_weights("pretrained.weights.h5")
answers = pretrained.predict(features, verbose=0) + features @ change

print("documented: the two matrices are trainable, so the loss falls")

after = network()
after.load_weights("pretrained.weights.h5")
after.layers[0].enable_lora(2)
learnt = losses(after)
show("weights loaded, then enable_lora(2)", after, learnt)
assert learnt[-1] < 0.7 * learnt[0]

before = network(lora_rank=2)
before.load_weights("pretrained.weights.h5")
assert [v.name for v in before.trainable_variables] == [
    "lora_kernel_a",
    "lora_kernel_b",
]
zero = largest(before)
stuck = losses(before)
show("lora_rank=2, then weights loaded", before, stuck)
assert zero == largest(before) == [0.0, 0.0]
assert np.allclose(stuck, stuck[0], rtol=1e-5)

after.save("tuned.keras")
again = keras.models.load_model("tuned.keras", compile=False)
assert np.allclose(
    again.predict(features, verbose=0),
    after.predict(features, verbose=0),
    atol=1e-5,
)
second = losses(again)
show("the first one saved, loaded, compiled and trained again", again, second)
assert again.layers[0].lora_enabled and largest(again) == [0.0, 0.0]
assert np.allclose(second, second[0], rtol=1e-5)
third = losses(after)
show("the first one itself, compiled and trained again", after, third)
assert third[-1] < 0.7 * second[-1]

print("seen: both matrices are zero after loading and stay so")
PYTHON
