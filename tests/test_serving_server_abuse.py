"""Tests of a server with wrong HTTP, large answers, and when it stops."""

import itertools
import json
import socket
import time

import hypothesis
import numpy as np
import prometheus_client.parser
import pytest
import serving_toy
from hypothesis import strategies
from serving_toy import ask, predict

from electra_tf.errors import UserError
from electra_tf.serving.server import limits, running, signatures
from electra_tf.serving.server.served import Served

pytest.importorskip("uvicorn")

HEAD = b"POST /v1/models/toy:predict HTTP/1.1\r\nHost: localhost\r\n"
BODY = b'{"signature_name": "size", "instances": ["ab"]}'
REQUEST = HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A model directory with version 1."""
    path = tmp_path_factory.mktemp("models") / "toy"
    serving_toy.save(path / "1")
    return path


@pytest.fixture(scope="module")
def server(toy):
    bounds = limits.Limits(answer_values=3000, idle_seconds=1)
    with serving_toy.served(
        {"toy": toy}, limits=bounds, allowed_hosts=["*"]
    ) as found:
        yield found


@pytest.mark.parametrize(
    ("data", "status", "message"),
    [
        (b"nonsense\r\n\r\n", 400, "Malformed HTTP"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "Host"),
        (HEAD + b"X: " + b"y" * 100_000, 431, "too long"),
        (HEAD + b"Transfer-Encoding: gzip\r\n\r\n", 501, "Transfer-Encoding"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "chunk"),
        (REQUEST + b"nonsense\r\n\r\n", 400, "Malformed HTTP"),
        (b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", 505, "HTTP/1.1"),
    ],
)
def test_wrong_http_is_answered_as_other_mistakes(
    server, data, status, message
):
    found = serving_toy.raw(server, data)
    if data.startswith(REQUEST):
        assert found.startswith(b"HTTP/1.1 200 ")
        found = found[found.rindex(b"HTTP/1.1 ") :]
    head, _, body = found.partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    assert lines[0].startswith(f"http/1.1 {status} ")
    assert "content-type: application/json" in lines
    assert "connection: close" in lines
    assert f"content-length: {len(body)}" in lines
    error = json.loads(body)
    assert list(error) == ["error"]
    assert message in error["error"] and len(error["error"]) < 300


@pytest.mark.parametrize("host", ["[", "[::1", "x y", "\xe9", "x/../y?#"])
@pytest.mark.parametrize("path", ["/healthz/", "/none", "/static"])
def test_odd_hosts(server, host, path):
    data = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1")
    found = serving_toy.raw(server, data)
    # The server never redirects to a host that the client names.
    assert found.startswith((b"HTTP/1.1 404 ", b"HTTP/1.1 400 "))
    assert b'{"error": "' in found


def test_metrics_are_what_prometheus_reads(server):
    serving_toy.raw(server, b"nonsense\r\n\r\n")
    predict(server, BODY)
    predict(server, b"{")
    text = ask(server, "GET", "/metrics")[2].decode()
    parse = prometheus_client.parser.text_string_to_metric_families
    families = {family.name: family for family in parse(text)}
    ours = {name for name in families if name.startswith("electra_tf_")}
    assert len(ours) > 9
    for name in ours:
        assert families[name].documentation.endswith(".")
        assert families[name].type in ("counter", "gauge", "histogram")

    def value(name, **labels):
        return sum(
            sample.value
            for sample in families[name].samples
            if sample.name in (name, f"{name}_total", f"{name}_count")
            and labels.items() <= sample.labels.items()
        )

    assert value("electra_tf_requests", model="toy", status="200") >= 1
    assert value("electra_tf_requests", model="toy", status="400") >= 1
    assert value("electra_tf_closed_connections", reason="malformed") >= 1
    assert value("electra_tf_batch_rows", model="toy") >= 1
    assert value("electra_tf_pending_rows") == 0
    assert value("process_open_fds") > 0


def test_metrics_have_tensorflow_servings_names_too(server):
    for verb, body in (
        ("predict", BODY),
        ("predict", b"{"),
        ("regress", b'{"examples": [{"text": "ab"}]}'),
    ):
        ask(server, "POST", f"/v1/models/toy:{verb}", body)
    ours = ask(server, "GET", "/metrics")[2].decode()
    assert ":tensorflow:" not in ours
    text = ask(server, "GET", "/monitoring/prometheus/metrics")[2].decode()
    assert "electra_tf_requests_total" in text
    parse = prometheus_client.parser.text_string_to_metric_families
    # The parser ends the names of all counters with _total.
    found = {
        (sample.name.removesuffix("_total"), *sorted(sample.labels.items())):
        sample.value
        for family in parse(text)
        for sample in family.samples
    }  # fmt: skip

    def value(name, **labels):
        return found[(f":tensorflow:{name}", *sorted(labels.items()))]

    ok = value("serving:request_count", model_name="toy", status="OK")
    bad = {"model_name": "toy", "status": "INVALID_ARGUMENT"}
    assert ok >= 2 and value("serving:request_count", **bad) >= 1
    labels = {"model_name": "toy", "API": "Regress", "entrypoint": "REST"}
    count = value("serving:request_latency_count", **labels)
    assert count >= 1
    assert count == value("serving:request_latency_bucket", le="+Inf", **labels)
    # The sum is in microseconds, of requests shorter than a second.
    seconds = value("serving:request_latency_sum", **labels) / count / 1e6
    assert 1e-4 < seconds < 5
    runs = value("core:graph_runs")
    assert runs >= 2
    assert value("core:graph_run_time_usecs") / runs / 1e6 < 5
    labels = {"model_name": "toy", "API": "Predict", "runtime": "TF2"}
    assert value("serving:runtime_latency_count", **labels) == runs
    # Buckets are whole numbers in rising order.
    limits = [
        float(labels["le"])
        for family in parse(text)
        for sample in family.samples
        if sample.name == ":tensorflow:serving:runtime_latency_bucket"
        for labels in [sample.labels]
    ]
    assert limits == sorted(limits) and limits[0] == 1000


def test_outputs_come_in_the_order_of_their_names(server):
    for form in ("instances", "inputs"):
        _, answer = predict(server, {form: ["a b"]})
        found = answer.get("outputs") or answer["predictions"][0]
        assert list(found) == sorted(found) and len(found) == 5
    text = ask(server, "GET", "/v1/models/toy/metadata")[2].decode()
    signature = json.loads(text)["metadata"]["signature_def"]["signature_def"]
    assert [*signature["pair"]["inputs"]] == ["text", "text_pair"]
    assert [*signature["pair"]["outputs"]] == ["both", "same"]


def test_answers_that_would_be_too_large(server):
    """Padding to the longest row can make a huge answer; it is refused."""
    rows = ["w " * 100, *["w"] * 20]
    status, answer = predict(server, {"instances": rows})
    assert status == 413
    assert "more than 3000 values" in answer["error"]
    status, answer = predict(server, {"instances": rows[:1]})
    assert status == 200
    assert answer["predictions"][0]["num_tokens"] == 100
    status, answer = predict(server, {"instances": rows[1:]})
    assert status == 200


def test_long_rows_take_calls_of_their_own(toy):
    batching = limits.Batching(padded_bytes=200, wait_seconds=0)
    with serving_toy.served({"toy": toy}, batching=batching) as server:
        rows = ["w " * 90, "a", "b c", "w " * 70, "d"]
        status, answer = predict(server, {"inputs": rows})
        text = ask(server, "GET", "/metrics")[2].decode()
    assert status == 200
    found = answer["outputs"]
    assert found["num_tokens"] == [90, 1, 2, 70, 1]
    assert found["tokens"][2] == ["b", "c", *[""] * 88]
    assert found["places"][1] == [0, *[-1] * 89]
    assert 'electra_tf_batch_rows_count{model="toy"} 4.0' in text


@hypothesis.given(
    strategies.lists(strategies.sampled_from([0, 1, 3, 10, 100, 2000])),
    strategies.integers(1, 9),
    strategies.sampled_from([1, 10, 300, 5000]),
)
def test_cuts(sizes, rows, padded_bytes):
    sizes = np.array(sizes, np.int64)
    found = list(signatures.cuts(sizes, rows, padded_bytes))
    assert np.concatenate([sizes[cut] for cut in found]).tolist() == [*sizes]
    for cut in found:
        count = len(sizes[cut])
        assert count <= rows and (count or not len(sizes))
        assert count <= 1 or count * sizes[cut].max() <= padded_bytes
    for one, next_ in itertools.pairwise(found):
        # No division was unnecessary.
        both = sizes[one.start : next_.start + 1]
        assert len(both) > rows or len(both) * both.max() > padded_bytes


@pytest.mark.parametrize("data", [b"", HEAD, REQUEST[:-3], REQUEST])
def test_half_closed_connections_are_closed(server, data):
    """A half-closed connection is answered and closed at once."""
    with socket.create_connection((server.host, server.port)) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        began = time.monotonic()
        found = read(connection)
    assert time.monotonic() - began < 5
    assert found == b"" or found.startswith(b"HTTP/1.1 ")
    assert predict(server, BODY)[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("HEAD", "/v1/models/toy", 200), ("HEAD", "/v1/models/no", 404),
        ("HEAD", "/healthz", 200), ("HEAD", "/metrics", 200),
        ("HEAD", "/v1/models/toy:predict", 400), ("OPTIONS", "/", 405),
        ("OPTIONS", "/v1/models/toy:predict", 400), ("OPTIONS", "*", 404),
        ("CONNECT", "localhost:80", 400),
    ],
)  # fmt: skip
def test_other_methods(server, method, path, status):
    line = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n"
    found = serving_toy.raw(server, f"{line}Connection: close\r\n\r\n".encode())
    head, _, body = found.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    if method == "HEAD":
        assert body == b""


@pytest.mark.parametrize(
    ("body", "status"),
    [
        # The last value of a repeated key counts, as in Python.
        (b'{"instances": [1], "instances": ["ab"], "signature_name": "size"}',
         200),
        (b'{"signature_name": "size", "instances": [NaN]}', 400),
        (b'{"signature_name": "size", "instances": ["\xff"]}', 400),
        (b'{"signature_name": "size", "instances": ' + b"[" * 100_000, 400),
        (b'{"a":' * 100_000, 400),
    ],
    ids=["twice", "NaN", "bytes", "deep list", "deep object"],
)  # fmt: skip
def test_odd_json(server, body, status):
    began = time.monotonic()
    assert predict(server, body)[0] == status
    assert time.monotonic() - began < 5


def read(connection, end=None):
    """Returns the bytes up to `end`, or until the server closes."""
    connection.settimeout(30)
    found = b""
    while not (end and found.endswith(end)):
        chunk = connection.recv(65536)
        if not chunk:
            break
        found += chunk
    return found


def test_a_stop_loses_no_request(toy):
    """Requests over open connections are answered with Connection: close."""
    server = running.ModelServer(
        running.Settings(
            models={"toy": Served(str(toy))}, port=0, poll_seconds=0
        )
    )
    thread = running.in_thread(server)
    address = (server.host, server.port)
    with (
        socket.create_connection(address) as kept,
        socket.create_connection(address) as fresh,
        socket.create_connection(address) as half,
        socket.create_connection(address) as idle,
    ):
        kept.sendall(REQUEST)
        assert b"connection: close" not in read(kept, b"]}").lower()
        half.sendall(REQUEST[:30])
        time.sleep(0.2)
        server.stop()
        deadline = time.monotonic() + 10
        with pytest.raises(OSError):
            while time.monotonic() < deadline:  # until it stops listening
                socket.create_connection(address).close()
        kept.sendall(REQUEST)
        fresh.sendall(REQUEST)
        half.sendall(REQUEST[30:])
        for connection in (kept, fresh, half):
            found = read(connection)
            assert found.startswith(b"HTTP/1.1 200 ")
            assert found.lower().count(b"connection: close") == 1
            assert found.endswith(b'{"predictions": [2.0]}')
        assert read(idle) == b""
    thread.join(20)
    assert not thread.is_alive()


@pytest.mark.slow
def test_two_servers_that_start_at_the_same_port(toy):
    """Both may bind the port, but the second to listen reports an error."""
    first = running.ModelServer(
        running.Settings(
            models={"toy": Served(str(toy))}, port=0, poll_seconds=0
        )
    )
    second = running.ModelServer(
        running.Settings(
            models={"toy": Served(str(toy))}, port=first.port, poll_seconds=0
        )
    )
    thread = running.in_thread(first)
    try:
        with pytest.raises(UserError, match=r"cannot listen.*in use"):
            second.run()
    finally:
        first.stop()
        thread.join(20)
