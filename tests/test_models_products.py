"""Tests of memory-saving products against TensorFlow and its autodiff."""

import numpy as np
import pytest
import tensorflow as tf
from kernel_inputs import keys as _keys
from kernel_inputs import random as _random

from electra_tf.models import kernels, products


def _with_gradients(function, inputs, mode):
    @tf.function
    def run(*inputs):
        with kernels.use(mode), tf.GradientTape() as tape:
            tape.watch(inputs)
            y = function(*inputs)
            loss = tf.reduce_sum(y * _random(*y.shape, seed=9))
        return y, tape.gradient(loss, inputs)

    return run(*inputs)


def _check(function, inputs):
    y, gradients = _with_gradients(function, inputs, "xla")
    y_plain, plain = _with_gradients(function, inputs, "plain")
    np.testing.assert_allclose(y, y_plain, atol=2e-5)
    for lean, expected in zip(gradients, plain):
        np.testing.assert_allclose(
            lean, expected, atol=2e-5 * max(1, np.abs(expected).max())
        )


def _mask(rows, columns):
    """Returns a mask [4, 1, rows, columns]; its second row has padding."""
    mask = np.zeros([4, 1, rows, columns], "float32")
    mask[1, ..., 4:] = -10000
    return tf.constant(mask)


@pytest.mark.parametrize("kind", ["erf", "tanh"])
@pytest.mark.parametrize("shape", [(4, 6, 16), (4, 16)])
def test_gelu_product(kind, shape):
    _check(
        lambda x, b, k: products.gelu_product(x, b, k, kind, True),
        [_random(*shape), _random(16, seed=1), _random(16, 8, seed=2)],
    )


def test_gelu_product_of_a_frozen_bias():
    inputs = [_random(4, 16), _random(16, seed=1), _random(16, 8, seed=2)]

    def found(frozen):
        return _with_gradients(
            lambda *a: products.gelu_product(*a, "erf", True, frozen),
            inputs,
            "xla",
        )[1]

    (dx, bias, kernel), expected = found(frozen=True), found(frozen=False)
    assert bias is None
    np.testing.assert_allclose(dx, expected[0], atol=1e-6)
    np.testing.assert_allclose(kernel, expected[2], atol=1e-6)


@pytest.mark.parametrize("rate", [0.0, 0.1])
@pytest.mark.parametrize("targets", [6, 5])
@pytest.mark.parametrize("per_query", [False, True])
def test_attention(rate, targets, per_query):
    mask = _mask(targets if per_query else 1, 6)
    inputs = [
        _random(4, 2, targets, 8),
        _random(4, 2, 6, 8, seed=1),
        _random(4, 2, 6, 8, seed=2),
    ]
    _check(
        lambda q, k, v: products.attend(q, k, v, mask, _keys(), rate, 0.25),
        inputs,
    )


@pytest.mark.parametrize("mode", ["xla", "plain"])
def test_attention_does_not_depend_on_padding(mode):
    # With identity values the context equals the probabilities.
    values = tf.eye(9, batch_shape=[4, 2])
    sides = [_random(4, 2, 9, 8), _random(4, 2, 9, 8, seed=1), values]
    weights = _random(4, 2, 5, 9, seed=4)
    mask = tf.constant([[[[0.0] * 5 + [-10000.0] * 4]]] * 4)

    @tf.function
    def run(mask, *sides):
        with kernels.use(mode), tf.GradientTape() as tape:
            tape.watch(sides)
            y = products.attend(*sides, mask, _keys(), 0.3, 0.25)
            y = tf.transpose(y, [0, 2, 1, 3])
            loss = tf.reduce_sum(y[..., :5, :] * weights)
        return y, *tape.gradient(loss, sides)

    narrow = run(mask[..., :5], *(side[..., :5, :] for side in sides))
    for few, many in zip(narrow, run(mask, *sides)):
        np.testing.assert_allclose(few, many[..., :5, :], atol=1e-6)
    assert 0.1 < (narrow[0].numpy()[..., :5] == 0).mean() < 0.5


@pytest.mark.parametrize("mode", ["xla", "plain"])
def test_what_the_backward_pass_takes_from_the_forward_pass(mode, monkeypatch):
    factors = []
    product = tf.matmul

    def recorded(a, b, **options):
        y = product(a, b, **options)
        factors.extend((a, b, y))
        return y

    monkeypatch.setattr(tf, "matmul", recorded)
    sides = [_random(4, 2, 7, 8, seed=i) for i in range(3)]
    mask = tf.zeros([4, 1, 1, 7])
    inputs = [*sides, _random(5, 20), _random(20), _random(20, 3)]

    @tf.function(autograph=False)
    def uses(*inputs):
        with kernels.use(mode), tf.GradientTape() as tape:
            tape.watch(inputs)
            context = products.attend(*inputs[:3], mask, _keys(), 0.1, 0.3)
            outer = products.gelu_product(*inputs[3:], "erf", True)
            loss = tf.reduce_sum(context) + tf.reduce_sum(outer)
        forward = list(factors)
        assert all(g is not None for g in tape.gradient(loss, inputs))
        for x in forward:
            # The scores, their probabilities, and GELU.
            if x.shape in ((4, 2, 7, 7), (5, 20)):
                found.append(len(x.consumers()))
        return loss

    found = []
    uses(*inputs)
    assert len(found) == 3
    # XLA's backward pass computes them again; the forward pass uses each once.
    assert (sum(found) == 3) == (mode == "xla")
