"""SIGTERM and SIGINT ask for a stop at the next good moment."""

import signal
import threading
from types import FrameType
from typing import Any


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
