"""Tests of LiteRT as the engine, against TensorFlow's predictions."""

import zipfile

import keras
import numpy as np
import pytest
import serving_models
import span_models
import tensorflow as tf
import tokenizers

import electra_tf
from electra_tf import files, litert
from electra_tf.cli import app
from electra_tf.errors import UserError
from electra_tf.exporting import tflite
from electra_tf.models import lite_encoder, networks
from electra_tf.models.config import ModelConfig
from electra_tf.prediction import predictor
from electra_tf.serving.server import (
    cancelable,
    lite_signatures,
    loaded_model,
)
from electra_tf.serving.server.limits import RequestError
from electra_tf.tasks.tagging import schemes
from electra_tf.text.vocab import load_vocab

TEXTS = ["the cat sat.", "a dog", "the good sister had " * 20, "x", "中 the"]


@pytest.fixture(autouse=True)
def interpreter(monkeypatch):
    """Uses TensorFlow's copy of LiteRT where LiteRT is not installed."""
    if not litert.installed():
        made = tflite.interpreter_class()
        monkeypatch.setattr(litert, "interpreter_class", lambda: made)


@pytest.fixture(scope="module")
def colours(tmp_path_factory, tiny_vocab_file):
    """The directory of a text classifier."""
    path = tmp_path_factory.mktemp("litert") / "model"
    return serving_models.fine_tuned(path, tiny_vocab_file, "classification")


def probabilities(answers):
    return np.array([list(a["probabilities"].values()) for a in answers])


@pytest.fixture(scope="module")
def encoder(tiny_vocab_file):
    """A network of two layers, and its file."""
    keras.utils.set_random_seed(1)
    network = networks.Discriminator(
        ModelConfig(vocab_size=150, **serving_models.SHAPE)
    )
    network.build()
    return network, lite_encoder.convert_encoder(network)


def test_rows_of_any_length_are_the_encoders(encoder):
    network, content = encoder
    lite = litert.LiteNetwork(content, 40)
    rng = np.random.default_rng(0)
    lengths = np.array([1, 2, 9, 40, 33, 5, 8])
    mask = (np.arange(40) < lengths[:, None]).astype("int32")
    ids = rng.integers(1, 150, mask.shape).astype("int32") * mask
    segments = rng.integers(0, 2, mask.shape).astype("int32") * mask
    wanted = network.encoder(ids, mask, segments).sequence_output.numpy()
    wanted *= mask[:, :, None]
    for threads in (1, 3):
        found = lite("sequence_output", [ids, mask, segments], threads=threads)
        np.testing.assert_allclose(found, wanted, atol=1e-4)
    none = lite("sequence_output", [ids[:0], mask[:0], segments[:0]])
    assert none.shape == (0, 40, 32)


def test_single_rows_find_an_interpreter_of_their_length(encoder):
    network, content = encoder
    made = []

    def make(**arguments):
        made.append(tflite.interpreter_class()(**arguments))
        return made[-1]

    lite = litert.LiteNetwork(content, 40, make=make)
    for length in (3, 10, 17, 24, 31, 38, 3, 40, 5, 12):
        ids = np.full([1, length], length, "int32")
        rows = [ids, np.ones_like(ids), np.zeros_like(ids)]
        wanted = network.encoder(*rows).sequence_output.numpy()
        found = lite("sequence_output", rows)
        np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert len(made) == 4

    def widths():
        return [int(i.get_input_details()[0]["shape"][1]) for i in made]

    before = widths()
    assert before == [35, 40, 7, 14]
    for length in (6, 11, 39):
        ids = np.full([1, length], 7, "int32")
        lite("sequence_output", [ids, np.ones_like(ids), np.zeros_like(ids)])
    assert widths() == before


def test_a_row_without_memory_leaves_the_others_theirs(encoder):
    _, content = encoder
    made = tflite.interpreter_class()

    def make(**arguments):
        found = made(**arguments)
        allocate = found.allocate_tensors

        def scarce():
            if found.get_input_details()[0]["shape"][1] > 16:
                raise RuntimeError("no memory")
            allocate()

        found.allocate_tensors = scarce
        return found

    lite = litert.LiteNetwork(content, 40, make=make)

    def run(length):
        ids = np.full([1, length], 7, "int32")
        rows = [ids, np.ones_like(ids), np.zeros_like(ids)]
        return lite("sequence_output", rows)

    before = run(5)
    with pytest.raises(RuntimeError, match="no memory"):
        run(30)
    np.testing.assert_array_equal(run(5), before)


@pytest.mark.slow
def test_the_same_answers(colours):
    expected = probabilities(electra_tf.load(colours).predict(TEXTS))
    lite = electra_tf.load(colours, engine="litert")
    assert not lite.int8
    found = probabilities(lite.predict(TEXTS))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    # A single text gives the same as within a batch.
    assert probabilities(lite.predict(TEXTS[1:2])) == pytest.approx(found[1:2])


@pytest.mark.slow
def test_eight_bits_differ_a_little(colours):
    expected = probabilities(electra_tf.load(colours).predict(TEXTS))
    lite = electra_tf.load(colours, int8=True)
    assert lite.int8
    found = probabilities(lite.predict(TEXTS))
    assert 1e-6 < np.abs(found - expected).max() < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pair", "multilabel", "regression", "glue"])
def test_tasks_on_texts(name, tmp_path, tiny_vocab_file):
    path = serving_models.fine_tuned(tmp_path / "m", tiny_vocab_file, name)
    items = TEXTS
    if name in ("pair", "glue"):
        items = list(zip(TEXTS, reversed(TEXTS)))
    one, other = (
        electra_tf.load(path, engine=engine).predict(items)
        for engine in ("tensorflow", "litert")
    )
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        for key in ("score", "probabilities"):
            assert a.get(key) == pytest.approx(b.get(key), abs=1e-4)


def test_unsupported_networks_are_reported(colours):
    with pytest.raises(UserError, match="int8: is LiteRT's"):
        electra_tf.load(colours, engine="tensorflow", int8=True)
    config = ModelConfig(vocab_size=150, **serving_models.SHAPE)
    towers = networks.TwoTowerGenerator(config)
    with pytest.raises(UserError, match="a TwoTowerGenerator is not supported"):
        lite_encoder.convert_encoder(towers)
    with pytest.raises(UserError, match="LiteRT cannot run"):
        litert.LiteNetwork(b"nothing of the kind", 40)


@pytest.mark.slow
@pytest.mark.parametrize("constrained", [True, False])
def test_tagging(constrained, tmp_path, tiny_vocab_file):
    state = {
        "scheme": "bio", "learned": "bio", "default": "O",
        "labels": list(schemes.labels(["PER", "LOC"], "bio")),
    }  # fmt: skip
    predictor = span_models.make(
        tmp_path / "m", tiny_vocab_file, "tagging",
        {"max_seq_length": 24, "constrained": constrained}, state,
    )  # fmt: skip
    lite = electra_tf.load(str(tmp_path / "m"), engine="litert")
    for a, b in zip(predictor.predict(TEXTS), lite.predict(TEXTS)):
        assert a["tags"] == b["tags"]
        for one, other in zip(a["entities"], b["entities"], strict=True):
            close = pytest.approx(other.pop("probability"), abs=1e-4)
            assert one.pop("probability") == close
            assert one == other


@pytest.mark.slow
@pytest.mark.parametrize("head", ["joint", "independent"])
def test_reading(head, tmp_path, tiny_vocab_file):
    options = {
        "max_seq_length": 24, "doc_stride": 7, "max_query_length": 6,
        "head": head,
    }  # fmt: skip
    predictor = span_models.make(
        tmp_path / "m", tiny_vocab_file, "squad/v2.0", options,
        {"unanswerable": True},
    )  # fmt: skip
    lite = electra_tf.load(str(tmp_path / "m"), engine="litert")
    items = [
        {"question": "who sat", "context": "the cat sat. the dog ran. " * n}
        for n in (1, 5)
    ]
    for a, b in zip(predictor.predict(items), lite.predict(items)):
        assert a["answer"] == b["answer"]
        assert a["score"] == pytest.approx(b["score"], abs=1e-4)


# --- files --------------------------------------------------------------------


def _kinds(tmp_path, vocab_file):
    """Maps a kind of model to its directory, options and file's outputs."""
    state = {
        "scheme": "none", "learned": "none", "default": "X",
        "labels": ["X", "Y", "Z"],
    }  # fmt: skip

    def spans(name, options, state):
        path = str(tmp_path / name.replace("/", "_"))
        # The spread gives logits as large as those of a trained model.
        span_models.make(path, vocab_file, name, options, state, spread=0.2)
        return path

    def texts(name):
        return serving_models.fine_tuned(tmp_path / name, vocab_file, name)

    pretrained = serving_models.pretrained(tmp_path / "pretrained", vocab_file)
    logits = {"logits": [1, 3]}
    reads = {"max_seq_length": 24, "doc_stride": 7, "max_query_length": 6}
    answers = {"start_logits": [1, -1], "end_logits": [1, -1]}
    size = len(load_vocab(vocab_file))
    return {
        "pair": (texts("pair"), {}, logits),
        "regression": (texts("regression"), {}, {"logits": [1, 1]}),
        "tagging": (
            spans("tagging", {"max_seq_length": 24}, state), {},
            {"logits": [1, -1, 3]},
        ),
        "reading": (
            spans("squad/v2.0", reads, {"unanswerable": True}),
            {}, answers | {"no_answer_logit": [1]},
        ),
        "independent": (
            spans(
                "squad/v1.1", reads | {"head": "independent"},
                {"unanswerable": False},
            ),
            {}, answers,
        ),
        "discriminator": (pretrained, {}, {"logits": [1, -1]}),
        "generator": (
            pretrained, {"part": "generator"}, {"logits": [1, -1, size]},
        ),
        "embeddings": (
            pretrained, {"signatures": "embed,embed_first"},
            {"sentence_embedding": [1, 32], "cls_embedding": [1, 32]},
        ),
    }  # fmt: skip


@pytest.mark.slow
def test_a_file_of_each_kind(tmp_path, tiny_vocab_file):
    kinds = _kinds(tmp_path, tiny_vocab_file)
    for name, (model, options, outputs) in kinds.items():
        path = str(tmp_path / f"{name}.tflite")
        made = electra_tf.export(model, path, format="tflite", **options)
        assert made.difference < 1e-4, name
        about = tflite.read_description(files.read_bytes(path))
        assert about == made.description
        assert about["outputs"] == outputs, name
        assert set(about["inputs"]) <= set(litert.INPUTS)
    printed = str(made)
    assert f"{path}, float32\n" in printed
    assert "sentence_embedding [1, 32]" in printed


@pytest.mark.slow
def test_a_file_has_what_its_reader_needs(colours, tmp_path):
    path = str(tmp_path / "colours.tflite")
    made = electra_tf.export(colours, path, format="tflite", int8=True)
    assert 1e-6 < made.difference < 1.0
    with zipfile.ZipFile(path) as archive:
        labels = archive.read("labels.txt").decode().splitlines()
        tokenizer = tokenizers.Tokenizer.from_str(
            archive.read("tokenizer.json").decode()
        )
        assert archive.read("vocab.txt").startswith(b"[PAD]\n")
    about = tflite.read_description(files.read_bytes(path))
    assert (about["weights"], about["max_seq_length"]) == ("int8", 32)
    assert about["labels"] == labels == ["red", "green", "blue"]
    read = tokenizer.encode(TEXTS[0])
    lite = litert.LiteNetwork(
        files.read_bytes(path), 40, make=tflite.interpreter_class()
    )
    rows = np.array([[read.ids], [read.attention_mask], [read.type_ids]])
    found = tf.nn.softmax(lite("logits", rows.astype("int32"))).numpy()
    wanted = probabilities(electra_tf.load(colours).predict(TEXTS[:1]))
    np.testing.assert_allclose(found, wanted, atol=0.1)
    for wrong, message in (
        ({"output": path}, "is there already"),
        ({"output": str(tmp_path / "x")}, "ends in .tflite"),
        ({"signatures": "explain"}, "no 'explain' in a .tflite file"),
        ({"optimize": True}, "--optimize: is not for --format=tflite"),
        ({"data": "dev.tsv"}, "--data: is for --int8"),
    ):
        arguments = {"output": str(tmp_path / "y.tflite"), **wrong}
        with pytest.raises(UserError, match=message):
            electra_tf.export(colours, format="tflite", **arguments)
    with pytest.raises(UserError, match="--int8: is for --litert"):
        electra_tf.export(colours, str(tmp_path / "z"), int8=True)
    with pytest.raises(UserError, match=r"no electra_tf\.json in it"):
        tflite.read_description(b"none")


# --- served -------------------------------------------------------------------


def test_an_export_that_fails_leaves_no_file(
    colours, tmp_path, monkeypatch, capsys
):
    output, data = tmp_path / "c.tflite", tmp_path / "data"
    flags = [
        f"--model={colours}", f"--output={output}", "--format=tflite",
        "--int8", f"--data={data}",
    ]  # fmt: skip
    assert app.run(["export", *flags]) == 2
    assert str(data) in capsys.readouterr().err
    data.mkdir()
    (data / "dev.tsv").write_text("text\tlabel\nthe cat\tred\n")
    evaluate = predictor.evaluate

    def fails(loaded):
        if loaded.int8:
            raise UserError("no room")
        return evaluate(loaded)

    with monkeypatch.context() as patch:
        patch.setattr(predictor, "evaluate", fails)
        assert app.run(["export", *flags]) == 2
    assert "no room" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert app.run(["export", *flags]) == 0
    assert "in float32" in capsys.readouterr().out
    assert output.exists()


@pytest.mark.slow
def test_served_as_tensorflow_does(tmp_path, tiny_vocab_file):
    kinds = _kinds(tmp_path, tiny_vocab_file)
    for name in ("pair", "tagging", "reading", "discriminator", "generator"):
        model, options, _ = kinds[name]
        storage = {"optimize": True} if name == "pair" else {}
        made = electra_tf.export(
            model, str(tmp_path / "served" / name), litert=True,
            signatures="serving_default,embed", **options, **storage,
        )  # fmt: skip
        about = made.description["litert"]
        assert max(about["largest_difference"].values()) < 1e-3, name
        one, other = (
            loaded_model.load(name, 1, made.path, engine)
            for engine in ("tensorflow", "litert")
        )
        assert one.lite is None
        assert other.lite is not None
        for signature in ("serving_default", "embed"):
            assert other.lite.takes(signature)
            texts = {
                key: np.array(
                    [f"{t} [MASK] {i}".encode() for t in TEXTS], object
                )
                for i, key in enumerate(one.signatures[signature].inputs)
            }
            a, b = (m.run(signature, texts) for m in (one, other))
            for key, value in a.items():
                if value.dtype.kind == "f":
                    np.testing.assert_allclose(b[key], value, atol=2e-4)
                else:
                    np.testing.assert_array_equal(b[key], value)
        stop = cancelable.Stop()
        stop.request()
        with pytest.raises(RequestError):
            other.run("embed", texts, stop)


@pytest.mark.slow
def test_unavailable_engines(colours, tmp_path, monkeypatch):
    plain = electra_tf.export(colours, str(tmp_path / "plain"))
    with pytest.raises(UserError, match="export it with --litert"):
        loaded_model.load("plain", 1, plain.path, "litert")
    assert loaded_model.load("plain", 1, plain.path).lite is None
    both = electra_tf.export(
        colours, str(tmp_path / "both"), signatures="serving_default",
        litert=True, int8=True,
    )  # fmt: skip
    about = both.description["litert"]
    assert (about["weights"], about["states"]) == ("int8", "first_output")
    assert "for LiteRT, int8: assets.extra/encoder.tflite" in str(both)
    monkeypatch.setattr(litert, "installed", lambda: True)
    auto = loaded_model.load("both", 1, both.path).lite
    assert auto is not None
    assert auto.takes("serving_default")
    assert not auto.takes("embed")
    monkeypatch.setattr(litert, "installed", lambda: False)
    assert loaded_model.load("both", 1, both.path).lite is None


@pytest.mark.slow
def test_auto_takes_single_texts_in_32_bits(colours, tmp_path, monkeypatch):
    made = electra_tf.export(colours, str(tmp_path / "m"), litert=True)
    monkeypatch.setattr(litert, "installed", lambda: True)
    ran = []
    monkeypatch.setattr(lite_signatures.LiteSignatures, "call", recording(ran))
    model = loaded_model.load("m", 1, made.path)
    lite = loaded_model.load("m", 1, made.path, "litert")
    ran.clear()
    one, two = (np.array([b"the cat"] * n, object) for n in (1, 2))
    a = model.run("serving_default", {"text": one})
    b = model.run("serving_default", {"text": two})
    assert ran == [1]
    np.testing.assert_allclose(
        a["probabilities"], b["probabilities"][:1], atol=1e-5
    )
    lite.run("serving_default", {"text": two})
    assert ran == [1, 2]


def recording(ran):
    """Returns `LiteSignatures.call` that records each call's batch size."""
    call = lite_signatures.LiteSignatures.call

    def recorded(self, signature, tensors, stop):
        ran.append(len(next(iter(tensors.values()))))
        return call(self, signature, tensors, stop)

    return recorded
