"""Coordinates the processes of one job.

TF_CONFIG lists them. A single process is a job too: then nothing is sent, and
every function returns as if it had asked the others.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from electra_tf.errors import UserError

_EXAMPLE = (
    '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": '
    '"worker", "index": 0}}'
)
# Seconds within which a reachable machine accepts a connection.
_CONNECT_SECONDS = 2.0
_POLL_SECONDS = 0.5


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The processes of a job.

    Attributes:
      addresses: "host:port" of each process, the chief's first.
      index: number of this process.
    """

    addresses: tuple[str, ...]
    index: int

    def describe(self, index: int) -> str:
        """Describes a worker, for messages."""
        return f"worker {index} ({self.addresses[index]})"

    def missing(self, seconds: float = 0.0) -> list[str]:
        """Returns the other workers that cannot be reached, described.

        Args:
          seconds: how long to retry until all can be reached.
        """
        end = time.monotonic() + seconds
        while True:
            found = [
                self.describe(index)
                for index, address in enumerate(self.addresses)
                if index != self.index and not _reachable(address)
            ]
            if found or time.monotonic() >= end:
                return found
            time.sleep(0.2)


def read_tf_config(text: str | None = None) -> Cluster:
    """Returns the cluster that TF_CONFIG describes.

    Args:
      text: value of TF_CONFIG; None reads the environment.

    Raises:
      UserError: TF_CONFIG is missing or malformed; the key is named.
    """
    text = os.environ.get("TF_CONFIG", "") if text is None else text
    if not text.strip():
        raise UserError(
            "strategy multi_worker: the environment variable TF_CONFIG is not "
            f"set; expected such as {_EXAMPLE}, with another index on each "
            "worker"
        )
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UserError(
            f"TF_CONFIG: is not JSON ({error}); expected such as {_EXAMPLE}"
        ) from error
    cluster, task = _of(found, "cluster", dict), _of(found, "task", dict)
    for job in cluster:
        if job not in ("chief", "worker"):
            raise UserError(
                f"TF_CONFIG: cluster.{job}: expected workers alone, in "
                "cluster.worker; leave it out"
            )
    jobs = {
        job: _of(cluster, job, list, "cluster.")
        for job in ("chief", "worker")
        if job in cluster
    }
    addresses = [address for job in jobs.values() for address in job]
    _check_addresses(addresses)
    if len(jobs.get("chief", ())) > 1:
        raise UserError("TF_CONFIG: cluster.chief: expected one address")
    kind = _of(task, "type", str, "task.")
    if kind not in jobs:
        raise UserError(
            f"TF_CONFIG: task.type: '{kind}' has no addresses in cluster; "
            f"expected {' or '.join(jobs)}"
        )
    try:
        index = int(task["index"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            "TF_CONFIG: task.index: expected a whole number, the place of this "
            f"process in cluster.{kind}"
        ) from error
    if not 0 <= index < len(jobs[kind]):
        raise UserError(
            f"TF_CONFIG: task.index: {index}, but cluster.{kind} has "
            f"{len(jobs[kind])} addresses; expected 0 to {len(jobs[kind]) - 1}"
        )
    before = len(jobs.get("chief", ())) if kind == "worker" else 0
    return Cluster(tuple(addresses), before + index)


def meet(cluster: Cluster, seconds: float) -> None:
    """Waits until every other worker has been reached at its address.

    TensorFlow would wait for ever, in a call that cannot be interrupted, and
    would silently share a port with another process.

    Args:
      cluster: the expected workers.
      seconds: how long to wait.

    Raises:
      UserError: a worker does not come, or this one's address is in use.
    """
    here = cluster.describe(cluster.index)
    port = int(cluster.addresses[cluster.index].rpartition(":")[2])
    others = [i for i in range(len(cluster.addresses)) if i != cluster.index]
    end = time.monotonic() + seconds
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("", port))
        except OSError as error:
            raise UserError(
                f"TF_CONFIG: cannot listen as {here}: {error.strerror}; is an "
                "earlier run still there? Choose another port on every "
                "worker, or end what holds it"
            ) from error
        listener.listen(max(128, len(others)))
        while True:
            others = [i for i in others if not _reachable(cluster.addresses[i])]
            if not others:
                break
            if time.monotonic() >= end:
                missing = ", ".join(map(cluster.describe, others))
                raise UserError(
                    f"strategy multi_worker: waited {seconds:g} s, and cannot "
                    f"reach {missing}; start every worker that TF_CONFIG "
                    "names, and check that their ports are open"
                )
            time.sleep(_POLL_SECONDS)
        # Workers that came earlier still look for this one.
        time.sleep(2 * _POLL_SECONDS)


def _of(parent: Any, key: str, kind: type, prefix: str = "") -> Any:
    value = parent.get(key) if isinstance(parent, dict) else None
    if not isinstance(value, kind) or not value:
        names: dict[type, str] = {
            dict: "an object", list: "a list of addresses", str: "a name",
        }  # fmt: skip
        raise UserError(
            f"TF_CONFIG: {prefix}{key}: expected {names[kind]}, as in "
            f"{_EXAMPLE}"
        )
    return value


def _check_addresses(addresses: Sequence[Any]) -> None:
    for address in addresses:
        host, _, port = str(address).rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
            raise UserError(
                f"TF_CONFIG: cluster: {address!r} is not an address; expected "
                "host:port"
            )
    twice = {a for a in addresses if list(addresses).count(a) > 1}
    if twice:
        raise UserError(f"TF_CONFIG: cluster: {min(twice)} is there twice")


def _reachable(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection(
            (host.strip("[]"), int(port)), _CONNECT_SECONDS
        ):
            return True
    except OSError:
        return False


# TensorFlow's messages when a worker is lost.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.FailedPreconditionError,
)
# Seconds that a failed worker may need to exit.
_ENDING_SECONDS = 5.0


@dataclasses.dataclass(frozen=True)
class Share:
    """The part of each global batch that a process reads:

    `index` of `count`.
    """

    index: int = 0
    count: int = 1

    def of(self, rows: int) -> slice:
        """Returns this share's rows of a batch; shares are of nearly equal
        size.

        All shares together are the whole batch, in order.
        """
        return slice(
            self.index * rows // self.count,
            (self.index + 1) * rows // self.count,
        )


WHOLE = Share()


class Workers:
    """The processes that train under a strategy; see `of`.

    Every method but `missing` is called by all of them, in the same order.

    Attributes:
      share: this process's part of each batch.
      is_chief: whether this process writes the files.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self._cluster = _cluster_of(strategy)
        self.share = Share(self._cluster.index, len(self._cluster.addresses))
        self.is_chief = self._cluster.index == 0
        self._gather: Callable[[tf.Tensor], tf.Tensor] = tf.function(
            lambda values: strategy.gather(values, axis=0),
            input_signature=[tf.TensorSpec([None], tf.int32)],
            autograph=False,
        )

    def any(self, flag: bool) -> bool:
        """Returns whether the flag is set on any worker."""
        if self.share.count == 1:
            return flag
        return bool(self._gather(tf.constant([int(flag)])).numpy().any())

    def barrier(self) -> None:
        """Waits until all workers are here."""
        self.any(False)

    def gather(self, data: bytes) -> list[bytes]:
        """Returns the data of each worker, in order."""
        if self.share.count == 1:
            return [data]
        # Collectives do not take bytes. Lengths are sent first.
        sizes = self._gather(tf.constant([len(data)])).numpy()
        padded = data + bytes(-len(data) % 4)
        words = self._gather(np.frombuffer(padded, "<i4")).numpy()
        whole, found, start = words.astype("<i4").tobytes(), [], 0
        for size in sizes:
            found.append(whole[start : start + size])
            start += -(-int(size) // 4) * 4
        return found

    def agree(self, what: str, value: object) -> None:
        """Checks that all workers have the same value.

        Args:
          what: name of the value, for the message.
          value: compared by its `repr`.

        Raises:
          UserError: values differ; raised on all workers.
        """
        if self.share.count == 1:
            return
        text = repr(value)
        hashes = self.gather(hashlib.sha256(text.encode()).digest())
        for index, other in enumerate(hashes):
            if other != hashes[0]:
                shown = self.gather(text[:200].encode())
                names = [self._cluster.describe(i) for i in (0, index)]
                raise UserError(
                    f"{what}: {shown[0].decode(errors='replace')} on "
                    f"{names[0]}, {shown[index].decode(errors='replace')} on "
                    f"{names[1]}; start all workers with the same command, "
                    "files and folders"
                )

    @contextlib.contextmanager
    def watched(
        self, advice: Callable[[], str] = lambda: "start all workers again"
    ) -> Iterator[None]:
        """Explains errors of collectives by the worker that is lost.

        Args:
          advice: returns what to do then; called when needed.

        Raises:
          UserError: raised in place of the error.
        """
        try:
            yield
        except _LOST as error:
            if self.share.count == 1:
                raise
            missing = self._cluster.missing(_ENDING_SECONDS)
            if not missing and not _is_of_collective(error):
                raise
            who = " and ".join(missing) or "another worker"
            raise UserError(
                f"lost {who}: see there for why; {advice()} ({_reason(error)})"
            ) from error


@functools.cache
def of(strategy: tf.distribute.Strategy) -> Workers:
    """Returns the workers of a strategy, one object for each.

    Collectives are numbered in order of creation, so all workers create the
    same ones.
    """
    return Workers(strategy)


def _cluster_of(strategy: tf.distribute.Strategy) -> Cluster:
    one = Cluster(("localhost",), 0)
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return one
    resolver = strategy.cluster_resolver
    jobs = resolver.cluster_spec().as_dict()
    if not jobs:
        return one
    chiefs, others = jobs.get("chief", []), jobs.get("worker", [])
    before = len(chiefs) if resolver.task_type == "worker" else 0
    return Cluster((*chiefs, *others), before + resolver.task_id)


def _is_of_collective(error: tf.errors.OpError) -> bool:
    return any(
        word in error.message
        for word in ("ollective", "heartbeat", "GRPC", "CoordinationService")
    )


def _reason(error: tf.errors.OpError) -> str:
    lines = [line for line in error.message.splitlines() if line.strip()]
    causes = [line for line in lines if "aborted by" in line] or lines
    return causes[0].rpartition("aborted by: ")[2].strip() if causes else ""
