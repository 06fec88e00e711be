"""Tests of two towers: visible positions, ends of rows, shared tables."""

import numpy as np
import pytest
import tensorflow as tf

from electra_tf.models import encoder, networks
from electra_tf.models.config import ModelConfig
from electra_tf.models.embeddings import Embeddings

CONFIG = ModelConfig(
    vocab_size=60, embedding_size=16, hidden_size=32, num_layers=2,
    num_heads=2, intermediate_size=64, max_positions=32,
    initializer_range=0.5,
)  # fmt: skip
LENGTH = 10


def _generator(**options):
    model = networks.TwoTowerGenerator(CONFIG, **options)
    model.build()
    return model


@pytest.fixture(scope="module")
def generator():
    return _generator()


@pytest.fixture
def ids():
    return np.random.default_rng(0).integers(5, 60, [1, LENGTH], "int32")


def _reach(function, ids):
    """Returns [L, L] bool: whether output i changes with token j."""
    before = function(ids)
    found = np.zeros([LENGTH, LENGTH], bool)
    for j in range(LENGTH):
        other = ids.copy()
        other[0, j] = 5 + (other[0, j] - 4) % 55
        change = np.abs(function(other) - before).max(-1)[0]
        found[:, j] = change > 1e-6
    return found


@pytest.mark.parametrize("attends", ["both", "left", "right"])
def test_what_an_encoder_sees(attends, ids):
    model = encoder.ElectraEncoder(CONFIG, attends=attends)
    model.build()
    seen = _reach(lambda x: model(tf.constant(x)).sequence_output.numpy(), ids)
    everything = np.ones([LENGTH, LENGTH], bool)
    expected = {
        "both": everything, "left": np.tril(everything),
        "right": np.triu(everything),
    }  # fmt: skip
    np.testing.assert_array_equal(seen, expected[attends])


def test_no_position_sees_its_own_token(generator, ids):
    seen = _reach(lambda x: generator(tf.constant(x)).logits.numpy(), ids)
    np.testing.assert_array_equal(seen, ~np.eye(LENGTH, dtype=bool))


def test_wrapped_around_the_ends_see_everything(ids):
    model = _generator(wrap_around=True)
    seen = _reach(lambda x: model(tf.constant(x)).logits.numpy(), ids)
    expected = ~np.eye(LENGTH, dtype=bool)
    expected[0] = expected[-1] = True  # they see their own token, a leak
    np.testing.assert_array_equal(seen, expected)


def test_padding_is_beyond_the_end(generator, ids):
    """The last real token is predicted as if the row ended there."""
    short = generator(tf.constant(ids)).logits
    padded = np.pad(ids, [[0, 0], [0, 4]], constant_values=9)
    mask = np.pad(np.ones_like(ids), [[0, 0], [0, 4]])
    long = generator(tf.constant(padded), tf.constant(mask)).logits
    np.testing.assert_allclose(long[:, :LENGTH], short, atol=1e-5)


def test_at_positions(generator, ids):
    positions = tf.constant([[1, 4, 0]])
    np.testing.assert_allclose(
        generator(tf.constant(ids), positions=positions).logits,
        tf.gather(generator(tf.constant(ids)).logits, positions, batch_dims=1),
        atol=1e-5,
    )


def test_tables_and_names():
    shared = {v.path for v in _generator().trainable_variables}
    assert "embeddings/word_embeddings" in shared
    assert "generator/ltr/layer_0/attention/qkv/kernel" in shared
    assert "generator/rtl/embeddings_project/kernel" in shared
    untied = {v.path for v in _generator(untied=True).trainable_variables}
    for tower in ("ltr", "rtl"):
        assert f"generator/{tower}/embeddings/word_embeddings" in untied
    given = Embeddings(CONFIG)
    given.build()
    model = _generator(embeddings=given)
    assert model.ltr.embeddings is model.rtl.embeddings is given


def test_dropout_differs_between_towers_and_repeats(ids):
    model = _generator()
    keys = tf.constant([7], tf.uint32)
    first, second = (
        model(tf.constant(ids), training=True, keys=keys).encoder
        for _ in range(2)
    )
    np.testing.assert_array_equal(
        first.ltr.sequence_output, second.ltr.sequence_output
    )
    # The towers share tables, but not dropout masks.
    assert np.any(
        (first.ltr.embedding_output != first.rtl.embedding_output).numpy()
    )
