"""Tests exports through TensorFlow's C API, and the checks of their outputs."""

import contextlib
import json
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import check_export
import check_export_models as models
import numpy as np
import pytest
import tensorflow as tf
from capi import plain_process, processes, questions, signatures

import electra_tf
from electra_tf.exporting import servable
from electra_tf.exporting import writer as export

KINDS = (*models.TASKS, "discriminator", "generator")
LINES = (
    "The cat sat on a mat, and she ran!",
    "有朋自远方来，不亦乐乎？",  # noqa: RUF001
    "Don't go to the house with 3 dogs (2 good ones)... 中国人 said it.",
    "very very " * 60,
)


class Small(tf.Module):
    """Maps strings to tensors of all kinds."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def measure(self, text):
        size = tf.strings.length(text)
        return {
            "same": text,
            "half": tf.cast(size, tf.float32)[:, tf.newaxis] / [2.0, 4.0],
            "bytes": tf.cast(size, tf.int64),
            "empty": size == 0,
        }

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, "first"),
            tf.TensorSpec([None], tf.string, "second"),
        ]
    )
    def joined(self, first, second):
        with tf.control_dependencies(
            [tf.debugging.assert_none_equal(first, "bad", message="it is bad")]
        ):
            return {"joined": first + second}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("small") / "1"
    model = Small()
    tf.saved_model.save(
        model,
        str(path),
        {"serving_default": model.measure, "joined": model.joined},
    )
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_tokens):
    """Returns a function: kind -> (model, export), made at their first use."""
    folder, found = tmp_path_factory.mktemp("exports"), {}

    def make(kind, storage="float32", names=None):
        key = (kind, storage, names)
        if key not in found:
            model = models.save(folder / f"model_{kind}", kind, tiny_tokens)
            if kind in models.TASKS:
                opened = servable.of_predictor(electra_tf.load(model))
            else:
                opened = servable.open_pretrained(model)
            output = str(folder / f"{kind}_{len(found)}")
            export.export(opened, output, None, names, storage)
            found[key] = (model, output)
        return found[key]

    return make


@pytest.fixture
def lines_file(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    return str(path)


# --- the C API -------------------------------------------------------------


def test_signatures_are_read_without_tensorflow(small):
    found = signatures.of_folder(small)
    assert list(found) == ["joined", "serving_default"]
    assert list(found["joined"].inputs) == ["first", "second"]
    about = found["serving_default"].outputs
    assert {n: (t.dtype, t.shape) for n, t in about.items()} == {
        "same": ("string", (-1,)),
        "half": ("float32", (-1, 2)),
        "bytes": ("int64", (-1,)),
        "empty": ("bool", (-1,)),
    }


def test_strings_go_in_and_all_types_come_out(small, tmp_path):
    rows = [b"a", b"", b"\0x\0", b"\xff\xfe", b"long " * 50_000, "中".encode()]
    found = processes.run_capi(
        small,
        [
            ("serving_default", {"text": rows}),
            ("serving_default", {"text": []}),
            ("joined", {"first": [b"bad"], "second": [b"b"]}),
            ("joined", {"second": [b"\0", b"2"], "first": [b"a\0", b""]}),
            ("joined", {"first": [b"a"]}),
            ("nothing", {}),
        ],
        str(tmp_path),
    )
    assert found.death is None
    assert found.facts["foreign"] == []  # no Python TensorFlow
    assert found.facts["version"] == tf.__version__
    one, none, bad, two, missing, unknown = found.outputs
    sizes = [len(row) for row in rows]
    assert one["same"].tolist() == rows
    assert one["bytes"].dtype == "int64" and one["bytes"].tolist() == sizes
    assert one["half"].dtype == "float32"
    np.testing.assert_array_equal(one["half"][:, 1], np.array(sizes) / 4)
    assert one["empty"].tolist() == [not row for row in rows]
    assert none["half"].shape == (0, 2) and none["same"].shape == (0,)
    assert bad.startswith("joined: ") and "it is bad" in bad
    assert two["joined"].tolist() == [b"a\0\0", b"2"]
    assert missing == "joined: takes first, second, got first"
    assert unknown == "no signature nothing; there are joined, serving_default"


def test_an_export_that_cannot_be_loaded_is_reported(tmp_path):
    with pytest.raises(processes.ProcessError, match="Could not find Saved"):
        processes.run_capi(str(tmp_path), [], str(tmp_path))


def test_the_plain_process_has_tensorflow_alone():
    allowed = plain_process.required("tensorflow", "tensorflow-text")
    assert {"tensorflow", "tensorflow-text", "numpy", "keras"} <= allowed
    assert not {"electra-tf", "keras-hub", "pytest"} & allowed
    finder = plain_process.Refuse({"numpy"})
    for name in ("numpy", "numpy.linalg", "json", "_sysconfigdata_x"):
        assert finder.find_spec(name) is None
    for name in ("electra_tf", "keras_hub.models"):
        with pytest.raises(ModuleNotFoundError, match="No module named"):
            finder.find_spec(name)


# --- whole checks ----------------------------------------------------------


def test_a_model_of_your_own(small, lines_file, capsys):
    flags = [str(small.parent), "--texts", lines_file, "--longest=0"]
    assert check_export.main([*flags, "--no-plain"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == [
        "signature", "run", "by", "rows", "values", "difference", "wrong",
    ]  # fmt: skip
    assert [line.split()[0] for line in table[1:]] == [
        "joined", "serving_default",
    ]  # fmt: skip


def agree(made, kind, lines_file, capsys, *flags, **how):
    model, output = made(kind, **how)
    status = check_export.main(
        [output, f"--model={model}", f"--texts={lines_file}", *flags]
    )
    out = capsys.readouterr().out
    assert status == 0, out
    return out


@pytest.mark.slow
def test_an_export_answers_as_its_model(made, lines_file, capsys):
    names = ("serving_default",)
    out = agree(
        made, "pairs", lines_file, capsys, "--longest=3000", names=names
    )
    for who in ("C API", "plain Python", "Python model"):
        assert f"serving_default  {who} " in out


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind(made, kind, lines_file, capsys):
    agree(made, kind, lines_file, capsys, "--longest=20000", "--no-plain")


@pytest.mark.slow
def test_weights_in_the_graph_change_nothing(made, lines_file, capsys):
    flags = ("--longest=3000", "--no-plain")
    agree(made, "pairs", lines_file, capsys, *flags, storage="constants")


@pytest.mark.slow
def test_another_model_does_not_agree(made, tiny_tokens, tmp_path, capsys):
    _, output = made("regression", names=("serving_default",))
    other = models.save(tmp_path / "m", "regression", tiny_tokens, seed=1)
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"text": LINES[0]}) + "\n", encoding="utf-8")
    flags = [f"--model={other}", f"--texts={file}", "--longest=0"]
    assert check_export.main([output, *flags, "--no-plain"]) == 1
    out = capsys.readouterr().out
    assert "Python model: serving_default, row 0 of " in out
    assert " where " in out and " is expected" in out
    assert "Python model: serving_default: " in out and " more\n" in out


def test_bad_usage_is_reported(small, tmp_path, capsys):
    for flags, message in (
        ([str(tmp_path)], "not an export; expected what electra-tf export"),
        ([str(small), "--model=x"], "has no assets.extra/electra_tf.json"),
        ([str(small), "--texts=none.txt"], "--texts: cannot read none.txt"),
    ):
        assert check_export.main(flags) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        check_export.main(["--modle=x"])
    assert caught.value.code == 2


@pytest.mark.skipif(
    shutil.which("tensorflow_model_server") is None,
    reason="tensorflow_model_server is not on the PATH",
)
def test_tensorflow_serving_gives_the_same(made, tmp_path):
    _, output = made("classification")
    rows = [line.encode() for line in LINES]
    request = ("serving_default", {"text": rows})
    wanted = processes.run_capi(f"{output}/1", [request], str(tmp_path))
    with tensorflow_serving(output, tmp_path) as address:
        body = json.dumps({"inputs": {"text": LINES}}).encode()
        with urllib.request.urlopen(f"{address}:predict", body) as reply:
            found = json.load(reply)["outputs"]
    found["label"] = [text.encode() for text in found["label"]]
    found["labels"] = [[t.encode() for t in row] for row in found["labels"]]
    for name, value in wanted.outputs[0].items():
        if value.dtype == object:
            assert found[name] == value.tolist()
        else:
            np.testing.assert_allclose(found[name], value, atol=1e-5)


@contextlib.contextmanager
def tensorflow_serving(output, folder):
    """Runs a server and yields the address of the model."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    name = pathlib.Path(output).name
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(
            ["tensorflow_model_server", f"--rest_api_port={port}", "--port=0",
             f"--model_name={name}", f"--model_base_path={output}"],
            stdout=log, stderr=log,
        )  # fmt: skip
    address = f"http://127.0.0.1:{port}/v1/models/{name}"
    try:
        for _ in range(120):
            assert server.poll() is None, (folder / "log").read_text()
            with contextlib.suppress(urllib.error.URLError):
                with urllib.request.urlopen(address) as reply:
                    if b"AVAILABLE" in reply.read():
                        break
            time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait()


def test_the_newest_version_is_checked(tmp_path):
    for version in ("2", "10", ".tmp-1", "notes"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "saved_model.pb").touch()
    (tmp_path / "11").mkdir()  # nothing in it
    assert questions.find(str(tmp_path)) == (tmp_path / "10", {})
    assert questions.find(str(tmp_path / "2")) == (tmp_path / "2", {})


def test_the_tool_runs_by_its_name():
    script = pathlib.Path(check_export.__file__)
    done = subprocess.run(
        [sys.executable, str(script), "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0 and "--tolerance" in done.stdout
