"""Tests that Keras' attention equals our kernels, or is refused."""

import numpy as np
import pytest
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.models import kernels, products
from electra_tf.models.config import ModelConfig
from electra_tf.models.encoder import ElectraEncoder

CONFIG = ModelConfig(
    vocab_size=50, embedding_size=16, hidden_size=32, num_layers=2,
    num_heads=2, intermediate_size=64, max_positions=16,
    hidden_dropout=0.1, attention_dropout=0.0,
)  # fmt: skip


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("attends", ["both", "left"])
def test_outputs_and_gradients_are_equal(attends, packed):
    encoder = ElectraEncoder(CONFIG, attends=attends)
    encoder.build()
    # Large weights, so that no function is nearly linear.
    for variable in encoder.trainable_variables:
        variable.assign(variable * 4.0)
    ids = np.random.default_rng(0).integers(1, 50, [3, 16], dtype="int32")
    mask = (np.arange(16) < [[16], [9], [12]]).astype("int32")
    sequences = mask * (1 + (np.arange(16) > 6)) if packed else None
    keys = tf.constant([1, 2, 3], tf.uint32)

    def run(kind):
        encoder.attention = kind
        assert encoder.attention == kind
        with kernels.use("plain"), tf.GradientTape() as tape:
            output = encoder(
                ids, mask, training=True, keys=keys, sequence_ids=sequences
            ).sequence_output
            output *= mask[:, :, None]
            loss = tf.reduce_sum(output**3)
        gradients = tape.gradient(loss, encoder.trainable_variables)
        return output, [tf.convert_to_tensor(g) for g in gradients]

    expected, expected_gradients = run("composed")
    found, gradients = run("fused")
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    for a, b in zip(expected_gradients, gradients):
        scale = max(1.0, float(tf.reduce_max(tf.abs(a))))
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * scale)


def test_dropout_on_attention_is_refused():
    products.check_attention("composed", 0.1)
    products.check_attention("fused", 0.0)
    with pytest.raises(UserError, match="attention_dropout"):
        products.check_attention("fused", 0.1)
    with pytest.raises(UserError, match="composed, fused, flash"):
        products.check_attention("quick", 0.0)


def test_flash_is_refused_where_there_is_none():
    with pytest.raises(UserError, match="no flash attention with tensorflow"):
        products.check_attention("flash", 0.0)


def test_sequences_of_a_row_do_not_see_each_other():
    encoder = ElectraEncoder(CONFIG)
    encoder.build()
    ids = np.random.default_rng(0).integers(1, 50, [1, 16], dtype="int32")
    sequences = np.repeat([1, 2, 3, 0], [5, 7, 2, 2])[None].astype("int32")
    mask = (sequences > 0).astype("int32")
    together = encoder(ids, mask, sequence_ids=sequences).sequence_output
    for first, last in ((0, 5), (5, 12), (12, 14)):
        alone = encoder(ids[:, first:last]).sequence_output
        np.testing.assert_allclose(
            together[:, first:last], alone, rtol=0, atol=1e-5
        )
