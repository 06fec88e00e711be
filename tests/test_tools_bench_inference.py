"""Tests the benchmark of inference: its texts, clients and comparisons."""

import http.server
import json
import threading
from typing import ClassVar

import benchmark
import numpy as np
import pytest
from benchmarks import inference, latencies, served_model, workers


class _Server(http.server.BaseHTTPRequestHandler):
    """Answers as a classifier would; refuses the text "bad"."""

    protocol_version = "HTTP/1.1"
    connections: ClassVar[set] = set()

    def do_POST(self):
        self.connections.add(self.client_address)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        (text,) = json.loads(body)["instances"]
        row = {"probabilities": [len(text) / 10, 1 - len(text) / 10]}
        answer = json.dumps({"predictions": [row]}).encode()
        known = self.path == "/v1/models/classifier:predict"
        self.send_response(200 if known and text != "bad" else 400)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args):
        pass


@pytest.fixture
def address():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    server.daemon_threads = True
    _Server.connections.clear()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def clients(address, texts, path):
    path.write_text(json.dumps(texts))
    return workers.Worker(
        "http_clients.py",
        {"address": address, "model": "classifier", "texts": str(path)},
    )


def test_clients_keep_connections_and_answers_their_order(address, tmp_path):
    worker = clients(address, ["a" * n for n in range(9)], tmp_path / "t.json")
    try:
        reply = worker.ask({"do": "answers"})
        assert [row[0] for row in reply["answers"]] == pytest.approx(
            [n / 10 for n in range(9)]
        )
        assert len(_Server.connections) == 1
        reply = worker.ask({"do": "ask", "clients": 4})
        assert len(reply["milliseconds"]) == 9
        assert all(ms > 0 for ms in reply["milliseconds"])
        assert len(_Server.connections) <= 5
    finally:
        worker.close()


def test_a_refused_request_ends_the_side(address, tmp_path):
    worker = clients(address, ["a", "bad", "b"], tmp_path / "t.json")
    try:
        with pytest.raises(workers.SideError, match="400"):
            worker.ask({"do": "ask", "clients": 2})
    finally:
        worker.close()


def test_texts_are_the_sentences_or_lines(tmp_path):
    (tmp_path / "dev.tsv").write_text(
        "sentence\tlabel\na fine film \t1\nno\ttabs\t0\n", "utf-8"
    )
    read = served_model.read_texts
    assert read(str(tmp_path), "", None) == ["a fine film", "no\ttabs"]
    assert read(str(tmp_path), "", 1) == ["a fine film"]
    lines = tmp_path / "lines.txt"
    lines.write_text("one\n\n two \nthree\n")
    assert sorted(read(None, str(lines), None)) == ["one", "three", "two"]
    assert read(None, str(lines), 2) == read(None, str(lines), None)[:2]
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\n")
    with pytest.raises(SystemExit, match="has no rows"):
        read(str(tmp_path), "", None)
    with pytest.raises(SystemExit, match=r"of SST-2: .*No such file"):
        read(str(tmp_path / "not"), "", None)


def test_answers_are_compared():
    wanted = np.array([[0.25, 0.75], [0.5, 0.5]])
    near = wanted + np.array([[1e-6, -1e-6], [0, 0]])
    exact = dict.fromkeys("abc", "float32")
    found = inference.differences({"a": wanted, "b": near, "c": wanted}, exact)
    assert list(found.values()) == [pytest.approx(1e-6), 0.0]
    nothing = np.full([2, 2], np.nan)
    for other in (wanted[::-1], nothing):
        with pytest.raises(workers.SideError, match="outputs of b differ"):
            inference.differences({"a": wanted, "b": other}, exact)
    # With fewer bits outputs may differ; the difference is reported.
    fewer = {"a": "float32", "b": "int8"}
    other = np.array([[0.75, 0.25], [0.5, 0.5]])
    found = inference.differences({"a": wanted, "b": other}, fewer)
    assert list(found.values()) == [0.5, 0.5]
    with pytest.raises(workers.SideError, match="outputs of b differ"):
        inference.differences({"a": wanted, "b": nothing}, fewer)


def test_peers_have_all_their_precisions():
    pairs = {
        (own["engine"], own["precision"]) for own in inference.PEERS.values()
    }
    assert {engine for engine, precision in pairs if precision == "int8"} == {
        "torch", "onnxruntime", "onnxruntime+", "openvino",
    }  # fmt: skip
    assert inference.PEERS["OpenVINO"]["precision"] == "float32"
    assert inference.PEERS["OpenVINO, bf16"]["precision"] == "bf16"


def test_latencies_are_plotted(tmp_path):
    path = tmp_path / "latency.png"
    latencies.plot(
        str(path), {1: [3.0, 4.0], 16: [9.0, 30.0]}, {1: 250.0, 16: 900.0}, 1e3
    )
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_ours_is_measured_alone(tmp_path, capsys):
    argv = ["inference", "--size=tiny", "--rounds=1", "--sentences=20"]
    argv += [f"--plot={tmp_path / 'p.png'}", "--batch_size=8"]
    assert benchmark.main(argv) == 0
    out = capsys.readouterr().out
    assert "### inference tiny" in out and "by HTTP" in out
    assert "HTTP, 16 clients / electra_tf, an export" in out
    assert "### inference tiny, a file" in out
    assert "### inference tiny, one text" in out and "p10 of calls" in out
    assert "no --peer_python" in out
    assert (tmp_path / "p.png").exists()
