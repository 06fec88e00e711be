"""What the processes of one job tell each other.

One process is a job too: then nothing is sent, and every function answers as
if it had asked the others.
"""

import contextlib
import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.training.cluster import Cluster

# How TensorFlow tells that a worker is gone.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.FailedPreconditionError,
)
# Seconds that a worker which failed may need to end.
_ENDING_SECONDS = 5.0


@dataclasses.dataclass(frozen=True)
class Share:
    """Which part of each global batch a process reads: `index` of `count`."""

    index: int = 0
    count: int = 1

    def of(self, rows: int) -> slice:
        """The rows of a batch of `rows`, as equal parts as there may be.

        The parts of all shares are the whole batch, in order.
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
      share: which part of each batch is this process's.
      is_chief: whether this is the one that writes files.
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
        """Whether the flag is set on any worker."""
        if self.share.count == 1:
            return flag
        return bool(self._gather(tf.constant([int(flag)])).numpy().any())

    def barrier(self) -> None:
        """Waits for all workers to come here."""
        self.any(False)

    def gather(self, data: bytes) -> list[bytes]:
        """What each worker gives, in their order."""
        if self.share.count == 1:
            return [data]
        # Collectives do not take bytes. Lengths go first.
        sizes = self._gather(tf.constant([len(data)])).numpy()
        padded = data + bytes(-len(data) % 4)
        words = self._gather(np.frombuffer(padded, "<i4")).numpy()
        whole, found, start = words.astype("<i4").tobytes(), [], 0
        for size in sizes:
            found.append(whole[start : start + size])
            start += -(-int(size) // 4) * 4
        return found

    def agree(self, what: str, value: object) -> None:
        """Checks that all workers have the same.

        Args:
          what: for the message.
          value: compared by its `repr`.

        Raises:
          UserError: another worker has another; raised on all of them.
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
    def watched(self) -> Iterator[None]:
        """Explains the error of a collective by the worker that is gone.

        Raises:
          UserError: in place of the error.
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
                f"lost {who}: see there for why; start all workers again to go "
                f"on from the last checkpoint ({_reason(error)})"
            ) from error


@functools.cache
def of(strategy: tf.distribute.Strategy) -> Workers:
    """The workers of a strategy, one object for each.

    Collectives are numbered as they are made, so all workers make the same.
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
    told = [line for line in lines if "aborted by" in line] or lines
    return told[0].rpartition("aborted by: ")[2].strip() if told else ""
