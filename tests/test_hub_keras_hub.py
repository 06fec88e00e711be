"""Tests that KerasHub presets compute the same here and in KerasHub."""

import dataclasses
import json
import os
import re
import shutil

import hub_models
import hypothesis
import hypothesis.strategies as st
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.hub import huggingface, loading
from electra_tf.hub import keras_hub as presets
from electra_tf.models import encoder, task_networks
from electra_tf.models.config import ModelConfig
from electra_tf.models.task_heads import TaskHeadConfig
from electra_tf.text.tokenizer import Tokenizer
from electra_tf.text.vocab import Vocab

SHAPE = ModelConfig(
    vocab_size=200, embedding_size=16, hidden_size=32, num_layers=2,
    num_heads=4, intermediate_size=48, max_positions=20, gelu="tanh",
)  # fmt: skip


def _inputs():
    rng = np.random.default_rng(3)
    ids = rng.integers(5, 200, (3, 11)).astype(np.int32)
    mask, segments = np.ones_like(ids), np.zeros_like(ids)
    mask[1, 6:] = 0
    segments[:, 4:] = 1
    return ids, mask, segments


def _theirs(backbone):
    ids, mask, segments = _inputs()
    outputs = backbone(
        {"token_ids": ids, "padding_mask": mask, "segment_ids": segments}
    )
    return np.asarray(outputs["sequence_output"]), outputs


def _ours(checkpoint):
    model = encoder.ElectraEncoder(checkpoint.config.discriminator)
    model.build()
    report = loading.assign(model, checkpoint)
    assert not [n for n in report.new if "seed" not in n]
    return model(*map(tf.constant, _inputs())).sequence_output.numpy()


def _assert_close(ours, theirs):
    """Compares at real tokens; outputs at padding are arbitrary."""
    real = _inputs()[1].astype(bool)
    np.testing.assert_allclose(ours[real], theirs[real], rtol=0, atol=1e-5)


@pytest.fixture(scope="module", params=[16, 32], ids=["projected", "plain"])
def preset(request, tmp_path_factory, tiny_tokens):
    """A random preset as KerasHub writes it, and its backbone."""
    path = str(tmp_path_factory.mktemp("preset"))
    backbone = keras_hub.models.ElectraBackbone(
        vocab_size=200, num_layers=2, num_heads=4, hidden_dim=32,
        embedding_dim=request.param, intermediate_dim=48,
        max_sequence_length=20, num_segments=3, dropout=0.2,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    for variable in backbone.weights:
        noise = rng.normal(0, 0.1, variable.shape)
        variable.assign_add(noise)
    backbone.save_to_preset(path)
    keras_hub.models.ElectraTokenizer(
        vocabulary=list(tiny_tokens), lowercase=True
    ).save_to_preset(path)
    return path, backbone


def test_a_preset_of_kerashub_is_read(preset, tiny_tokens):
    path, backbone = preset
    assert presets.recognises(path) and not huggingface.recognises(path)
    read = presets.read(path)
    _assert_close(_ours(read), _theirs(backbone)[0])
    assert read.leftover == ("pooled_dense/bias", "pooled_dense/kernel")
    assert read.vocab == Vocab(tiny_tokens)
    assert (read.config.lower_case, read.config.strip_accents) == (True, False)
    shape = read.config.discriminator
    assert (shape.gelu, shape.hidden_dropout) == ("tanh", 0.2)
    assert shape.type_vocab_size == 3 and not read.config.replaced_token_head


def test_shards_are_read_alike(preset, tmp_path):
    path, backbone = preset
    backbone.save_to_preset(str(tmp_path), max_shard_size=3e-5)
    index = json.loads((tmp_path / "model.weights.json").read_text())
    assert len(set(map(str, index["weight_map"].values()))) > 2
    sharded = presets.read(str(tmp_path))
    hub_models.assert_same_weights(sharded.weights, presets.read(path).weights)
    os.remove(tmp_path / "model_00002.weights.h5")
    with pytest.raises(UserError, match=r"model_00002.*no such file"):
        presets.read(str(tmp_path))


@pytest.mark.parametrize("embedding_size", [16, 32])
def test_a_preset_of_ours_loads_in_kerashub(
    tmp_path, embedding_size, tiny_tokens
):
    shape = dataclasses.replace(SHAPE, embedding_size=embedding_size)
    ours = hub_models.checkpoint(
        hub_models.directory_config(shape), Vocab(tiny_tokens)
    )
    notes = presets.write(str(tmp_path), ours)
    assert any("discriminator/head/dense/kernel" in note for note in notes)
    assert any("pooler" in note for note in notes)
    assert sum("its tokenizer" in note for note in notes) == len(notes) - 2
    backbone = keras_hub.models.ElectraBackbone.from_preset(str(tmp_path))
    expected = _ours(ours)
    got, outputs = _theirs(backbone)
    _assert_close(expected, got)
    np.testing.assert_allclose(
        outputs["pooled_output"], np.tanh(got[:, 0]), atol=1e-6
    )
    tokenizer = keras_hub.models.ElectraTokenizer.from_preset(str(tmp_path))
    texts = ["The cat sat!", "Sister's «café»: 中国"]
    assert [np.asarray(tokenizer(t)).tolist() for t in texts] == Tokenizer(
        ours.vocab
    )(texts).to_list()


@st.composite
def configs(draw):
    shape = draw(hub_models.model_configs(gelu=["tanh"], one_dropout=True))
    fields = {
        "lower_case": draw(st.booleans()),
        "strip_accents": draw(st.booleans()),
        "replaced_token_head": False,
    }
    generator = None
    if draw(st.booleans()):
        fields["token_lm_head"] = False
        generator = shape
        kind = draw(st.sampled_from(["tied", "separate"]))
        fields["generator_kind"] = kind
        if kind == "separate":
            fields["generator_embeddings"] = draw(
                st.sampled_from(["untied", "shared"])
            )
    return hub_models.directory_config(shape, generator, **fields)


@hypothesis.settings(max_examples=10)
@hypothesis.given(config=configs(), seed=st.integers(0, 2**31))
def test_there_and_back_is_the_identity(tmp_path_factory, config, seed):
    path = str(tmp_path_factory.mktemp("preset"))
    ours = hub_models.checkpoint(config, seed=seed)
    notes = presets.write(path, ours)
    assert "pooler" in notes[0]
    assert all("its tokenizer" in note for note in notes[1:])
    assert presets.recognises(path)
    back = presets.read(path)
    assert back.config == ours.config
    assert back.vocab == ours.vocab
    hub_models.assert_same_weights(back.weights, ours.weights)


def test_differences_of_the_backbone_are_reported(tmp_path):
    shape = dataclasses.replace(
        SHAPE, gelu="erf", layer_norm_epsilon=1e-6, attention_dropout=0.3
    )
    ours = hub_models.checkpoint(
        hub_models.directory_config(
            shape, replaced_token_head=False, task=TaskHeadConfig("token", 2)
        ),
        vocab=None,
    )
    notes = "\n".join(presets.write(str(tmp_path), ours))
    for word in ("GELU", "epsilon", "dropout", "task/output", "no tokenizer"):
        assert word in notes
    assert presets.read(str(tmp_path)).vocab is None


def test_what_is_no_encoder_is_refused(tmp_path):
    config = hub_models.directory_config(
        SHAPE, SHAPE, generator_kind="two_tower"
    )
    ours = hub_models.checkpoint(config)
    with pytest.raises(UserError, match=r"two_tower.*--part=discriminator"):
        presets.write(str(tmp_path), ours)
    assert not os.listdir(tmp_path)
    alone = hub_models.checkpoint(hub_models.directory_config(SHAPE))
    with pytest.raises(UserError, match="holds no generator"):
        presets.write(str(tmp_path), alone, "generator")


def _edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda p: _edit(
                p / "config.json",
                lambda c: c.update(registered_name="keras_hub>BertBackbone"),
            ),
            r"config\.json: registered_name.*BertBackbone",
        ),
        (
            lambda p: _edit(
                p / "config.json", lambda c: c["config"].pop("hidden_dim")
            ),
            r"config\.json: config\.hidden_dim",
        ),
        (
            lambda p: _edit(
                p / "config.json", lambda c: c["config"].update(vocab_size=201)
            ),
            r"model\.weights\.h5",
        ),
        (
            lambda p: _edit(
                p / "config.json", lambda c: c["config"].update(num_heads=5)
            ),
            r"config\.json.*num_heads",
        ),
        (
            lambda p: os.truncate(p / "model.weights.h5", 3000),
            r"model\.weights\.h5",
        ),
        (lambda p: os.remove(p / "model.weights.h5"), r"model\.weights\.h5"),
        (
            lambda p: (p / "tokenizer.json").write_text("{"),
            r"tokenizer\.json",
        ),
        (
            lambda p: (p / "assets/tokenizer/vocabulary.txt").write_text("a"),
            r"vocabulary\.txt",
        ),
    ],
)
def test_damage_is_named(preset, tmp_path, damage, message):
    copy = tmp_path / "copy"
    shutil.copytree(preset[0], copy)
    damage(copy)
    with pytest.raises(UserError, match=message) as error:
        presets.read(str(copy))
    assert "\n" not in str(error.value)


def _settings(path, **changes):
    _edit(path / "tokenizer.json", lambda c: c["config"].update(changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": False}, "one word"),
        ({"split_on_cjk": False}, "Chinese"),
        ({"special_tokens_in_strings": True}, r"\[MASK\]"),
        ({"suffix_indicator": "@@"}, "no vocabulary.*'@@'"),
        ({"oov_token": "the"}, r"the is \[UNK\]"),
    ],
)
def test_a_tokenizer_unlike_ours_is_reported(
    preset, tmp_path, changes, message
):
    copy = tmp_path / "copy"
    shutil.copytree(preset[0], copy)
    _settings(copy, **changes)
    read = presets.read(str(copy))
    assert re.search(message, " ".join(read.assumed))
    assert (read.vocab is None) == ("suffix_indicator" in changes)


def test_tokens_of_other_names_have_their_own_ids(
    preset, tmp_path, tiny_tokens
):
    copy = tmp_path / "copy"
    shutil.copytree(preset[0], copy)
    named = {"[UNK]": "<unk>", "house": "[UNK]", "sister": "[E1]"}
    theirs = keras_hub.models.ElectraTokenizer(
        vocabulary=[named.get(token, token) for token in tiny_tokens],
        lowercase=True, oov_token="<unk>", special_tokens=["[E1]"],
        special_tokens_in_strings=True,
    )  # fmt: skip
    theirs.save_to_preset(str(copy))
    read = presets.read(str(copy))
    ours = Tokenizer(read.vocab, read.config.lower_case, False)
    texts = ["The [E1]cat ж", "house [E1]"]
    assert ours(texts).to_list() == [
        np.asarray(theirs(text)).tolist() for text in texts
    ]


def test_tokens_of_white_space_remain_different(tmp_path):
    """The common Chinese vocabulary has some, which KerasHub strips."""
    spaces = ("\u2028", "##\u2028", "##\u3000", "a")
    vocab = Vocab((*hub_models.TOKENS[:5], *spaces))
    ours = hub_models.checkpoint(hub_models.directory_config(SHAPE), vocab)
    presets.write(str(tmp_path), ours)
    theirs = keras_hub.models.ElectraTokenizer.from_preset(str(tmp_path))
    assert np.asarray(theirs("a b")).tolist() == [8, 1]
    theirs.save_to_preset(str(tmp_path))
    assert presets.read(str(tmp_path)).vocab == vocab
    # Made of the original's file, KerasHub's own has an empty line.
    file = tmp_path / presets.tokenizers.VOCAB
    tokens = (*hub_models.TOKENS[:5], "", "##", "a")
    file.write_text("".join(f"{token}\n" for token in tokens))
    assert presets.read(str(tmp_path)).vocab.tokens[5:] == (
        "\u2028", "##\u2028", "a",
    )  # fmt: skip


def _classifier(task, name="classification", options=(), state=()):
    return hub_models.directory_config(
        SHAPE, replaced_token_head=False, task=task,
        fine_tuning={
            "task": name, "options": dict(options), "state": dict(state),
        },
    )  # fmt: skip


def test_sets_of_labels_remain_sets(tmp_path):
    task = TaskHeadConfig("sequence", 3, labels=("x", "y", "z"))
    config = _classifier(task, options={"multi_label": True})
    ours = hub_models.checkpoint(config)
    notes = presets.write(str(tmp_path), ours)
    assert any("binary_crossentropy" in note for note in notes)
    theirs = keras_hub.models.TextClassifier.from_preset(str(tmp_path))
    ids, mask, segments = _inputs()
    ids = ids % len(hub_models.TOKENS)
    given = {"token_ids": ids, "padding_mask": mask, "segment_ids": segments}
    probabilities = np.asarray(theirs(given))
    network = task_networks.task_network(SHAPE, task)
    network.build()
    loading.assign(network, ours)
    logits = network(*map(tf.constant, (ids, mask, segments))).logits
    np.testing.assert_allclose(probabilities, tf.sigmoid(logits), atol=1e-5)
    read = presets.read(str(tmp_path))
    about = read.config.fine_tuning
    assert about["options"]["multi_label"] is True
    assert about["state"]["labels"] == ["x", "y", "z"]
    assert not read.assumed


def test_a_score_before_its_sigmoid_is_reported(tmp_path):
    task = TaskHeadConfig("sequence", 1)
    config = _classifier(task, "ranking", state={"activation": "sigmoid"})
    notes = presets.write(str(tmp_path), hub_models.checkpoint(config))
    assert any("before the sigmoid" in note for note in notes)
