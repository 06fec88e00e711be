"""When a run stops, and which of its checkpoints is the best one."""

import dataclasses
import math
import signal
import threading
from collections.abc import Mapping
from types import FrameType
from typing import Any

from electra_tf.errors import UserError


class StopRequest:
    """While entered, the first SIGTERM or SIGINT sets `requested`.

    A second SIGINT raises KeyboardInterrupt at once. The handlers that were
    there before come back at the end. Outside the main thread, where Python
    delivers no signals, nothing is installed.
    """

    def __init__(self) -> None:
        self.signal_name: str | None = None
        self._previous: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal has arrived."""
        return self.signal_name is not None

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            # None stands for a handler that was not installed from Python.
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
      metric: its name among those of an evaluation.
      patience: training stops after so many evaluations in a row without a
        gain; None never stops early.
    """

    metric: str
    patience: int | None = None

    def __post_init__(self) -> None:
        if self.patience is not None and self.patience < 1:
            raise UserError(
                f"patience: expected at least 1, or null, got {self.patience}"
            )


class Tracker:
    """Follows the evaluations of a run; without a selection, to no effect.

    Args:
      selection: see `Selection`.
      state: what the checkpoint that training resumes from keeps under
        "selection"; None at the start.
    """

    def __init__(
        self, selection: Selection | None, state: Mapping[str, Any] | None
    ):
        self._selection = selection
        self._without_gain = 0
        # step and value of the best evaluation; a value that is not a number
        # is None, and worse than any other.
        self.best: dict[str, Any] | None = None
        if selection and state and state["metric"] == selection.metric:
            self.best = state["best"]
            self._without_gain = state["without_gain"]

    @property
    def protected(self) -> tuple[int, ...]:
        """Steps whose checkpoints must not be removed."""
        return () if self.best is None else (self.best["step"],)

    @property
    def exhausted(self) -> bool:
        """Whether training should stop early."""
        if self._selection is None or self._selection.patience is None:
            return False
        return self._without_gain >= self._selection.patience

    def update(self, step: int, metrics: Mapping[str, float]) -> bool:
        """Takes an evaluation; whether it is better than all before.

        Raises:
          UserError: the metric is not there.
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
        """Returns what the checkpoint is to keep, JSON values."""
        if self._selection is None:
            return {}
        found = {
            "metric": self._selection.metric,
            "best": self.best,
            "without_gain": self._without_gain,
        }
        return {"selection": found}

    def describe(self) -> str:
        """Returns why training stopped early, as words to show."""
        # Training stops early by a selection alone, after a best evaluation.
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
