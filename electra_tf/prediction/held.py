"""Keeps models loaded in the processes of a cluster, each loaded once.

Workers are sent the name of a model and a function that loads it. Importing
this module imports neither TensorFlow nor NumPy.
"""

import contextlib
import dataclasses
import importlib
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from electra_tf import backend


@dataclasses.dataclass(frozen=True)
class Loader:
    """A call that loads something, to be made in another process.

    Attributes:
      home: the function, "package.module:name".
      arguments: its keyword arguments, which can be pickled.
    """

    home: str
    arguments: Mapping[str, Any]

    def __call__(self, **more: Any) -> Any:
        """Makes the call, with further arguments."""
        module, _, name = self.home.partition(":")
        function = getattr(importlib.import_module(module), name)
        return function(**self.arguments, **more)


class Cost(NamedTuple):
    """The time and memory that loading took.

    Attributes:
      worker: the process, "host:pid".
      seconds: seconds of loading.
      since_start: seconds from the start of the process to the end of loading.
      megabytes: memory of the process after loading.
    """

    worker: str
    seconds: float
    since_start: float
    megabytes: float


class _Entry:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.value: Any = None
        self.cost: Cost | None = None


_entries: dict[str, _Entry] = {}
_guard = threading.Lock()


@contextlib.contextmanager
def using(
    key: str, load: Loader, threads: int | None = None
) -> Iterator[tuple[Any, Cost]]:
    """Lends what `load` returns, to one thread of the process at a time.

    Args:
      key: identifies what is loaded.
      load: called once for each key.
      threads: number of TensorFlow's threads, if it has not started; None keeps
        the default.

    Yields:
      What was loaded, and its cost.
    """
    with _guard:
        entry = _entries.setdefault(key, _Entry())
    with entry.lock:
        if entry.cost is None:
            entry.value, entry.cost = _measured(load, threads)
        yield entry.value, entry.cost


def keep(key: str, value: Any) -> None:
    """Lends `value` for `key` in this process, which has already loaded it."""
    entry = _Entry()
    entry.value, entry.cost = value, _cost(0.0)
    with _guard:
        _entries[key] = entry


def drop(key: str) -> None:
    """Forgets what was loaded for `key`."""
    with _guard:
        _entries.pop(key, None)


def _measured(load: Loader, threads: int | None) -> tuple[Any, Cost]:
    since = time.monotonic()
    if threads is not None:
        backend.compute_in(threads)
    value = load()
    return value, _cost(time.monotonic() - since)


def _cost(seconds: float) -> Cost:
    return Cost(
        f"{socket.gethostname()}:{os.getpid()}",
        round(seconds, 2),
        round(_age(), 2),
        round(_megabytes()),
    )


def _age() -> float:
    """Returns the seconds since this process started; 0 where unknown."""
    try:
        with open("/proc/self/stat", encoding="ascii") as file:
            ticks = int(file.read().rpartition(")")[2].split()[19])
        with open("/proc/uptime", encoding="ascii") as file:
            up = float(file.read().split()[0])
    except (OSError, ValueError, IndexError):
        return 0.0
    return up - ticks / os.sysconf("SC_CLK_TCK")


def _megabytes() -> float:
    """Returns the memory of this process; 0 where unknown."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            pages = int(file.read().split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
