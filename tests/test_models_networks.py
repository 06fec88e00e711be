"""Tests of the networks: sizes, padding, sharing."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.models import encoder, kernels, networks, randomness
from electra_tf.models.config import GENERATOR_FRACTIONS, SIZES, ModelConfig

CONFIG = ModelConfig.of_size(
    "tiny", vocab_size=200, num_layers=2, max_positions=32
)


def _count(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


@pytest.mark.parametrize(
    ("size", "millions"), [("small", 13.5), ("base", 108.9), ("large", 334.1)]
)
def test_parameters_of_the_paper(size, millions):
    """Tables 1 and 2 round these to 14M, 110M and 335M.

    BERT's pooler makes the difference for base and large.
    """
    config = ModelConfig.of_size(size)
    h, e, i = (
        config.hidden_size,
        config.embedding_size,
        config.intermediate_size,
    )
    block = 4 * (h * h + h) + 2 * h * i + i + h + 4 * h
    tables = (config.vocab_size + 512 + 2) * e + 2 * e
    projection = (e * h + h) if e != h else 0
    total = tables + projection + config.num_layers * block
    assert total / 1e6 == pytest.approx(millions, abs=0.1)


def test_built_parameters_match_the_formula():
    config = ModelConfig.of_size("small")
    model = encoder.ElectraEncoder(config)
    model.build()
    assert _count(model) / 1e6 == pytest.approx(13.5, abs=0.1)


def test_generator_fractions():
    small = ModelConfig.of_size("small").generator(0.25)
    assert (small.hidden_size, small.num_heads) == (64, 1)
    assert (small.intermediate_size, small.embedding_size) == (256, 128)
    base = ModelConfig.of_size("base").generator(GENERATOR_FRACTIONS["base"])
    assert (base.hidden_size, base.num_heads) == (256, 4)
    assert set(SIZES) == set(GENERATOR_FRACTIONS)


@pytest.mark.parametrize(
    ("fraction", "width", "near"),
    [
        (0.001, 0, "0.00390625 (width 1)"),
        (0.8, 205, "0.796875 (width 204), 0.808594 (width 207)"),
    ],
)
def test_generators_of_impossible_widths(fraction, width, near):
    small = ModelConfig.of_size("small")
    for untied in (False, True):
        with pytest.raises(UserError) as error:
            small.generator(fraction, untied=untied)
        assert str(error.value) == (
            f"generator.hidden_fraction: {fraction} of model.hidden_size 256 "
            f"is a width of {width}, which no generator has; the nearest that "
            f"work: {near}"
        )
    for text in near.split(", "):
        assert small.generator(float(text.split()[0])).num_heads


@pytest.mark.parametrize(
    ("field", "value"),
    [("num_heads", 3), ("num_layers", 0), ("hidden_dropout", 1.0)],
)
def test_impossible_shapes(field, value):
    with pytest.raises(UserError, match=field):
        ModelConfig(**{field: value})
    with pytest.raises(UserError, match="tiny"):
        ModelConfig.of_size("huge")


@pytest.fixture(scope="module")
def discriminator():
    model = networks.Discriminator(CONFIG)
    model.build()
    return model


def test_padding_does_not_matter(discriminator):
    ids = np.random.default_rng(0).integers(5, 200, [3, 12]).astype("int32")
    short = discriminator(tf.constant(ids))
    padded = np.pad(ids, [[0, 0], [0, 9]], constant_values=7)
    mask = np.pad(np.ones_like(ids), [[0, 0], [0, 9]])
    long = discriminator(tf.constant(padded), tf.constant(mask))
    np.testing.assert_allclose(
        long.logits[:, :12], short.logits, atol=1e-6, rtol=1e-6
    )


def test_training_without_keys_has_new_dropout_each_time(discriminator):
    ids = tf.ones([2, 8], tf.int32)
    first = discriminator(ids, training=True).logits.numpy()
    second = discriminator(ids, training=True).logits.numpy()
    assert not np.allclose(first, second)
    np.testing.assert_array_equal(
        discriminator(ids).logits, discriminator(ids).logits
    )


def test_gradients_equal_plain_ones(discriminator):
    ids = tf.random.stateless_uniform([4, 12], [1, 2], 0, 200, tf.int32)
    keys = randomness.example_keys(tf.range(4, dtype=tf.int64), 1)

    def gradients(mode):
        with kernels.use(mode), tf.GradientTape() as tape:
            logits = discriminator(ids, training=True, keys=keys).logits
            loss = tf.reduce_mean(tf.square(logits))
        found = tape.gradient(loss, discriminator.trainable_variables)
        return [tf.convert_to_tensor(g).numpy() for g in found]

    for fused, plain in zip(gradients("xla"), gradients("plain")):
        np.testing.assert_allclose(
            fused, plain, atol=3e-6 * max(1e-3, np.abs(plain).max())
        )


def test_shared_embeddings_are_one():
    discriminator = networks.Discriminator(CONFIG)
    generator = networks.Generator(
        CONFIG.generator(0.5), discriminator.encoder.embeddings
    )
    discriminator.build()
    generator.build()
    tables = {
        id(v)
        for m in (discriminator, generator)
        for v in m.trainable_variables
        if "word_embeddings" in v.path
    }
    assert len(tables) == 1
    paths = [v.path for v in discriminator.variables + generator.variables]
    shared = [v.path for v in discriminator.encoder.embeddings.variables]
    assert len(set(paths)) == len(paths) - len(shared)


def test_generator_predicts_at_positions():
    generator = networks.Generator(CONFIG)
    generator.build()
    ids = tf.random.stateless_uniform([2, 10], [1, 2], 0, 200, tf.int32)
    everywhere = generator(ids).logits
    positions = tf.constant([[1, 4, 9], [0, 0, 3]])
    some = generator(ids, positions=positions).logits
    np.testing.assert_allclose(
        some, tf.gather(everywhere, positions, batch_dims=1), atol=1e-5
    )


def test_tanh_gelu_is_another_function():
    ids = tf.ones([1, 4], tf.int32)
    erf = networks.Discriminator(CONFIG)
    erf.build()
    tanh = networks.Discriminator(dataclasses.replace(CONFIG, gelu="tanh"))
    tanh.build()
    for a, b in zip(erf.trainable_variables, tanh.trainable_variables):
        b.assign(a * 3.0)
        a.assign(a * 3.0)
    difference = np.abs(erf(ids).logits - tanh(ids).logits).max()
    assert 0 < difference < 1e-2


def test_no_two_kernels_start_alike():
    """Kernels differ: a reused initialiser would give equal values."""
    model = networks.Discriminator(CONFIG)
    model.build()
    kernels_ = [
        np.ravel(v)
        for v in model.trainable_variables
        if v.path.endswith(("kernel", "embeddings"))
    ]
    for i, a in enumerate(kernels_):
        for b in kernels_[:i]:
            size = min(a.size, b.size)
            assert abs(np.corrcoef(a[:size], b[:size])[0, 1]) < 0.3
