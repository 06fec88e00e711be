"""Tests starts of fine-tuning: any checkpoint or network, random weights."""

import dataclasses

import hub_random
import numpy as np
import pytest

from electra_tf.errors import UserError
from electra_tf.finetuning import start
from electra_tf.finetuning.settings import ModelSettings
from electra_tf.hub import loading
from electra_tf.models.config import ModelConfig
from electra_tf.models.task_heads import TaskHeadConfig

SHAPE = ModelConfig(
    vocab_size=len(hub_random.VOCAB), embedding_size=4, hidden_size=8,
    num_layers=2, num_heads=2, intermediate_size=6, max_positions=9,
    hidden_dropout=0.0, attention_dropout=0.3,
)  # fmt: skip
HEAD = TaskHeadConfig("sequence", 2, ("x", "y"), hidden_layer=True)
KERNEL = "discriminator/encoder/layer_1/intermediate/kernel"


def checkpoint(**fields):
    fields = {
        "discriminator": SHAPE, "generator": None, "lower_case": True,
        "strip_accents": None, "vocab_fingerprint": "", "token_lm_head": False,
    } | fields  # fmt: skip
    return hub_random.checkpoint(start.DirectoryConfig(**fields))


def written(path, format, found):
    part = "both" if format in ("electra_tf", "tf1") else (
        "discriminator" if found.config.discriminator else "generator"
    )  # fmt: skip
    loading.format_module(format).write(str(path), found, part)
    return str(path)


def values(network):
    from electra_tf.hub import directory

    return {
        n: v.numpy() for n, v in directory.named_variables([network]).items()
    }


@pytest.mark.parametrize(
    "format", ["electra_tf", "huggingface", "keras_hub", "tf1"]
)
def test_every_format(tmp_path, format):
    if format == "keras_hub":
        pytest.importorskip("keras_hub")
    found = checkpoint(discriminator=dataclasses.replace(SHAPE, gelu="tanh"))
    path = written(tmp_path / "m", format, found)
    begin = start.from_checkpoint(path, ModelSettings(num_heads=2))
    network, report = begin.build(HEAD)
    ours = values(network)
    np.testing.assert_array_equal(ours[KERNEL], found.weights[KERNEL])
    np.testing.assert_array_equal(
        ours["embeddings/word_embeddings"],
        found.weights["embeddings/word_embeddings"],
    )
    assert set(report.new) == {
        "task/dense/kernel", "task/dense/bias",
        "task/output/kernel", "task/output/bias",
    }  # fmt: skip
    assert begin.config.hidden_dropout == begin.config.attention_dropout == 0.1
    assert begin.tokenizer()(["a b"]).to_list() == [
        [hub_random.VOCAB.ids["a"], hub_random.VOCAB.ids["b"]]
    ]
    assert begin.describe(HEAD).endswith("with a new head")


@pytest.mark.parametrize(
    "fields",
    [
        {"replaced_token_head": True},
        {"replaced_token_head": False},
        {"replaced_token_head": False, "task": HEAD},
        {"replaced_token_head": False,
         "task": TaskHeadConfig("token", 3, ("O", "B-x", "I-x"))},
        {"replaced_token_head": False,
         "task": TaskHeadConfig("span", dropout=0.0)},
        {"discriminator": None, "generator": SHAPE, "token_lm_head": True},
    ],
    ids=["pre-training", "base", "sequence", "token", "answering", "masked"],
)  # fmt: skip
def test_every_class_of_hugging_face(tmp_path, fields):
    found = checkpoint(**fields)
    path = written(tmp_path / "m", "huggingface", found)
    other = TaskHeadConfig("sequence", 4)
    begin = start.from_checkpoint(path, ModelSettings())
    network, report = begin.build(other)
    there = KERNEL
    if fields.get("discriminator", SHAPE) is None:
        there = KERNEL.replace("discriminator", "generator")
    ours = values(network)
    np.testing.assert_array_equal(ours[KERNEL], found.weights[there])
    assert set(report.new) == {"task/output/kernel", "task/output/bias"}
    assert not any("encoder" in name for name in report.leftover)


def test_an_equal_head_keeps_its_weights(tmp_path):
    found = checkpoint(task=HEAD, replaced_token_head=False)
    path = written(tmp_path / "m", "electra_tf", found)
    begin = start.from_checkpoint(path, ModelSettings())
    same = dataclasses.replace(HEAD, dropout=0.5)
    assert begin.continues_with(same)
    assert "its weights are kept" in begin.describe(same)
    network, report = begin.build(same)
    kernel = found.weights["task/output/kernel"]
    np.testing.assert_array_equal(values(network)["task/output/kernel"], kernel)
    assert not report.new
    assert network.head_config.dropout == 0.5

    for other in (
        dataclasses.replace(HEAD, labels=("y", "x")),
        dataclasses.replace(HEAD, hidden_layer=False),
        TaskHeadConfig("token", 2, ("x", "y")),
    ):
        assert not begin.continues_with(other)
        assert "the one there differs" in begin.describe(other)
        assert "task/output/kernel" in begin.build(other)[1].new

    begin = start.from_checkpoint(path, ModelSettings(), new_head=True)
    assert "with a new head (asked for)" in begin.describe(HEAD)
    ours = values(begin.build(HEAD)[0])["task/output/kernel"]
    assert np.abs(ours - kernel).max() > 1e-3


def test_shape_and_vocabulary_alone(tmp_path):
    found = checkpoint()
    path = written(tmp_path / "m", "electra_tf", found)
    begin = start.from_checkpoint(path, ModelSettings(), random_weights=True)
    network, report = begin.build(HEAD)
    assert report is None
    assert np.abs(values(network)[KERNEL] - found.weights[KERNEL]).max() > 0.1
    assert network.config.hidden_size == 8
    assert begin.vocab == hub_random.VOCAB
    assert "random weights (shape and vocabulary of" in begin.describe(HEAD)


def test_dropout_can_be_set(tmp_path):
    path = written(tmp_path / "m", "electra_tf", checkpoint())
    begin = start.from_checkpoint(path, ModelSettings(hidden_dropout=0.4))
    assert begin.config.hidden_dropout == 0.4
    assert begin.config.attention_dropout == 0.1


def test_from_random_weights(tiny_vocab_file, tiny_tokens):
    model = ModelSettings(size="tiny", num_layers=1, hidden_dropout=0.0)
    begin = start.from_random(model, tiny_vocab_file, lower_case=False)
    assert begin.config == ModelConfig.of_size(
        "tiny", num_layers=1, hidden_dropout=0.0, vocab_size=len(tiny_tokens)
    )
    assert begin.describe(HEAD) == "random weights"
    assert not begin.tokenizer().lower_case
    assert begin.checkpoint is None


def test_mistakes_are_reported(tmp_path, tiny_vocab_file):
    path = written(tmp_path / "m", "electra_tf", checkpoint())
    for model, more, message in (
        (ModelSettings(size="tiny"), {}, "model.size: is for a new model"),
        (ModelSettings(hidden_size=16), {}, "has shape"),
        (ModelSettings(), {"vocab": tiny_vocab_file}, "vocabulary"),
    ):
        with pytest.raises(UserError, match=message):
            start.from_checkpoint(path, model, **more)
    with pytest.raises(UserError, match="no such model directory"):
        start.from_checkpoint(str(tmp_path / "none"), ModelSettings())
    with pytest.raises(UserError, match="give --vocab"):
        start.from_random(ModelSettings(), None)
    with pytest.raises(UserError, match=r"model.vocab_size: 7, but"):
        start.from_random(ModelSettings(vocab_size=7), tiny_vocab_file)
    with pytest.raises(UserError, match="does not divide"):
        start.from_random(
            ModelSettings(hidden_size=10, num_heads=3), tiny_vocab_file
        )


def test_without_a_vocabulary(tmp_path, tiny_vocab_file):
    found = dataclasses.replace(checkpoint(), vocab=None)
    path = written(tmp_path / "m", "huggingface", found)
    with pytest.raises(UserError, match="no vocabulary beside it; give --vo"):
        start.from_checkpoint(path, ModelSettings())
    hub_random.VOCAB.save(str(tmp_path / "v.txt"))
    begin = start.from_checkpoint(
        path, ModelSettings(), vocab=str(tmp_path / "v.txt")
    )
    assert begin.vocab == hub_random.VOCAB
