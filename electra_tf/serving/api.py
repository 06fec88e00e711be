"""What a client asks of a server, over one protocol or another."""

import contextvars
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from electra_tf.errors import UserError

Value = str | bytes | int | float | bool | Sequence[Any] | Mapping[str, Any]

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0


class ServingError(UserError):
    """Reports that a server refused, failed or could not be reached.

        import electra_tf

        client = electra_tf.Client("http://127.0.0.1:8501", "sst2")
        try:
            client.predict(["a fine film"])
        except electra_tf.ServingError as error:
            print(error.status, error.said)

    What the caller gave wrongly is a `UserError` that is none of these.

    Attributes:
      status: of HTTP; of gRPC the one that means the same; None if there was
        no answer.
      model: that was asked; None where none was.
      said: the server's own words; None if it said none.
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
    """A model on a server; its newest version unless one is named."""

    model: str
    version: int | None = None
    label: str | None = None

    def __str__(self) -> str:
        which = self.label if self.version is None else self.version
        return self.model if which is None else f"{self.model}/{which}"


class Api(Protocol):
    """A server's interface, over one protocol or another.

    Rows and columns are plain values of Python; see `serving.rows`.
    """

    def predict(
        self,
        target: Target,
        signature: str | None,
        data: Sequence[Any] | Mapping[str, Sequence[Any]],
    ) -> Any:
        """Answers by row to rows, by column to columns."""

    def models(self) -> list[dict[str, Any]] | None:
        """Returns name, version and description of each; None if it does not
        tell.
        """

    def status(self, target: Target) -> list[dict[str, Any]]:
        """Returns the versions of a model, each with its state."""

    def metadata(self, target: Target) -> dict[str, Any]:
        """Returns the signatures, in the form of the REST interface."""

    def close(self) -> None:
        """Ends the connections."""


class Deadline:
    """The time that is left for an answer.

    Args:
      seconds: from now on; None for no end.
    """

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    def left(self) -> float | None:
        """Returns seconds; None for no end.

        Raises:
          TimeoutError: there are none.
        """
        if self._end is None:
            return None
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left

    def allows(self, seconds: float) -> bool:
        """Returns whether so much time is left."""
        return self._end is None or time.monotonic() + seconds < self._end


class Abort:
    """Ends what a thread waits for, from another thread."""

    def __init__(self) -> None:
        self.called = threading.Event()
        self._lock = threading.Lock()
        self._end: Callable[[], object] | None = None

    def watch(self, end: Callable[[], object] | None) -> None:
        """Has `end` called when this is; at once if it has been."""
        with self._lock:
            self._end = end
            if self.called.is_set() and end is not None:
                end()

    def __call__(self) -> None:
        """Ends it, and whatever is watched later."""
        with self._lock:
            self.called.set()
            if self._end is not None:
                self._end()


# Of the request that runs in this context; None where nothing aborts it.
ABORT: contextvars.ContextVar[Abort | None] = contextvars.ContextVar(
    "ABORT", default=None
)


def pause(attempt: int, told: float | None, deadline: Deadline) -> bool:
    """Waits before another attempt, longer each time, never in step.

    Args:
      attempt: how many there were before the one that failed.
      told: seconds that the server asked for; None if it did not.
      deadline: of the answer.

    Returns:
      Whether to try again; False at once where the time does not suffice.
    """
    seconds = min(_FIRST_PAUSE * 2**attempt, _LONGEST_PAUSE)
    seconds *= random.uniform(0.5, 1.5)
    seconds = max(seconds, told or 0.0)
    if not deadline.allows(seconds):
        return False
    abort = ABORT.get()
    if abort is None:
        time.sleep(seconds)
        return True
    return not abort.called.wait(seconds)
