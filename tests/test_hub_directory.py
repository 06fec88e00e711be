"""Tests that model directories load as saved, and that damage is reported."""

import dataclasses
import json

import hub_models
import keras
import numpy as np
import pytest
import tensorflow as tf

import electra_tf
from electra_tf import tensors
from electra_tf.errors import UserError
from electra_tf.hub import directory
from electra_tf.models import networks
from electra_tf.models.config import ModelConfig
from electra_tf.text.vocab import Vocab

IDS = [[2, 9, 12, 3], [2, 7, 3, 0]]
MASK = [[1, 1, 1, 1], [1, 1, 1, 0]]


@pytest.fixture
def saved(tmp_path, tiny_tokens):
    vocab = Vocab(tuple(tiny_tokens))
    config = ModelConfig.of_size(
        "tiny", vocab_size=len(vocab), num_layers=2, max_positions=16
    )
    discriminator = networks.Discriminator(config)
    generator = networks.Generator(
        config.generator(0.5), discriminator.encoder.embeddings
    )
    discriminator.build()
    generator.build()
    path = str(tmp_path / "model")
    directory.save(
        path,
        directory.DirectoryConfig(
            config, generator.config, True, None, vocab.fingerprint(), 7
        ),
        [discriminator, generator],
        vocab,
    )
    return path, discriminator, generator


def _inputs():
    return tf.constant(IDS), tf.constant(MASK)


def test_all_three_load_what_was_saved(saved):
    path, discriminator, generator = saved
    loaded = electra_tf.Discriminator.from_pretrained(path)
    np.testing.assert_array_equal(
        loaded(*_inputs()).logits, discriminator(*_inputs()).logits
    )
    loaded = electra_tf.Generator.from_pretrained(path)
    np.testing.assert_array_equal(
        loaded(*_inputs()).logits, generator(*_inputs()).logits
    )
    encoder = electra_tf.Encoder.from_pretrained(path)
    np.testing.assert_array_equal(
        encoder(*_inputs()).sequence_output,
        discriminator(*_inputs()).encoder.sequence_output,
    )
    assert encoder.tokenizer(["the cat"]).to_list()


def test_each_saves_alone_and_loads_again(saved, tmp_path):
    path, discriminator, _ = saved
    encoder = electra_tf.Encoder.from_pretrained(path)
    alone = str(tmp_path / "alone")
    electra_tf.Discriminator.from_pretrained(path).save_pretrained(alone)
    again = electra_tf.Discriminator.from_pretrained(alone)
    np.testing.assert_array_equal(
        again(*_inputs()).logits, discriminator(*_inputs()).logits
    )
    np.testing.assert_array_equal(
        electra_tf.Encoder.from_pretrained(alone)(*_inputs()).sequence_output,
        encoder(*_inputs()).sequence_output,
    )
    with pytest.raises(UserError, match="holds no generator"):
        electra_tf.Generator.from_pretrained(alone)


def test_a_run_is_found_through_its_model(saved, tmp_path):
    path, _, _ = saved
    assert directory.find(str(tmp_path)) == path
    assert directory.load_config(path).step == 7


def test_not_a_model(tmp_path):
    with pytest.raises(UserError, match="no such model directory"):
        electra_tf.Encoder.from_pretrained(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=directory.WEIGHTS):
        electra_tf.Encoder.from_pretrained(str(tmp_path))


def _edit_config(path, **changes):
    file = f"{path}/config.json"
    with open(file) as handle:
        content = json.load(handle)
    content.update(changes)
    with open(file, "w") as handle:
        json.dump(content, handle)


@pytest.mark.parametrize(
    "changes",
    [{"format": "x"}, {"version": 9}, {"unknown": 1}, {"discriminator": 3}],
)
def test_wrong_config_is_named(saved, changes):
    _edit_config(saved[0], **changes)
    with pytest.raises(UserError, match=r"config\.json"):
        electra_tf.Encoder.from_pretrained(saved[0])


def test_other_vocabulary_is_named(saved):
    path, _, _ = saved
    with open(f"{path}/vocab.txt", "a") as handle:
        handle.write("another\n")
    with pytest.raises(UserError, match=r"vocab\.txt"):
        electra_tf.Encoder.from_pretrained(path)


def test_truncated_weights_are_named(saved):
    path, _, _ = saved
    file = f"{path}/model.safetensors"
    with open(file, "rb") as handle:
        content = handle.read()
    with open(file, "wb") as handle:
        handle.write(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"model\.safetensors.*not a whole"):
        electra_tf.Encoder.from_pretrained(path)


def test_shape_mismatch_names_both(saved):
    path, discriminator, _ = saved
    config = dataclasses.replace(discriminator.config, intermediate_size=100)
    model = networks.Discriminator(config)
    model.build()
    before = [v.numpy() for v in model.trainable_variables]
    weights = tensors.load(f"{path}/model.safetensors")
    with pytest.raises(UserError, match=r"\[128, 512\].*\[128, 100\]"):
        directory.load_weights(model, weights, "there")
    for a, b in zip(before, model.trainable_variables):
        np.testing.assert_array_equal(a, b)
    missing = {k: v for k, v in weights.items() if "layer_1" not in k}
    with pytest.raises(UserError, match="lacks"):
        directory.load_weights(discriminator, missing, "there")


def test_two_encoders_in_one_model(saved):
    path, _, _ = saved
    first = electra_tf.Encoder.from_pretrained(path)
    second = electra_tf.Encoder.from_pretrained(path)
    named = electra_tf.Encoder.from_pretrained(path, name="answers")
    assert first.name != second.name
    assert named.name == "answers"
    ids = keras.Input((None,), dtype="int32")
    outputs = [e(ids).first_output for e in (first, second, named)]
    model = keras.Model(ids, outputs)
    expected = first(tf.constant(IDS)).first_output
    for output in model(tf.constant(IDS)):
        np.testing.assert_array_equal(output, expected)


def test_a_named_network_saves_as_any_other(saved, tmp_path):
    path, _, _ = saved
    for cls in (electra_tf.Encoder, electra_tf.Generator):
        model = cls.from_pretrained(path, name="other")
        model.save_pretrained(str(tmp_path))
        report = cls.from_pretrained(str(tmp_path)).load_report
        assert (report.new, report.leftover) == ((), ())


def test_dtype_and_random_weights_and_overrides(saved):
    path, discriminator, _ = saved
    before = keras.config.dtype_policy()
    half = electra_tf.Encoder.from_pretrained(
        path, dtype="mixed_bfloat16", overrides={"model.hidden_dropout": 0.25}
    )
    assert keras.config.dtype_policy() == before
    assert half(*_inputs()).sequence_output.dtype == tf.bfloat16
    assert half.blocks[0].config.hidden_dropout == 0.25
    expected = discriminator(*_inputs()).encoder.sequence_output
    difference = half(*_inputs()).sequence_output - tf.cast(
        expected, tf.bfloat16
    )
    assert 0 < np.abs(tf.cast(difference, tf.float32)).max() < 0.1
    fresh = electra_tf.Encoder.from_pretrained(path, load_weights=False)
    assert fresh.load_report.loaded == ()
    assert np.abs(fresh(*_inputs()).sequence_output - expected).max() > 0.1
    assert fresh.tokenizer is not None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("generator_kind", "one_of_a_later_version"),
        ("generator_kind", ["tied"]),
        ("generator_embeddings", "own"),
        ("lower_case", "no"),
        ("strip_accents", 1),
        ("step", "12"),
        ("step", True),
        ("fine_tuning", ["squad"]),
    ],
)
def test_values_of_no_such_kind_are_named(tmp_path, key, value):
    config = hub_models.directory_config(hub_models.TINY)
    directory.write(str(tmp_path), hub_models.checkpoint(config))
    assert directory.read(str(tmp_path)).config.step == 0
    hub_models.edit(tmp_path / "config.json", **{key: value})
    with pytest.raises(UserError, match=rf"config\.json: .*{key}") as error:
        directory.read(str(tmp_path))
    assert "\n" not in str(error.value)
