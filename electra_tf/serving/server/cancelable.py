"""Calls of a SavedModel's functions that can be ended while they run.

TensorFlow has no public way to end the call of a function. What it uses itself,
for its parameter servers, is `tensorflow.python.eager.cancellation`: private,
and one for all threads of the process; here it is made to ask each thread for
its own. This is the only place that does so. setup.py says which releases of
TensorFlow are taken, a test that calls end in them; where one has no such
module, calls run to their end as they would without this.
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

_LOG = logging.getLogger("electra_tf.serving")
_OF_THREAD = threading.local()


class Stop:
    """A request to end what runs; may be made in any thread, at any time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._action: Callable[[], None] | None = None
        self._requested = False

    @property
    def requested(self) -> bool:
        """Whether `request` was called."""
        return self._requested

    def request(self) -> None:
        """Ends the call that runs under it, and those that will."""
        with self._lock:
            self._requested = True
            if self._action is not None:
                self._action()

    @contextlib.contextmanager
    def ends(self, action: Callable[[], None]) -> Iterator[None]:
        """While entered, a request calls `action`."""
        with self._lock:
            self._action = action
            if self._requested:
                action()
        try:
            yield
        finally:
            with self._lock:
                self._action = None


def call(function: Any, inputs: dict[str, Any], stop: Stop) -> Any:
    """Calls a function of TensorFlow.

    Args:
      function: a signature of a SavedModel.
      inputs: its tensors.
      stop: ends it; then it raises TensorFlow's CancelledError.

    Returns:
      What the function returns.
    """
    manager = _manager()
    if manager is None:
        return function(**inputs)
    _OF_THREAD.manager = manager
    try:
        with stop.ends(manager.start_cancel):
            return function(**inputs)
    finally:
        _OF_THREAD.manager = None


class _EachThread:
    """TensorFlow's context of cancellation, another one in each thread."""

    def __init__(self, module: Any) -> None:
        self._never = module.CancellationManager()

    @property
    def _impl(self) -> Any:
        manager = getattr(_OF_THREAD, "manager", None) or self._never
        return manager._impl


def _manager() -> Any:
    """What ends a call; None where TensorFlow has no such thing any more."""
    global _context
    try:
        from tensorflow.python.eager import cancellation

        if _context is None:
            _context = _EachThread(cancellation)
        if cancellation.context() is not _context:
            cancellation._active_context = _context
        return cancellation.CancellationManager()
    except (ImportError, AttributeError) as error:
        if not _told:
            _LOG.warning("calls that nobody waits for run on: %s", error)
            _told.append(True)
        return None


_context: _EachThread | None = None
_told: list[bool] = []
