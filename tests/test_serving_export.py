"""Tests of exports: versions, names, other files, types of weights."""

import dataclasses
import json
import pathlib
import types

import numpy as np
import pytest
import serving_models
import tensorflow as tf
import yaml
from google.protobuf import text_format

from electra_tf import processor
from electra_tf.cli import app
from electra_tf.errors import UserError
from electra_tf.exporting import description, writer
from electra_tf.hub import directory
from electra_tf.recipes.export import Exported
from electra_tf.serving.server import loaded_model
from electra_tf.text.tokenizer import Tokenizer
from electra_tf.text.vocab import SPECIALS, Vocab

TEXTS = list(serving_models.ODD_TEXTS)


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_vocab_file):
    return serving_models.fine_tuned(
        tmp_path_factory.mktemp("run") / "run" / "model",
        tiny_vocab_file, "classification",
    )  # fmt: skip


def command(*flags):
    return app.run(["export", *flags])


@pytest.fixture(scope="module")
def exports(run, tmp_path_factory):
    """Maps a storage of weights to the folder of its version."""
    output = tmp_path_factory.mktemp("models") / "colours"
    some = "--signatures=serving_default,embed,classification"
    flags = {"float32": [], "constants": ["--optimize", some]}
    found = {}
    for number, (storage, more) in enumerate(flags.items(), 1):
        assert command(f"--model={run}", f"--output={output}", *more) == 0
        found[storage] = output / str(number)
    return found


@pytest.fixture(scope="module")
def half(run, tmp_path_factory):
    """Writes an export in float16; returns the folder of its version."""
    output = tmp_path_factory.mktemp("half") / "colours"
    words = [f"--model={run}", f"--output={output}", "--float16"]
    assert command(*words) == 0
    return output / "1"


def answers(path, signature="serving_default"):
    loaded = tf.saved_model.load(str(path))
    found = loaded.signatures[signature](text=tf.constant(TEXTS))
    return {name: value.numpy() for name, value in found.items()}


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["float16", "constants"])
def test_other_weights_answer_the_same(exports, half, storage):
    exports = exports | {"float16": half}
    tolerance = writer.TOLERANCES[storage]
    for signature, name in (
        ("serving_default", "probabilities"),
        ("embed", "embedding"),
    ):
        one = answers(exports["float32"], signature)[name]
        other = answers(exports[storage], signature)[name]
        np.testing.assert_allclose(other, one, atol=tolerance, rtol=tolerance)
    assert f'"weights": "{storage}"' in (
        exports[storage] / description.FOLDER / description.FILE
    ).read_text(encoding="utf-8")


@pytest.mark.slow
def test_half_the_bytes(exports, half):
    data = "variables.data-00000-of-00001"
    bytes_ = {
        storage: (path / "variables" / data).stat().st_size
        for storage, path in (
            ("float16", half),
            ("float32", exports["float32"]),
        )
    }
    assert bytes_["float16"] < 0.6 * bytes_["float32"]


def test_frozen_weights_are_fused(exports):
    """TensorFlow's optimiser fuses the products of the frozen encoder."""
    kinds = set()
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        meta = tf.compat.v1.saved_model.load(
            session, ["serve"], str(exports["constants"])
        )
        signature = meta.signature_def["serving_default"]
        found = tf.compat.v1.RunMetadata()
        session.run(
            signature.outputs["probabilities"].name,
            {signature.inputs["text"].name: ["the cat"]},
            tf.compat.v1.RunOptions(output_partition_graphs=True),
            found,
        )
        for graph in found.partition_graphs:
            for node in graph.node:
                fused = node.attr["fused_ops"].list.s
                kinds.add((node.op, *fused))
            for function in graph.library.function:
                kinds |= {
                    (n.op, *n.attr["fused_ops"].list.s)
                    for n in function.node_def
                }
    assert any(b"BiasAdd" in kind for kind in kinds), kinds
    if any(op.startswith("_Mkl") for op, *_ in kinds):  # oneDNN is used
        product = "_MklNativeFusedMatMul"
        assert kinds >= {
            (product, b"BiasAdd", b"GeluExact"),
            (product, b"BiasAdd", b"Add"),
            ("_MklFusedBatchMatMulV2", b"Mul", b"Add"),
            ("_MklLayerNorm",),
        }, kinds


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["classification", "pair", "regression", "ranking"]
)
def test_products_of_bfloat16(tiny_vocab_file, tmp_path, monkeypatch, name):
    """Outputs are close, and every product with weights has 16 bits."""
    model = serving_models.fine_tuned(tmp_path / "model", tiny_vocab_file, name)
    output = tmp_path / "models" / "m"
    for flags in ([], ["--optimize", "--bfloat16"]):
        assert command(f"--model={model}", f"--output={output}", *flags) == 0
    exact, rounded = (
        tf.saved_model.load(str(output / str(number))) for number in (1, 2)
    )
    path = output / "2" / description.FOLDER / description.FILE
    about = json.loads(path.read_text(encoding="utf-8"))
    request, *_ = about["examples"]
    inputs = {key: tf.constant([text]) for key, text in request.items()}
    one, other = (
        loaded.signatures["serving_default"](**inputs)
        for loaded in (exact, rounded)
    )
    tolerance = writer.TOLERANCES["bfloat16"]
    for key, value in one.items():
        if value.dtype.is_floating:
            np.testing.assert_allclose(
                other[key], value, atol=tolerance, rtol=tolerance
            )
    # Where TensorFlow would end the process, no such model is loaded or made.
    (tmp_path / "cpuinfo").write_text("flags : avx2 avx512f avx512_bf16\n")
    monkeypatch.setattr(processor, "_CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    with pytest.raises(UserError, match="2: it multiplies in bfloat16; with"):
        loaded_model.load("m", 2, str(output / "2"))
    assert command(f"--model={model}", f"--output={output}", *flags) == 2
    kinds = product_types(output / "2")
    assert kinds.count(tf.bfloat16) >= 6 * kinds.count(tf.float32) > 0


def product_types(path):
    """Returns the types of the products of matrices in `serving_default`."""
    loaded = tf.saved_model.load(str(path))
    graph = loaded.signatures["serving_default"].graph.as_graph_def()
    nodes = [*graph.node]
    for function in graph.library.function:
        nodes += function.node_def
    products = {"MatMul", "BatchMatMulV2"}
    return [
        tf.as_dtype(node.attr["T"].type)
        for node in nodes
        if node.op in products
    ]


def test_versions(run, exports, tmp_path, capsys):
    output = exports["float32"].parent
    assert {p.name for p in output.iterdir()} == {
        "1", "2", "models.config", "batching_parameters.txt",
        "compose.yaml",
    }  # fmt: skip
    assert (exports["float32"] / "saved_model.pb").exists()
    flags = [f"--model={run}", "--signatures=embed"]
    # The user's changes stay. Only folders named by a number are versions.
    (tmp_path / "m" / "12x").mkdir(parents=True)
    (tmp_path / "m" / "models.config").write_text("mine")
    here = f"--output={tmp_path / 'm'}"
    assert command(*flags, here, "--version=7") == 0
    assert command(*flags, here) == 0
    printed = capsys.readouterr().out
    assert f"m, version 8: {tmp_path / 'm' / '8'}" in printed
    assert "  embed: text -> embedding" in printed
    assert (tmp_path / "m" / "models.config").read_text() == "mine"
    # What is no version to a server does not count.
    (tmp_path / "m" / "9223372036854775808").mkdir()
    assert command(*flags[:1], here, "--signatures=explain", "--explain") == 0
    assert "m, version 9: " in capsys.readouterr().out
    loaded = tf.saved_model.load(str(tmp_path / "m" / "9"))
    assert set(loaded.signatures) == {"explain"}
    loaded = tf.saved_model.load(str(tmp_path / "m" / "8"))
    assert set(loaded.signatures) == {"embed"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--version=1"], "is there already; leave the flag out"),
        (["--output=/tmp/my model"], "the directory's name is the model's"),
        (["--signatures=embed,ebmed"], "there is no 'ebmed' of a classificat"),
        (["--signatures="], "--signatures: names none"),
        (["--signatures= ,"], "--signatures: names none"),
        (["--signatures=explain"], "give --explain too"),
        (["--version=9223372036854775808"], "at most 9223372036854775807"),
        (["--part=generator"], "--part: is for pre-trained models"),
        (["--set=options.max_seq_length=99"], "the model has 40 positions"),
        (["--float16", "--optimize"], "give one of them"),
        (["--bfloat16"], "--bfloat16: is for --optimize; give both of them"),
        (["--model=nowhere"], "nowhere: no such model directory"),
    ],
)
def test_mistakes_are_reported(run, exports, flags, message, capsys):
    output = exports["float32"].parent
    before = sorted(output.iterdir())
    assert command(f"--model={run}", f"--output={output}", *flags) == 2
    printed = capsys.readouterr().err
    assert message in printed and printed.count("\n") == 1
    assert sorted(output.iterdir()) == before


def test_a_weight_too_large_for_half_is_reported(run, tmp_path, capsys):
    checkpoint = directory.read(run)
    arrays = {n: np.array(v) for n, v in checkpoint.weights.items()}
    arrays["task/output/bias"][:] = 1e6
    directory.write(
        str(tmp_path / "m"), dataclasses.replace(checkpoint, weights=arrays)
    )
    assert command(
        f"--model={tmp_path / 'm'}", f"--output={tmp_path / 'o'}", "--float16",
        "--signatures=serving_default",
    ) == 2  # fmt: skip
    assert "which float16 cannot hold" in capsys.readouterr().err
    assert not list((tmp_path / "o").iterdir())


def test_warm_up_requests(exports):
    logs = pytest.importorskip(
        "tensorflow_serving.apis.prediction_log_pb2",
        reason="needs tensorflow-serving-api, to read what was written",
    )
    path = exports["float32"] / "assets.extra" / "tf_serving_warmup_requests"
    loaded = tf.saved_model.load(str(exports["float32"]))
    seen = set()
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        log = logs.PredictionLog.FromString(record)
        assert log.SerializeToString() == record
        request = log.predict_log.request
        assert request.model_spec.name == "colours"
        name = request.model_spec.signature_name
        inputs = {k: tf.make_ndarray(v) for k, v in request.inputs.items()}
        loaded.signatures[name](
            **{k: tf.constant(v) for k, v in inputs.items()}
        )
        seen.add((name, len(next(iter(inputs.values())))))
    assert {name for name, _ in seen} == {
        "serving_default", "embed", "embed_first", "truncation",
        "classification",
    }  # fmt: skip
    assert {rows for _, rows in seen} == {1, 4}


def test_models_config(exports):
    config = pytest.importorskip(
        "tensorflow_serving.config.model_server_config_pb2",
        reason="needs tensorflow-serving-api, to read what was written",
    )
    output = exports["float32"].parent
    found = text_format.Parse(
        (output / "models.config").read_text(), config.ModelServerConfig()
    )
    (model,) = found.model_config_list.config
    assert (model.name, model.base_path) == ("colours", "/models/colours")


def test_compose_file(exports):
    text = (exports["float32"].parent / "compose.yaml").read_text()
    (service,) = yaml.safe_load(text)["services"].values()
    assert all(p.startswith("127.0.0.1:") for p in service["ports"])
    assert service["volumes"] == [".:/models/colours:ro"]
    # The release that can read a SavedModel of this TensorFlow.
    release = ".".join([*tf.__version__.split(".")[:2], "0"])
    assert service["image"] == f"tensorflow/serving:{release}"
    assert service["read_only"] and service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"] == "4g"


def test_languages_have_examples():
    chinese = [chr(0x4E00 + i) for i in range(60)]
    letters = [chr(97 + i) for i in range(26)]
    greek = [chr(0x3B1 + i) for i in range(24)]
    for pieces, language in (
        ([*chinese, *letters], "zh"),
        ([*chinese[:6], *letters], "en"),
        ([*greek, *letters], None),
    ):
        vocab = Vocab((*SPECIALS, *pieces))
        assert description.language_of(vocab) == language
    kinds = "classification multilabel regression ranking tagging qa".split()
    for kind in [*kinds, "discriminator", "generator"]:
        for language in ("en", "zh", None):
            for pair in (False, True):
                rows = description.examples_of(kind, pair, language)
                assert 3 <= len(rows) <= 5
                assert all(all(row.values()) for row in rows)


def test_a_version_appears_whole(run, tmp_path, monkeypatch):
    """An export that fails leaves no files behind."""

    def broken(*args, **kwargs):
        here = [p.name for p in (tmp_path / "m").iterdir()]
        assert len(here) == 1 and here[0].startswith(".tmp-")
        raise KeyboardInterrupt

    monkeypatch.setattr(
        "electra_tf.exporting.serving_files.write_warmup", broken
    )
    output = tmp_path / "m"
    some = "--signatures=truncation"
    assert command(f"--model={run}", f"--output={output}", some) == 130
    assert list(pathlib.Path(output).iterdir()) == []


def test_the_share_of_unknown_tokens_is_reported(caplog):
    made = writer.Export("a/b/1", 1, {})
    about = {"name": "b", "signatures": {}, "unknown_percent": 12.345}
    text = str(Exported(made.path, 1, about))
    assert text.endswith("[UNK]: 12.35 % of the training tokens")
    assert "[UNK]" not in str(Exported(made.path, 1, about | {
        "unknown_percent": None,
    }))  # fmt: skip
    marked = Vocab((*SPECIALS, *(f"\u2581{c}" for c in "abcdefgh")))
    servable = types.SimpleNamespace(
        tokenizer=Tokenizer(marked), unknown_percent=12.345
    )
    writer._warn_of_vocabulary(servable)
    first, second = caplog.messages
    assert "is SentencePiece's" in first
    assert second == "12.35 % of the training tokens were [UNK]"
    caplog.clear()
    plain = Tokenizer(Vocab((*SPECIALS, *"abcdefgh")))
    writer._warn_of_vocabulary(
        types.SimpleNamespace(tokenizer=plain, unknown_percent=0.5)
    )
    assert not caplog.messages
