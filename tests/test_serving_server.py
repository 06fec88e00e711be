"""Tests the server's REST interface over a real socket."""

import base64
import gzip
import json
import threading
import time

import numpy as np
import pytest
import serving_toy
from serving_toy import ask, predict

from electra_tf.errors import UserError
from electra_tf.serving.server import limits, running
from electra_tf.serving.server.served import Served

pytest.importorskip("uvicorn")


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A model directory with version 3."""
    path = tmp_path_factory.mktemp("models") / "toy"
    serving_toy.save(path / "3")
    return path


@pytest.fixture(scope="module")
def server(toy):
    bounds = limits.Limits(request_rows=100, body_seconds=1.0)
    with serving_toy.served({"toy": toy, "twin": toy}, limits=bounds) as found:
        yield found


ROWS = ["one two three", "four", ""]


def test_status(server):
    status, headers, content = ask(server, "GET", "/v1/models/toy")
    assert status == 200
    assert headers["content-type"] == "application/json"
    assert json.loads(content) == {
        "model_version_status": [
            {
                "version": "3",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }
    assert ask(server, "GET", "/v1/models/toy/versions/3")[2] == content
    assert ask(server, "GET", "/V1/Models/toy/Versions/3")[2] == content


def test_metadata(server):
    status, _, content = ask(server, "GET", "/v1/models/toy/metadata")
    assert status == 200
    found = json.loads(content)
    assert found["model_spec"] == {
        "name": "toy", "signature_name": "", "version": "3",
    }  # fmt: skip
    signatures = found["metadata"]["signature_def"]["signature_def"]
    assert set(signatures) == {
        "serving_default", "size", "pair", "numbers", "classes", "slow",
    }  # fmt: skip
    assert signatures["numbers"]["inputs"]["x"] == {
        "dtype": "DT_FLOAT",
        "tensor_shape": {
            "dim": [{"size": "-1", "name": ""}, {"size": "2", "name": ""}],
            "unknown_rank": False,
        },
        "name": "numbers_x:0",
    }
    assert signatures["size"]["method_name"] == "tensorflow/serving/predict"
    assert signatures["size"]["outputs"]["size"]["dtype"] == "DT_FLOAT"


def test_rows(server):
    status, answer = predict(server, {"instances": ROWS})
    assert status == 200
    assert list(answer) == ["predictions"]
    assert [row["tokens"] for row in answer["predictions"]] == [
        ["one", "two", "three"], ["four", "", ""], ["", "", ""],
    ]  # fmt: skip
    assert [row["places"] for row in answer["predictions"]] == [
        [0, 1, 2], [0, -1, -1], [-1, -1, -1],
    ]  # fmt: skip
    assert [row["num_tokens"] for row in answer["predictions"]] == [3, 1, 0]
    assert [row["score"] for row in answer["predictions"]] == [13.0, 4.0, 0.0]
    encoded = base64.b64encode(b"four").decode()
    assert answer["predictions"][1]["raw_bytes"] == {"b64": encoded}
    named = [{"text": text} for text in ROWS]
    assert predict(server, {"instances": named})[1] == answer


def test_columns(server):
    status, answer = predict(server, {"inputs": {"text": ROWS}})
    assert status == 200
    assert list(answer) == ["outputs"]
    assert answer["outputs"]["num_tokens"] == [3, 1, 0]
    assert answer["outputs"]["tokens"][0] == ["one", "two", "three"]
    assert predict(server, {"inputs": ROWS})[1] == answer


def test_one_output_has_no_name(server):
    rows = {"signature_name": "size", "instances": ["ab", "c"]}
    assert predict(server, rows) == (200, {"predictions": [2.0, 1.0]})
    columns = {"signature_name": "size", "inputs": ["ab", "c"]}
    assert predict(server, columns) == (200, {"outputs": [2.0, 1.0]})


def test_empty_column(server):
    body = {"signature_name": "size", "inputs": []}
    assert predict(server, body) == (200, {"outputs": []})


def test_two_inputs(server):
    rows = [{"text": "a", "text_pair": "b"}, {"text": "c", "text_pair": "c"}]
    body = {"signature_name": "pair", "instances": rows}
    assert predict(server, body) == (
        200,
        {
            "predictions": [
                {"both": "a|b", "same": False},
                {"both": "c|c", "same": True},
            ]
        },
    )


def test_numbers(server):
    rows = [{"x": [1, 2.5], "n": 3}, {"x": [0.1, 0], "n": 0}]
    body = {"signature_name": "numbers", "instances": rows}
    # The shortest digits that identify a 32-bit number.
    assert predict(server, body) == (200, {"predictions": [6.5, 0.1]})
    body = b'{"signature_name":"numbers","inputs":{"x":[[NaN,0]],"n":[1]}}'
    status, answer = predict(server, body)
    assert status == 200
    assert np.isnan(answer["outputs"][0])


def test_bytes(server):
    data = b"\xff\x00 \xfe"
    encoded = {"b64": base64.b64encode(data).decode()}
    for body in ({"instances": [encoded]}, {"inputs": {"text": [encoded]}}):
        status, answer = predict(server, body)
        assert status == 200
        row = answer.get("predictions", [answer.get("outputs")])[0]
        raw = row["raw_bytes"]
        assert (raw[0] if isinstance(raw, list) else raw) == encoded
    assert "\ufffd" in json.dumps(answer, ensure_ascii=False)


@pytest.mark.parametrize("text", ["\0", "a\0b", "中文", "\U0001f600", "\\u"])
def test_any_text(server, text):
    status, answer = predict(server, {"instances": [text]})
    assert status == 200
    size = len(text.encode())
    assert answer["predictions"][0]["score"] == size


def test_versions_and_models(server):
    body = {"signature_name": "size", "instances": ["ab"]}
    for path in (
        "/v1/models/toy/versions/3:predict",
        "/v1/models/twin:predict",
    ):
        status, _, content = ask(server, "POST", path, body)
        assert (status, json.loads(content)) == (200, {"predictions": [2.0]})
    found = json.loads(ask(server, "GET", "/v1/models")[2])["models"]
    assert [(each["name"], each["version"]) for each in found] == [
        ("toy", "3"), ("twin", "3"),
    ]  # fmt: skip
    assert found[0]["description"]["task"] == "tagging"
    assert found[0].keys() == {"name", "version", "description"}


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("POST", "/v1/models/no:predict", 404, "Latest(no)"),
        ("POST", "/v1/models/toy/versions/9:predict", 404, "Specific(toy, 9)"),
        ("GET", "/v1/models/no", 404, "Could not find any versions"),
        ("GET", "/v1/models/toy/versions/9", 404, "Could not find version 9"),
        ("GET", "/v1/models/no/metadata", 404, "Latest(no)"),
        ("GET", "/v1/models/toy:predict", 400, "Malformed request: GET"),
        ("POST", "/v1/models/toy", 400, "Malformed request: POST"),
        ("POST", "/v1/models/toy:generate", 400, "Malformed request"),
        ("POST", "/v1/models/toy/versions/x:predict", 400, "Malformed"),
        ("GET", f"/v1/models/toy/versions/{2**64}", 400, "to numeric"),
        ("GET", f"/v1/models/toy/versions/{'9' * 5000}", 400, "to numeric"),
        ("GET", "/v1/models/toy/labels/stable", 400, "version label: stable"),
        ("POST", "/v1/models/toy:classify", 400, "Was: tensorflow"),
        ("PUT", "/v1/models/toy:predict", 400, "Malformed"),
        ("FOO", "/v1/models/toy:predict", 400, "Malformed"),
        ("GET", "/v1/%00", 400, "Malformed"),
        ("GET", "/nowhere", 404, "Not Found"),
        ("GET", "/static/%2e%2e/client.py", 404, "Not Found"),
        ("GET", "/static/..%2fclient.py", 404, "Not Found"),
        ("GET", "/static/%00", 400, "Malformed"),
        ("POST", "/healthz", 405, "Not Allowed"),
    ],
)
def test_wrong_paths(server, method, path, status, message):
    body = b'{"instances": ["a"]}' if method == "POST" else None
    got, headers, content = ask(server, method, path, body)
    assert got == status
    assert headers["content-type"] == "application/json"
    error = json.loads(content)
    assert list(error) == ["error"]
    assert message in error["error"]


WRONG_BODIES = {
    "empty": (b"", "The document is empty"),
    "no json": (b"instances = [1, 2]", "JSON Parse error"),
    "cut": (b'{"instances": ["a"', "JSON Parse error"),
    "not utf-8": (b'{"instances": ["\xff"]}', "not UTF-8"),
    "list": (b"[1]", "Is not object"),
    "null": (b"null", "Is not object"),
    "no key": (b"{}", "Missing 'inputs' or 'instances'"),
    "both": (b'{"inputs": ["a"], "instances": ["a"]}', "only one of"),
    "no list": (b'{"instances": "a"}', "to be an list/array"),
    "no values": (b'{"instances": []}', "No values"),
    "signature": (b'{"signature_name": 1, "inputs": []}', "must be a string"),
    "unknown": (b'{"signature_name": "x", "inputs": []}', 'name: "x"'),
    "number": (b'{"instances": ["a", 1]}', "expected type: string (item 1)"),
    "none": (b'{"instances": [null]}', "Type: Null"),
    "none 2": (b'{"inputs": ["a", "b", null]}', "type: string (item 2)"),
    "NaN": (b'{"instances": [NaN]}', "Type: Number"),
    "truth": (b'{"inputs": {"text": [true]}}', "Type: True"),
    "too deep": (b'{"instances": [["a"]]}', "Expecting shape [-1]"),
    "ragged": (b'{"instances": [["a"], ["a", "b"]]}', "unexpected size"),
    "mixed": (b'{"instances": [["a"], "b"]}', "incorrect level"),
    "mixed 2": (b'{"instances": ["a", ["b"]]}', "unexpected level"),
    "a scalar": (b'{"inputs": "a"}', "Expecting shape [-1]"),
    "names": (b'{"instances": [{"txt": "a"}]}', "keys must be equal to: text"),
    "more names": (b'{"instances": [{"text": "", "x": 1}]}', "equal to: text"),
    "some named": (b'{"instances": [{"text": "a"}, "b"]}', "at item 1"),
    "none named": (b'{"instances": ["b", {"text": "a"}]}', "at item 1"),
    "column": (b'{"inputs": {"txt": ["a"]}}', "Missing named input: text"),
    "b64": (b'{"instances": [{"b64": "!!!"}]}', "base64"),
    "b64 type": (b'{"instances": [{"b64": 3}]}', "equal to: text"),
    "surrogate": (b'{"instances": ["\\ud800"]}', "surrogate"),
    "surrogate 2": (
        b'{"instances": ["a", "b", "c", "\\ud800"]}',
        "string is invalid (item 3)",
    ),
    "nested": (b'{"instances": ' + b"[" * 100_000, "nested too deeply"),
    "nested 2": (
        b'{"instances": ' + b"[" * 30 + b"]" * 30 + b"}",
        "deeper than",
    ),
    "objects": (b'{"a":' * 100_000, "nested too deeply"),
    "digits": (b'{"instances": [' + b"9" * 6000 + b"]}", "JSON"),
}


@pytest.mark.parametrize("name", WRONG_BODIES)
def test_wrong_bodies(server, name):
    body, message = WRONG_BODIES[name]
    status, answer = predict(server, body)
    assert status == 400
    assert list(answer) == ["error"]
    assert message in answer["error"]
    assert len(answer["error"]) < 500


@pytest.mark.parametrize(
    ("x", "n", "message"),
    [
        ([[1, 2]], [1.5], "expected type: int32"),
        ([[1, 2]], [2**31], "expected type: int32"),
        ([[1, True]], [1], "expected type: float"),
        ([[1, "2"]], [1], "expected type: float"),
        ([[1, 1e300]], [1], "without loss of precision"),
        ([[1, 2], [3, 4], [5, 1e300]], [1, 1, 1], "precision. (item 2)"),
        ([[1, 10**400]], [1], "without loss of precision"),
        ([[1, 2, 3]], [1], "Expecting shape [-1, 2]"),
        ([[1, 2]], [1, 2], "equal 0th-dimension size"),
    ],
)
def test_wrong_numbers(server, x, n, message):
    body = {"signature_name": "numbers", "inputs": {"x": x, "n": n}}
    status, answer = predict(server, body)
    assert status == 400
    assert message in answer["error"]


def test_two_inputs_need_names(server):
    for form in ({"instances": ["a"]}, {"inputs": ["a"]}):
        status, answer = predict(server, {"signature_name": "pair", **form})
        assert status == 400
        assert "text,text_pair" in answer["error"]


def test_requests_that_tensorflow_refuses(server):
    body = {"signature_name": "size", "instances": ["a", "fail"]}
    status, answer = predict(server, body)
    assert status == 400
    assert "a row says fail" in answer["error"]


def test_large_requests(server):
    status, answer = predict(server, {"instances": ["x"] * 101})
    assert status == 413
    assert "101 rows" in answer["error"]
    body = b'{"instances": ["' + b"x" * 5_000_000 + b'"]}'
    status, answer = predict(server, body)
    assert status == 413
    assert "4194304 bytes" in answer["error"]
    text = "x" * 131_072
    status, answer = predict(
        server, {"signature_name": "size", "instances": [text]}
    )
    assert (status, answer) == (200, {"predictions": [131_072.0]})
    # Texts that would take very long are refused.
    for rows in (["a", text + "x"], ["a", "é" * 65_537]):
        body = {"signature_name": "size", "instances": rows}
        status, answer = predict(server, body)
        assert status == 413
        assert "Row 1 has 13107" in answer["error"]
        assert "131072" in answer["error"]
        assert "--max_text_bytes" in answer["error"]
    head = b"POST /v1/models/toy:predict HTTP/1.1\r\nHost: localhost\r\n"
    found = serving_toy.raw(
        server, head + b"Content-Length: %d\r\n\r\n" % 10**9
    )
    assert found.startswith(b"HTTP/1.1 413 ")
    found = serving_toy.raw(
        server,
        head + b"Expect: 100-continue\r\nContent-Length: 5000000\r\n\r\n",
    )
    assert found.startswith(b"HTTP/1.1 413 ")


def test_codings_are_refused(server):
    headers = {"Content-Encoding": "deflate"}
    path = "/v1/models/toy:predict"
    assert ask(server, "POST", path, b"xx", headers)[0] == 415


def test_health_and_metrics(server):
    status, _, content = ask(server, "GET", "/healthz")
    assert (status, json.loads(content)) == (200, {"status": "ok"})
    predict(server, {"instances": ["x"]})
    predict(server, {"instances": [1]}, model="made-up")
    status, headers, content = ask(server, "GET", "/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain")
    text = content.decode()
    line = 'electra_tf_requests_total{model="toy",status="200",verb="predict"}'
    assert line in text
    assert 'electra_tf_model_version{model="toy"} 3.0' in text
    assert "made-up" not in text  # requests cannot add time series
    assert "electra_tf_batch_rows_bucket" in text


def test_page(server):
    status, headers, content = ask(server, "GET", "/")
    assert status == 200
    assert headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in headers["content-security-policy"]
    assert b"static/app.js" in content
    status, headers, _ = ask(server, "GET", "/static/app.js")
    assert status == 200
    assert "javascript" in headers["content-type"]
    assert "script-src 'self'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


def test_requests_share_calls_and_keep_their_own(server):
    """A request gets the same beside others as alone."""
    generator = np.random.default_rng(5)
    texts = [
        [" ".join(["w"] * int(n)) for n in generator.integers(0, 30, size)]
        for size in generator.integers(1, 60, 48)
    ]
    found = [None] * len(texts)

    def go(start):
        for index in range(start, len(texts), 12):
            found[index] = predict(server, {"inputs": texts[index]})

    threads = [threading.Thread(target=go, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for rows, (status, answer) in zip(texts, found):
        assert status == 200
        outputs = answer["outputs"]
        lengths = [len(text.split()) for text in rows]
        width = max(lengths)
        assert outputs["num_tokens"] == lengths
        assert outputs["tokens"] == [
            ["w"] * n + [""] * (width - n) for n in lengths
        ]
        assert outputs["places"] == [
            [*range(n), *([-1] * (width - n))] for n in lengths
        ]


def test_mistakes_before_it_listens(toy, tmp_path, server):
    def fails(message, **settings):
        with pytest.raises(UserError, match=message):
            running.ModelServer(running.Settings(**settings))

    fails(
        "no such directory", models={"x": Served(str(tmp_path / "x"))}, port=0
    )
    fails("has no version", models={"x": Served(str(tmp_path))}, port=0)
    fails("this is one version", models={"x": Served(str(toy / "3"))}, port=0)
    fails("cannot listen on", models={"x": Served(str(toy))}, port=server.port)
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"\x01junk")
    fails("cannot load", models={"x": Served(str(tmp_path))}, port=0)


def test_gzip_both_ways(server):
    body = json.dumps({"instances": ["one two three"] * 50}).encode()
    plain = predict(server, body)[1]
    headers = {"Content-Encoding": "gzip", "Accept-Encoding": "br, gzip"}
    for packed in (
        gzip.compress(body),
        gzip.compress(body[:9]) + gzip.compress(body[9:]),
    ):
        status, found, content = ask(
            server, "POST", "/v1/models/toy:predict", packed, headers
        )
        assert status == 200
        assert found["content-encoding"] == "gzip"
        assert int(found["content-length"]) == len(content)
        assert json.loads(gzip.decompress(content)) == plain
    headers["Accept-Encoding"] = "gzip; q=0"
    _, found, content = ask(
        server, "POST", "/v1/models/toy:predict", gzip.compress(body), headers
    )
    assert "content-encoding" not in found
    assert json.loads(content) == plain


@pytest.mark.parametrize(
    ("packed", "status", "message"),
    [
        (b"no gzip", 400, "not gzip"),
        (gzip.compress(b'{"instances": ["a"]}')[:-9], 400, "cut short"),
        (gzip.compress(b" " * 5_000_000), 413, "4194304 bytes"),
    ],
    ids=["other", "cut", "large"],  # gzip stores the time
)
def test_wrong_gzip(server, packed, status, message):
    found, _, content = ask(
        server, "POST", "/v1/models/toy:predict", packed,
        {"Content-Encoding": "gzip"},
    )  # fmt: skip
    assert found == status
    assert message in json.loads(content)["error"]


def test_gzip_of_very_many_streams(server):
    """Many empty streams before the data take little time."""
    packed = gzip.compress(b"") * 150_000
    packed += gzip.compress(b'{"signature_name": "size", "instances": ["ab"]}')
    began = time.process_time()
    status, _, content = ask(
        server, "POST", "/v1/models/toy:predict", packed,
        {"Content-Encoding": "gzip"},
    )  # fmt: skip
    assert (status, json.loads(content)) == (200, {"predictions": [2.0]})
    assert time.process_time() - began < 2


def test_metrics_at_tensorflow_servings_path(server):
    path = "/monitoring/prometheus/metrics"
    status, _, content = ask(server, "GET", path)
    assert status == 200
    assert b"electra_tf_requests_total" in content


@pytest.mark.parametrize(
    "examples",
    [
        {"examples": [{"text": "ab"}, {"text": "x" * 20}]},
        {"examples": [{"text": ["ab"]}, {"text": ["x" * 20]}]},
        {"examples": [{}, {"text": "x" * 20}], "context": {"text": "ab"}},
    ],
)
def test_classify(server, examples):
    body = {"signature_name": "classes", **examples}
    status, _, content = ask(server, "POST", "/v1/models/toy:classify", body)
    assert (status, json.loads(content)) == (
        200,
        {
            "results": [
                [["long", 0.2], ["short", 0.8]], [["long", 1.0], ["short", 0]]
            ]
        },
    )  # fmt: skip


def test_regress(server):
    body = {"examples": [{"text": "ab"}, {"text": "abc"}]}
    path = "/v1/models/toy/versions/3:regress"
    status, _, content = ask(server, "POST", path, body)
    assert (status, json.loads(content)) == (200, {"results": [2.0, 3.0]})


@pytest.mark.parametrize(
    ("verb", "body", "message"),
    [
        ("classify", {"examples": [{"text": "a"}]}, "Was: tensorflow/serving"),
        ("regress", {"signature_name": "size", "examples": [{}]}, "score"),
        ("regress", {"examples": []}, "non-empty list"),
        ("regress", {"instances": ["a"]}, "'examples' key"),
        ("regress", {"examples": ["a"]}, "Example 0"),
        ("regress", {"examples": [{"text": 1}]}, "input 'text'"),
        ("regress", {"examples": [{"x": "a"}]}, "keys must be equal"),
        ("regress", {"examples": [{"text": "a"}], "context": []}, "context"),
    ],
)
def test_wrong_examples(server, verb, body, message):
    path = f"/v1/models/toy:{verb}"
    status, _, content = ask(server, "POST", path, body)
    assert status == 400
    assert message in json.loads(content)["error"]


def test_a_long_text_is_answered_in_steps(tmp_path):
    """Long texts use the signature's steps, which are hidden from clients."""
    serving_toy.save(tmp_path / "toy" / "1")
    batching = limits.Batching(call_seconds=1e-4)
    with serving_toy.served(
        {"toy": tmp_path / "toy"}, batching=batching
    ) as server:
        model = server.versions.get("toy")
        assert set(model.functions) - set(model.signatures) == {
            "size.begin", "size.part", "size.end",
        }  # fmt: skip
        run = []
        functions = {
            name: lambda _f=function, _n=name, **x: run.append(_n) or _f(**x)
            for name, function in model.functions.items()
        }
        model.functions.update(functions)
        for size, ends in (
            (20, {"size"}),
            (5000, {"size.begin", "size.part", "size.end"}),
        ):
            del run[:]
            status, answer = predict(
                server, {"signature_name": "size", "instances": ["x" * size]}
            )
            assert (status, answer) == (200, {"predictions": [float(size)]})
            assert set(run) == ends
