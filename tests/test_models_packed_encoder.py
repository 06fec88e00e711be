"""Tests that the packed encoder equals the ordinary one."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from electra_tf.models import packed_encoder, task_networks
from electra_tf.models.config import ModelConfig
from electra_tf.models.encoder import ElectraEncoder
from electra_tf.models.task_heads import TaskHeadConfig

CONFIG = ModelConfig(
    vocab_size=50, embedding_size=8, hidden_size=16, num_layers=2,
    num_heads=2, intermediate_size=32, max_positions=12,
    initializer_range=0.3,
)  # fmt: skip
# Rows with padding, one without, and one with padding in between.
MASK = np.array(
    [
        [1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 1, 1, 1],
        [1, 0, 0, 1, 1, 0, 1],
        [1, 0, 0, 0, 0, 0, 0],
    ],
    "int32",
)


def batch(mask=MASK):
    rng = np.random.default_rng(0)
    ids = rng.integers(5, 50, mask.shape).astype("int32")
    segments = np.tile(np.arange(mask.shape[1]) > 2, (len(mask), 1))
    return ids, mask, segments.astype("int32")


@pytest.fixture(params=["erf", "tanh", "one size"])
def encoder(request):
    config = CONFIG
    if request.param == "tanh":
        config = dataclasses.replace(config, gelu="tanh")
    elif request.param == "one size":
        config = dataclasses.replace(config, embedding_size=16)
    keras.utils.set_random_seed(1)
    made = ElectraEncoder(config)
    made.build()
    for v in made.trainable_variables:  # gammas and biases as well
        v.assign(v + 0.1 * keras.random.normal(v.shape))
    return made


def test_real_tokens_come_out_the_same(encoder):
    packed = tf.function(packed_encoder.PackedEncoder(encoder))
    wanted, found = encoder(*batch()), packed(*map(tf.constant, batch()))
    real = MASK.astype(bool)
    for name in ("sequence_output", "embedding_output"):
        a, b = getattr(wanted, name).numpy(), getattr(found, name).numpy()
        np.testing.assert_allclose(b[real], a[real], atol=2e-6)
        assert not b[~real].any()
    assert len(found.all_layers) == len(wanted.all_layers)
    for a, b in zip(wanted.all_layers, found.all_layers):
        np.testing.assert_allclose(b.numpy()[real], a.numpy()[real], atol=2e-6)
    np.testing.assert_allclose(
        found.first_output, wanted.sequence_output[:, 0], atol=2e-6
    )


def test_masks_and_segments_may_be_left_out(encoder):
    packed = packed_encoder.PackedEncoder(encoder)
    ids = tf.constant(batch()[0])
    np.testing.assert_allclose(
        packed(ids).sequence_output, encoder(ids).sequence_output, atol=2e-6
    )


@pytest.mark.parametrize("shape", [(0, 1), (0, 5), (2, 1), (1, 12)])
def test_no_rows_and_one_token(encoder, shape):
    packed = tf.function(packed_encoder.PackedEncoder(encoder))
    found = packed(*map(tf.constant, batch(np.ones(shape, "int32"))))
    wanted = encoder(*batch(np.ones(shape, "int32")))
    assert found.sequence_output.shape == (*shape, 16)
    np.testing.assert_allclose(
        found.first_output, wanted.first_output, atol=2e-6
    )


def test_a_row_without_tokens_harms_no_other(encoder):
    packed = packed_encoder.PackedEncoder(encoder)
    empty = MASK.copy()
    empty[0] = 0
    found = packed(*map(tf.constant, batch(empty))).sequence_output.numpy()
    wanted = packed(*map(tf.constant, batch())).sequence_output.numpy()
    np.testing.assert_allclose(found[1:], wanted[1:], atol=2e-6)
    assert np.isfinite(found).all()


def test_a_network_has_it_for_a_while(monkeypatch):
    keras.utils.set_random_seed(1)
    network = task_networks.task_network(CONFIG, TaskHeadConfig("sequence", 3))
    network.build()
    original, paths = network.encoder, [v.path for v in network.weights]
    wanted = network(*batch()).logits
    with packed_encoder.where_fastest(network):
        assert isinstance(network.encoder, packed_encoder.PackedEncoder)
        found = network(*map(tf.constant, batch())).logits
    assert network.encoder is original
    assert [v.path for v in network.weights] == paths
    np.testing.assert_allclose(found, wanted, atol=2e-6)
    # Where a GPU computes, padding costs less than packing.
    monkeypatch.setattr(
        tf.config, "list_physical_devices", lambda kind: [f"{kind}:0"]
    )
    with packed_encoder.where_fastest(network):
        assert network.encoder is original
    monkeypatch.setattr(original, "attends", "left")
    with packed_encoder.installed(network):
        assert network.encoder is original
