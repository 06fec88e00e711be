"""Logs a run's metrics to MLflow and Weights & Biases.

Both work without a network. They write where their own configuration says
(MLFLOW_TRACKING_URI, WANDB_MODE and so on), by default to a folder of the run.
A resumed run continues the same record there.
"""

import contextlib
import json
import math
import netrc
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from electra_tf import files
from electra_tf.errors import UserError

PROJECT = "electra-tf"
# The services truncate longer values.
_LONGEST = 250


class Logger(Protocol):
    """Receives metrics."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Logs metrics that are finite, named "split/metric"."""

    def close(self) -> None:
        """Ends the record."""


def check(names: Sequence[str]) -> None:
    """Refuses loggers that are unknown or not installed.

    Args:
      names: keys of `LOGGERS`.

    Raises:
      UserError: a name is unknown, or a package is missing.
    """
    for name in names:
        if name not in LOGGERS:
            raise UserError(
                f"--loggers={name}: expected some of {', '.join(LOGGERS)}"
            )
        try:
            __import__(name)
        except ImportError as error:
            raise UserError(
                f"--loggers={name}: needs the package {name}; install it: pip "
                f"install 'electra-tf[{name}]'"
            ) from error


def start(name: str, run_dir: str) -> Logger:
    """Opens the record of a run, or continues that of an earlier process.

    Args:
      name: name of the logger.
      run_dir: directory of the run; its config.json becomes the record's
        settings.
    """
    with _as_user_errors(name):
        return LOGGERS[name](run_dir)


def log(
    name: str, logger: Logger, step: int, split: str, metrics: Mapping
) -> None:
    """Passes the finite metrics of a split to a logger."""
    found = {
        f"{split}/{key}": float(value)
        for key, value in metrics.items()
        if math.isfinite(value)
    }
    with _as_user_errors(name):
        logger.log(step, found)


class _Mlflow:
    def __init__(self, run_dir: str):
        from mlflow.tracking import MlflowClient

        target = os.environ.get("MLFLOW_TRACKING_URI")
        if not target:
            place = os.path.abspath(os.path.join(run_dir, "mlflow.db"))
            target = f"sqlite:///{place}"
        self._client = MlflowClient(tracking_uri=target)
        kept = os.path.join(run_dir, "mlflow_run.txt")
        if files.exists(kept):
            self._run = files.read_text(kept).strip()
            self._client.update_run(self._run, status="RUNNING")
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        found = self._client.get_experiment_by_name(name)
        experiment = (
            found.experiment_id
            if found is not None
            else self._client.create_experiment(name)
        )
        made = self._client.create_run(experiment, run_name=_title(run_dir))
        self._run = made.info.run_id
        for key, value in _settings(run_dir).items():
            self._client.log_param(self._run, key, str(value)[:_LONGEST])
        files.write_text(kept, f"{self._run}\n")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        for key, value in metrics.items():
            self._client.log_metric(self._run, key, value, step=step)

    def close(self) -> None:
        self._client.set_terminated(self._run, "FINISHED")


class _Wandb:
    def __init__(self, run_dir: str):
        import wandb

        kept = os.path.join(run_dir, "wandb_run.txt")
        if not files.exists(kept):
            files.write_text(kept, f"{uuid.uuid4().hex[:8]}\n")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=_title(run_dir),
            id=files.read_text(kept).strip(),
            resume="allow",
            dir=os.environ.get("WANDB_DIR", run_dir),
            config=_settings(run_dir),
            mode=None if _knows_wandb() else "offline",
            reinit="create_new",
        )

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics), step=step)

    def close(self) -> None:
        self._run.finish()


LOGGERS: Mapping[str, Callable[[str], Logger]] = {
    "mlflow": _Mlflow,
    "wandb": _Wandb,
}


def _knows_wandb() -> bool:
    """Returns whether W&B is configured by the user."""
    if {"WANDB_API_KEY", "WANDB_MODE"} & set(os.environ):
        return True
    with contextlib.suppress(OSError, netrc.NetrcParseError):
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    return False


def _title(run_dir: str) -> str:
    parts = os.path.abspath(run_dir).split(os.sep)
    return "/".join(parts[-2:]) if "trial_" in parts[-1] else parts[-1]


def _settings(run_dir: str) -> dict[str, Any]:
    """Returns the run's config.json with dotted keys; empty without one."""
    path = os.path.join(run_dir, "config.json")
    if not files.exists(path):
        return {}

    def flat(values: Mapping[str, Any], before: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in values.items():
            if isinstance(value, dict):
                found |= flat(value, f"{before}{key}.")
            elif value is not None:
                found[f"{before}{key}"] = value
        return found

    return flat(json.loads(files.read_text(path)), "")


@contextlib.contextmanager
def _as_user_errors(name: str) -> Iterator[None]:
    """Converts any error of a logging service to a `UserError`."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # each service has its own
        raise UserError(
            f"--loggers={name}: {type(error).__name__}: {error}; correct its "
            "configuration, or leave the flag out: the run keeps its metrics "
            "in metrics.jsonl anyway"
        ) from error
