"""Predicts a split's examples in other processes than the scoring one."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from electra_tf import files
from electra_tf.prediction import predictor
from electra_tf.prediction.resumable import identity
from electra_tf.tasks.task import Prediction

_NAME = "prediction"


class ExampleAnswers:
    """Predicts examples of a task; see `resumable.Answers`."""

    def __init__(self, loaded: predictor.Predictor):
        self._predictor = loaded

    def answer(
        self, examples: Sequence[Any], number: int
    ) -> list[dict[str, Any]]:
        """Returns a mapping for each example."""
        del number
        return [{_NAME: found} for found in self._predictor.answer(examples)]

    def head(self) -> dict[str, Any]:
        """Returns the summary for a part's first line."""
        return {
            "inputs": [_NAME], "outputs": [], "errors": 0, "first_error": None,
        }  # fmt: skip


def load(model: str, **arguments: Any) -> ExampleAnswers:
    """Loads an `ExampleAnswers`; see `predictor.load`."""
    return ExampleAnswers(predictor.load(model, **arguments))


def read(path: str, model: str, **arguments: Any) -> Iterator[Any]:
    """Yields the examples of a split.

    Args:
      path: name of the split.
      model: see `predictor.load_task`.
      **arguments: see `predictor.load_task`.
    """
    yield from predictor.load_task(model, **arguments).read(path) or ()


def parsed(lines: Iterable[bytes]) -> list[Prediction]:
    """Parses the predictions that `ExampleAnswers` wrote."""
    return [json.loads(line)[_NAME] for line in lines]


def identity_of(data: str | None) -> list[dict[str, Any]]:
    """Returns what identifies a task's data and its state."""
    if data is None or not files.exists(data):
        return []
    if not files.is_directory(data):
        return [identity(data)]
    paths = [files.join(data, name) for name in files.list_directory(data)]
    return [identity(path) for path in paths if not files.is_directory(path)]
