"""Tests short requests beside long ones, by a short run of `long_texts.py`."""

import http.client
import json
import math
import time

import check_export_models
import long_texts
import pytest
import serving_toy

import electra_tf
from electra_tf.serving.server import limits, predict_json

pytest.importorskip("uvicorn")


def test_lengths_of_long_requests():
    found = long_texts.long_requests("q", "t", 1.0)
    sizes = [len(data) for data in found.values()]
    assert [math.floor(size / 1e5) for size in sizes[:2]] == [25, 39]
    assert 2_400_000 < sizes[2] < 2_500_000
    bodies = [json.loads(d.partition(b"\r\n\r\n")[2]) for d in found.values()]
    assert [len(body["instances"]) for body in bodies] == [1, 1, 300]


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """A small model of each kind: name -> directory of its export."""
    path = tmp_path_factory.mktemp("exports")
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "ark", "of"]
    found = {}
    for name, kind in (
        ("qa", "qa"), ("tagging", "tagging"), ("asked", "classification"),
    ):  # fmt: skip
        run = check_export_models.save(path / f"run-{kind}", kind, tokens)
        electra_tf.export(run, str(path / name))
        found[name] = path / name
    return found


@pytest.mark.slow  # three exports, and a server in a process of its own
def test_short_requests_during_long_ones(exports, tmp_path, capsys):
    flags = [f"--{name}={path}" for name, path in exports.items()]
    status = long_texts.main(
        [*flags, "--seconds=8", "--scale=0.1", f"--log={tmp_path}"]
    )
    report = json.loads(capsys.readouterr().out)
    assert report["problems"] == []
    assert status == 0
    assert len(report["answered"]) >= 3
    assert {each[1] for each in report["answered"]} == {200}
    assert report["quiet"]["requests"] > 100


TEXT = (
    "The ark of God was taken, no. 5 of the U.S. can't. "
    "中国人 love 中国。the “ark” cat\u2019s caf\u0301e, 国人。\n"
)  # fmt: skip


@pytest.mark.slow  # exports, and a server
@pytest.mark.parametrize("name", ["tagging", "qa"])
def test_answers_in_steps_are_those_in_one_call(exports, name):
    import tensorflow as tf

    texts = [TEXT * 900, "国人好" * 12_000, "ark", "x" * 70_000 + TEXT]
    columns = {"text": texts}
    if name == "qa":
        columns = {"question": ["Who took the 国人 ark?"] * 4, "context": texts}
    loaded = tf.saved_model.load(str(exports[name] / "1"))
    function = loaded.signatures["serving_default"]
    batching = limits.Batching(call_seconds=0.02)
    with serving_toy.served({name: exports[name]}, batching=batching) as server:
        model = server.versions.get(name)
        run = []
        functions = {
            key: lambda _f=function, _n=key, **x: run.append(_n) or _f(**x)
            for key, function in model.functions.items()
        }
        model.functions.update(functions)
        for i in range(len(texts)):
            row = {key: values[i] for key, values in columns.items()}
            status, answer = serving_toy.predict(
                server, {"instances": [row]}, name
            )
            assert status == 200, answer
            expected = function(**{k: tf.constant([v]) for k, v in row.items()})
            arrays = {key: value.numpy() for key, value in expected.items()}
            assert answer == json.loads(predict_json.answer(arrays, True))
        assert run.count("serving_default.part") > 10
        assert run.count("serving_default.end") >= 3
        # When the client disconnects, the work ends with the current step.
        client = http.client.HTTPConnection(server.host, server.port)
        row = {key: values[0] for key, values in columns.items()}
        body = json.dumps({"instances": [row] * 40})
        client.request("POST", f"/v1/models/{name}:predict", body)
        time.sleep(1.0)
        client.close()
        deadline = time.monotonic() + 10
        while _pending(server) and time.monotonic() < deadline:
            time.sleep(0.05)
        count = len(run)
        time.sleep(0.5)
        assert len(run) == count and not _pending(server)


def _pending(server):
    content = serving_toy.ask(server, "GET", "/metrics")[2].decode()
    (line,) = (
        line for line in content.splitlines()
        if line.startswith("electra_tf_pending_rows ")
    )  # fmt: skip
    return float(line.split()[1])


def test_mistakes(tmp_path, capsys):
    flags = [f"--{name}={tmp_path}" for name in ("qa", "tagging", "asked")]
    with pytest.raises(SystemExit):
        long_texts.main(flags[:2])
    assert "--asked" in capsys.readouterr().err
