"""Calls of a SavedModel's functions that can be ended while they run.

TensorFlow has no public way to end the call of a function. What it uses itself,
for its parameter servers, is `tensorflow.python.eager.cancellation`: private,
and one for all threads of the process. While calls of a server run, it is made
to ask each thread for its own; when none runs, it is as TensorFlow left it.
This is the only place that does so. setup.py says which releases of TensorFlow
are taken, a test that calls end in them; where one has no such module, calls
run to their end as they would without this.
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
    with _manager() as manager:
        if manager is None:
            return function(**inputs)
        with stop.ends(manager.start_cancel):
            return function(**inputs)


class _EachThread:
    """TensorFlow's context of cancellation, another one in each thread.

    A call that fails cancels the manager it runs under, so that none may serve
    two calls: a thread without one of its own gets a new one for each.
    """

    def __init__(self, module: Any) -> None:
        self._module = module

    @property
    def _impl(self) -> Any:
        manager = getattr(_OF_THREAD, "manager", None)
        return (manager or self._module.CancellationManager())._impl


class _Installed:
    """Counts the calls that run, and lays the context down for the last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls = 0
        self._before: Any = None

    def add(self, module: Any) -> None:
        with self._lock:
            if not self._calls:
                self._before = module.context()
                module._active_context = _EachThread(module)
            self._calls += 1

    def remove(self, module: Any) -> None:
        with self._lock:
            self._calls -= 1
            if not self._calls:
                module._active_context = self._before


_INSTALLED = _Installed()


@contextlib.contextmanager
def _manager() -> Iterator[Any]:
    """What ends a call; None where TensorFlow has no such thing any more."""
    try:
        from tensorflow.python.eager import cancellation

        cancellation.context  # noqa: B018
        manager = cancellation.CancellationManager()
    except (ImportError, AttributeError) as error:
        if not _told:
            _LOG.warning("calls that nobody waits for run on: %s", error)
            _told.append(True)
        yield None
        return
    _INSTALLED.add(cancellation)
    _OF_THREAD.manager = manager
    try:
        yield manager
    finally:
        _OF_THREAD.manager = None
        _INSTALLED.remove(cancellation)


_told: list[bool] = []
