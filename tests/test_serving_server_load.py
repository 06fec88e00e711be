"""Tests of the server under load: timeouts, limits, reloads, stopping."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import serving_toy
from serving_toy import ask, predict

from electra_tf.serving.server import cancelable, limits

pytest.importorskip("uvicorn")

HEAD = b"POST /v1/models/toy:predict HTTP/1.1\r\nHost: localhost\r\n"
BODY = b'{"signature_name": "size", "instances": ["ab"]}'
REQUEST = HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
SLOW = {"signature_name": "slow", "instances": ["a"]}


@pytest.fixture(scope="module")
def versions(tmp_path_factory):
    """Versions 1 and 2; the sizes of version 2 are twice as large."""
    path = tmp_path_factory.mktemp("versions")
    serving_toy.save(path / "1")
    serving_toy.save(path / "2", factor=2.0)
    return path


def model_of(versions, directory, *numbers):
    for number in numbers:
        serving_toy.add_version(versions / str(number), directory / str(number))
    return directory


@pytest.fixture(scope="module")
def server(versions, tmp_path_factory):
    """A server with short timeouts and low limits."""
    path = tmp_path_factory.mktemp("small") / "toy"
    path.mkdir()
    bounds = limits.Limits(
        request_bytes=1000,
        pending_rows=4,
        connections=8,
        header_seconds=0.7,
        body_seconds=0.7,
        answer_seconds=0.3,
        write_seconds=0.7,
        idle_seconds=1,
    )
    with serving_toy.served(
        {"toy": model_of(versions, path, 1)},
        limits=bounds,
        batching=limits.Batching(parallel=1),
    ) as found:
        yield found


def healthy(server):
    """Asserts that the server answers correctly."""
    deadline = time.monotonic() + 20
    while True:
        status, answer = predict(server, BODY)
        if status == 200:
            assert answer == {"predictions": [2.0]}
            return
        # Calls that timed out may still run.
        assert status in (503, 504) and time.monotonic() < deadline
        time.sleep(0.1)


def test_time_out_of_an_answer(server):
    status, answer = predict(server, SLOW)
    assert status == 504
    assert "0.3 seconds" in answer["error"]
    healthy(server)


def test_a_call_can_be_ended_and_no_other_with_it(server):
    """TensorFlow's releases within setup.py's bounds support this."""
    model = server.versions.get("toy")
    inputs = {"text": np.array([b"abc"], object)}
    stops, found = [cancelable.Stop() for _ in "ab"], {}

    def go(number):
        try:
            found[number] = model.run("slow", inputs, stops[number])
        except limits.RequestError as error:
            found[number] = error

    threads = [threading.Thread(target=go, args=(n,)) for n in (0, 1)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    stops[0].request()
    for thread in threads:
        thread.join()
    assert isinstance(found[0], limits.RequestError)
    assert found[0].status == 503
    assert found[1]["size"].tolist() == [3.0]
    # A call that is cancelled before it begins does not run.
    with pytest.raises(limits.RequestError):
        model.run("slow", inputs, stops[0])
    model.run("size", inputs)


def test_functions_beside_a_call_run_and_fail_as_ever(server):
    """A failing function ends no call, and leaves no context behind."""
    tf = pytest.importorskip("tensorflow")
    from tensorflow.python.eager import cancellation

    @tf.function
    def checked(value):
        tf.debugging.assert_positive(value)
        return value + 1

    model = server.versions.get("toy")
    inputs = {"text": np.array([b"abc"], object)}
    slow = threading.Thread(
        target=model.run, args=("slow", inputs, cancelable.Stop())
    )
    slow.start()
    beside = []
    while slow.is_alive():
        with pytest.raises(tf.errors.InvalidArgumentError):
            checked(tf.constant(-1))
        assert checked(tf.constant(1)) == 2
        beside.append(cancellation.context() is not None)
    slow.join()
    assert any(beside) and cancellation.context() is None
    assert checked(tf.constant(1)) == 2


def test_back_pressure(server):
    found = []

    def go():
        found.append(ask(server, "POST", "/v1/models/toy:predict", SLOW))

    threads = [threading.Thread(target=go) for _ in range(7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = {status for status, _, _ in found}
    assert statuses <= {200, 503, 504}
    assert 503 in statuses
    refused = next(each for each in found if each[0] == 503)
    assert refused[1]["retry-after"] == "1"
    assert "waiting" in json.loads(refused[2])["error"]
    healthy(server)


def test_slow_body(server):
    found = serving_toy.raw(server, HEAD + b"Content-Length: 90\r\n\r\n{")
    assert found.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in found.lower()
    healthy(server)


def test_trickled_body(server):
    """A byte now and then does not keep a connection open."""
    began = time.monotonic()
    with socket.create_connection((server.host, server.port)) as connection:
        connection.sendall(HEAD + b"Content-Length: 900\r\n\r\n")
        connection.settimeout(0.1)
        found = b""
        while time.monotonic() - began < 10:
            try:
                got = connection.recv(4096)
            except TimeoutError:
                with contextlib.suppress(ConnectionError):
                    connection.sendall(b" ")
                continue
            except ConnectionError:  # it is closed while a byte is sent
                break
            found += got
            if not got:
                break
    assert found.startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began < 9
    healthy(server)


@pytest.mark.parametrize("start", [b"", HEAD, b"GET /hea"])
def test_slow_headers(server, start):
    began = time.monotonic()
    assert serving_toy.raw(server, start) == b""
    assert 0.3 < time.monotonic() - began < 9
    healthy(server)


def test_slow_headers_of_a_second_request(server):
    found = serving_toy.raw(server, REQUEST + HEAD)
    assert found.count(b"HTTP/1.1 200 OK") == 1


def test_idle_connection_is_closed(server):
    found = serving_toy.raw(server, REQUEST)
    assert found.startswith(b"HTTP/1.1 200 ")
    assert found.endswith(b'{"predictions": [2.0]}')


def test_pipelined_requests(server):
    found = serving_toy.raw(server, REQUEST * 3)
    assert found.count(b'{"predictions": [2.0]}') == 3


def test_too_many_connections(server):
    address = (server.host, server.port)
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(socket.create_connection(address))
        time.sleep(0.1)
        found = serving_toy.raw(server, b"")
        assert found.startswith(b"HTTP/1.1 503 ")
        assert b'{"error": "' in found
    healthy(server)


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0\0\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        HEAD + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\n"
        b"Upgrade: websocket\r\n\r\n",
    ],
)
def test_broken_http(server, data):
    found = serving_toy.raw(server, data)
    statuses = (b"200", b"400", b"431", b"501", b"505")
    assert found == b"" or found[9:12] in statuses
    healthy(server)


def test_chunked_body(server):
    data = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    for start in range(0, len(BODY), 7):
        piece = BODY[start : start + 7]
        data += b"%x\r\n%s\r\n" % (len(piece), piece)
    found = serving_toy.raw(server, data + b"0\r\n\r\n")
    assert b'{"predictions": [2.0]}' in found


def test_cut_connections(server):
    for cut in (5, len(HEAD), len(REQUEST) - 3, len(REQUEST)):
        for _ in range(5):
            with socket.create_connection(
                (server.host, server.port)
            ) as connection:
                connection.sendall(REQUEST[:cut])
            time.sleep(0.01)
    healthy(server)


def test_an_unread_answer_does_not_stay(versions, tmp_path):
    bounds = limits.Limits(
        write_seconds=0.5, idle_seconds=1, text_bytes=4 * 2**20
    )
    model = model_of(versions, tmp_path, 1)
    with serving_toy.served({"toy": model}, limits=bounds) as server:
        body = json.dumps({"inputs": ["x" * 2_000_000]}).encode()
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect((server.host, server.port))
            connection.sendall(
                HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
            )
            line = b'closed_connections_total{reason="unread"} 1.0'
            deadline = time.monotonic() + 15
            while line not in ask(server, "GET", "/metrics")[2]:
                assert time.monotonic() < deadline
                time.sleep(0.1)


def test_a_bad_row_spoils_no_other_request(versions, tmp_path):
    found = {}
    model = model_of(versions, tmp_path, 1)
    batching = limits.Batching(wait_seconds=0.3, parallel=1)
    with serving_toy.served({"toy": model}, batching=batching) as server:

        def go(text):
            body = {"signature_name": "size", "instances": [text]}
            found[text] = predict(server, body)

        threads = [
            threading.Thread(target=go, args=(text,))
            for text in ("a", "fail", "abc")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found["a"] == (200, {"predictions": [1.0]})
    assert found["abc"] == (200, {"predictions": [3.0]})
    assert found["fail"][0] == 400


def test_long_requests_are_divided_and_joined(versions, tmp_path):
    model = model_of(versions, tmp_path, 1)
    batching = limits.Batching(rows=4, wait_seconds=0)
    with serving_toy.served({"toy": model}, batching=batching) as server:
        rows = [" ".join("w" * n) for n in range(30)]
        status, answer = predict(server, {"inputs": rows})
        text = ask(server, "GET", "/metrics")[2].decode()
    assert status == 200
    assert answer["outputs"]["tokens"] == [
        ["w"] * n + [""] * (29 - n) for n in range(30)
    ]
    assert answer["outputs"]["places"] == [
        [*range(n), *[-1] * (29 - n)] for n in range(30)
    ]
    assert 'electra_tf_batch_rows_count{model="toy"} 8.0' in text


def test_new_versions_lose_no_request(versions, tmp_path):
    model = model_of(versions, tmp_path, 1)
    failures, seen, stop = [], set(), threading.Event()
    with serving_toy.served({"toy": model}) as server:

        def go():
            while not stop.is_set():
                status, answer = predict(server, BODY)
                if status != 200:
                    failures.append(answer)
                else:
                    seen.add(answer["predictions"][0])

        threads = [threading.Thread(target=go) for _ in range(3)]
        for thread in threads:
            thread.start()
        # Neither an incomplete version nor a broken one is loaded.
        (model / ".tmp-9").mkdir()
        broken = model / "3"
        broken.mkdir()
        (broken / "saved_model.pb").write_bytes(b"\x07nonsense")
        wait_for(server, "3", "END")
        assert seen == {2.0}
        serving_toy.add_version(versions / "2", model / "2")
        shutil.rmtree(broken)
        wait_for(server, "2", "AVAILABLE")
        wait_for(server, "1", "END")
        assert predict(server, BODY)[1] == {"predictions": [4.0]}
        status, _, _ = ask(
            server, "POST", "/v1/models/toy/versions/1:predict", BODY
        )
        assert status == 404
        # Serving continues when all files are gone. The older version goes
        # first: with it on disk alone, it would be loaded again.
        shutil.rmtree(model / "1")
        shutil.rmtree(model / "2")
        time.sleep(0.3)
        assert predict(server, BODY)[1] == {"predictions": [4.0]}
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert seen == {2.0, 4.0}


def test_several_versions(versions, tmp_path):
    model = model_of(versions, tmp_path, 1, 2)
    with serving_toy.served({"toy": model}, newest=2) as server:
        assert predict(server, BODY)[1] == {"predictions": [4.0]}
        path = "/v1/models/toy/versions/1:predict"
        _, _, content = ask(server, "POST", path, BODY)
        assert json.loads(content) == {"predictions": [2.0]}


def wait_for(server, version: str, state: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        _, _, content = ask(server, "GET", "/v1/models/toy")
        states = {
            each["version"]: each["state"]
            for each in json.loads(content)["model_version_status"]
        }
        if states.get(version) == state:
            return
        time.sleep(0.05)
    raise AssertionError(f"{version} is not {state}: {states}")


def test_command_stops_on_a_signal_and_loses_nothing(versions, tmp_path):
    """On SIGTERM pending requests are answered; the exit status is 0."""
    model = model_of(versions, tmp_path, 1)
    process = subprocess.Popen(
        [
            sys.executable, "-m", "electra_tf", "serve",
            f"--model=toy={model}", "--port=0",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TF_NUM_INTRAOP_THREADS": "1"},
    )  # fmt: skip
    try:
        lines = iter(process.stdout.readline, "")
        first = next(line for line in lines if line.startswith("listening on"))
        host, _, port = first.split("//")[1].strip().partition(":")
        assert host == "127.0.0.1"
        body = json.dumps(SLOW | {"instances": ["abc"]}).encode()
        with socket.create_connection((host, int(port))) as connection:
            length = b"Content-Length: %d\r\n\r\n" % len(body)
            connection.sendall(HEAD + length + body)
            time.sleep(0.2)
            process.send_signal(signal.SIGTERM)
            connection.settimeout(60)
            found = b""
            while got := connection.recv(4096):
                found += got
        assert found.startswith(b"HTTP/1.1 200 ")
        assert b"predictions" in found
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert "Traceback" not in errors
    finally:
        process.kill()
        process.wait()
