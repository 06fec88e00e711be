"""Tests of steps that XLA compiles as a whole, as TPUs require."""

import numpy as np
import pretraining_tiny as tiny
import pytest
import tensorflow as tf

from electra_tf.models import kernels

pytestmark = pytest.mark.slow
# Others are compiled in test_pretraining_variants.
NAMES = ("electra", "mlm", "electra_15", "two_tower", "adversarial")


def _static(count=5):
    data = tiny.dataset(count).unbatch().batch(tiny.BATCH, drop_remainder=True)
    assert data.element_spec["input_ids"].shape == [tiny.BATCH, tiny.LENGTH]
    return data


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("parts", [1, 2])
def test_five_steps_of_pretraining(name, parts):
    """Compiled steps equal uncompiled ones: losses and weights, to 1e-4."""
    if parts > 1 and name != "electra":
        pytest.skip("parts are the same code for all")
    ends = []
    for compile_ in (False, True):
        model = tiny.variant(name, dropout=0.1)
        model.gradient_accumulation = parts
        step = tf.function(model.train_step, jit_compile=compile_)
        losses = []
        with kernels.use("plain"):
            for batch in _static():
                losses.append(float(step(batch)["loss"]))
                model.reset_metrics()
        weights = [v.numpy() for v in model.trainable_variables]
        ends.append((losses, weights))
    (losses, weights), (compiled_losses, compiled_weights) = ends
    np.testing.assert_allclose(compiled_losses, losses, rtol=1e-4)
    for a, b in zip(compiled_weights, weights):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4)
