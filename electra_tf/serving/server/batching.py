"""Batches dynamically: rows of concurrent requests run together.

There are as many slots as calls may run at the same time, and a call takes its
share: the recent number of concurrent rows, divided by the slots. If a call
took all waiting rows, as many clients as fit into one call would be answered
together, ask again together, and leave the other slots empty. Rows wait until
there is a share of them or until their time is over, and then for a free slot;
so the busier the server, the fuller the calls, and on an idle server nobody
waits. A request's own rows are divided among the slots.

Calls are kept short: from earlier calls the model's speed in bytes of text per
second is known, and a call gets no more than it reads in `call_seconds`. A
single text that takes longer is computed in steps, if the export has them;
between two steps others have their turn. While short requests come, long ones
leave one slot to them, if necessary an additional one. A call that nobody waits
for any more is ended.

Everything except the calls themselves runs on the event loop, without locks.
"""

import asyncio
import collections
import dataclasses
import functools
import itertools
import math
import time
import weakref
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

import numpy as np

from electra_tf.serving.server import signatures
from electra_tf.serving.server.cancelable import Stop
from electra_tf.serving.server.limits import (
    NO_SETTINGS,
    Batching,
    Limits,
    ModelSettings,
    RequestError,
    overloaded,
)
from electra_tf.serving.server.signatures import (
    Arrays,
    SignatureInfo,
    TensorInfo,
)
from electra_tf.serving.server.steps import State, Steps

# Decay of an earlier load, for each call.
_FADING = 0.9
# Seconds for a byte of text, before a model is measured.
_FIRST_PACE = 5e-5
# Decay of the measured speed, for each call.
_STEADY = 0.8
# Lower limit of a call's bytes, so that its fixed cost does not dominate.
_FEWEST_BYTES = 1024
# Short calls say little about long ones: a row with more text than this is
# always computed in steps.
_IN_STEPS_BYTES = 2**14


@dataclasses.dataclass(frozen=True)
class Work:
    """A signature of a loaded model.

    Attributes:
      owner: identifies the model and version; others must not share a call.
      signature: its name.
      info: its inputs and outputs.
      run: arrays in, arrays out; called in a thread. It raises RequestError for
        inputs that the model cannot take, and ends early when stopped.
      settings: the model's settings, which override the server's.
      steps: the signature's steps, if the export has them.
    """

    owner: Hashable
    signature: str
    info: SignatureInfo
    run: Callable[[Arrays, Stop], Arrays]
    settings: ModelSettings = NO_SETTINGS
    steps: Steps | None = None


# To the queues, a step is a separate call.
_STEP = SignatureInfo({}, {"": TensorInfo("DT_VARIANT", None)})


@dataclasses.dataclass
class _Part:
    """Rows of one request that stay together."""

    inputs: Arrays
    rows: int
    longest: int  # bytes of the longest row
    arrived: float
    result: asyncio.Future[Arrays]
    long: bool  # whether the request takes long


@dataclasses.dataclass
class _Queue:
    """Parts that may share a call, oldest first."""

    work: Work
    shared: bool
    long: bool
    parts: collections.deque[_Part] = dataclasses.field(
        default_factory=collections.deque
    )


class Batcher:
    """Collects rows of all models, and runs them.

    Args:
      settings: sizes and times.
      limits: limits on waiting and running rows, and on a response.
      observe: called with the rows of each call and its seconds.
    """

    def __init__(
        self,
        settings: Batching,
        limits: Limits,
        observe: Callable[[Work, int, float], None] = lambda *_: None,
    ) -> None:
        self._settings = settings
        self._limits = limits
        self._observe = observe
        self._executor = ThreadPoolExecutor(
            max(settings.parallel, 2), thread_name_prefix="model"
        )
        self._queues: dict[Hashable, _Queue] = {}
        self._running = 0
        self._long_running = 0
        # Waiting and running rows, and running calls, of each model.
        self._pending_of: collections.Counter[Hashable] = collections.Counter()
        self._running_of: collections.Counter[Hashable] = collections.Counter()
        self._short_seen = -math.inf
        self._paces: weakref.WeakKeyDictionary[Any, dict[str, float]] = (
            weakref.WeakKeyDictionary()
        )
        self._pending = 0
        self._load = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def pending_rows(self) -> int:
        """The number of rows that wait or run now."""
        return self._pending

    @property
    def overloaded(self) -> bool:
        """Whether new requests are refused, or short ones wait very long."""
        if self._pending >= self._limits.pending_rows:
            return True
        oldest = min(
            (q.parts[0].arrived for q in self._queues.values()
             if q.parts and not q.long),
            default=math.inf,
        )  # fmt: skip
        return time.monotonic() - oldest > self._settings.overloaded_seconds

    async def submit(self, work: Work, inputs: Arrays) -> Arrays:
        """Runs one request's rows, possibly with those of others.

        Args:
          work: the signature to run.
          inputs: an array for each input; their first axes are equal if the
            signature is batched.

        Returns:
          An array for each output, as if the request had run alone.

        Raises:
          RequestError: 503, too much is waiting; 413, a text is too long or the
            response would be too large; or an error of `run`.
        """
        shared = work.info.divisible
        sizes = signatures.row_bytes(inputs, shared)
        self._check_texts(work, sizes)
        count = _rows(work.info, inputs)
        limit = self._limits.pending_rows
        if self._pending and self._pending + count > limit:
            raise overloaded(
                f"The server is busy: {self._pending} rows are waiting; try "
                "again later"
            )
        waiting_now = self._pending_of[work.owner]
        own_limit = work.settings.pending_rows
        if own_limit and waiting_now and waiting_now + count > own_limit:
            raise overloaded(
                f"The model is busy: {waiting_now} rows are waiting; try again "
                "later"
            )
        self._pending += count
        self._pending_of[work.owner] += count
        self._load = max(self._load, self._pending)
        waiting: collections.deque[asyncio.Future[Arrays]] = collections.deque()
        done = []
        cost = self._pace(work) * int(sizes.sum())
        long = cost > self._settings.long_seconds
        if not long:
            self._short_seen = time.monotonic()
        try:
            for piece, longest in self._divided(work, inputs, sizes, shared):
                # A long request must not fill the queue.
                if len(waiting) > self._settings.parallel:
                    done.append(await waiting.popleft())
                    self._check_size(done)
                answer: asyncio.Future[Arrays]
                if work.steps and longest > min(
                    self._call_bytes(work), _IN_STEPS_BYTES
                ):
                    answer = asyncio.ensure_future(
                        self._in_steps(work, work.steps, long, piece, longest)
                    )
                else:
                    answer = self._enqueue(work, shared, long, piece, longest)
                    self._start_calls()
                waiting.append(answer)
            while waiting:
                done.append(await waiting.popleft())
                self._check_size(done)
        finally:
            self._pending -= count
            self._pending_of[work.owner] -= count
            if not self._pending_of[work.owner]:
                del self._pending_of[work.owner]
            for result in waiting:
                # The first failure is the one reported.
                if not result.cancel() and not result.cancelled():
                    result.exception()
        return signatures.join(done)

    async def _in_steps(
        self,
        work: Work,
        steps: Steps,
        long: bool,
        inputs: Arrays,
        longest: int,
    ) -> Arrays:
        """Computes the outputs of one or a few rows in several calls.

        Each call has as many parts as take `call_seconds`, judging by earlier
        calls.
        """
        seconds = 0.0

        async def call(step: Callable[[Stop], Any]) -> tuple[Any, float]:
            def run(_: Arrays, stop: Stop) -> Any:
                began = time.monotonic()
                return step(stop), time.monotonic() - began

            one = dataclasses.replace(
                work, signature=f"{work.signature} step", info=_STEP, run=run
            )
            done: Any = self._enqueue(one, False, long, {}, 0)
            self._start_calls()
            found, took = await done
            nonlocal seconds
            seconds += took
            return found, took

        (state, count), _ = await call(functools.partial(steps.begin, inputs))
        parts: list[State] = []
        first, most = 0, 1
        while first < count:
            last = min(first + most, count)
            found, took = await call(
                functools.partial(steps.part, state, first, last)
            )
            parts.append(found)
            fitting = self._settings.call_seconds / max(took, 1e-6)
            fitting *= last - first
            first, most = last, max(1, min(int(fitting), 2 * most))
        outputs: Arrays
        # Texts as arrays take more memory than their tensors: an answer that is
        # too large is refused before.
        end = functools.partial(steps.end, state, parts)
        outputs, _ = await call(
            lambda stop: end(stop, lambda made: self._check_size([made]))
        )
        self._measured(work, _rows(work.info, inputs) * longest, seconds)
        return outputs

    def close(self) -> None:
        """Waits for running calls, and cancels waiting ones."""
        for queue in self._queues.values():
            for part in queue.parts:
                part.result.cancel()
        self._queues.clear()
        self._executor.shutdown(wait=True)

    def _divided(
        self, work: Work, inputs: Arrays, sizes: np.ndarray, shared: bool
    ) -> Iterator[tuple[Arrays, int]]:
        """Divides a request into pieces, with the bytes of their longest
        rows.
        """
        if not shared:
            yield inputs, 0
            return
        share = self._share(work, len(sizes))
        for cut in signatures.cuts(sizes, share, self._call_bytes(work)):
            piece = {name: array[cut] for name, array in inputs.items()}
            yield piece, int(sizes[cut].max(initial=0))

    def _pace(self, work: Work) -> float:
        """Returns the measured seconds for a byte of padded text."""
        return self._paces.get(work.owner, {}).get(work.signature, _FIRST_PACE)

    def _call_bytes(self, work: Work) -> int:
        """Returns the most padded text for a call of several rows."""
        read = self._settings.call_seconds / self._pace(work)
        most = self._settings.padded_bytes
        return int(min(max(read, _FEWEST_BYTES), most))

    def _measured(self, work: Work, padded: int, seconds: float) -> None:
        """Updates a model's measured speed from a call."""
        # A coarse clock may show no elapsed time.
        pace = max(seconds, 1e-6) / max(padded, _FEWEST_BYTES)
        paces = self._paces.setdefault(work.owner, {})
        before = paces.get(work.signature, pace)
        paces[work.signature] = _STEADY * before + (1 - _STEADY) * pace

    def _share(self, work: Work, rows: float) -> int:
        """Returns a slot's share of rows, within the limits of a call."""
        share = math.ceil(rows / self._places(work))
        return max(1, min(share, work.settings.rows or self._settings.rows))

    def _places(self, work: Work) -> int:
        """Returns how many calls of a model may run at the same time."""
        most = self._settings.parallel
        return min(work.settings.parallel or most, most)

    def _check_texts(self, work: Work, sizes: np.ndarray) -> None:
        """Refuses rows that would take very long.

        Args:
          work: the model.
          sizes: the bytes of each row.
        """
        own = work.settings.text_bytes
        limit = own or self._limits.text_bytes
        if sizes.size and sizes.max() > limit:
            row = int(sizes.argmax())
            larger = (
                "give the model a larger max_text_bytes in its serve.yaml"
                if own
                else "start the server with a larger --max_text_bytes"
            )
            raise RequestError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"Row {row} has {sizes[row]} bytes of text; at most {limit} "
                f"are read: divide the text, or {larger}",
            )

    def _check_size(self, parts: Sequence[Mapping[str, Any]]) -> None:
        values = signatures.joined_values(parts)
        if values > self._limits.answer_values:
            raise RequestError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"The answer would have more than {self._limits.answer_values} "
                "values; ask in several requests, long texts apart from short "
                "ones: rows are padded to the longest",
            )

    def _enqueue(
        self,
        work: Work,
        shared: bool,
        long: bool,
        inputs: Arrays,
        longest: int,
    ) -> asyncio.Future[Arrays]:
        result: asyncio.Future[Arrays] = (
            asyncio.get_running_loop().create_future()
        )
        rows = _rows(work.info, inputs)
        now = time.monotonic()
        part = _Part(inputs, rows, longest, now, result, long)
        # Rows can be joined if their shapes are the same.
        inner = tuple(array.shape[1:] for array in inputs.values())
        key: Hashable = (work.owner, work.signature, inner, long)
        if not shared:
            key = object()  # a queue of its own
        if key not in self._queues:
            self._queues[key] = _Queue(work, shared, long)
        self._queues[key].parts.append(part)
        return result

    def _start_calls(self) -> None:
        """Fills free slots with queues that are due, oldest first."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        while self._running < self._all_places():
            self._drop_cancelled()
            if not self._queues:
                return
            held = self._reserved()
            # Whatever is skipped here is checked again when a call ends.
            free = {
                key: queue
                for key, queue in self._queues.items()
                if self._running_of[queue.work.owner]
                < (queue.work.settings.parallel or math.inf)
            }
            if not free:
                return
            due = {
                key: self._due(queue)
                for key, queue in free.items()
                if not (held and queue.long)
            }
            if not due:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(
                    self._settings.reserve_seconds, self._start_calls
                )
                return
            key = min(due, key=due.__getitem__)
            wait = due[key] - time.monotonic()
            if wait > 0:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(wait, self._start_calls)
                return
            self._start(self._queues[key])

    def _all_places(self) -> int:
        """Returns how many calls may run now: one more if a long one has the
        only slot.
        """
        most = self._settings.parallel
        return most + (most == 1 and self._long_running == 1)

    def _reserved(self) -> bool:
        """Returns whether the free slot is reserved for short requests."""
        settings = self._settings
        if settings.parallel == 1:
            return self._long_running == 1
        quiet = time.monotonic() - self._short_seen
        return (
            self._long_running >= settings.parallel - 1
            and quiet < settings.reserve_seconds
        )

    def _drop_cancelled(self) -> None:
        for key, queue in list(self._queues.items()):
            if any(part.result.done() for part in queue.parts):
                queue.parts = collections.deque(
                    part for part in queue.parts if not part.result.done()
                )
            if not queue.parts:
                del self._queues[key]

    def _due(self, queue: _Queue) -> float:
        """Returns when the queue's next call may begin."""
        arrived = queue.parts[0].arrived
        if not queue.shared:
            return arrived
        rows = sum(part.rows for part in queue.parts)
        if rows >= self._share(queue.work, self._load):
            return arrived
        own = queue.work.settings.wait_seconds
        return arrived + (self._settings.wait_seconds if own is None else own)

    def _start(self, queue: _Queue) -> None:
        most = self._share(queue.work, self._load)
        most_bytes = self._call_bytes(queue.work)
        chosen = [queue.parts.popleft()]
        rows, longest = chosen[0].rows, chosen[0].longest
        while queue.parts:
            rows += queue.parts[0].rows
            longest = max(longest, queue.parts[0].longest)
            if rows > most:
                break
            if rows * longest > most_bytes:
                break
            chosen.append(queue.parts.popleft())
        self._running += 1
        self._running_of[queue.work.owner] += 1
        self._long_running += queue.long
        stop = Stop()

        def given_up(_: object) -> None:
            if all(part.result.cancelled() for part in chosen):
                stop.request()

        for part in chosen:
            part.result.add_done_callback(given_up)
        inputs = [part.inputs for part in chosen]
        call = asyncio.get_running_loop().run_in_executor(
            self._executor, self._run, queue.work, inputs, stop
        )
        call.add_done_callback(
            lambda done: self._finish(queue.work, chosen, done)
        )

    def _finish(
        self,
        work: Work,
        parts: Sequence[_Part],
        call: asyncio.Future[tuple[list[Arrays | Exception], float]],
    ) -> None:
        self._running -= 1
        self._running_of[work.owner] -= 1
        if not self._running_of[work.owner]:
            del self._running_of[work.owner]
        self._long_running -= parts[0].long
        self._load = max(self._pending, _FADING * self._load)
        failure = (
            overloaded("The server is stopping")
            if call.cancelled()
            else call.exception()
        )
        outcomes: Sequence[Arrays | BaseException]
        if failure:
            outcomes = [failure] * len(parts)
        else:
            outcomes, seconds = call.result()
            rows = sum(part.rows for part in parts)
            longest = max(part.longest for part in parts)
            if not all(part.result.cancelled() for part in parts):
                self._measured(work, rows * longest, seconds)
        for part, outcome in zip(parts, outcomes):
            if part.result.done():
                continue  # its client is gone
            if isinstance(outcome, BaseException):
                part.result.set_exception(outcome)
            else:
                part.result.set_result(outcome)
        self._start_calls()

    def _run(
        self, work: Work, inputs: Sequence[Arrays], stop: Stop
    ) -> tuple[list[Arrays | Exception], float]:
        """Runs one call in a thread; returns outcomes of its inputs, and
        seconds.
        """
        began = time.monotonic()
        try:
            joined = {
                name: np.concatenate([each[name] for each in inputs])
                if len(inputs) > 1
                else inputs[0][name]
                for name in inputs[0]
            }
            outputs = work.run(joined, stop)
        except Exception as error:
            if len(inputs) == 1 or stop.requested:
                return [error] * len(inputs), time.monotonic() - began
            # One of them is at fault, and the others must not fail because of
            # it.
            alone = [self._run(work, [each], stop) for each in inputs]
            return [found[0] for found, _ in alone], alone[0][1]
        ends = list(itertools.accumulate(_rows(work.info, i) for i in inputs))
        seconds = time.monotonic() - began
        self._observe(work, ends[-1], seconds)
        if not work.info.divisible:
            return [outputs], seconds
        return [
            work.info.take(outputs, start, end)
            for start, end in itertools.pairwise([0, *ends])
        ], seconds


def _rows(info: SignatureInfo, inputs: Arrays) -> int:
    """Returns the number of rows; 1 for inputs without rows."""
    return len(next(iter(inputs.values()))) if info.batched else 1
