"""Makes calls of a SavedModel's functions cancelable while they run.

TensorFlow has no public way to cancel the call of a function. It uses
`tensorflow.python.eager.cancellation` for its own parameter servers: private,
and one for all threads of the process. While a server's calls run, it is
replaced by one for each thread; when none runs, it is as TensorFlow left it.
This is the only place that does so. setup.py limits the releases of TensorFlow,
and a test checks that calls are cancelled in them; in a release without that
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
    """A request to stop, which may be made in any thread at any time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._action: Callable[[], None] | None = None
        self._requested = False

    @property
    def requested(self) -> bool:
        """Whether `request` was called."""
        return self._requested

    def request(self) -> None:
        """Cancels the call that runs under it, and later ones."""
        with self._lock:
            self._requested = True
            if self._action is not None:
                self._action()

    @contextlib.contextmanager
    def ends(self, action: Callable[[], None]) -> Iterator[None]:
        """Makes a request call `action`, while entered."""
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
      stop: cancels it, which raises TensorFlow's CancelledError.

    Returns:
      The function's result.
    """
    with _manager() as manager:
        if manager is None:
            return function(**inputs)
        with stop.ends(manager.start_cancel):
            return function(**inputs)


class _EachThread:
    """Replaces TensorFlow's cancellation context by one for each thread.

    A call that fails cancels its manager, so that a manager must not serve two
    calls: a thread without its own gets a new one for each.
    """

    def __init__(self, module: Any) -> None:
        self._module = module

    @property
    def _impl(self) -> Any:
        manager = getattr(_OF_THREAD, "manager", None)
        return (manager or self._module.CancellationManager())._impl


class _Installed:
    """Counts running calls, and restores the context after the last."""

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
    """Returns a cancellation manager; None where TensorFlow has none."""
    try:
        from tensorflow.python.eager import cancellation

        cancellation.context  # noqa: B018
        manager = cancellation.CancellationManager()
    except (ImportError, AttributeError) as error:
        if not _warned:
            _LOG.warning(
                "calls cannot be cancelled, and run to their end: %s", error
            )
            _warned.append(True)
        yield None
        return
    _INSTALLED.add(cancellation)
    _OF_THREAD.manager = manager
    try:
        yield manager
    finally:
        _OF_THREAD.manager = None
        _INSTALLED.remove(cancellation)


_warned: list[bool] = []
