"""Tests that TF1 checkpoints are read and written unchanged."""

import dataclasses
import json
import os
import re
import shutil
import tempfile

import hub_random
import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf

import electra_tf
from electra_tf.errors import UserError
from electra_tf.hub import checkpoint as checkpoints
from electra_tf.hub import loading, tf1, tf1_files
from electra_tf.hub.config import DirectoryConfig
from electra_tf.models.config import ModelConfig
from electra_tf.models.task_heads import TaskHeadConfig

MODEL = ModelConfig(
    vocab_size=len(hub_random.VOCAB), embedding_size=6, hidden_size=8,
    num_layers=2, num_heads=2, intermediate_size=10, max_positions=7,
)  # fmt: skip
GENERATOR = dataclasses.replace(
    MODEL, hidden_size=4, num_heads=1, intermediate_size=16
)
CONFIG = DirectoryConfig(MODEL, GENERATOR, True, None, "", step=12)


@pytest.fixture
def folder(tmp_path):
    path = str(tmp_path / "tf1")
    tf1.write(path, hub_random.checkpoint(CONFIG, slots=True))
    return path


@hypothesis.given(hub_random.configs(), st.booleans(), st.integers(0, 99))
@hypothesis.settings(max_examples=40)
def test_there_and_back_is_the_identity(config, slots, seed):
    before = hub_random.checkpoint(config, seed, slots)
    with tempfile.TemporaryDirectory() as path:
        assert tf1.write(path, before) == ()
        assert tf1.recognises(path)
        hub_random.same(tf1.read(path), before)


@hypothesis.given(hub_random.configs())
@hypothesis.settings(max_examples=30)
def test_without_the_config_the_variables_determine_the_rest(config):
    """Given what no variable shows, all other settings are found."""
    config = dataclasses.replace(
        config, replaced_token_head=True, token_lm_head=bool(config.generator)
    )
    before = hub_random.checkpoint(config)
    settings = {
        "lower_case": str(config.lower_case).lower(),
        "strip_accents": str(config.strip_accents),
        "wrap_around": str(config.wrap_around),
    }
    for section, model in (
        ("model", config.discriminator), ("generator", config.generator),
    ):  # fmt: skip
        for name in (
            "num_heads", "gelu", "hidden_dropout", "attention_dropout",
            "layer_norm_epsilon",
        ):  # fmt: skip
            if model is not None:
                settings[f"{section}.{name}"] = str(getattr(model, name))
    if settings["strip_accents"] == "None":
        settings["strip_accents"] = "null"
    if config.generator is None:
        settings["generator_kind"] = config.generator_kind
    with tempfile.TemporaryDirectory() as path:
        tf1.write(path, before)
        os.remove(f"{path}/config.json")
        after = tf1.read(path, settings)
    kept = {}
    if config.generator is None:  # no variable shows it
        kept["generator_embeddings"] = config.generator_embeddings
    if config.task is not None:
        kind = after.config.task
        assert kind.kind in (config.task.kind, "sequence")
        assert kind.hidden_layer == config.task.hidden_layer
        kept["task"] = config.task
    after = dataclasses.replace(
        after,
        config=dataclasses.replace(
            after.config,
            vocab_fingerprint=before.config.vocab_fingerprint,
            **kept,
        ),
    )
    hub_random.same(after, before)
    assert not [a for a in after.assumed if "task" not in a]


def test_names_are_the_originals(folder):
    shapes = tf.train.load_checkpoint(f"{folder}/model.ckpt-12")
    shapes = shapes.get_variable_to_shape_map()
    layer = "electra/encoder/layer_1"
    assert shapes["electra/embeddings/LayerNorm/gamma"] == [6]
    assert shapes["electra/embeddings_project/kernel"] == [6, 8]
    assert shapes[f"{layer}/attention/self/key/kernel"] == [8, 8]
    assert shapes[f"{layer}/attention/output/LayerNorm/beta/adam_v"] == [8]
    assert shapes["generator/encoder/layer_0/output/dense/kernel"] == [16, 4]
    assert shapes["generator_predictions/output_bias/adam_m"] == [25]
    assert shapes["discriminator_predictions/dense_1/kernel"] == [8, 1]
    assert shapes["global_step"] == []
    # Query, key and value are three variables there, each variable has two
    # slots, and there is the step.
    assert len(shapes) == 3 * (5 + 2 * 2 * 16 + 2 + 2 + 4 + 5) + 1
    assert tf.train.latest_checkpoint(folder) == f"{folder}/model.ckpt-12"
    with open(f"{folder}/config.json") as handle:
        assert json.load(handle)["num_attention_heads"] == 2


def test_every_way_to_name_it(folder):
    for path in (
        folder, f"{folder}/model.ckpt-12", f"{folder}/model.ckpt-12.index",
        f"{folder}/model.ckpt-12.data-00000-of-00001",
    ):  # fmt: skip
        assert tf1.recognises(path)
        assert tf1_files.find(path) == f"{folder}/model.ckpt-12"
    os.remove(f"{folder}/checkpoint")
    assert tf1_files.find(folder) == f"{folder}/model.ckpt-12"
    for name in os.listdir(folder):
        if "ckpt" in name:
            other = name.replace("-12.", "-7.")
            shutil.copy(f"{folder}/{name}", f"{folder}/{other}")
    with pytest.raises(UserError, match=r"2 TF1 checkpoints.*ckpt-12.*ckpt-7"):
        tf1_files.find(folder)
    # As written on another machine, with its path.
    with open(f"{folder}/checkpoint", "w") as handle:
        handle.write('model_checkpoint_path: "gs://there/model.ckpt-7"\n')
    assert tf1_files.find(folder) == f"{folder}/model.ckpt-7"


def test_what_was_assumed_is_reported(folder):
    os.remove(f"{folder}/config.json")
    read = tf1.read(folder)
    assert read.config.discriminator.num_heads == 1
    assert read.assumed[:2] == (
        "model.num_heads 1 (hidden size 8 // 64)",
        "generator.num_heads 1 (hidden size 4 // 64)",
    )
    changed = tf1.read(folder, {"model.num_heads": "4", "lower_case": "false"})
    assert changed.config.discriminator.num_heads == 4
    assert changed.assumed == read.assumed[1:2]
    gelu = tf1.read(folder, {"model.gelu": "tanh"}).config
    assert gelu.discriminator.gelu == gelu.generator.gelu == "tanh"
    with pytest.raises(UserError, match="num_heads: 3 does not divide"):
        tf1.read(folder, {"model.num_heads": "3"})


@pytest.mark.parametrize("inside", [False, True])
def test_a_config_of_bert_beside_it(folder, inside):
    bert = {
        "hidden_size": 8, "num_attention_heads": 4, "hidden_act": "gelu_new",
        "hidden_dropout_prob": 0.2, "max_position_embeddings": 7,
    }  # fmt: skip
    content = {"bert_config": bert, "embedding_size": 6} if inside else bert

    def read():
        with open(f"{folder}/config.json", "w") as handle:
            json.dump(content, handle)
        return tf1.read(folder)

    config = read().config
    assert config.discriminator.num_heads == 4
    assert config.generator.num_heads == 1  # its own rule
    assert config.discriminator.gelu == config.generator.gelu == "tanh"
    assert config.generator.hidden_dropout == 0.2
    bert["hidden_size"] = 16
    with pytest.raises(
        UserError, match=r"config\.json: model\.hidden_size is 16 .* but 8"
    ):
        read()
    bert["hidden_size"] = "wide"
    with pytest.raises(UserError, match=r"config\.json.*hidden_size"):
        read()
    bert.clear()
    bert["hidden_act"] = "relu"
    with pytest.raises(UserError, match=r"config\.json.*relu"):
        read()
    content.clear()
    with pytest.raises(UserError, match=r"config\.json"):
        read()


@pytest.mark.parametrize(
    ("task", "name"),
    [
        (TaskHeadConfig("sequence", 3), "mnli"),
        (TaskHeadConfig("token", 9), "chunk"),
        (TaskHeadConfig("sequence", 2, hidden_layer=True), "cola"),
        (TaskHeadConfig("span"), "squadv1"),
        (TaskHeadConfig("joint_span", joint_size=5), "squad"),
        (TaskHeadConfig("span", joint_size=5, answerable=True), "squad"),
    ],
)
def test_a_task_is_known_by_its_variables(tmp_path, task, name):
    """The task's name is in the variables, as the original writes them."""
    config = dataclasses.replace(CONFIG, generator=None, task=task)
    path = str(tmp_path)
    tf1.write(path, hub_random.checkpoint(config))
    reader = tf.train.load_checkpoint(path)
    arrays = {
        n.replace("task_specific/task/", f"task_specific/{name}/"): (
            reader.get_tensor(n)
        )
        for n in reader.get_variable_to_shape_map()
    }
    arrays["task_specific/zzz/dense/kernel"] = np.zeros([8, 2], np.float32)
    shutil.rmtree(path)
    os.mkdir(path)
    tf1._save(f"{path}/model.ckpt", arrays)
    read = tf1.read(path)
    assert read.config.task == task
    assert read.leftover == ("task_specific/zzz/dense/kernel",)
    assert any(f"task.name {name}" in text for text in read.assumed)
    assert tf1.read(path, {"task.name": "zzz"}).config.task.num_labels == 2
    with pytest.raises(UserError, match="has "):
        tf1.read(path, {"task.name": "nowhere"})


def _truncate(path):
    with open(path, "r+b") as handle:
        handle.truncate(os.path.getsize(path) // 2)


def _damage(path):
    with open(path, "r+b") as handle:
        handle.seek(os.path.getsize(path) // 2)
        byte = handle.read(1)
        handle.seek(-1, os.SEEK_CUR)
        handle.write(bytes([byte[0] ^ 255]))


@pytest.mark.parametrize(
    ("ending", "harm"),
    [
        (".data-00000-of-00001", os.remove),
        (".data-00000-of-00001", _truncate),
        (".data-00000-of-00001", _damage),
        (".index", os.remove),
        (".index", _truncate),
        (".index", _damage),
    ],
)
def test_half_a_checkpoint(folder, ending, harm):
    harm(f"{folder}/model.ckpt-12{ending}")
    with pytest.raises(UserError) as caught:
        checkpoint = loading.open_checkpoint(folder)
        for name in checkpoint.weights:
            checkpoint.weights[name], checkpoint.slots[name]
    message = str(caught.value)
    assert "\n" not in message
    assert re.search(r"model\.ckpt-12", message)


def test_not_electras(tmp_path):
    prefix = str(tmp_path / "model.ckpt")
    tf1._save(prefix, {"bert/pooler/dense/bias": np.zeros([3], np.float32)})
    with pytest.raises(UserError, match="no ELECTRA or BERT checkpoint"):
        tf1.read(prefix)
    tf.train.Checkpoint(x=tf.Variable(1.0)).write(prefix)
    with pytest.raises(UserError, match="TensorFlow 2"):
        tf1.read(prefix)


def test_parts(folder):
    whole = loading.open_checkpoint(folder)
    for part in ("discriminator", "generator"):
        path = f"{folder}/{part}"
        tf1.write(path, whole, part)
        alone = tf1.read(path)
        hub_random.same(alone, checkpoints.select(whole, part))
        assert (alone.config.discriminator is None) == (part == "generator")
    with pytest.raises(UserError, match="holds no discriminator"):
        checkpoints.select(alone, "discriminator")


@pytest.mark.parametrize("kind", ["tied", "untied"])
def test_a_generator_alone_is_a_plain_one(tmp_path, kind):
    config = dataclasses.replace(
        CONFIG,
        generator=MODEL if kind == "tied" else GENERATOR,
        generator_kind="tied" if kind == "tied" else "separate",
        generator_embeddings="untied" if kind == "untied" else "shared",
    )
    whole = hub_random.checkpoint(config)
    tf1.write(str(tmp_path), whole, "generator")
    alone = tf1.read(str(tmp_path))
    assert alone.config.generator_kind == "separate"
    assert alone.config.generator_embeddings == "shared"
    scope = "" if kind == "tied" else "generator/"
    np.testing.assert_array_equal(
        alone.weights["embeddings/word_embeddings"],
        whole.weights[f"{scope}embeddings/word_embeddings"],
    )


# --- goldens ---------------------------------------------------------------

KINDS = {
    "electra": ("separate", "shared"),
    "disallow": ("separate", "shared"),
    "electric": ("two_tower", "shared"),
    "mlm": ("tied", "shared"),
    "tied": ("tied", "shared"),
    "uniform": ("uniform", "shared"),
}


@pytest.mark.parametrize("name", list(KINDS))
def test_goldens_give_the_recorded_logits(shared_dir, name):
    """All variables are used, and the outputs are the recorded ones."""
    folder = shared_dir / "golden" / "pretrain" / name
    vocab = str(shared_dir / "data" / "vocab" / "bert_uncased_en.txt")
    checkpoint = loading.open_checkpoint(str(folder), None, vocab)
    assert checkpoint.leftover == ()
    config = checkpoint.config
    assert (config.generator_kind, config.generator_embeddings) == KINDS[name]
    golden = np.load(folder / "forward.npz")
    inputs = [tf.constant(golden[n]) for n in ("input_mask", "segment_ids")]
    if "disc_logits" in golden and name != "mlm":
        network = electra_tf.Discriminator.from_pretrained(
            str(folder), vocab=vocab
        )
        assert network.load_report.new == ()
        logits = network(tf.constant(golden["fake_input_ids"]), *inputs).logits
        if name != "electric":  # its logits are offset by those of the noise
            np.testing.assert_allclose(logits, golden["disc_logits"], atol=2e-5)
    if config.generator is not None and name != "electric":
        network = electra_tf.Generator.from_pretrained(str(folder), vocab=vocab)
        assert network.load_report.new == ()
        logits = network(
            tf.constant(golden["masked_input_ids"]), *inputs,
            tf.constant(golden["masked_lm_positions"]),
        ).logits  # fmt: skip
        if name != "disallow":  # its logits exclude the right tokens
            np.testing.assert_allclose(
                logits[:1, :2], golden["mlm_logits"], atol=2e-5
            )
    if name == "electric":
        network = electra_tf.Generator.from_pretrained(str(folder), vocab=vocab)
        assert network.wrap_around
        logits = network(tf.constant(golden["input_ids"]), *inputs).logits
        np.testing.assert_array_equal(
            np.argmax(logits, -1), golden["cloze_preds"]
        )


@pytest.mark.parametrize("task", ["mrpc", "squad"])
def test_finetuned_goldens(shared_dir, task):
    golden = shared_dir / "golden"
    checkpoint = loading.open_checkpoint(
        str(golden / "finetune" / task),
        {"model.num_heads": "4"},
        str(golden / "vocab_4k.txt"),
    )
    kind = {"mrpc": "sequence", "squad": "joint_span"}[task]
    assert checkpoint.config.task.kind == kind
    assert not checkpoint.config.replaced_token_head
    assert checkpoint.leftover == ()
