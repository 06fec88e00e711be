"""Plain clients of TensorFlow Serving ask this server, and the real one."""

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
import serving_toy

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


@contextlib.contextmanager
def _tensorflow_serving(toy):
    program = shutil.which("tensorflow_model_server")
    if program is None:
        pytest.skip("tensorflow_model_server is not on the PATH")
    grpc_port, port = _free_port(), _free_port()
    process = subprocess.Popen(
        [program, f"--port={grpc_port}", f"--rest_api_port={port}",
         "--model_name=toy", f"--model_base_path={toy}"],
    )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}/v1/models/toy"
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


@pytest.fixture(scope="module", params=["electra-tf", "tensorflow"])
def ports(request, toy):
    """The ports for gRPC and for REST of a server."""
    if request.param == "tensorflow":
        with _tensorflow_serving(toy) as found:
            yield found
        return
    pytest.importorskip("tensorflow_serving.apis")
    with serving_toy.served({"toy": toy}, grpc_port=0) as server:
        yield server.grpc_port, server.port


def _said(script, *arguments):
    done = subprocess.run(
        [sys.executable, str(CLIENTS / script), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_rest(ports):
    said = _said(
        "rest_client.py", f"http://127.0.0.1:{ports[1]}", "toy", *TEXTS
    )
    assert said["states"] == ["AVAILABLE"]
    assert said["signatures"] == SIGNATURES
    assert said["outputs"]["score"] == [7.0, 5.0]
    assert said["outputs"]["tokens"] == [["one", "two"], ["three", ""]]
    first, second = said["predictions"]
    assert first["tokens"] == ["one", "two"] and second["score"] == 5.0
    assert first["raw_bytes"] == {"b64": "b25lIHR3bw=="}


@pytest.mark.slow  # the script imports TensorFlow
def test_grpc(ports):
    said = _said("grpc_client.py", f"127.0.0.1:{ports[0]}", "toy", *TEXTS)
    assert said["states"] == ["AVAILABLE"] and said["version"] == 3
    assert said["signatures"] == SIGNATURES
    assert said["outputs"]["score"] == [7.0, 5.0]
    assert said["outputs"]["tokens"] == [["one", "two"], ["three", ""]]
