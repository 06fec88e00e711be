"""Tests of fused kernels against TensorFlow's operations and autodiff."""

import numpy as np
import pytest
import tensorflow as tf
from kernel_inputs import keys as _keys
from kernel_inputs import random as _random

from electra_tf.models import kernels, randomness


def _with_gradients(function, inputs, mode):
    with kernels.use(mode), tf.GradientTape() as tape:
        tape.watch(inputs)
        y = function(*inputs)
        loss = tf.reduce_sum(y * _random(*y.shape, seed=9))
    return y, tape.gradient(loss, inputs)


def _check(function, inputs, tolerance=2e-5):
    y, gradients = _with_gradients(function, inputs, "xla")
    y_plain, plain = _with_gradients(function, inputs, "plain")
    np.testing.assert_allclose(y, y_plain, atol=tolerance)
    for fused, expected in zip(gradients, plain):
        np.testing.assert_allclose(
            fused, expected, atol=tolerance * max(1, np.abs(expected).max())
        )


@pytest.mark.parametrize("kind", ["erf", "tanh"])
def test_gelu(kind):
    x, bias = _random(4, 6, 16), _random(16, seed=1)
    expected = tf.nn.gelu(x + bias, approximate=kind == "tanh")
    for training in (False, True):
        got = kernels.bias_gelu(x, bias, kind, training)
        np.testing.assert_allclose(got, expected, atol=1e-6)
    _check(lambda x, b: kernels.bias_gelu(x, b, kind, True), [x, bias])


@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_residual(rate):
    inputs = [
        _random(4, 6, 16), _random(16, seed=1), _random(4, 6, 16, seed=2),
        _random(16, seed=3), _random(16, seed=4),
    ]  # fmt: skip
    _check(
        lambda *a: kernels.bias_dropout_residual_norm(*a, _keys(), rate, 1e-12),
        inputs,
    )


def test_residual_without_gradients_of_what_is_frozen():
    inputs = [
        _random(4, 6, 16), _random(16, seed=1), _random(4, 6, 16, seed=2),
        _random(16, seed=3), _random(16, seed=4),
    ]  # fmt: skip

    def found(frozen):
        return _with_gradients(
            lambda *a: kernels.bias_dropout_residual_norm(
                *a, _keys(), 0.1, 1e-12, frozen
            ),
            inputs,
            "xla",
        )[1]

    dx, *others = found(frozen=True)
    expected = found(frozen=False)
    assert [gradient is None for gradient in others] == [1, 0, 1, 1]
    np.testing.assert_allclose(dx, expected[0], atol=1e-6)
    np.testing.assert_allclose(others[1], expected[2], atol=1e-6)


@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_embeddings(rate):
    inputs = [
        _random(4, 6, 16), _random(4, 6, 16, seed=2), _random(6, 16, seed=5),
        _random(16, seed=3), _random(16, seed=4),
    ]  # fmt: skip
    _check(
        lambda *a: kernels.sum_norm_dropout(*a, _keys(), rate, 1e-12), inputs
    )


@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_attention_is_a_distribution(rate):
    mask = np.zeros([4, 1, 1, 6], "float32")
    mask[1, ..., 4:] = -10000
    p = kernels.attention_probabilities(
        _random(4, 2, 6, 6), tf.constant(mask), None, rate, 0.25
    )
    np.testing.assert_allclose(tf.reduce_sum(p, -1), 1.0, atol=1e-6)
    assert np.all(p.numpy()[1, ..., 4:] == 0)


def test_layer_norm():
    x = _random(4, 6, 16)
    y = kernels.layer_norm(x, tf.ones([16]), tf.zeros([16]), 1e-12).numpy()
    np.testing.assert_allclose(y.mean(-1), 0, atol=1e-6)
    np.testing.assert_allclose(y.std(-1), 1, atol=1e-5)


def test_unknown_mode():
    with pytest.raises(ValueError, match="plain"):
        kernels.use("fast").__enter__()


def test_uniform_is_uniform():
    keys = randomness.example_keys(tf.range(512, dtype=tf.int64), seed=7)
    u = randomness.uniform(keys, 256).numpy()
    assert u.min() >= 0 and u.max() < 1
    counts, _ = np.histogram(u, bins=64, range=(0, 1))
    expected = u.size / 64
    chi2 = ((counts - expected) ** 2 / expected).sum()
    assert chi2 < 115  # 63 degrees of freedom: p is about 1e-4 there
    # No correlation between neighbours, within a key or across keys.
    for a, b in ((u[:, :-1], u[:, 1:]), (u[:-1], u[1:])):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.01


def test_keys_depend_on_example_seed_and_salt():
    ids = tf.constant([0, 1, 2**31, 2**32, 2**40 + 1], tf.int64)
    first = randomness.example_keys(ids, 1).numpy()
    assert len(set(first)) == len(first)
    assert not np.any(first == randomness.example_keys(ids, 2).numpy())
    keys = randomness.example_keys(ids, 1)
    assert not np.any(
        randomness.salted(keys, 0).numpy() == randomness.salted(keys, 1).numpy()
    )


def test_dropout_does_not_depend_on_the_batch():
    x = tf.ones([4, 50, 20])
    whole = randomness.dropout(x, _keys(), 0.1).numpy()
    half = randomness.dropout(x[2:], _keys()[2:], 0.1).numpy()
    np.testing.assert_array_equal(whole[2:], half)
    assert abs((whole == 0).mean() - 0.1) < 0.015
    np.testing.assert_allclose(whole[whole > 0], 1 / 0.9, rtol=1e-6)


def test_dropout_does_not_depend_on_padding():
    x = tf.ones([4, 3, 9, 9])
    index = randomness.square_index([3, 9, 9])
    assert len(set(index.numpy().ravel())) == 243
    wide = randomness.dropout(x, _keys(), 0.2, index).numpy()
    narrow = randomness.dropout(
        x[..., :5, :5], _keys(), 0.2, randomness.square_index([3, 5, 5])
    )
    np.testing.assert_array_equal(wide[..., :5, :5], narrow)
    assert abs((wide == 0).mean() - 0.2) < 0.03
    # Hidden states, whose first axis is the length.
    x = tf.ones([4, 9, 16])
    np.testing.assert_array_equal(
        randomness.dropout(x, _keys(), 0.2)[:, :5],
        randomness.dropout(x[:, :5], _keys(), 0.2),
    )
