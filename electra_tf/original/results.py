"""Writes results in the original's text form, and JSON for its pickles."""

import json
from collections.abc import Mapping, Sequence

from electra_tf import files

Trial = Mapping[str, Mapping[str, float]]  # task -> metric -> value


def write_finetuning(path: str, trials: Sequence[Trial]) -> None:
    """Writes a line for each task of each trial, metrics with two digits.

    Args:
      path: a .txt file; a .json beside it has all digits, a list with a dict
        for each trial.
      trials: the trials, in order.
    """
    lines = [
        f"{task}: " + " - ".join(f"{k}: {v:.2f}" for k, v in metrics.items())
        for trial in trials
        for task, metrics in trial.items()
    ]
    _write(path, lines, list(trials))


def write_pretraining(path: str, metrics: Mapping[str, float]) -> list[str]:
    """Writes a line for each metric; returns the lines."""
    lines = [f"{name} = {value}" for name, value in sorted(metrics.items())]
    _write(path, lines, dict(metrics))
    return lines


def _write(path: str, lines: Sequence[str], content: object) -> None:
    files.make_directory(path.rpartition("/")[0] or ".")
    files.write_text(path, "\n".join(lines) + "\n")
    text = json.dumps(content, indent=2) + "\n"
    files.write_text(path.removesuffix(".txt") + ".json", text)
