"""Tests of uploading models, with fake hubs."""

import sys
import types

import hub_models
import pytest

from electra_tf.cli import app
from electra_tf.errors import UserError
from electra_tf.hub import loading
from electra_tf.recipes.push import push


class FakeApi:
    done: list

    def create_repo(self, name, private, exist_ok):
        self.done.append(("create", name, private, exist_ok))

    def upload_folder(self, **given):
        self.done.append(("upload", given))


@pytest.fixture
def done(monkeypatch):
    found = []
    api = type("Api", (FakeApi,), {"done": found})
    monkeypatch.setitem(
        sys.modules, "huggingface_hub", types.SimpleNamespace(HfApi=api)
    )
    monkeypatch.setitem(
        sys.modules,
        "kagglehub",
        types.SimpleNamespace(
            model_upload=lambda name, folder, **given: found.append(
                (name, folder, given)
            )
        ),
    )
    return found


@pytest.fixture
def run(tmp_path):
    model = tmp_path / "run" / "model"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"")
    return tmp_path / "run"


def test_a_run_or_a_directory_is_uploaded(done, run, capsys):
    for path in (run, run / "model"):
        found = push(str(path), "hf://me/small", private=True, message="m")
        assert found.handle == "hf://me/small"
        create, (_, given) = done
        assert create == ("create", "me/small", True, True)
        assert given["repo_id"] == "me/small"
        assert given["folder_path"] == str(run / "model")
        assert given["commit_message"] == "m"
        done.clear()
    assert app.run(["push", f"--model={run}", "--to=kaggle://a/b/c/d"]) == 0
    ((name, folder, _),) = done
    assert (name, folder) == ("a/b/c/d", str(run / "model"))
    assert "kaggle://a/b/c/d" in capsys.readouterr().out


@pytest.mark.parametrize("format_", ["electra_tf", "tf1", "huggingface"])
@pytest.mark.parametrize("networks", [1, 2])
def test_directories_of_any_format(done, tmp_path, format_, networks):
    path = str(tmp_path / "model")
    config = hub_models.directory_config(*[hub_models.TINY] * networks)
    loading.format_module(format_).write(path, hub_models.checkpoint(config))
    push(path, "kaggle://a/b/c/d")
    ((_, folder, _),) = done
    assert folder == path


@pytest.mark.parametrize(
    ("model", "to", "message"),
    [
        ("", "hf://small", "expected hf://org/name"),
        ("", "kaggle://a/b", "expected kaggle://owner"),
        ("", "me/small", "expected hf://org/name or"),
        ("/nowhere", "hf://me/small", "no such local directory"),
        ("/..", "hf://me/small", "expected a model directory"),
    ],
)
def test_mistakes_are_reported_before_anything_is_uploaded(
    done, run, model, to, message
):
    with pytest.raises(UserError, match=message):
        push(f"{run}{model}", to)
    assert done == []


def test_what_the_hub_refuses_is_reported(done, run, monkeypatch):
    def refuse(self, name, **_):
        raise RuntimeError("401 Unauthorized")

    monkeypatch.setattr(FakeApi, "create_repo", refuse)
    with pytest.raises(UserError, match=r"401 Unauthorized.*token"):
        push(str(run), "hf://me/small")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match="needs the package huggingface_hub"):
        push(str(run), "hf://me/small")
