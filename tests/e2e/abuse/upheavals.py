"""Good requests while the server is killed, stopped, or given a new model."""

import asyncio
import contextlib
import dataclasses
import itertools
import pathlib
import random
import shutil
import time
from collections.abc import Callable, Iterator

from abuse import wire
from abuse.attacks import Outcome
from abuse.server_process import ServerProcess, usage
from abuse.tally import Journal, Progress, Tally
from abuse.world import Good, World, difference

_PAUSE = 0.1  # before a refused request is sent again
_SLACK = 1.0  # between what the clock tells us and what the server lived


@dataclasses.dataclass
class Upheavals:
    """What is done to a server under load.

    Attributes:
      mode: "kill", "terminate" or "reload".
      process: the server.
      world: what it answers.
      tally: takes the counts.
      journal: takes a row each second.
      requests: how many are sent in all.
      connections: at once.
      every: requests between two upheavals.
      seed: of the requests.
      tolerance: between decimals of answers.
      times: when something was done, in seconds of `time.monotonic`.
      lost: requests without an answer that were in flight at a kill.
      refused: connections that were refused, or closed before they were used.
    """

    mode: str
    process: ServerProcess
    world: World
    tally: Tally
    journal: Journal
    requests: int
    connections: int
    every: int
    seed: int
    tolerance: float
    times: list[float] = dataclasses.field(default_factory=list)
    lost: int = 0
    refused: int = 0

    async def run(self, models: pathlib.Path) -> None:
        """Sends everything, with an upheaval now and then.

        Args:
          models: the directory of versions that the server polls, for
            "reload"; versions are added to it and taken away.
        """
        numbers = iter(range(self.requests))
        progress = Progress(self.requests)
        watch = asyncio.ensure_future(self._watch(progress))
        clients = [
            asyncio.ensure_future(self._client(numbers))
            for _ in range(self.connections)
        ]
        done = asyncio.gather(*clients)
        try:
            for turn in itertools.count(1):
                while self.tally.sent < turn * self.every and not done.done():
                    await asyncio.sleep(0.01)
                if done.done() or self.tally.sent >= self.requests - self.every:
                    break
                if self.mode == "reload":
                    await self._reload(models)
                else:
                    await self._restart(turn)
            await done
        finally:
            for task in (*clients, watch):
                task.cancel()
            progress.close()

    async def _restart(self, turn: int) -> None:
        # Not always at the same moment of what it does.
        draw = random.Random(f"{self.seed}:turn:{turn}")
        await asyncio.sleep(draw.random() * 0.2)
        self.times.append(time.monotonic())
        if self.mode == "kill":
            await asyncio.to_thread(self.process.kill)
        else:
            self.process.terminate()
            await self._until(lambda: self.process.ended() is not None, "stop")
            if self.process.ended() != 0:
                status = self.process.ended()
                self.tally.problem(f"SIGTERM: exit status {status}")
        self.process.launch()
        await self._until(self.process.listening, "start")

    async def _reload(self, models: pathlib.Path) -> None:
        """Adds a version, waits until it is served, removes the old."""
        old = max(int(path.name) for path in models.glob("[0-9]*"))
        hidden = models / f".tmp-{old + 1}"
        await asyncio.to_thread(shutil.copytree, models / str(old), hidden)
        hidden.rename(models / str(old + 1))
        self.times.append(time.monotonic())
        deadline = time.monotonic() + 300
        while await self._served() != {str(old + 1)}:
            if time.monotonic() > deadline:
                self.tally.problem(f"version {old + 1} is not served")
                return
            await asyncio.sleep(0.1)
        shutil.rmtree(models / str(old))

    async def _served(self) -> set[str]:
        """The versions that are there for requests."""
        connection = await wire.Connection.open(
            self.world.host, self.world.port
        )
        try:
            path = f"/v1/models/{self.world.model}"
            await connection.send(wire.request("GET", path))
            states = (await connection.answer()).json()["model_version_status"]
        finally:
            await connection.close()
        return {
            each["version"] for each in states if each["state"] == "AVAILABLE"
        }

    async def _until(self, true: Callable[[], bool], doing: str) -> None:
        deadline = time.monotonic() + 600
        while not true():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the server does not {doing}")
            await asyncio.sleep(0.02)

    async def _client(self, numbers: Iterator[int]) -> None:
        connection: wire.Connection | None = None
        goods = self.world.predictions
        for number in numbers:
            draw = random.Random(f"{self.seed}:{number}")
            good = draw.choice(goods)
            if draw.random() < 0.3 and connection:
                await connection.close()
                connection = None
            connection = await self._ask(good, connection)
        if connection:
            await connection.close()

    async def _ask(
        self, good: Good, connection: wire.Connection | None
    ) -> wire.Connection | None:
        """Sends until there is an answer; the connection, if it is kept."""
        lost = False
        while True:
            began = time.monotonic()
            reused = connection is not None
            try:
                if connection is None:
                    connection = await wire.Connection.open(
                        self.world.host, self.world.port
                    )
            except (OSError, asyncio.TimeoutError):
                self.refused += 1
                await asyncio.sleep(_PAUSE)
                continue
            if connection.ended:  # before anything was sent
                await connection.close()
                connection = None
                self.refused += 1
                continue
            outcome = Outcome()
            await connection.send(good.data)
            try:
                answer = await connection.answer()
            except wire.NoAnswer as error:
                await connection.close()
                connection = None
                if self._at_a_kill(began):
                    # Sent again at once it may reach the dying server's
                    # socket, and be lost once more.
                    self.lost += not lost
                    lost = True
                    continue
                kind = "a kept" if reused else "a new"
                outcome.statuses.append(0)
                outcome.problems.append(
                    f"no answer on {kind} connection: {error}"
                )
                outcome.unanswered = 1
            else:
                outcome.statuses.append(answer.status)
                wrong = difference(good, answer, self.tolerance)
                if wrong:
                    outcome.problems.append(wrong)
                    outcome.wrong = 1
            self.tally.add(good.kind, outcome, True)
            if connection and answer.last:
                await connection.close()
                connection = None
            return connection

    def _at_a_kill(self, began: float) -> bool:
        """Whether a request that began then and failed now was in flight."""
        now = time.monotonic()
        return self.mode == "kill" and any(
            began - _SLACK <= when <= now + _SLACK for when in self.times
        )

    async def _watch(self, progress: Progress) -> None:
        while True:
            await asyncio.sleep(1)
            facts = {}
            if self.process.ended() is None:
                # It may end just now.
                with contextlib.suppress(Exception):
                    facts = usage(self.process.pid)
            self.journal.add(self.tally.sent, **facts)
            progress.update(
                self.tally.sent,
                f"{len(self.times)} times  {self.lost} lost in flight",
            )
