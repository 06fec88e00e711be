"""Tests of activations that are recomputed in the backward pass."""

import numpy as np
import pretraining_tiny as tiny
import pytest
import tensorflow as tf

from electra_tf.models import kernels
from electra_tf.models.config import ModelConfig
from electra_tf.models.encoder import ElectraEncoder

CONFIG = ModelConfig(
    vocab_size=50, embedding_size=16, hidden_size=32, num_layers=3,
    num_heads=2, intermediate_size=64, max_positions=16,
)  # fmt: skip


@pytest.mark.parametrize(
    "mode", ["plain", pytest.param("xla", marks=pytest.mark.slow)]
)
def test_the_same_gradients(mode):
    encoder = ElectraEncoder(CONFIG)
    encoder.build()
    ids = np.random.default_rng(0).integers(1, 50, [4, 16], dtype="int32")
    keys = tf.constant([1, 2, 3, 4], tf.uint32)

    def gradients(recompute):
        encoder.recompute = recompute

        @tf.function
        def run(ids):
            with tf.GradientTape() as tape:
                output = encoder(ids, training=True, keys=keys)
                loss = tf.reduce_sum(output.sequence_output**3)
            return loss, [
                tf.convert_to_tensor(gradient)
                for gradient in tape.gradient(loss, encoder.trainable_variables)
            ]

        with kernels.use(mode):
            return run(ids)

    (loss, kept), (again_loss, again) = gradients(False), gradients(True)
    assert float(loss) == pytest.approx(float(again_loss), rel=1e-6)
    assert len(kept) == len(again) > 40
    for a, b in zip(kept, again):
        scale = max(1.0, float(tf.reduce_max(tf.abs(a))))
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6 * scale)


def test_all_encoders_of_a_pretrainer():
    model = tiny.variant("two_tower")
    found = model.encoders
    assert [e.name for e in found] == ["ltr", "rtl", "encoder"]
