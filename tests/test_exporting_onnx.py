"""Tests that ONNX exports compute what the networks do, and have tokenizers."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import serving_models
import tensorflow as tf

import electra_tf
from electra_tf.errors import UserError
from electra_tf.exporting import network_outputs, onnx_files, onnx_graph
from electra_tf.models import embeddings, encoder, networks, task_networks
from electra_tf.models.config import (
    ModelConfig,
    SentenceHeadConfig,
    TaskHeadConfig,
)
from electra_tf.models.rows import Rows

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

CONFIG = ModelConfig(
    vocab_size=30, embedding_size=12, hidden_size=16, num_layers=2,
    num_heads=2, intermediate_size=32, max_positions=16,
    initializer_range=0.5,
)  # fmt: skip
HEADS = {
    "classes": TaskHeadConfig("sequence", 3),
    "hidden": TaskHeadConfig("sequence", 2, hidden_layer=True),
    "pooler": TaskHeadConfig(
        "sequence", 2, hidden_layer=True, hidden_activation="tanh"
    ),
    "token": TaskHeadConfig("token", 5),
    "span": TaskHeadConfig("span"),
    "answerable": TaskHeadConfig("span", joint_size=6, answerable=True),
    "joint": TaskHeadConfig("joint_span", joint_size=6, beam_size=3),
    "joint2": TaskHeadConfig("joint_span", joint_size=6, answerable=True),
}


def rows():
    ids = np.array([[2, 7, 8, 3, 9, 4, 3], [2, 9, 3, 5, 3, 0, 0]], "int32")
    segments = np.array([[0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 0, 0]], "int32")
    mask = np.array([[1] * 7, [1] * 5 + [0] * 2], "int32")
    return ids, mask, segments


def both(network, signatures=("serving_default",), number=None):
    """Returns the outputs of ONNX Runtime, and those of the network."""
    made = onnx_graph.model(network, signatures, number)
    assert made.opset_import[0].version == 17
    session = onnxruntime.InferenceSession(made.SerializeToString())
    names = [one.name for one in session.get_outputs()]
    ids, mask, segments = rows()
    found = session.run(
        None,
        {
            "input_ids": ids.astype("int64"),
            "attention_mask": mask.astype("int64"),
            "token_type_ids": segments.astype("int64"),
        },
    )
    wanted = network_outputs.expected(
        network, Rows(*map(tf.constant, (ids, mask, segments))),
        signatures, number,
    )  # fmt: skip
    return dict(zip(names, found)), {n: wanted[n].numpy() for n in names}


def varied(network, seed=1):
    """Builds the network, with biases that are not all zero."""
    if not network.built:
        network.build()
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    for variable in network.trainable_variables:
        noise = rng.normal(size=variable.shape) * 0.3
        variable.assign(variable + noise.astype("float32"))
    return network


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_heads(head):
    network = varied(task_networks.task_network(CONFIG, head))
    found, wanted = both(network)
    names = {"logits"}
    if "span" in head.kind:
        names = {"start_logits", "end_logits"}
        if head.answerable:
            names.add("no_answer_logit")
    assert found.keys() == names
    for name, value in found.items():
        assert value.shape == wanted[name].shape
        np.testing.assert_allclose(value, wanted[name], atol=2e-4, rtol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"gelu": "tanh", "embedding_size": 16},
        {"type_vocab_size": 1, "tied_head": False, "head_gelu": "tanh"},
    ],
    ids=str,
)
def test_pretrained(changes):
    config = dataclasses.replace(CONFIG, **changes)
    for network in (
        networks.Discriminator(config), networks.Generator(config),
        encoder.ElectraEncoder(config),
    ):  # fmt: skip
        found, wanted = both(varied(network))
        (name,) = found
        assert (name == "last_hidden_state") == (
            type(network) is encoder.ElectraEncoder
        )
        np.testing.assert_allclose(
            found[name], wanted[name], atol=2e-5, rtol=1e-4
        )


def test_disentangled_tables_and_low_rank_changes_are_part_of_it():
    base = embeddings.Embeddings(CONFIG)
    base.build()
    apart = embeddings.DisentangledEmbeddings(CONFIG, base)
    network = networks.Discriminator(CONFIG, apart)
    varied(network)
    for difference in apart.differences.values():
        difference.assign(difference + 0.1)
    network.enable_lora(2)
    varied(network, seed=5)
    found, wanted = both(network)
    np.testing.assert_allclose(
        found["logits"], wanted["logits"], atol=2e-5, rtol=1e-4
    )


def test_vectors_and_numbers():
    network = varied(
        task_networks.task_network(CONFIG, TaskHeadConfig("sequence", 1))
    )
    found, wanted = both(
        network, ("serving_default", "embed", "embed_first"), (0.5, 3.0)
    )
    assert list(found) == ["logits", "sentence_embedding", "cls_embedding"]
    for name, value in found.items():
        np.testing.assert_allclose(value, wanted[name], atol=1e-5)
    plain, _ = both(network)
    np.testing.assert_allclose(
        found["logits"], plain["logits"] * 0.5 + 3, atol=1e-6
    )


def test_unsupported_networks():
    two = networks.TwoTowerGenerator(CONFIG)
    with pytest.raises(UserError, match="a TwoTowerGenerator is not supported"):
        onnx_graph.model(two, ("serving_default",))
    network = varied(task_networks.task_network(CONFIG, SentenceHeadConfig()))
    with pytest.raises(UserError, match="a SentenceScorer is not supported"):
        onnx_graph.model(network, ("serving_default",))
    with pytest.raises(UserError, match="an ONNX export has no 'words'"):
        onnx_graph.model(network, ("words",))


@pytest.fixture(scope="module")
def model(tmp_path_factory, tiny_vocab_file):
    return serving_models.fine_tuned(
        tmp_path_factory.mktemp("run") / "model", tiny_vocab_file, "pair"
    )


def test_a_directory_for_the_libraries_of_hugging_face(model, tmp_path):
    output = tmp_path / "onnx"
    done = electra_tf.export(model, str(output), format="onnx")
    assert sorted(p.name for p in output.iterdir()) == [
        "config.json", "model.onnx", "special_tokens_map.json",
        "tokenizer.json", "tokenizer_config.json", "vocab.txt",
    ]  # fmt: skip
    assert done.difference < 1e-5
    assert "-> logits [batch, 3]" in str(done)
    about = json.loads((output / "config.json").read_text())
    assert about["architectures"] == ["ElectraForSequenceClassification"]
    assert about["id2label"] == {"0": "red", "1": "green", "2": "blue"}
    # Used without this package, as by users of other libraries.
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer.from_file(str(output / "tokenizer.json"))
    text, pair = "the cat sat on the mat.", "a dog"
    read = tokenizer.encode(text, pair)
    session = onnxruntime.InferenceSession(str(output / "model.onnx"))
    (logits,) = session.run(
        ["logits"],
        {
            "input_ids": [read.ids],
            "attention_mask": [read.attention_mask],
            "token_type_ids": [read.type_ids],
        },
    )
    (answer,) = electra_tf.load(model).predict([(text, pair)])
    best = int(logits[0].argmax())
    assert about["id2label"][str(best)] == answer["label"]
    shares = np.exp(logits[0]) / np.exp(logits[0]).sum()
    np.testing.assert_allclose(
        shares, list(answer["probabilities"].values()), atol=1e-5
    )


def test_mistakes(model, tmp_path, monkeypatch):
    def export(output="new", **arguments):
        path = str(tmp_path / output)
        return electra_tf.export(model, path, format="onnx", **arguments)

    for message, arguments in {
        "--version: is not for --format=onnx": {"version": 3},
        "--float16: is not for --format=onnx": {"float16": True},
        "an ONNX export has no 'x'": {"signatures": "x"},
    }.items():
        with pytest.raises(UserError, match=message):
            export(**arguments)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "file").touch()
    with pytest.raises(UserError, match="old: is there already; remove it"):
        export("old")
    with monkeypatch.context() as patch:
        patch.setattr(onnx_files, "TOLERANCE", 0.0)
        with pytest.raises(UserError, match="differs from the model's"):
            export()
    with monkeypatch.context() as patch:
        patch.setitem(__import__("sys").modules, "onnxruntime", None)
        with pytest.raises(UserError, match=r"pip install 'electra-tf\[onnx\]"):
            export()
    assert [p.name for p in tmp_path.iterdir()] == ["old"]
