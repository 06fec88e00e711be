"""Decides when a run stops, and which checkpoint is the best."""

import dataclasses
import math
import signal
import threading
from collections.abc import Mapping
from types import FrameType
from typing import Any

from electra_tf.errors import UserError


class StopRequest:
    """A context in which the first SIGTERM or SIGINT sets `requested`.

    A second SIGINT raises KeyboardInterrupt at once. The previous handlers are
    restored at the end. Outside the main thread, where Python delivers no
    signals, no handler is installed.
    """

    def __init__(self) -> None:
        self.signal_name: str | None = None
        self._previous: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal was received."""
        return self.signal_name is not None

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            # None means a handler that was not installed by Python.
            signal.signal(number, handler or signal.SIG_DFL)
        self._previous.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal_name = signal.Signals(number).name


@dataclasses.dataclass(frozen=True)
class Selection:
    """Chooses by a held-out metric; higher is better.

    Attributes:
      metric: name of the metric in evaluations.
      patience: training stops after so many consecutive evaluations without
        improvement; None never stops early.
    """

    metric: str
    patience: int | None = None

    def __post_init__(self) -> None:
        if self.patience is not None and self.patience < 1:
            raise UserError(
                f"patience: expected at least 1, or null, got {self.patience}"
            )


class Tracker:
    """Tracks the evaluations of a run; without a selection it does nothing.

    Args:
      selection: see `Selection`.
      state: "selection" in the checkpoint to resume from; None at the start.
    """

    def __init__(
        self, selection: Selection | None, state: Mapping[str, Any] | None
    ):
        self._selection = selection
        self._without_gain = 0
        # step and value of the best evaluation; NaN is stored as None, and is
        # worse than any number.
        self.best: dict[str, Any] | None = None
        if selection and state and state["metric"] == selection.metric:
            self.best = state["best"]
            self._without_gain = state["without_gain"]

    @property
    def protected(self) -> tuple[int, ...]:
        """The steps whose checkpoints must not be removed."""
        return () if self.best is None else (self.best["step"],)

    @property
    def exhausted(self) -> bool:
        """Whether training should stop early."""
        if self._selection is None or self._selection.patience is None:
            return False
        return self._without_gain >= self._selection.patience

    def update(self, step: int, metrics: Mapping[str, float]) -> bool:
        """Takes an evaluation; returns whether it is the best so far.

        Raises:
          UserError: the evaluation lacks the metric.
        """
        if self._selection is None:
            return False
        name = self._selection.metric
        if name not in metrics:
            raise UserError(
                f"cannot select by '{name}': an evaluation gives "
                f"{', '.join(metrics) or 'nothing'}"
            )
        value = float(metrics[name])
        found = {"step": step, "value": value if math.isfinite(value) else None}
        if self.best is None or _order(found) > _order(self.best):
            self.best = found
            self._without_gain = 0
            return True
        self._without_gain += 1
        return False

    def state(self) -> dict[str, Any]:
        """Returns the state to save in a checkpoint, as JSON values."""
        if self._selection is None:
            return {}
        found = {
            "metric": self._selection.metric,
            "best": self.best,
            "without_gain": self._without_gain,
        }
        return {"selection": found}

    def describe(self) -> str:
        """Describes why training stopped early."""
        # Only a selection stops training early, after a best evaluation.
        assert self._selection is not None and self.best is not None
        value = self.best["value"]
        shown = "no number" if value is None else f"{value:.4g}"
        return (
            f"{self._without_gain} evaluations without a higher "
            f"{self._selection.metric} than {shown}, of step "
            f"{self.best['step']}"
        )


def _order(found: Mapping[str, Any]) -> float:
    return -math.inf if found["value"] is None else found["value"]
