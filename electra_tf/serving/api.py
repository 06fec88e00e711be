"""Defines the interface of a server for clients, over any protocol."""

import contextvars
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from electra_tf.errors import UserError

Value = str | bytes | int | float | bool | Sequence[Any] | Mapping[str, Any]

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_LONGEST_WAIT = 1e6  # seconds; sockets and gRPC take none of a month


class ServingError(UserError):
    """Reports that a server refused, failed or could not be reached.

        import electra_tf

        client = electra_tf.Client("http://127.0.0.1:8501", "sst2")
        try:
            client.predict(["a fine film"])
        except electra_tf.ServingError as error:
            print(error.status, error.said)

    Wrong arguments are a `UserError` but not a `ServingError`.

    Attributes:
      status: HTTP status; for gRPC the equivalent one; None without a response.
      model: the requested model, if any.
      said: the server's message, if any.
    """

    def __init__(
        self,
        message: str,
        status: int | None = None,
        *,
        model: str | None = None,
        said: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.model = model
        self.said = said


class Target(NamedTuple):
    """A model on a server, with its newest or a given version."""

    model: str
    version: int | None = None
    label: str | None = None

    def __str__(self) -> str:
        which = self.label if self.version is None else self.version
        return self.model if which is None else f"{self.model}/{which}"


class Api(Protocol):
    """The interface of a server, over any protocol.

    Rows and columns are plain Python values; see `serving.rows`.
    """

    def predict(
        self,
        target: Target,
        signature: str | None,
        data: Sequence[Any] | Mapping[str, Sequence[Any]],
    ) -> Any:
        """Predicts; rows give results by row, columns by column."""

    def models(self) -> list[dict[str, Any]] | None:
        """Returns name, version and description of each; None if it does not
        tell.
        """

    def status(self, target: Target) -> list[dict[str, Any]]:
        """Returns the versions of a model, with their states."""

    def metadata(self, target: Target) -> dict[str, Any]:
        """Returns the signatures in the form of the REST interface."""

    def close(self) -> None:
        """Closes the connections."""


class Deadline:
    """The time left for a response.

    Args:
      seconds: seconds from now; None for no limit.
    """

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    def left(self) -> float | None:
        """Returns the seconds left; None for no limit.

        Raises:
          TimeoutError: no time is left.
        """
        if self._end is None:
            return None
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return min(left, _LONGEST_WAIT)

    def allows(self, seconds: float) -> bool:
        """Returns whether at least so many seconds are left."""
        return self._end is None or time.monotonic() + seconds < self._end


class Abort:
    """Aborts what a thread waits for, from another thread."""

    def __init__(self) -> None:
        self.called = threading.Event()
        self._lock = threading.Lock()
        self._end: Callable[[], object] | None = None

    def watch(self, end: Callable[[], object] | None) -> None:
        """Registers a function to call on abort; at once if already aborted."""
        with self._lock:
            self._end = end
            if self.called.is_set() and end is not None:
                end()

    def __call__(self) -> None:
        """Aborts, also whatever is registered later."""
        with self._lock:
            self.called.set()
            if self._end is not None:
                self._end()


# Abort of the current context's request; None where it cannot be aborted.
ABORT: contextvars.ContextVar[Abort | None] = contextvars.ContextVar(
    "ABORT", default=None
)


def pause(attempt: int, retry_after: float | None, deadline: Deadline) -> bool:
    """Waits before another attempt, increasingly long, with random jitter.

    Args:
      attempt: number of attempts before the one that failed.
      retry_after: seconds that the server asked for, or None.
      deadline: deadline of the response.

    Returns:
      Whether to try again; False at once if the time does not suffice.
    """
    seconds = min(_FIRST_PAUSE * 2**attempt, _LONGEST_PAUSE)
    seconds *= random.uniform(0.5, 1.5)
    seconds = max(seconds, retry_after or 0.0)
    if not deadline.allows(seconds):
        return False
    abort = ABORT.get()
    if abort is None:
        time.sleep(seconds)
        return True
    return not abort.called.wait(seconds)
