"""Tests of the decoder: causality, decoding by steps, initialisation."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.hub import directory, names
from electra_tf.hub.config import DirectoryConfig, from_json, to_json
from electra_tf.models import kernels
from electra_tf.models.config import ModelConfig
from electra_tf.models.decoder import DecoderConfig
from electra_tf.models.task_heads import TaskHeadConfig
from electra_tf.models.task_networks import MultiHeadConfig, task_network

CONFIG = ModelConfig(
    vocab_size=50, embedding_size=12, hidden_size=16, num_layers=3,
    num_heads=2, intermediate_size=32, max_positions=20,
    hidden_dropout=0.1, attention_dropout=0.1, initializer_range=0.3,
)  # fmt: skip
RNG = np.random.default_rng(0)
SOURCE = RNG.integers(1, 50, [3, 7]).astype("int32")
MASK = np.array([[1] * 7, [1] * 5 + [0] * 2, [1] * 2 + [0] * 5], "int32")
TARGET = RNG.integers(1, 50, [3, 6]).astype("int32")


@pytest.fixture(scope="module")
def network():
    tf.keras.utils.set_random_seed(0)
    made = task_network(CONFIG, DecoderConfig(num_layers=2))
    made.build()
    # Zero biases and unit gammas would hide a missing term.
    for variable in made.trainable_variables:
        variable.assign_add(0.1 * RNG.normal(size=variable.shape))
    return made


def test_a_position_sees_none_behind_it(network):
    before = network(SOURCE, MASK, target_ids=TARGET).logits.numpy()
    changed = TARGET.copy()
    changed[:, 4:] = 1
    after = network(SOURCE, MASK, target_ids=changed).logits.numpy()
    np.testing.assert_allclose(before[:, :4], after[:, :4], atol=1e-5)
    assert np.abs(before[:, 4] - after[:, 4]).max() > 0.1


def test_padding_of_the_source_is_not_seen(network):
    before = network(SOURCE, MASK, target_ids=TARGET).logits.numpy()
    changed = np.where(MASK == 1, SOURCE, 9)
    after = network(changed, MASK, target_ids=TARGET).logits.numpy()
    np.testing.assert_allclose(before, after, atol=1e-5)
    alone = network(SOURCE[2:, :2], target_ids=TARGET[2:]).logits.numpy()
    np.testing.assert_allclose(before[2:], alone, atol=1e-5)
    other = network(SOURCE[:1], MASK[:1], target_ids=TARGET[2:]).logits
    assert np.abs(other.numpy() - before[2:]).max() > 0.1


def test_steps_are_the_whole(network):
    """Decoding by steps with a cache equals the whole, within 1e-5."""
    whole = network(SOURCE, MASK, target_ids=TARGET).logits.numpy()
    memory, decoder = network(SOURCE, MASK).memory, network.head
    cache = decoder.empty_cache(tf.constant(3), tf.float32)
    for t in range(TARGET.shape[1]):
        logits, cache = decoder.step(
            tf.constant(TARGET[:, t]), tf.constant(t), cache, memory
        )
        np.testing.assert_allclose(logits, whole[:, t], atol=1e-5)
        assert cache[0][0].shape == (3, 2, t + 1, 8)


def test_steps_of_several_beams(network):
    """Beams of a source share its memory, and each has its own cache."""
    beams = np.stack([TARGET, TARGET[::-1], (TARGET + 3) % 50], axis=1)
    memory, decoder = network(SOURCE, MASK).memory, network.head
    cache = decoder.empty_cache(tf.constant(9), tf.float32)
    for t in range(4):
        logits, cache = decoder.step(
            tf.constant(beams[:, :, t].ravel()), tf.constant(t), cache, memory
        )
    for k in range(3):
        whole = network(SOURCE, MASK, target_ids=beams[:, k]).logits
        np.testing.assert_allclose(
            tf.reshape(logits, [3, 3, -1])[:, k], whole[:, 3], atol=1e-5
        )


def test_the_cross_attention_by_hand(network):
    """Cross-attention equals softmax(q k / sqrt(D)) v of each head."""
    cross = network.head.blocks[0].cross_attention
    x = RNG.normal(size=[1, 4, 16]).astype("float32")
    source = RNG.normal(size=[1, 5, 16]).astype("float32")
    found = cross(x, *cross.read(source), tf.zeros([1, 1, 1, 5]))
    query, pairs = cross.query(x)[0], cross.key_value(source)[0]
    parts = []
    for head in range(2):
        at = slice(8 * head, 8 * head + 8)
        key, value = pairs[:, :16][:, at], pairs[:, 16:][:, at]
        scores = query[:, at] @ tf.transpose(key) / np.sqrt(8.0)
        parts.append(tf.nn.softmax(scores) @ value)
    by_hand = tf.concat(parts, axis=1) @ cross.output_dense.kernel
    np.testing.assert_allclose(found[0], by_hand, atol=1e-5)


@pytest.mark.parametrize(
    "mode", ["plain", pytest.param("xla", marks=pytest.mark.slow)]
)
def test_gradients_reach_every_variable(network, mode):
    keys = tf.constant([1, 2, 3], tf.uint32)
    with kernels.use(mode), tf.GradientTape() as tape:
        logits = network(
            SOURCE, MASK, target_ids=TARGET, training=True, keys=keys
        ).logits
        loss = tf.reduce_sum(tf.nn.log_softmax(logits)[..., 3])
    found = tape.gradient(loss, network.trainable_variables)
    for gradient, variable in zip(found, network.trainable_variables):
        assert gradient is not None, variable.path
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0, variable.path


def test_dropout_follows_its_keys(network):
    def logits(keys):
        keys = tf.constant(keys, tf.uint32)
        with kernels.use("plain"):
            return network(
                SOURCE, MASK, target_ids=TARGET, training=True, keys=keys
            ).logits.numpy()

    one, same, other = logits([1, 2, 3]), logits([1, 2, 3]), logits([1, 2, 4])
    np.testing.assert_array_equal(one, same)
    np.testing.assert_allclose(one[:2], other[:2], atol=1e-5)
    assert np.abs(one[2] - other[2]).max() > 0.1


def test_it_starts_from_the_encoder():
    made = task_network(CONFIG, DecoderConfig(num_layers=2))
    made.build()
    cross = made.head.blocks[0].cross_attention.trainable_variables
    before = [v.numpy() for v in cross]
    made.start_head()
    for block, layer in zip(made.head.blocks, (0, 2)):  # the first, the last
        theirs = made.encoder.blocks[layer].trainable_variables
        for own, given in zip(block.block.trainable_variables, theirs):
            np.testing.assert_array_equal(own, given)
    for variable, value in zip(cross, before):
        np.testing.assert_array_equal(variable, value)

    made = task_network(CONFIG, DecoderConfig(num_layers=2, from_encoder=False))
    made.build()
    made.start_head()
    assert not np.allclose(
        made.head.blocks[0].block.intermediate.kernel,
        made.encoder.blocks[0].intermediate.kernel,
    )


@pytest.mark.parametrize("embedding_size", [12, 16])
def test_names_and_shapes_on_disk(embedding_size):
    config = dataclasses.replace(CONFIG, embedding_size=embedding_size)
    head = DecoderConfig(num_layers=2)
    made = task_network(config, head)
    made.build()
    about = DirectoryConfig(
        config, None, True, None, "", replaced_token_head=False,
        token_lm_head=False, task=head,
    )  # fmt: skip
    held = directory.named_variables([made])
    wanted = names.shapes(about)
    found = {n: tuple(v.shape) for n, v in held.items() if "seed" not in n}
    assert found == wanted
    assert from_json(to_json(about), "config.json") == about


def test_impossible_settings():
    with pytest.raises(UserError, match="num_layers"):
        DecoderConfig(num_layers=0)
    heads = {"a": TaskHeadConfig(), "b": DecoderConfig()}
    with pytest.raises(UserError, match="'b'"):
        task_network(CONFIG, MultiHeadConfig(heads))
