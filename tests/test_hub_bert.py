"""Tests BERT's checkpoints as encoders, generators and fine-tuned models."""

import json
import os
import subprocess

import bert_reference as bert
import h5py
import numpy as np
import pytest
import tensorflow as tf

import electra_tf
from electra_tf import tensors
from electra_tf.errors import UserError
from electra_tf.finetuning.settings import ModelSettings
from electra_tf.finetuning.start import from_checkpoint
from electra_tf.hub import huggingface, loading, pretrained
from electra_tf.keras_api import start
from electra_tf.keras_api.settings import PretrainSettings
from electra_tf.models.config import GeneratorConfig, TaskHeadConfig
from electra_tf.models.rows import Rows
from electra_tf.recipes.convert import convert

ROWS = Rows(bert.IDS, bert.MASK, bert.SEGMENTS)
REAL = bert.MASK.astype(bool)


def _close(ours, theirs):
    np.testing.assert_allclose(np.asarray(ours), theirs, atol=2e-5, rtol=0)


def _older(weights):
    """Renames LayerNorm as in 2018, and adds a constant saved at that time."""
    renamed = {}
    for name, array in weights.items():
        if "LayerNorm" in name:
            name = name.replace("weight", "gamma").replace("bias", "beta")
        renamed[name] = array
    positions = np.arange(7, dtype=np.int64)[None]
    return renamed | {"bert.embeddings.position_ids": positions}


def _bare(weights):
    """Removes the prefix, as in a checkpoint of BertModel itself."""
    return {n.removeprefix("bert."): a for n, a in weights.items()}


def _tied(weights):
    """Adds the second copies of variables that BERT stores twice."""
    table = weights["bert.embeddings.word_embeddings.weight"]
    return weights | {
        "cls.predictions.decoder.weight": table,
        "cls.predictions.decoder.bias": weights["cls.predictions.bias"],
    }


ENCODERS = {
    "bare": (_bare, "BertModel", ()),
    "prefixed": (dict, "BertModel", ()),
    "older": (_older, "BertForPreTraining", ("masked_lm", "next_sentence")),
    "masked_lm": (_tied, "BertForMaskedLM", ("masked_lm",)),
    "next_sentence": (
        dict, "BertForNextSentencePrediction", ("next_sentence",),
    ),
    "choices": (dict, "BertForMultipleChoice", ("classifier",)),
}  # fmt: skip


@pytest.mark.parametrize("kind", ENCODERS)
def test_encoders_compute_what_berts_do(tmp_path, kind):
    stored, cls, heads = ENCODERS[kind]
    weights = bert.arrays(*heads)
    bert.save(tmp_path, stored(weights), cls)
    encoder = electra_tf.Encoder.from_pretrained(str(tmp_path))
    output = encoder(ROWS).sequence_output
    _close(output[REAL], bert.hidden_states(weights)[REAL])
    report = encoder.load_report
    assert not report.new
    prefix = "" if kind == "bare" else "bert."
    assert f"{prefix}pooler.dense.weight" in report.leftover
    assert ("cls.seq_relationship.bias" in report.leftover) == (
        "next_sentence" in heads
    )
    assert ("classifier.bias" in report.leftover) == ("classifier" in heads)
    assert not any("position_ids" in name for name in report.leftover)
    assert encoder.tokenizer is not None


@pytest.mark.parametrize("kind", ["older", "masked_lm"])
def test_masked_lms_are_generators(tmp_path, kind):
    stored, cls, heads = ENCODERS[kind]
    weights = bert.arrays(*heads)
    bert.save(tmp_path, stored(weights), cls)
    generator = electra_tf.Generator.from_pretrained(str(tmp_path))
    _close(generator(ROWS).logits[REAL], bert.masked_lm(weights)[REAL])
    assert not generator.load_report.new
    assert "bert.pooler.dense.bias" in generator.load_report.leftover


def test_a_masked_lm_of_tensorflow_s_classes(tmp_path):
    """Their head is called mlm___cls, and stored without the tied table."""
    weights = bert.arrays("masked_lm")
    bert.save(tmp_path, weights, "BertForMaskedLM")
    (tmp_path / "model.safetensors").unlink()
    with h5py.File(tmp_path / "tf_model.h5", "w") as file:
        for name, array in weights.items():
            *parts, leaf = name.replace("cls.", "mlm___cls.", 1).split(".")
            if leaf == "weight" and "embeddings" not in parts[-1]:
                leaf, array = "kernel", array.T
            if "LayerNorm" in parts:
                leaf = {"kernel": "gamma", "bias": "beta"}[leaf]
            place = [parts[0], "tf_bert_for_masked_lm", *parts, f"{leaf}:0"]
            file["/".join(place).replace("layer/", "layer_._")] = array
    generator = electra_tf.Generator.from_pretrained(str(tmp_path))
    _close(generator(ROWS).logits[REAL], bert.masked_lm(weights)[REAL])
    assert not generator.load_report.new


def test_a_masked_lm_with_a_table_of_its_own(tmp_path):
    weights = bert.arrays("masked_lm")
    table = np.random.default_rng(1).normal(0, 1, (len(bert.TOKENS), 8))
    stored = weights | {
        "cls.predictions.decoder.weight": table.astype(np.float32)
    }
    bert.save(tmp_path, stored, "BertForMaskedLM", tie_word_embeddings=False)
    generator = electra_tf.Generator.from_pretrained(str(tmp_path))
    _close(generator(ROWS).logits[REAL], bert.masked_lm(weights, table)[REAL])


def test_two_biases_that_differ_are_reported(tmp_path):
    weights = bert.arrays("masked_lm")
    other = weights["cls.predictions.bias"] + 1
    weights |= {"cls.predictions.decoder.bias": other}
    bert.save(tmp_path, weights, "BertForMaskedLM")
    found = loading.open_checkpoint(str(tmp_path))
    assert "cls.predictions.decoder.bias" in found.leftover


@pytest.mark.parametrize("both", [True, False])
def test_the_bias_that_is_added(tmp_path, both):
    weights = bert.arrays("masked_lm")
    added = weights["cls.predictions.bias"] + 1
    stored = weights | {"cls.predictions.decoder.bias": added}
    if not both:  # one variable, of which only the second name is stored
        del stored["cls.predictions.bias"]
    table = weights["bert.embeddings.word_embeddings.weight"]
    stored["cls.predictions.decoder.weight"] = table
    tied = {"tie_word_embeddings": not both}
    bert.save(tmp_path, stored, "BertForMaskedLM", **tied)
    generator = electra_tf.Generator.from_pretrained(str(tmp_path))
    weights["cls.predictions.bias"] = added
    _close(generator(ROWS).logits[REAL], bert.masked_lm(weights, table)[REAL])
    left = "cls.predictions.bias" in generator.load_report.leftover
    assert left == both


@pytest.mark.parametrize("source", ["encoder", "classifier", "tf1"])
def test_a_new_head_starts_from_the_pooler(tmp_path, source):
    heads = ("classifier",) * (source == "classifier")
    weights = bert.arrays(*heads)
    if source == "tf1":
        path = tmp_path / "tf1"
        _tf1(path, weights)
    else:
        path = tmp_path
        cls = "BertForSequenceClassification" if heads else "BertModel"
        bert.save(path, weights, cls)
    begun = from_checkpoint(str(path), ModelSettings(), new_head=True)
    kinds = dict(kind="sequence", num_labels=4, hidden_layer=True)
    pooler = TaskHeadConfig(**kinds, hidden_activation="tanh")
    network, report = begun.build(pooler)
    assert "on its pooler" in begun.describe(pooler)
    dense = network.head.dense
    theirs = weights["bert.pooler.dense.weight"]
    np.testing.assert_array_equal(dense.kernel, theirs.T)
    np.testing.assert_array_equal(dense.bias, weights["bert.pooler.dense.bias"])
    assert sorted(report.new) == ["task/output/bias", "task/output/kernel"]
    assert not any("pooler" in name for name in report.leftover)
    # Another activation is not that of the pooler, whose names are reported.
    other = TaskHeadConfig(**kinds)
    network, report = begun.build(other)
    assert "pooler" not in begun.describe(other)
    assert not np.array_equal(network.head.dense.kernel, theirs.T)
    if source != "classifier":
        assert sum("pooler" in name for name in report.leftover) == 2


def test_variables_with_names_like_the_pooler_are_reported(tmp_path):
    extra = {"pooler2.weight": np.ones(2, np.float32)}
    bert.save(tmp_path, bert.arrays() | extra, "BertModel")
    begun = from_checkpoint(str(tmp_path), ModelSettings())
    head = TaskHeadConfig(
        kind="sequence", hidden_layer=True, hidden_activation="tanh"
    )
    _, report = begun.build(head)
    assert report.leftover == ("pooler2.weight",)


def test_number_of_heads_where_the_config_lacks_it(tmp_path):
    weights = bert.arrays()
    bert.save(tmp_path, weights, "BertModel", num_attention_heads=None)
    with pytest.raises(UserError, match="num_heads"):  # hidden size 8
        loading.open_checkpoint(str(tmp_path), {"model.num_heads": "3"})
    wide = {**bert.SIZES, "hidden_size": 24, "num_attention_heads": None}
    weights = bert.arrays(sizes=wide)
    bert.save(tmp_path, weights, "BertModel", **wide)
    found = loading.open_checkpoint(str(tmp_path))
    assert found.config.discriminator.num_heads == 12
    assert any("num_heads 12" in sentence for sentence in found.assumed)
    bert.save(tmp_path, weights, "BertModel", **wide | {"hidden_size": 36})
    with pytest.raises(UserError, match=r"word_embeddings .*24.*36"):
        loading.open_checkpoint(str(tmp_path))


@pytest.mark.parametrize(
    ("cls", "heads"),
    [
        ("BertForSequenceClassification", ("classifier",)),
        ("BertForTokenClassification", ("classifier",)),
        ("BertForQuestionAnswering", ("answers",)),
    ],
)
@pytest.mark.parametrize("with_class", [True, False])
def test_fine_tuned_heads(tmp_path, cls, heads, with_class):
    weights = bert.arrays(*heads)
    if "Sequence" not in cls:
        weights = {n: a for n, a in weights.items() if "pooler" not in n}
    config = {"id2label": {"0": "x", "1": "y", "2": "z"}}
    if not with_class:
        config["architectures"] = None
    bert.save(tmp_path, weights, cls, **config)
    network = pretrained.load_task_network(str(tmp_path))
    report = network.load_report
    assert not report.new and not report.leftover
    assert (f"class {cls}, from its variables" in report.assumed) != with_class
    output = network(ROWS)
    if "Question" in cls:
        spans = output.spans
        logits = np.stack([spans.start_logits, spans.end_logits], -1)
        expected = bert.of_tokens(weights, "qa_outputs")
        _close(logits[REAL], expected[REAL])
    elif "Token" in cls:
        _close(output.logits[REAL], bert.of_tokens(weights)[REAL])
    else:
        _close(output.logits, bert.classified(weights))
        assert network.directory_config.task.hidden_activation == "tanh"
        assert network.directory_config.task.labels == ("x", "y", "z")


def test_a_pooler_stays_one_in_our_directory_and_is_refused_elsewhere(
    tmp_path,
):
    weights = bert.arrays("classifier")
    bert.save(tmp_path / "a", weights, "BertForSequenceClassification")
    convert(str(tmp_path / "a"), "electra_tf", str(tmp_path / "b"))
    network = pretrained.load_task_network(str(tmp_path / "b"))
    _close(network(ROWS).logits, bert.classified(weights))
    # Hugging Face's class for ELECTRA has a GELU in that place.
    with pytest.raises(UserError, match="tanh"):
        convert(str(tmp_path / "a"), "huggingface", str(tmp_path / "c"))


def test_a_head_that_is_named_and_absent(tmp_path):
    bert.save(tmp_path, bert.arrays(), "BertForMaskedLM")
    found = loading.open_checkpoint(str(tmp_path))
    assert "BertForMaskedLM" in str(found.assumed)
    assert found.config.generator is None


def test_the_file_names_of_2018(tmp_path):
    weights = bert.arrays()
    bert.save(tmp_path, weights, "", architectures=None, model_type=None)
    (tmp_path / "config.json").rename(tmp_path / "bert_config.json")
    index = {"weight_map": dict.fromkeys(weights, "model.safetensors")}
    # An index or a pickle is recognised, a bare safetensors file is not.
    file = tmp_path / "model.safetensors.index.json"
    file.write_text(json.dumps(index))
    encoder = electra_tf.Encoder.from_pretrained(str(tmp_path))
    _close(
        encoder(ROWS).sequence_output[REAL], bert.hidden_states(weights)[REAL]
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "roberta"}, "'roberta'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding"),
        ({"is_decoder": True}, "is_decoder"),
        ({"hidden_act": "relu"}, "hidden_act"),
    ],
)  # fmt: skip
def test_networks_that_compute_something_else_are_refused(
    tmp_path, config, message
):
    bert.save(tmp_path, bert.arrays(), "BertModel", **config)
    with pytest.raises(UserError, match=message):
        huggingface.read(str(tmp_path))


def _tf1(path, weights):
    """Writes the files of the original BERT: bert_model.ckpt and config."""
    arrays = bert.tf1(weights)
    names = sorted(arrays)
    path.mkdir()
    tf.raw_ops.SaveV2(
        prefix=str(path / "bert_model.ckpt"),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.constant(arrays[name]) for name in names],
    )
    config = {**bert.SIZES, "hidden_act": "gelu"}
    (path / "bert_config.json").write_text(json.dumps(config))
    (path / "vocab.txt").write_text("\n".join(bert.TOKENS) + "\n")


def test_tf1(tmp_path):
    weights = bert.arrays("masked_lm", "next_sentence")
    _tf1(tmp_path / "b", weights)
    for place in ("b", "b/bert_model.ckpt"):
        path = str(tmp_path / place)
        encoder = electra_tf.Encoder.from_pretrained(path)
        _close(
            encoder(ROWS).sequence_output[REAL],
            bert.hidden_states(weights)[REAL],
        )
    left = encoder.load_report.leftover
    assert {"bert/pooler/dense/kernel", "cls/seq_relationship/output_bias"} < (
        set(left)
    )
    assert encoder.config.num_heads == 2  # as bert_config.json says
    generator = electra_tf.Generator.from_pretrained(path)
    _close(generator(ROWS).logits[REAL], bert.masked_lm(weights)[REAL])


def test_a_masked_lm_becomes_a_directory_and_is_converted_back(tmp_path):
    weights = bert.arrays("masked_lm")
    bert.save(tmp_path / "a", weights, "BertForMaskedLM")
    convert(str(tmp_path / "a"), "electra_tf", str(tmp_path / "b"))
    config = json.loads((tmp_path / "b" / "config.json").read_text())
    assert config["generator_kind"] == "tied"
    generator = electra_tf.Generator.from_pretrained(str(tmp_path / "b"))
    _close(generator(ROWS).logits[REAL], bert.masked_lm(weights)[REAL])
    words = (str(tmp_path / "b"), "huggingface", str(tmp_path / "c"))
    convert(*words, part="generator")
    back = tensors.load(str(tmp_path / "c" / "model.safetensors"))
    np.testing.assert_array_equal(
        back["generator_predictions.dense.weight"],
        weights["cls.predictions.transform.dense.weight"],
    )
    convert(*words, overwrite=True)  # writes the encoder
    report = convert(*words, part="both", overwrite=True).report
    # The first conversion already left out the pooler.
    assert "bert.pooler" not in str(report)


@pytest.mark.parametrize(
    ("cls", "heads", "kind"),
    [
        ("BertModel", (), "separate"),
        ("BertForMaskedLM", ("masked_lm",), "separate"),
        ("BertForMaskedLM", ("masked_lm",), "tied"),
    ],
)
def test_pre_training_continues_from_it(tmp_path, cls, heads, kind):
    weights = bert.arrays(*heads)
    bert.save(tmp_path, weights, cls)
    settings = PretrainSettings(
        generator=GeneratorConfig(kind=kind, hidden_fraction=0.5)
    )
    checkpoint = start.read([str(tmp_path)])
    settings = start.fit_settings(settings, checkpoint)
    model = electra_tf.ElectraPretrainer.from_config(
        settings, vocab=checkpoint.vocab
    )
    model.compile()
    report = start.load(model, checkpoint, False)
    # The discriminator is BERT's encoder. Other variables keep random weights,
    # and arrays without a variable are left over; both are reported.
    encoder = model.discriminator(ROWS).encoder.sequence_output
    _close(encoder[REAL], bert.hidden_states(weights)[REAL])
    new = {name.partition("/")[0] for name in report.new}
    left = {name for name in report.leftover if name.startswith("generator/")}
    if kind == "tied":
        assert new == {"discriminator"} and not left
        _close(
            model.generator(ROWS).logits[REAL], bert.masked_lm(weights)[REAL]
        )
    else:
        assert new == {"discriminator", "generator"}
        assert bool(left) == (cls == "BertForMaskedLM")
    assert "newly initialised" in str(report)
    assert any("pooler" in name for name in report.leftover)


# The program run with transformers; it saves the outputs of each class.
_THEIRS = """
import sys, numpy as np, torch, transformers
folder, cls = sys.argv[1:]
model = getattr(transformers, cls).from_pretrained(folder).eval()
inputs = np.load(folder + "/inputs.npz")
with torch.no_grad():
    out = model(**{k: torch.tensor(v).long() for k, v in inputs.items()},
                output_hidden_states=True)
found = {"hidden": out.hidden_states[-1].numpy()}
if hasattr(out, "logits"):
    found["logits"] = out.logits.numpy()
np.savez(folder + "/outputs.npz", **found)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cls", "heads"),
    [
        ("BertModel", ()),
        ("BertForMaskedLM", ("masked_lm",)),
        ("BertForSequenceClassification", ("classifier",)),
    ],
)
def test_transformers_computes_the_same(tmp_path, cls, heads):
    python = os.environ.get("ELECTRA_TF_TORCH_PYTHON")
    if not python:
        pytest.skip("set ELECTRA_TF_TORCH_PYTHON to one with transformers")
    weights = bert.arrays(*heads)
    labels = {str(i): str(i) for i in range(3)}
    bert.save(tmp_path, weights, cls, id2label=labels)
    np.savez(
        tmp_path / "inputs.npz",
        input_ids=bert.IDS,
        attention_mask=bert.MASK,
        token_type_ids=bert.SEGMENTS,
    )
    words = [python, "-c", _THEIRS, str(tmp_path), cls]
    subprocess.run(words, check=True, timeout=300)
    theirs = np.load(tmp_path / "outputs.npz")
    encoder = electra_tf.Encoder.from_pretrained(str(tmp_path))
    _close(encoder(ROWS).sequence_output[REAL], theirs["hidden"][REAL])
    if cls == "BertForMaskedLM":
        generator = electra_tf.Generator.from_pretrained(str(tmp_path))
        _close(generator(ROWS).logits[REAL], theirs["logits"][REAL])
    if cls == "BertForSequenceClassification":
        network = pretrained.load_task_network(str(tmp_path))
        _close(network(ROWS).logits, theirs["logits"])
