"""Tests of bfloat16 products in training, against float64 and float32."""

import functools
import re
import signal

import numpy as np
import pretraining_tiny
import pytest
import tensorflow as tf
from kernel_inputs import keys as _keys
from kernel_inputs import random as _random

from electra_tf.models import kernels, products
from electra_tf.training import loop
from electra_tf.training.reporting import Reporter
from electra_tf.training.settings import TrainConfig

# Values are rounded to 8 bits; a gradient adds up a few such errors.
ROUNDED = 0.02


def _gradients(function, inputs, mode="xla"):
    @tf.function(autograph=False)
    def run(*inputs):
        with (
            kernels.use(mode),
            products.in_bfloat16(),
            tf.GradientTape() as tape,
        ):
            tape.watch(inputs)
            y = tf.cast(function(*inputs), inputs[-1].dtype)
            weights = tf.cast(_random(*y.shape, seed=9), y.dtype)
            loss = tf.reduce_sum(y * weights)
            return y, *tape.gradient(loss, inputs)

    return run(*inputs)


def _check(function, reference, inputs, tolerance=ROUNDED):
    exact = _gradients(reference, [tf.cast(x, tf.float64) for x in inputs])
    for mode in ("xla", "plain"):
        for found, expected in zip(_gradients(function, inputs, mode), exact):
            assert found.dtype == tf.float32
            found, expected = found.numpy(), expected.numpy()
            error = np.abs(found - expected).max()
            assert error < tolerance * np.abs(expected).max()
            assert error > 0 or not np.any(expected)


def _rounded(x):
    return tf.cast(x, tf.bfloat16)


@pytest.mark.parametrize("kind", ["erf", "tanh"])
def test_gelu_product(kind):
    def reference(x, bias, kernel):
        return tf.nn.gelu(x + bias, approximate=kind == "tanh") @ kernel

    def function(x, bias, kernel):
        return products.gelu_product(
            _rounded(x), bias, _rounded(kernel), kind, True
        )

    inputs = [_random(4, 6, 16), _random(16, seed=1), _random(16, 8, seed=2)]
    _check(function, reference, inputs)


def test_attention():
    def reference(x, bias):
        x = tf.reshape(x + bias, [4, 6, 3, 2, 8])
        query, key, value = tf.unstack(tf.transpose(x, [2, 0, 3, 1, 4]))
        scores = tf.matmul(query, key, transpose_b=True) * 0.25
        return tf.transpose(tf.nn.softmax(scores) @ value, [0, 2, 1, 3])

    def function(x, bias):
        mask = tf.zeros([4, 1, 1, 6])
        divided = products.heads(_rounded(x), bias, 2, training=True)
        assert {part.dtype for part in divided} == {tf.bfloat16}
        return products.attend(*divided, mask, _keys(), 0.0, 0.25)

    _check(function, reference, [_random(4, 6, 48), _random(48, seed=1)])


def test_attention_with_dropout_and_padding():
    hidden = np.zeros([4, 1, 1, 6], "float32")
    hidden[1, ..., 4:] = -10000.0  # a row with padding
    hidden[2] = -10000.0  # a row of padding only
    sides = [_random(4, 2, 6, 8, seed=seed) for seed in range(3)]

    def attended(*sides):
        return products.attend(*sides, tf.constant(hidden), _keys(), 0.3, 0.25)

    with kernels.use("plain"), tf.GradientTape() as tape:
        tape.watch(sides)
        y = attended(*sides)
        loss = tf.reduce_sum(y * _random(*y.shape, seed=9))
    expected = y, *tape.gradient(loss, sides)
    for found, wanted in zip(_gradients(attended, sides), expected):
        error = np.abs(found - wanted).max(axis=(1, 2, 3))
        assert np.all(error < ROUNDED * np.abs(wanted).max())
    for found in _gradients(attended, sides)[2:]:  # of keys and values
        assert not np.any(found[1, :, 4:])


def test_residual():
    def reference(x, bias, residual, gamma, beta):
        z = x + bias + residual
        mean, variance = tf.nn.moments(z, -1, keepdims=True)
        y = (z - mean) / tf.sqrt(variance) * gamma + beta
        return tf.concat([y, y], -1)

    def function(x, *others):
        whole, rounded = kernels.rounding_residual_norm(
            _rounded(x), *others, _keys(), 0.0, 1e-12
        )
        assert (whole.dtype, rounded.dtype) == (tf.float32, tf.bfloat16)
        return tf.concat([whole, tf.cast(rounded, tf.float32)], -1)

    inputs = [
        _random(4, 6, 16), _random(16, seed=1), _random(4, 6, 16, seed=2),
        _random(16, seed=3), _random(16, seed=4),
    ]  # fmt: skip
    _check(function, reference, inputs)


def test_dropout_is_that_of_float32():
    x = _random(4, 6, 16)
    zero, one = tf.zeros([16]), tf.ones([16])
    residual = tf.zeros_like(x) + 3.0

    def function(x, name):
        return getattr(kernels, name)(
            x, zero, residual, one, zero, _keys(), 0.5, 1e-12
        )

    with kernels.use("plain"):
        expected = function(x, "bias_dropout_residual_norm")
    whole, _ = function(_rounded(x), "rounding_residual_norm")
    np.testing.assert_allclose(whole, expected, atol=0.05)


def _trained(rounds, name="electra", **options):
    """Returns a tiny pre-trainer, its graph of gradients, and a batch."""
    model = pretraining_tiny.variant(name, **options)
    model.bfloat16_products = rounds
    batch = next(iter(pretraining_tiny.dataset(1)))
    run = tf.function(lambda batch: model._gradients(batch))
    return model, run.get_concrete_function(batch), batch


@functools.cache
def _graph():
    model, step, _ = _trained(True)
    return model, step


def test_each_weight_is_rounded_once_a_step():
    model, step = _graph()
    reads = {}
    for op in step.graph.get_operations():
        if op.type == "Cast" and op.outputs[0].dtype == tf.bfloat16:
            source = op.inputs[0].op
            while source.type in ("Identity", "IdentityN"):
                source = source.inputs[0].op
            if source.type == "ReadVariableOp":
                shape = tuple(op.inputs[0].shape)
                reads[shape] = reads.get(shape, 0) + 1
    expected = {}
    table = model.embeddings.word_embeddings
    for variable in model.trainable_variables:
        is_kernel = re.search(r"kernel$", variable.path)
        narrow = "prediction" in variable.path  # one column
        if variable is table or (is_kernel and not narrow):
            shape = tuple(variable.shape)
            expected[shape] = expected.get(shape, 0) + 1
    assert reads == expected


def test_all_large_products_are_of_16_bits():
    _, step = _graph()
    narrow = []
    for op in step.graph.get_operations():
        if op.type in ("MatMul", "BatchMatMulV2"):
            if op.inputs[0].dtype != tf.bfloat16:
                narrow.append([tuple(i.shape) for i in op.inputs])
    # These may stay in float32: segment embeddings, sums over rows computed
    # as products with ones, and the discriminator's single column.
    for left, right in narrow:
        assert 2 in (*left, *right) or 1 in (*left, *right), (left, right)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["electra", "electric", "replaced_mlm", "tied", "disentangled"]
)
def test_gradients_are_nearly_those_of_float32(name):
    _, step, batch = _trained(True, name)
    found = step(batch)
    _, plain, _ = _trained(False, name)
    expected = plain(batch)
    left, right = (
        np.concatenate([np.ravel(tf.convert_to_tensor(g)) for g in gradients])
        for gradients in (found, expected)
    )
    assert left.dtype == np.float32
    error = np.linalg.norm(left - right) / np.linalg.norm(right)
    assert 0 < error < 0.05


@pytest.mark.slow
def test_recomputed_gradients_are_the_same():
    _, step, batch = _trained(True)
    again, _, _ = _trained(True)
    for encoder in again.encoders:
        encoder.recompute = True
    found = tf.function(lambda batch: again._gradients(batch))(batch)
    for one, other in zip(step(batch), found):
        np.testing.assert_allclose(
            tf.convert_to_tensor(one), tf.convert_to_tensor(other), atol=2e-3
        )


@pytest.mark.slow
def test_stopped_and_resumed_is_as_not_stopped(tmp_path):
    settings = TrainConfig(
        num_train_steps=6, batch_size=pretraining_tiny.BATCH,
        checkpoint_every_steps=3,
    )  # fmt: skip

    def train(run, steps):
        model = pretraining_tiny.model()
        model.bfloat16_products = True

        def data(step):
            return pretraining_tiny.dataset().skip(step)

        class Stopping(Reporter):
            def progress(self, step):
                super().progress(step)
                if step == steps:
                    signal.raise_signal(signal.SIGTERM)

        reporter = Stopping(
            str(run), num_train_steps=6, batch_size=pretraining_tiny.BATCH
        )
        found = loop.train(
            model, data, config=settings, run_dir=str(run),
            strategy=tf.distribute.get_strategy(), reporter=reporter,
        )  # fmt: skip
        return model, found

    straight, _ = train(tmp_path / "straight", None)
    _, first = train(tmp_path / "stopped", 3)
    assert first["stopped"] and first["step"] == 3
    model, found = train(tmp_path / "stopped", None)
    assert found["resumed_from"] == 3 and found["step"] == 6
    for one, other in zip(model.variables, straight.variables):
        np.testing.assert_array_equal(one, other)


def test_evaluation_is_in_float32():
    batch = next(iter(pretraining_tiny.dataset(1)))
    losses = []
    for rounds in (False, True):
        model = pretraining_tiny.model()
        model.bfloat16_products = rounds
        losses.append(float(model.test_step(batch)["loss"]))
    assert losses[0] == losses[1]
