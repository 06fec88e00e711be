"""Tests of TensorFlow Serving's file of models: versions, labels, changes."""

import json
import logging
import math
import threading
import time

import pytest
import serving_toy
from serving_toy import ask, predict

from electra_tf.cli import app
from electra_tf.errors import UserError
from electra_tf.serving.server import running
from electra_tf.serving.server.model_versions import ModelVersions, Poller
from electra_tf.serving.server.served import Served, read_config

pytest.importorskip("tensorflow_serving.config")
pytest.importorskip("uvicorn")

BODY = {"signature_name": "size", "instances": ["ab"]}


def written(path, *models):
    path.write_text(
        "model_config_list {\n"
        + "".join(f"  config {{ {model} }}\n" for model in models)
        + "}\n"
    )
    return str(path)


def test_reading(tmp_path):
    path = written(
        tmp_path / "models.config",
        'name: "a" base_path: "/models/a" model_platform: "tensorflow"',
        'name: "b" base_path: "b" '
        "model_version_policy { specific { versions: 2 versions: 4 } } "
        'version_labels { key: "stable" value: 2 }',
        'name: "c" base_path: "gs://x/c" '
        "model_version_policy { latest { num_versions: 3 } }",
        'name: "d" base_path: "d" model_version_policy { all {} }',
    )
    assert read_config(path) == {
        "a": Served("/models/a"),
        "b": Served(f"{tmp_path}/b", 1, (2, 4), {"stable": 2}),
        "c": Served("gs://x/c", 3),
        "d": Served(f"{tmp_path}/d", None),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "models.config:1:1"),
        ("", "names no model"),
        ('model_config_list { config { name: "a" } }', "base_path"),
        (
            'model_config_list { config { name: "a" base_path: "x" } '
            'config { name: "a" base_path: "y" } }',
            "two models are named 'a'",
        ),
        (
            'model_config_list { config { name: "a" base_path: "x" '
            'model_platform: "other" } }',
            "model_platform.*other",
        ),
        (
            'model_config_list { config { name: "a/b" base_path: "x" } }',
            "models.config: 'a/b' is not a valid model name",
        ),
    ],
)
def test_mistakes(tmp_path, text, message):
    path = tmp_path / "models.config"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_config(str(path))


def test_a_file_that_changes_while_models_are_loaded(tmp_path, caplog):
    path = written(tmp_path / "models.config", 'name: "a" base_path: "a"')
    versions = ModelVersions(read_config(path))
    written(tmp_path / "models.config", 'name: "b" base_path: "b"')
    poller = Poller(versions, 0.01, path)
    poller.start()
    try:
        deadline = time.monotonic() + 10
        while versions.names != ["b"]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        poller.stop()
    assert f"model b: {tmp_path / 'b'}: no such directory" in caplog.text


def test_checks_for_versions_a_lifetime_apart(tmp_path):
    poller = Poller(ModelVersions({}), math.inf)
    poller.start()
    time.sleep(0.05)
    assert any(each.name == "versions" for each in threading.enumerate())
    poller.stop()


def test_versions_are_the_files(tmp_path, capsys):
    path = written(tmp_path / "models.config", 'name: "a" base_path: "a"')
    words = ["serve", f"--model_config_file={path}", "--versions=2"]
    log = logging.getLogger("electra_tf.serving")
    before = [*log.handlers], log.level, log.propagate
    assert app.run(words) == 2
    assert ([*log.handlers], log.level, log.propagate) == before
    printed = capsys.readouterr().err
    assert "--versions: is for --model" in printed
    assert printed.count("\n") == 1


def test_labels_versions_and_a_changed_file(tmp_path):
    serving_toy.save(tmp_path / "toy" / "1")
    serving_toy.save(tmp_path / "toy" / "2", factor=2.0)
    serving_toy.add_version(tmp_path / "toy" / "2", tmp_path / "toy" / "3")
    (tmp_path / "toy" / "serve.yaml").write_text(
        "max_text_bytes: 20\nanswer_timeout: 0.3\n"
    )
    toy = (
        'name: "toy" base_path: "toy" '
        "model_version_policy { specific { versions: 1 versions: 2 } } "
        'version_labels { key: "stable" value: 1 } '
        'version_labels { key: "canary" value: %d }'
    )
    path = written(tmp_path / "models.config", toy % 2)
    server = running.ModelServer(
        running.Settings(
            read_config(path), port=0, poll_seconds=0.1, model_config_file=path
        )
    )
    thread = running.in_thread(server)

    def labelled(label):
        status, _, content = ask(
            server, "POST", f"/v1/models/toy/labels/{label}:predict", BODY
        )
        return status, json.loads(content)

    try:
        assert labelled("stable") == (200, {"predictions": [2.0]})
        assert labelled("canary") == (200, {"predictions": [4.0]})
        assert labelled("other")[0] == 400
        # The model's own settings.
        status, answer = predict(server, {"instances": ["a" * 21]})
        assert status == 413 and "at most 20" in answer["error"]
        status, answer = predict(
            server, {"signature_name": "slow", "instances": ["a"]}
        )
        assert status == 504 and "0.3 seconds" in answer["error"]
        _, _, content = ask(server, "GET", "/v1/models/toy/labels/stable")
        (state,) = json.loads(content)["model_version_status"]
        assert state["version"] == "1"
        assert ask(server, "GET", "/v1/models/toy/versions/3")[0] == 404
        # The page needs these for a version that its address names.
        (model,) = json.loads(ask(server, "GET", "/v1/models")[2])["models"]
        assert model["version"] == "2" and model["description"]
        assert model["labels"] == {"stable": "1", "canary": "2"}
        assert [each["version"] for each in model["older"]] == ["1"]
        assert model["older"][0]["description"]["task"] == "tagging"
        # A wrong file changes nothing; a correct one is loaded.
        (tmp_path / "models.config").write_text("nonsense")
        time.sleep(0.3)
        assert labelled("canary") == (200, {"predictions": [4.0]})
        written(
            tmp_path / "models.config",
            toy % 1,
            'name: "other" base_path: "toy"',
        )
        deadline = time.monotonic() + 30
        while predict(server, BODY, "other")[0] != 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert labelled("canary") == (200, {"predictions": [2.0]})
        _, _, content = ask(server, "GET", "/v1/models/other")
        (state,) = json.loads(content)["model_version_status"]
        assert state["version"] == "3"
    finally:
        server.stop()
        thread.join(30)
