"""Tests example clients with `electra-tf serve` and TensorFlow Serving."""

import contextlib
import json
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
import serving_models
import serving_toy

import electra_tf
from electra_tf.exporting import servable, writer

pytest.importorskip("uvicorn")

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"
CLIENTS = EXAMPLES / "tensorflow_serving"
TEXTS = ("one two", "three")
SIGNATURES = ["classes", "numbers", "pair", "serving_default", "size", "slow"]


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A model directory with version 3."""
    path = tmp_path_factory.mktemp("models") / "toy"
    serving_toy.save(path / "3")
    return path


def _free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def exported(tmp_path_factory, tiny_vocab_file):
    """Exports of a classifier, a regressor and a ranker, by name."""
    folder = tmp_path_factory.mktemp("exported")
    found = {}
    for name, signature in (
        ("classification", "classification"), ("regression", "regression"),
        ("ranking", "regression"),
    ):  # fmt: skip
        run = serving_models.fine_tuned(folder / name, tiny_vocab_file, name)
        opened = servable.of_predictor(electra_tf.load(run))
        found[name] = folder / "models" / name
        writer.export(opened, str(found[name]), names=[signature])
    return found


@contextlib.contextmanager
def _tensorflow_serving(toy):
    program = shutil.which("tensorflow_model_server")
    if program is None:
        pytest.skip("tensorflow_model_server is not on the PATH")
    grpc_port, port = _free_port(), _free_port()
    process = subprocess.Popen(
        [program, f"--port={grpc_port}", f"--rest_api_port={port}",
         f"--model_name={toy.name}", f"--model_base_path={toy}"],
    )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}/v1/models/{toy.name}"
        deadline = time.monotonic() + 120
        while True:
            with contextlib.suppress(OSError):
                if b"AVAILABLE" in urllib.request.urlopen(url).read():
                    break
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.2)
        yield grpc_port, port
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _served(kind, path):
    """Yields the gRPC and REST ports of a server of one model."""
    if kind == "tensorflow":
        with _tensorflow_serving(path) as found:
            yield found
        return
    pytest.importorskip("tensorflow_serving.apis")
    with serving_toy.served({path.name: path}, grpc_port=0) as server:
        yield server.grpc_port, server.port


@pytest.fixture(scope="module", params=["electra-tf", "tensorflow"])
def ports(request, toy):
    """The ports for gRPC and for REST of a server."""
    with _served(request.param, toy) as found:
        yield found


def _run(script, *arguments):
    return subprocess.run(
        [sys.executable, str(CLIENTS / script), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
    )


def _said(script, *arguments):
    done = _run(script, *arguments)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_rest(ports):
    (result,) = _said(
        "rest_client.py", f"http://127.0.0.1:{ports[1]}", "toy", *TEXTS
    )
    assert result["states"] == ["AVAILABLE"]
    assert result["signatures"] == SIGNATURES
    assert result["outputs"]["score"] == [7.0, 5.0]
    assert result["outputs"]["tokens"] == [["one", "two"], ["three", ""]]
    first, second = result["predictions"]
    assert first["tokens"] == ["one", "two"] and second["score"] == 5.0
    assert first["raw_bytes"] == {"b64": "b25lIHR3bw=="}


@pytest.mark.slow  # the script imports TensorFlow
def test_grpc(ports):
    (result,) = _said("grpc_client.py", f"127.0.0.1:{ports[0]}", "toy", *TEXTS)
    assert result["states"] == ["AVAILABLE"] and result["version"] == 3
    assert result["signatures"] == SIGNATURES
    assert result["outputs"]["score"] == [7.0, 5.0]
    assert result["outputs"]["tokens"] == [["one", "two"], ["three", ""]]


@pytest.mark.slow  # exports models, and the script imports TensorFlow
@pytest.mark.parametrize("kind", ["electra-tf", "tensorflow"])
@pytest.mark.parametrize("name", ["classification", "regression", "ranking"])
def test_classify_and_regress(kind, name, exported):
    """Classify and Regress give the model's predictions, by gRPC and REST."""
    texts = ["the cat sat on the mat.", "", "a dog", "{curly", '"quoted"']
    run = exported[name].parent.parent / name
    items = texts
    if name == "ranking":
        items = [{"query": "the cat", "passage": text} for text in texts]
        texts = list(map(json.dumps, items))
    wanted = electra_tf.load(str(run)).predict(items)
    with _served(kind, exported[name]) as (grpc_port, port):
        by_rest = _said(
            "classify_rest_client.py", f"http://127.0.0.1:{port}", name, *texts
        )
        by_grpc = _said(
            "classify_grpc_client.py", f"127.0.0.1:{grpc_port}", name, *texts
        )
    for found in (by_rest, by_grpc):
        assert len(found) == len(texts)
        for row, answer in zip(found, wanted):
            if name != "classification":
                assert row == pytest.approx(answer["score"], abs=1e-5)
                continue
            labels, shares = zip(*row)
            assert labels == tuple(answer["probabilities"])
            known = list(answer["probabilities"].values())
            assert shares == pytest.approx(known, abs=1e-5)


def test_other_models_and_refusals_are_told(ports):
    url = f"http://127.0.0.1:{ports[1]}"
    done = _run("classify_rest_client.py", url, "toy", "a text")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "toy has neither of classification, regression" in done.stderr
    assert "'serving_default'" in done.stderr
    done = _run("classify_rest_client.py", url, "nothing", "a text")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "404" in done.stderr and "nothing" in done.stderr


@pytest.mark.slow  # the script imports gRPC's messages, and so TensorFlow
def test_other_models_are_told_by_grpc(ports):
    address = f"127.0.0.1:{ports[0]}"
    done = _run("classify_grpc_client.py", address, "toy", "a text")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "toy has neither of classification, regression" in done.stderr


def test_a_version_that_is_not_loaded_is_not_asked(ports, toy):
    (toy / "4").mkdir()
    (toy / "4" / "saved_model.pb").write_bytes(b"damaged")
    url = f"http://127.0.0.1:{ports[1]}"
    try:
        deadline = time.monotonic() + 60
        while (
            b"END" not in urllib.request.urlopen(f"{url}/v1/models/toy").read()
        ):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        (result,) = _said("rest_client.py", url, "toy", *TEXTS)
    finally:
        shutil.rmtree(toy / "4")
    assert sorted(result["states"]) == ["AVAILABLE", "END"]
    assert result["outputs"]["score"] == [7.0, 5.0]
