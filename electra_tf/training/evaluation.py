"""Held-out metrics of a model with a `test_step`."""

from collections.abc import Callable
from typing import Any, Protocol

import keras
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.training.steps import iterate, make_eval_step


class EvaluatorLike(Protocol):
    """What `train` evaluates with."""

    def run(self, should_stop: Callable[[], bool]) -> dict[str, float] | None:
        """The metrics of the model as it is, or None if asked to stop."""


def evaluate(
    model: keras.Model,
    eval_data: tf.data.Dataset,
    strategy: tf.distribute.Strategy,
    num_steps: int | None = None,
) -> dict[str, float]:
    """Means of the model's metrics over held-out batches.

    Args:
      model: built under `strategy.scope()`; its metrics are reset before and
        after.
      eval_data: batches of the global size, the last may be smaller; of
        several workers, this one's shares, empty ones included.
      strategy: see `make_strategy`.
      num_steps: batches to take; None for all.

    Raises:
      UserError: no batch at all, or no end to them.
    """
    evaluator = Evaluator(model, eval_data, strategy, num_steps)
    return evaluator.run(lambda: False) or {}


class Evaluator:
    """`evaluate` for repeated use: the step is compiled once."""

    def __init__(
        self,
        model: keras.Model,
        eval_data: tf.data.Dataset,
        strategy: tf.distribute.Strategy,
        num_steps: int | None = None,
    ):
        if num_steps is not None:
            eval_data = eval_data.take(num_steps)
        if eval_data.cardinality() == tf.data.INFINITE_CARDINALITY:
            raise UserError(
                "the held-out data repeats for ever: say how many batches to"
                " evaluate on"
            )
        self._model = model
        self._data = eval_data
        self._strategy = strategy
        self._step: Callable[[Any], None] = make_eval_step(model, strategy)

    def run(self, should_stop: Callable[[], bool]) -> dict[str, float] | None:
        """The metrics, or None if it was asked to stop before the end."""
        reset_metrics(self._model, self._strategy)
        empty = True
        for batch in iterate(self._data, self._strategy):
            if should_stop():
                reset_metrics(self._model, self._strategy)
                return None
            self._step(batch)
            empty = False
        if empty:
            raise UserError("the held-out data holds no batch to evaluate on")
        return take_metrics(self._model, self._strategy)


def take_metrics(
    model: keras.Model, strategy: tf.distribute.Strategy
) -> dict[str, float]:
    """The model's metrics since their last reset; resets them."""
    # In the scope a metric's variables are summed over the replicas.
    with strategy.scope():
        values = model.get_metrics_result()
        metrics = {name: float(value) for name, value in values.items()}
        model.reset_metrics()
    return metrics


def reset_metrics(model: keras.Model, strategy: tf.distribute.Strategy) -> None:
    """Empties the model's metrics on every replica."""
    with strategy.scope():
        model.reset_metrics()
