"""Good and malformed requests from many connections, with slow ones beside."""

import asyncio
import dataclasses
import itertools
import math
import random
import time
from collections.abc import Iterator, Sequence

from abuse import rude_clients, wire, wrong_bodies
from abuse.attacks import Attack, Outcome, Wanted, carry_out, judge
from abuse.calls import Call
from abuse.server_process import usage
from abuse.tally import Journal, Progress, Tally
from abuse.world import Good, World

_KINDS = [*wrong_bodies.KINDS, *rude_clients.KINDS]
_BY_GRPC = 0.2  # of the requests, where the server speaks it
_STRANGERS = 0.02  # of the good requests come on a connection of their own


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to send.

    Attributes:
      requests: how many, slow ones not counted.
      seconds: none are sent after so many.
      connections: at once.
      slow: clients that dawdle, beside them.
      seed: the same seed sends the same.
      tolerance: between decimals of good answers.
    """

    requests: int = 100_000
    seconds: float = math.inf
    connections: int = 32
    slow: int = 6
    seed: int = 1
    tolerance: float = 1e-5


def job(index: int, seed: int, world: World) -> Good | Attack | Call:
    """The request of a number: two are good, the third is not."""
    draw = random.Random(f"{seed}:{index}")
    if world.grpc is not None and draw.random() < _BY_GRPC:
        return world.grpc.call(draw, good=index % 3 < 2)
    if index % 3 < 2:
        return draw.choice(world.goods)
    return _drawn(draw, world, _KINDS)


def _drawn(
    draw: random.Random, world: World, kinds: Sequence[tuple[float, object]]
) -> Attack:
    weights, makers = zip(*kinds)
    return draw.choices(makers, weights)[0](draw, world)


async def run(
    plan: Plan, world: World, tally: Tally, journal: Journal, pid: int | None
) -> None:
    """Sends everything.

    Args:
      plan: how much.
      world: the server.
      tally: takes the counts.
      journal: takes a row each second.
      pid: the server's, if it is on this machine.
    """
    progress = Progress(plan.requests)
    numbers = _until(time.monotonic() + plan.seconds, plan.requests)
    clients = [
        asyncio.ensure_future(_client(plan, world, tally, numbers))
        for _ in range(plan.connections)
    ]
    dawdlers = [
        asyncio.ensure_future(_dawdler(plan, world, tally, number))
        for number in range(plan.slow)
    ]
    watch = asyncio.ensure_future(_watch(tally, journal, progress, pid))
    try:
        await _all(clients)
        for dawdler in dawdlers:
            dawdler.cancel()
        await asyncio.gather(*dawdlers, return_exceptions=True)
    finally:
        for task in (*clients, *dawdlers, watch):
            task.cancel()
        progress.close()


def _until(end: float, count: int) -> Iterator[int]:
    for number in range(count):
        if time.monotonic() > end:
            return
        yield number


async def _all(tasks: Sequence["asyncio.Future[None]"]) -> None:
    """Waits for all; the first that fails ends it."""
    await asyncio.gather(*tasks)


async def _client(
    plan: Plan, world: World, tally: Tally, numbers: Iterator[int]
) -> None:
    """One connection, for as long as the server keeps it; then another."""
    connection: wire.Connection | None = None
    for number in numbers:
        task = job(number, plan.seed, world)
        if isinstance(task, Call):
            outcome = await world.grpc.carry_out(task, world, plan.tolerance)
            tally.add(task.kind, outcome, task.good)
            continue
        if connection and (
            connection.ended or number % round(1 / _STRANGERS) == 0
        ):
            await connection.close()
            connection = None
        for again in itertools.count():
            reused = connection is not None
            try:
                connection = connection or await wire.Connection.open(
                    world.host, world.port
                )
            except (OSError, asyncio.TimeoutError) as error:
                outcome = Outcome(problems=[f"cannot connect: {error}"])
                outcome.unanswered = isinstance(task, Good)
                tally.add(task.kind, outcome, isinstance(task, Good))
                break
            if isinstance(task, Attack):
                outcome, usable = await carry_out(
                    task, world, connection, plan.tolerance
                )
            else:
                outcome, usable, lost = await _ask(
                    task, plan, world, connection
                )
                # A kept connection may be closed just before a request.
                if lost and reused and not again:
                    tally.again += 1
                    connection = None
                    continue
            tally.add(task.kind, outcome, isinstance(task, Good))
            if not usable:
                connection = None
            break
    if connection:
        await connection.close()


async def _ask(
    good: Good, plan: Plan, world: World, connection: wire.Connection
) -> tuple[Outcome, bool, bool]:
    """(outcome, whether to keep the connection, whether nothing came)."""
    outcome, began = Outcome(), time.monotonic()
    await connection.send(good.data)
    try:
        answer = await connection.answer(good.head)
    except wire.NoAnswer as error:
        await connection.close()
        outcome.statuses.append(0)
        outcome.problems.append(f"no answer: {error}")
        outcome.unanswered = 1
        return outcome, False, not error.started
    judge(
        Wanted(good=good), answer, outcome, plan.tolerance, world.serving, began
    )
    if answer.last:
        await connection.close()
    return outcome, not answer.last, False


async def _dawdler(plan: Plan, world: World, tally: Tally, number: int) -> None:
    """Slow attacks, one after the other, until there is nothing beside."""
    for turn in itertools.count():
        draw = random.Random(f"{plan.seed}:slow:{number}:{turn}")
        attack = _drawn(draw, world, rude_clients.SLOW)
        try:
            connection = await wire.Connection.open(world.host, world.port)
        except (OSError, asyncio.TimeoutError) as error:
            tally.problem(f"{attack.kind}: cannot connect: {error}")
            await asyncio.sleep(1)
            continue
        try:
            outcome, _ = await carry_out(
                attack, world, connection, plan.tolerance
            )
        finally:
            await connection.close()
        tally.add(attack.kind, outcome, False)


async def _watch(
    tally: Tally, journal: Journal, progress: Progress, pid: int | None
) -> None:
    while True:
        await asyncio.sleep(1)
        journal.add(tally.sent, **(usage(pid) if pid else {}))
        progress.update(
            tally.sent, f"{len(tally.problems)} wrong" if tally.problems else ""
        )
