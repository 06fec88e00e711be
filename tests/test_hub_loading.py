"""Tests that checkpoints of any format load, and that others are reported."""

import dataclasses
import json
import logging
import sys
import types

import hub_random
import numpy as np
import pytest
import tensorflow as tf

import electra_tf
from electra_tf.errors import UserError
from electra_tf.hub import checkpoint as checkpoints
from electra_tf.hub import directory, loading, pretrained, tf1
from electra_tf.hub.checkpoint import Report
from electra_tf.hub.config import DirectoryConfig, override, parse
from electra_tf.models import networks
from electra_tf.models.config import ModelConfig
from electra_tf.models.task_heads import TaskHeadConfig
from electra_tf.text.vocab import SPECIALS, Vocab

MODEL = ModelConfig(
    vocab_size=len(hub_random.VOCAB), embedding_size=6, hidden_size=8,
    num_layers=2, num_heads=2, intermediate_size=16, max_positions=7,
)  # fmt: skip
CONFIG = DirectoryConfig(MODEL, MODEL.generator(0.5), True, None, "")
IDS = np.array([[2, 6, 9, 3]], np.int32)


def _written(tmp_path, config=CONFIG, format_="electra_tf"):
    path = str(tmp_path / format_)
    loading.format_module(format_).write(path, hub_random.checkpoint(config))
    return path


@pytest.mark.parametrize("format_", ["electra_tf", "tf1"])
def test_recognised_and_the_same(tmp_path, format_):
    path = _written(tmp_path, format_=format_)
    assert loading.recognise(path) == format_
    hub_random.same(
        loading.open_checkpoint(path), hub_random.checkpoint(CONFIG)
    )


def test_the_networks_load_from_any_format(tmp_path):
    paths = [_written(tmp_path, format_=f) for f in ("electra_tf", "tf1")]
    for network in (
        electra_tf.Encoder, electra_tf.Discriminator, electra_tf.Generator,
    ):  # fmt: skip
        first, second = (network.from_pretrained(path) for path in paths)
        assert first.load_report.new == ()
        for a, b in zip(
            tf.nest.flatten(first(IDS)), tf.nest.flatten(second(IDS))
        ):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("mirrored", [False, True])
def test_large_arrays_go_in_by_slices(monkeypatch, mirrored):
    monkeypatch.setattr(loading, "_SLICE", 50)  # a few rows at once
    strategy = tf.distribute.get_strategy()
    if mirrored:
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        model = networks.Discriminator(MODEL)
        model.build()
    source = hub_random.checkpoint(dataclasses.replace(CONFIG, generator=None))
    assert loading.assign(model, source).new == ()
    for variable in model.weights:
        np.testing.assert_array_equal(
            variable, source.weights[directory.weight_name(variable.path)]
        )


@pytest.mark.parametrize("task", hub_random.TASKS[1:])
def test_task_networks(tmp_path, task):
    config = dataclasses.replace(CONFIG, task=task)
    path = _written(tmp_path, config)
    model = pretrained.load_task_network(path)
    assert model.load_report.new == ()
    assert model.head_config == task
    expected = hub_random.checkpoint(config).weights
    for variable in model.weights:
        name = directory.weight_name(variable.path)
        np.testing.assert_array_equal(variable, expected[name])
    with pytest.raises(UserError, match="has no task head"):
        pretrained.load_task_network(_written(tmp_path, format_="tf1"))


@pytest.mark.parametrize(
    ("kind", "embeddings"),
    [
        ("separate", "untied"), ("tied", "shared"), ("two_tower", "shared"),
        ("two_tower", "untied"),
    ],
)  # fmt: skip
def test_generators_of_every_kind_load_alone(tmp_path, kind, embeddings):
    config = dataclasses.replace(
        CONFIG,
        generator=MODEL if kind == "tied" else CONFIG.generator,
        generator_kind=kind,
        generator_embeddings=embeddings,
        wrap_around=kind == "two_tower",
    )
    path = _written(tmp_path, config)
    generator = electra_tf.Generator.from_pretrained(path)
    assert generator.load_report.new == ()
    assert len(generator.load_report.loaded) == len(generator.weights)
    again = str(tmp_path / "again")
    generator.save_pretrained(again)
    loaded = electra_tf.Generator.from_pretrained(again)
    assert type(loaded) is type(generator)
    np.testing.assert_array_equal(loaded(IDS).logits, generator(IDS).logits)
    checkpoints.check(
        loaded.directory_config, loading.open_checkpoint(again).weights, again
    )
    towers = kind == "two_tower"
    assert isinstance(loaded, pretrained.TwoTowerGenerator) == towers
    if not towers:
        with pytest.raises(UserError, match="load it as Generator"):
            pretrained.TwoTowerGenerator.from_pretrained(path)


def test_a_uniform_generator_is_none(tmp_path):
    config = dataclasses.replace(
        CONFIG, generator=None, generator_kind="uniform"
    )
    with pytest.raises(UserError, match=r"no generator .*uniform"):
        electra_tf.Generator.from_pretrained(_written(tmp_path, config))


def test_a_missing_head_is_new_and_reported(tmp_path, caplog):
    config = dataclasses.replace(CONFIG, replaced_token_head=False)
    path = _written(tmp_path, config)
    with caplog.at_level(logging.WARNING):
        model = electra_tf.Discriminator.from_pretrained(path)
    assert "newly initialised (4): discriminator/head (4)" in caplog.text
    assert len(model.load_report.new) == 4
    kernel = model.head.dense.kernel.numpy()
    assert 0.001 < kernel.std() < 0.1  # initialised, not arbitrary memory
    encoder = electra_tf.Encoder.from_pretrained(path)
    encoder.save_pretrained(str(tmp_path / "alone"))
    saved = directory.load_config(str(tmp_path / "alone"))
    assert not saved.replaced_token_head and saved.generator is None


def test_heads_of_other_objectives_are_kept(tmp_path):
    """Heads that no config lists are found by their variables."""
    discriminator = networks.Discriminator(
        MODEL, with_heads=["token_lm", "copy"]
    )
    discriminator.build()
    config = dataclasses.replace(
        CONFIG,
        generator=None,
        replaced_token_head=False,
        vocab_fingerprint=hub_random.VOCAB.fingerprint(),
    )
    path = str(tmp_path / "ours")
    directory.save(path, config, [discriminator], hub_random.VOCAB)
    checkpoint = loading.open_checkpoint(path)
    assert checkpoint.leftover == ()
    notes = tf1.write(str(tmp_path / "tf1"), checkpoint, "discriminator")
    assert any("copy/kernel" in note for note in notes)
    hub_random.same(loading.open_checkpoint(str(tmp_path / "tf1")), checkpoint)
    model = electra_tf.Discriminator.from_pretrained(str(tmp_path / "tf1"))
    assert model.head is None and model.load_report.new == ()
    np.testing.assert_array_equal(
        model.copy_head.kernel, discriminator.copy_head.kernel
    )


# --- bad input -------------------------------------------------------------


def _fails(path, match, **arguments):
    with pytest.raises(UserError, match=match) as caught:
        loading.open_checkpoint(str(path), **arguments)
    assert "\n" not in str(caught.value)


def test_unknown_files(tmp_path):
    _fails(tmp_path / "nowhere", r"nowhere: no such model directory")
    _fails(tmp_path, "holds no model.safetensors")
    (tmp_path / "photo.jpg").write_bytes(b"x")
    _fails(tmp_path, "holds no model.safetensors nor another")
    _fails(tmp_path / "photo.jpg", r"photo\.jpg: no checkpoint; expected")
    (tmp_path / "config.json").write_text('{"format": "mp3"}')
    _fails(tmp_path, r"config\.json: of an unknown kind")
    (tmp_path / "checkpoints").mkdir()
    _fails(tmp_path, "a run that has no model yet; start it again")


def test_weights_that_are_not_the_configs(tmp_path):
    path = _written(tmp_path)
    file = f"{path}/config.json"
    with open(file) as handle:
        content = json.load(handle)
    content["discriminator"]["hidden_size"] = 16
    with open(file, "w") as handle:
        json.dump(content, handle)
    _fails(path, r"model\.safetensors: discriminator/.*\[.*8.*\].*\[.*16.*\]")
    content["discriminator"]["hidden_size"] = "wide"
    with open(file, "w") as handle:
        json.dump(content, handle)
    _fails(path, r"config\.json: not the config")
    with open(file, "w") as handle:
        handle.write('{"format": "electra_tf model", ')
    _fails(path, r"config\.json")


def test_weights_that_are_not_all_there(tmp_path):
    checkpoint = hub_random.checkpoint(CONFIG)
    weights = dict(checkpoint.weights)
    del weights["generator/head/dense/bias"]
    path = str(tmp_path)
    directory.write(path, dataclasses.replace(checkpoint, weights=weights))
    _fails(path, r"lacks 1 of the \d+ .* generator/head/dense/bias")


def test_vocabularies(tmp_path):
    path = _written(tmp_path, format_="tf1")
    (tmp_path / "tf1" / "vocab.txt").unlink()
    without = electra_tf.Encoder.from_pretrained(path)
    assert without.tokenizer is None
    assert "no vocabulary beside it" in str(without.load_report)
    with pytest.raises(UserError, match="without one"):
        without.save_pretrained(str(tmp_path / "saved"))
    with pytest.raises(UserError, match="give --vocab=FILE"):
        directory.write(str(tmp_path / "w"), loading.open_checkpoint(path))
    few, many = str(tmp_path / "few"), str(tmp_path / "many")
    Vocab((*SPECIALS, "a")).save(few)
    Vocab((*SPECIALS, *map(str, range(50)))).save(many)
    _fails(path, "25 rows, but the vocabulary 55 tokens", vocab=many)
    read = loading.open_checkpoint(path, vocab=few)
    assert len(read.vocab) == 6 and "6 tokens" in read.assumed[-1]
    assert read.config.vocab_fingerprint == read.vocab.fingerprint()
    encoder = electra_tf.Encoder.from_pretrained(path, vocab=few)
    assert encoder.tokenizer.vocab == read.vocab


@pytest.mark.parametrize(
    ("handle", "match"),
    [
        ("hf://electra", "expected hf://org/name"),
        ("hf://a/b/c", "expected hf://org/name"),
        ("kaggle://keras/electra", "expected kaggle://owner/model"),
    ],
)
def test_malformed_handles(handle, match):
    _fails(handle, match)


def test_handles(tmp_path, monkeypatch):
    """Handles are fetched; a failure or a missing package is one line."""
    path, calls = _written(tmp_path), []

    def snapshot_download(name, revision=None, ignore_patterns=None):
        calls.append((name, revision))
        if name == "org/none":
            raise OSError("cannot reach\nthe host " + 500 * "x")
        return path

    fake = types.SimpleNamespace(snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    assert loading.open_checkpoint("hf://org/name").source.startswith(path)
    assert loading.fetch("hf://org/name@v1") == path
    assert calls == [("org/name", None), ("org/name", "v1")]
    _fails("hf://org/none", "hf://org/none: cannot be fetched .*copy")
    kaggle = types.SimpleNamespace(model_download=lambda name: path)
    monkeypatch.setitem(sys.modules, "kagglehub", kaggle)
    assert loading.fetch("kaggle://keras/electra/keras/small") == path
    for package in ("huggingface_hub", "kagglehub"):
        monkeypatch.setitem(sys.modules, package, None)
    _fails("hf://org/name", "pip install huggingface_hub")
    _fails("kaggle://a/b/c/d", "pip install kagglehub")


def test_a_repository_with_tensorflow_s_weights_alone(tmp_path, monkeypatch):
    asked = []

    def snapshot_download(name, revision=None, **patterns):
        asked.append((revision, patterns))
        if patterns.get("allow_patterns") == ["tf_model.h5"]:
            (tmp_path / "tf_model.h5").write_bytes(b"")
        return str(tmp_path)

    fake = types.SimpleNamespace(snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    (tmp_path / "config.json").write_text("{}")
    assert loading.fetch("hf://org/name@v1") == str(tmp_path)
    assert (tmp_path / "tf_model.h5").exists()
    assert [revision for revision, _ in asked] == ["v1", "v1"]
    (tmp_path / "tf_model.h5").rename(tmp_path / "model.safetensors")
    loading.fetch("hf://org/name")
    assert not (tmp_path / "tf_model.h5").exists()


# --- settings and reports --------------------------------------------------


def test_overrides():
    config = dataclasses.replace(CONFIG, task=TaskHeadConfig("token", 2))
    changed = override(
        config,
        {
            "model.num_heads": "4", "model.gelu": "tanh",
            "generator.num_heads": "2", "lower_case": "false",
            "model.layer_norm_epsilon": "1e-6", "task.labels": "[x, y]",
            "strip_accents": "true",
        },
    )  # fmt: skip
    assert changed.discriminator.num_heads == 4
    assert changed.generator.num_heads == 2
    assert changed.generator.gelu == changed.discriminator.gelu == "tanh"
    assert changed.generator.layer_norm_epsilon == 1e-6
    assert not changed.lower_case and changed.strip_accents is True
    assert changed.task.labels == ("x", "y")
    alone = dataclasses.replace(CONFIG, discriminator=None)
    assert override(alone, {"model.num_heads": "4"}).generator.num_heads == 4
    with pytest.raises(UserError, match="has no task head"):
        override(CONFIG, {"task.num_labels": "3"})


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("model.num_head", "4", "did you mean 'model.num_heads'"),
        ("x", "4", "known here: model, generator"),
        ("model.num_heads", "four", "a whole number"),
        ("model.num_heads", "1.5", "a whole number"),
        ("model.gelu", "relu", "one of 'erf', 'tanh'"),
        ("lower_case", "7", "true or false"),
        ("model.hidden_dropout", "[", "not a YAML value"),
        ("model.hidden_dropout", "1", "at least 0 and below 1"),
        ("model", "{}", "is a section"),
        ("task.labels", "x", "a list"),
    ],
)
def test_wrong_overrides(key, value, match):
    with pytest.raises(UserError, match=f"--set {key}.*{match}"):
        parse({key: value})


def test_report_reads_well():
    report = checkpoints.report(hub_random.checkpoint(CONFIG), "discriminator")
    text = str(dataclasses.replace(report, source="DIR", assumed=("a 1", "b")))
    first, second, third = text.split("\n")
    assert first.startswith("loaded 35 variables (")
    assert first.endswith(" parameters) from DIR")
    assert second == "taken by default: a 1; b"
    assert third == (
        "left over (31): generator/encoder (26), generator/head (5)"
    )
    many = Report("DIR", (), new=tuple(f"{c}/x" for c in "abcdefgh"))
    assert str(many).endswith("e/x, f/x, 2 more places")
