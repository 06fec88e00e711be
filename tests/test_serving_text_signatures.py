"""Tests that SavedModels of tasks on texts predict as Python does."""

import functools
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import serving_models
import tensorflow as tf
from serving_models import BAD_BYTES, ODD_TEXTS
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2

import electra_tf
from electra_tf.exporting import servable
from electra_tf.exporting import writer as export
from electra_tf.exporting.graphs import text_signatures

PAIRED = ("pair", "glue", "ranking")
# Signatures that read examples; they bring serving_default with them.
EXAMPLES = dict.fromkeys(serving_models.FINE_TUNED, "classification") | {
    "regression": "regression", "ranking": "regression",
}  # fmt: skip
# The second texts beside the odd ones: short, long and empty.
OTHERS = [("the dog " * (7 * i % 40)) for i in range(len(ODD_TEXTS))]


@pytest.fixture(scope="module")
def models(tmp_path_factory, tiny_vocab_file):
    """Maps a name to a servable and its export."""
    folder = tmp_path_factory.mktemp("serving")
    found = {}
    for name in serving_models.FINE_TUNED:
        path = serving_models.fine_tuned(
            folder / "runs" / name, tiny_vocab_file, name
        )
        opened = servable.of_predictor(electra_tf.load(path))
        found[name] = (
            opened,
            export.export(
                opened, str(folder / "models" / name),
                names=None if name == "classification" else [EXAMPLES[name]],
            ),
        )  # fmt: skip
    return found


@pytest.fixture(scope="module")
def loaded(models):
    """Returns a function of a name to its export, loaded once."""
    return functools.cache(
        lambda name: tf.saved_model.load(models[name][1].path)
    )


def columns(name):
    if name == "ranking":
        return ("query", "passage")
    return ("text", "text_pair") if name in PAIRED else ("text",)


def requested(name):
    texts = [*ODD_TEXTS, *BAD_BYTES]
    others = [*OTHERS, *(b"dog \xff" for _ in BAD_BYTES)]
    return {
        column: tf.constant(values)
        for column, values in zip(columns(name), (texts, others))
    }


def of_python(opened, name):
    """Returns the predictions of `predict`, also for empty texts."""
    pairs = zip(ODD_TEXTS, OTHERS)
    items = list(pairs) if name in PAIRED else list(ODD_TEXTS)
    return opened.predictor.predict(items)


# A program that imports only TensorFlow, TensorFlow Text and NumPy.
FRESH = """
import json, sys
import numpy as np
import tensorflow as tf
import tensorflow_text
arrays = {}
for name, path, columns in json.load(sys.stdin):
    loaded = tf.saved_model.load(path)
    requests = np.load("requests.npz", allow_pickle=True)
    inputs = {c: tf.constant(list(requests[f"{name}/{c}"])) for c in columns}
    function = loaded.signatures["serving_default"]
    for key, value in function(**inputs).items():
        arrays[f"{name}/{key}"] = value.numpy()
    rows = []
    for row in zip(*(inputs[c].numpy() for c in columns)):
        example = tf.train.Example()
        for c, text in zip(columns, row):
            example.features.feature[c].bytes_list.value.append(text)
        rows.append(example.SerializeToString())
    for of_examples in {"classification", "regression"} & {*loaded.signatures}:
        found = loaded.signatures[of_examples](inputs=tf.constant(rows))
        for key, value in found.items():
            arrays[f"{name}/{of_examples}/{key}"] = value.numpy()
    none = {c: tf.constant([], tf.string) for c in columns}
    assert all(len(v) == 0 for v in function(**none).values()), name
    long = {c: tf.constant([b"cat " * 60_000]) for c in columns}
    assert all(len(v) == 1 for v in function(**long).values()), name
assert not [m for m in sys.modules if m.startswith("electra_tf")]
np.savez("answers.npz", **arrays)
"""


@pytest.fixture(scope="module")
def answers(models, tmp_path_factory):
    """Maps `name/output` to an array, of a process without electra_tf."""
    folder = tmp_path_factory.mktemp("fresh")
    requests = {
        f"{name}/{column}": value.numpy()
        for name in models
        for column, value in requested(name).items()
    }
    np.savez(folder / "requests.npz", **requests)
    wanted = [(n, models[n][1].path, columns(n)) for n in models]
    subprocess.run(
        [sys.executable, "-c", FRESH],
        input=json.dumps(wanted), text=True, cwd=folder, check=True,
    )  # fmt: skip
    return dict(np.load(folder / "answers.npz", allow_pickle=True))


@pytest.mark.parametrize("name", serving_models.FINE_TUNED)
def test_answers_are_those_of_python(models, answers, name):
    opened, _ = models[name]
    expected = of_python(opened, name)
    rows = len(ODD_TEXTS) + len(BAD_BYTES)
    found = {
        key.partition("/")[2]: value
        for key, value in answers.items()
        if key.partition("/")[0] == name and key.count("/") == 1
    }
    assert all(len(value) == rows for value in found.values())
    if "score" in found:
        scores = [e["score"] for e in expected]
        assert np.ptp(scores) > 0.1
        np.testing.assert_allclose(
            found["score"][: len(scores)], scores, atol=1e-5
        )
        return
    labels = opened.labels
    probabilities = [list(e["probabilities"].values()) for e in expected]
    assert np.ptp(np.array(probabilities), axis=0).max() > 0.1
    np.testing.assert_allclose(
        found["probabilities"][: len(probabilities)], probabilities, atol=1e-5
    )
    assert [b.decode() for b in found["labels"][0]] == list(labels)
    assert (found["labels"] == found["labels"][0]).all()
    if name == "multilabel":
        chosen = [
            [label for label, is_there in zip(labels, row) if is_there]
            for row in found["selected"]
        ]
        assert chosen[: len(probabilities)] == [e["labels"] for e in expected]
        assert {len(c) for c in chosen} > {1}
    else:
        chosen = [label.decode() for label in found["label"]]
        assert chosen[: len(probabilities)] == [e["label"] for e in expected]
        assert set(chosen) <= set(labels)


@pytest.mark.parametrize("name", serving_models.FINE_TUNED)
def test_examples_are_answered_as_texts_are(models, answers, name):
    """Outputs have the form that Classify and Regress require."""
    signature = EXAMPLES[name]
    outputs = {"outputs": "score"}
    if signature == "classification":
        outputs = {"classes": "labels", "scores": "probabilities"}
    for new, old in outputs.items():
        found = answers[f"{name}/{signature}/{new}"]
        wanted = answers[f"{name}/{old}"]
        if old == "labels":
            assert (found == wanted).all()
        else:
            np.testing.assert_allclose(found, wanted, atol=1e-6)

    saved = saved_model_pb2.SavedModel()
    _, written = models[name]
    path = pathlib.Path(written.path) / "saved_model.pb"
    saved.ParseFromString(path.read_bytes())
    definitions = saved.meta_graphs[0].signature_def
    about = definitions[signature]
    kind = {"classification": "classify"}.get(signature, "regress")
    assert about.method_name == f"tensorflow/serving/{kind}"
    assert about.inputs.keys() == {"inputs"}
    assert about.inputs["inputs"].dtype == types_pb2.DT_STRING
    assert about.outputs.keys() == set(outputs)
    kinds = {n: t.dtype for n, t in about.outputs.items()}
    assert kinds.pop("classes", types_pb2.DT_STRING) == types_pb2.DT_STRING
    assert set(kinds.values()) == {types_pb2.DT_FLOAT}
    default = definitions["serving_default"]
    assert default.method_name == "tensorflow/serving/predict"
    described = written.description["signatures"]
    assert described[signature]["method_name"] == about.method_name
    assert "method_name" not in described["serving_default"]


def test_results_do_not_depend_on_the_others_in_a_request(loaded):
    function = loaded("classification").signatures["serving_default"]
    whole = function(**requested("classification"))["probabilities"].numpy()
    for i, text in enumerate([*ODD_TEXTS, *BAD_BYTES]):
        alone = function(text=tf.constant([text]))["probabilities"].numpy()
        np.testing.assert_allclose(alone[0], whole[i], atol=1e-6)


@pytest.mark.parametrize("name", ["pair", "ranking"])
def test_as_many_of_one_text_as_of_the_other(loaded, name):
    function = loaded(name).signatures["serving_default"]
    texts = dict(zip(columns(name), (["the cat"], ["sat", "ran"])))
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="expected equally many of each"
    ):
        function(**{key: tf.constant(value) for key, value in texts.items()})


def test_vectors(models, loaded):
    opened, _ = models["classification"]
    signatures = loaded("classification").signatures
    texts = [*ODD_TEXTS, *BAD_BYTES]
    mean = signatures["embed"](text=tf.constant(texts))["embedding"]
    first = signatures["embed_first"](text=tf.constant(texts))
    for i, text in enumerate(texts[::4]):
        batch = opened.tokenizer.encode([text], max_length=32)
        hidden = opened.network(**batch).encoder.sequence_output.numpy()[0]
        real = hidden[batch["input_mask"].numpy()[0] > 0]
        np.testing.assert_allclose(mean[4 * i], real.mean(0), atol=1e-5)
        np.testing.assert_allclose(
            first["embedding"][4 * i], hidden[0], atol=1e-5
        )


def test_the_description(models):
    for name, (opened, written) in models.items():
        path = pathlib.Path(written.path) / "assets.extra" / "electra_tf.json"
        about = json.loads(path.read_text(encoding="utf-8"))
        assert about == written.description
        kind = {"pair": "classification", "glue": "classification"}.get(
            name, name
        )
        assert about["task"] == kind and about["name"] == name
        assert about["pair"] == (name in PAIRED)
        assert about["language"] == "en" and about["max_seq_length"] == 32
        signature = about["signatures"]["serving_default"]
        assert signature["inputs"] == {
            c: {"dtype": "string", "shape": [None]} for c in columns(name)
        }
        kinds = {o["dtype"] for o in signature["outputs"].values()}
        assert kinds <= {"float", "string", "bool"}
        assert 3 <= len(about["examples"]) <= 5
        assert all(tuple(e) == columns(name) for e in about["examples"])
        labels = opened.labels
        assert (labels is None) == (name in ("regression", "ranking"))
        assert about["labels"] == (None if labels is None else list(labels))
        assert text_signatures.reads_pairs(opened.predictor.task) == (
            name in PAIRED
        )
    assert models["glue"][1].description["task_name"] == "glue/rte"


def kept_by_hand(name, lengths):
    """Returns how many tokens of each text are read, removing one by one."""
    room = 32 - 3 if name in PAIRED else 32 - 2
    kept = list(lengths)
    if name == "ranking":
        kept[0] = min(kept[0], 6)
        return [kept[0], min(kept[1], room - kept[0])]
    if name in PAIRED and not lengths[1]:
        room += 1  # there is no second [SEP]
    while sum(kept) > room:
        kept[0 if kept[0] > kept[-1] or len(kept) == 1 else 1] -= 1
    return kept


@pytest.mark.parametrize(
    "name",
    [
        "pair",
        pytest.param("classification", marks=pytest.mark.slow),
        pytest.param("ranking", marks=pytest.mark.slow),
    ],
)
def test_truncation(models, name):
    opened, _ = models[name]
    (function,) = opened.signatures(["truncation"]).values()
    inputs = requested(name)
    found = {k: v.numpy() for k, v in function(**inputs).items()}
    tokenizer = opened.tokenizer
    for row in range(len(ODD_TEXTS)):
        texts = [inputs[c].numpy()[row].decode() for c in columns(name)]
        spans = [tokenizer.tokenize_with_offsets([text]) for text in texts]
        lengths = [each.ids.row_lengths().numpy()[0] for each in spans]
        kept = kept_by_hand(name, lengths)
        for column, text, each, length, read in zip(
            columns(name), texts, spans, lengths, kept
        ):
            assert found[f"{column}_tokens"][row] == length
            assert found[f"{column}_tokens_read"][row] == read
            end = len(text)
            if read < length:
                end = each.end_chars.to_list()[0][read - 1] if read else 0
            assert found[f"{column}_chars_read"][row] == end
