"""Tests logging of metrics to MLflow and Weights & Biases."""

import json
import sys
import types

import pytest

from electra_tf.errors import UserError
from electra_tf.recipes.finetune import finetune
from electra_tf.training import loggers
from electra_tf.training.reporting import Reporter


def train(folder, steps, names):
    reporter = Reporter(
        str(folder), num_train_steps=9, batch_size=2, tensorboard=False,
        progress=False, loggers=names,
    )  # fmt: skip
    reporter.begin(min(steps) - 1)
    for step in steps:
        reporter.train(step, {"loss": 10.0 - step, "auc": float("nan")})
    reporter.validation(max(steps), {"accuracy": 50.0 + max(steps)})
    reporter.close()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run").mkdir()
    settings = {"task": "t", "train": {"seed": 1, "folds": None}}
    (tmp_path / "run" / "config.json").write_text(json.dumps(settings))
    return tmp_path / "run"


@pytest.mark.slow
def test_mlflow_has_settings_and_metrics_and_resumes(folder, monkeypatch):
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    place = f"sqlite:///{folder.parent}/m.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place)
    train(folder, [1, 2], ["mlflow"])
    train(folder, [3], ["mlflow"])
    client = MlflowClient(tracking_uri=place)
    experiment = client.get_experiment_by_name("electra-tf")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.params == {"task": "t", "train.seed": "1"}
    assert run.info.status == "FINISHED"
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(m.step, m.value) for m in history] == [(1, 9), (2, 8), (3, 7)]
    assert run.data.metrics["validation/accuracy"] == 53
    assert "train/auc" not in run.data.metrics


class FakeRun:
    def __init__(self, given):
        self.given, self.logged, self.ended = given, [], False

    def log(self, metrics, step):
        self.logged.append((step, metrics))

    def finish(self):
        self.ended = True


@pytest.mark.parametrize("key", [None, "secret"])
def test_wandb_is_offline_unless_it_is_set_up(folder, monkeypatch, key):
    made = []

    def init(**given):
        made.append(FakeRun(given))
        return made[-1]

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    if key:
        monkeypatch.setenv("WANDB_API_KEY", key)
    train(folder, [1, 2], ["wandb"])
    train(folder, [3], ["wandb"])
    first, second = made
    assert first.given["mode"] == (None if key else "offline")
    assert first.given["config"] == {"task": "t", "train.seed": 1}
    assert first.given["id"] == second.given["id"]
    assert first.logged[0] == (1, {"train/loss": 9.0})
    assert first.logged[-1] == (2, {"validation/accuracy": 52.0})
    assert second.ended and first.ended


@pytest.mark.slow
def test_wandb_itself_writes_offline(folder, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    train(folder, [1, 2], ["wandb"])
    assert list(folder.glob("wandb/offline-run-*/run-*.wandb"))


def test_failures_of_loggers_are_reported(folder, monkeypatch):
    def init(**given):
        raise RuntimeError("no such entity")

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    with pytest.raises(UserError, match=r"wandb: RuntimeError: no such"):
        train(folder, [1], ["wandb"])


def test_loggers_are_extras(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(UserError, match=r"electra-tf\[mlflow\]"):
        loggers.check(["mlflow"])
    with pytest.raises(UserError, match="expected some of mlflow, wandb"):
        finetune(str(tmp_path / "r"), task="classification", loggers=["comet"])
    assert not (tmp_path / "r").exists()
