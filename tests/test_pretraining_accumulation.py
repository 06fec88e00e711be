"""Tests that a batch in parts equals the whole batch."""

import keras
import numpy as np
import pretraining_tiny as tiny
import pytest
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.models import kernels
from electra_tf.pretraining.pretrainer import accumulated

CHEAP = ("electra", "mlm")


def _names():
    return [
        n if n in CHEAP else pytest.param(n, marks=pytest.mark.slow)
        for n in tiny.VARIANTS
    ]


def _step(name, parts, batch):
    """Returns the metrics of a step and the gradients that it applies."""
    model = tiny.variant(name)
    model.gradient_accumulation = parts
    given = []

    def take(pairs):
        given.extend(
            tf.convert_to_tensor(gradient)
            for gradient, _ in pairs
            if gradient is not None
        )

    model.optimizer.apply_gradients = take

    @tf.function
    def step(batch):
        return model.train_step(batch), given

    with kernels.use("plain"):  # compiling with XLA would take longest
        return step(batch)


@pytest.mark.parametrize("name", _names())
def test_parts_are_the_whole(name):
    """A batch of 32 equals four parts of 8: dropout, masks and samples."""
    batch = next(iter(tiny.dataset(batch=32)))
    one, gradients_one = _step(name, 1, batch)
    four, gradients_four = _step(name, 4, batch)
    assert len(gradients_one) == len(gradients_four) > 10
    largest = max(np.abs(gradient).max() for gradient in gradients_one)
    for a, b in zip(gradients_one, gradients_four):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6 * largest)
    for key, value in one.items():
        assert float(four[key]) == pytest.approx(float(value), abs=1e-5), key


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_parts_in_16_bits(policy):
    """The weights of the whole batch are not rounded to 16 bits."""
    batch = next(iter(tiny.dataset(batch=32)))
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        one, _ = _step("electra", 1, batch)
        four, _ = _step("electra", 4, batch)
    finally:
        keras.config.set_dtype_policy(before)
    for key in ("loss", "mlm_loss", "disc_loss"):
        assert float(four[key]) == pytest.approx(float(one[key]), rel=0.02), key


@pytest.mark.slow
def test_weights_after_updates():
    """Two updates in the loop's own step give the same weights to 1e-6."""
    ends = []
    for parts in (1, 4):
        model = tiny.variant("electra")
        model.gradient_accumulation = parts
        step = tf.function(model.train_step)
        with kernels.use("plain"):
            for batch in tiny.dataset(2, batch=32):
                step(batch)
        ends.append([v.numpy() for v in model.trainable_variables])
    for a, b in zip(*ends):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


def test_parts_that_do_not_divide():
    with pytest.raises(UserError, match="gradient_accumulation: a replica's 6"):
        accumulated({"x": tf.zeros([6, 2])}, 4, lambda part: [], [])
