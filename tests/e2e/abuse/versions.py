"""Versions of a model that come, go and are broken while it is asked."""

import asyncio
import contextlib
import itertools
import pathlib
import random
import shutil
from collections.abc import Awaitable, Callable

from abuse import wire
from abuse.tally import Tally
from abuse.world import World

_PATIENCE = 300.0  # seconds for a version to be loaded


class Versions:
    """Changes a directory of versions, and knows which may answer.

    Args:
      models: the directory that the server polls.
      contents: two versions that answer differently; copies of them come and
        go. The first is what is served.
      world: its `serving` is reported.
      tally: takes the problems.
    """

    def __init__(
        self,
        models: pathlib.Path,
        contents: list[pathlib.Path],
        world: World,
        tally: Tally,
    ) -> None:
        self.changes = 0
        self._models = models
        self._contents = contents
        self._world = world
        self._tally = tally
        first = max(int(path.name) for path in models.glob("[0-9]*"))
        self._there = {first: 0}
        self._next = first + 1

    async def add(self) -> None:
        """Adds a version of the other kind, and waits until it answers."""
        old = self._there[max(self._there)]
        new = 1 - old
        number, self._next = self._next, self._next + 1
        self._world.serving.may(old, new)
        await self._copy(number, lambda hidden: None, new)
        self._there[number] = new
        await self._until_served(number)
        self._world.serving.may(new)

    async def keep(self, seconds: float) -> None:
        """Changes something every so many seconds, until it is cancelled."""
        steps: list[Callable[[], Awaitable[None]]] = [
            self.add, self._break, self.add, self._delete,
        ]  # fmt: skip
        for step in itertools.cycle(steps):
            await asyncio.sleep(seconds)
            await step()
            self.changes += 1

    async def _delete(self) -> None:
        """Takes the newest away: the one before answers again."""
        newest = max(self._there)
        kind = self._there.pop(newest)
        before = max(self._there)
        self._world.serving.may(kind, self._there[before])
        shutil.rmtree(self._models / str(newest))
        await self._until_served(before)
        self._world.serving.may(self._there[before])
        for old in sorted(self._there)[:-2]:
            del self._there[old]
            shutil.rmtree(self._models / str(old))

    async def _break(self) -> None:
        """Adds a version that does not load; nothing else answers."""
        number, self._next = self._next, self._next + 1
        draw = random.Random(number)
        await self._copy(number, lambda hidden: _damage(hidden, draw), 0)
        await self._until(
            lambda states: states.get(str(number)) == "END",
            f"version {number}, which is broken, is not reported",
        )
        shutil.rmtree(self._models / str(number))

    async def _copy(
        self, number: int, change: Callable[[pathlib.Path], None], kind: int
    ) -> None:
        hidden = self._models / f".tmp-{number}"
        await asyncio.to_thread(shutil.copytree, self._contents[kind], hidden)
        change(hidden)
        hidden.rename(self._models / str(number))

    async def _until_served(self, number: int) -> None:
        await self._until(
            lambda states: [
                version
                for version, state in states.items()
                if state == "AVAILABLE"
            ] == [str(number)],
            f"version {number} is not the one that is served",
        )  # fmt: skip

    async def _until(
        self, true: Callable[[dict[str, str]], bool], message: str
    ) -> None:
        deadline = asyncio.get_running_loop().time() + _PATIENCE
        while True:
            with contextlib.suppress(wire.NoAnswer, OSError):
                if true(await self._states()):
                    return
            if asyncio.get_running_loop().time() > deadline:
                self._tally.problem(message)
                return
            await asyncio.sleep(0.1)

    async def _states(self) -> dict[str, str]:
        """Version -> its state."""
        connection = await wire.Connection.open(
            self._world.host, self._world.port
        )
        try:
            path = f"/v1/models/{self._world.model}"
            await connection.send(wire.request("GET", path))
            found = (await connection.answer()).json()["model_version_status"]
        finally:
            await connection.close()
        return {each["version"]: each["state"] for each in found}


def _damage(version: pathlib.Path, draw: random.Random) -> None:
    """Breaks a version as copying, disks and people do."""
    graph = version / "saved_model.pb"
    way = draw.choice(["nonsense", "cut", "no variables", "cut variables"])
    if way == "nonsense":
        graph.write_bytes(b"\x07nonsense")
    elif way == "cut":
        graph.write_bytes(graph.read_bytes()[: draw.randrange(100, 5000)])
    elif way == "no variables":
        shutil.rmtree(version / "variables")
    else:
        for path in (version / "variables").glob("variables.data*"):
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
