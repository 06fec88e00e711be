"""Units of work -> results in order, from a pool of processes or right here."""

import collections
import contextlib
import multiprocessing
from collections.abc import Iterable, Iterator, Sequence
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool

from electra_tf.data import worker
from electra_tf.errors import UserError
from electra_tf.text.corpus import Part

_PRELOAD = "electra_tf.data.worker_preload"


def results(
    units: Iterable[Sequence[Part]],
    settings: worker.WorkSettings,
    num_workers: int,
) -> Iterator[worker.UnitResult]:
    """Works on all units; results come in the order of the units.

    Args:
      units: read as they are needed, a few ahead.
      settings: for the workers.
      num_workers: processes; 1 works in this one.

    Raises:
      UserError: from a worker, or if a worker process died.
    """
    if num_workers <= 1:
        local = worker.UnitWorker(settings)
        for unit in units:
            yield local(unit)
        return
    with _pool(settings, num_workers) as pool:
        waiting: collections.deque[futures.Future[worker.UnitResult]] = (
            collections.deque()
        )
        try:
            for unit in units:
                waiting.append(pool.submit(worker.work, unit))
                # One in hand and one in wait for each worker: memory stays
                # bounded, and nobody starves.
                while len(waiting) >= 2 * num_workers or (
                    waiting and waiting[0].done()
                ):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise UserError(
                "a worker process died (killed, or out of memory); nothing "
                "finished was changed: run the command again, with a smaller "
                "--num_workers if memory was short"
            ) from error


@contextlib.contextmanager
def _pool(
    settings: worker.WorkSettings, num_workers: int
) -> Iterator[futures.ProcessPoolExecutor]:
    """A pool whose processes are gone when the block is left, however."""
    others = set(multiprocessing.active_children())
    # Never forked from this process: TensorFlow's threads do not survive it.
    method = "spawn"
    if "forkserver" in multiprocessing.get_all_start_methods():
        method = "forkserver"
        multiprocessing.set_forkserver_preload([_PRELOAD])
    pool = futures.ProcessPoolExecutor(
        num_workers,
        mp_context=multiprocessing.get_context(method),
        initializer=worker.start,
        initargs=(settings,),
    )
    try:
        yield pool
        pool.shutdown()
    finally:
        ours = set(multiprocessing.active_children()) - others
        for process in ours:
            process.terminate()  # they give up their work, see `worker.start`
        pool.shutdown(wait=True, cancel_futures=True)
