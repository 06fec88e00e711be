"""The server that is abused: what it serves, and what it answers in peace."""

import asyncio
import base64
import dataclasses
import json
import random
import time
from collections.abc import Sequence
from typing import Any

from capi import texts

from abuse import wire
from electra_tf.errors import UserError

_ROWS = (1, 1, 1, 2, 3, 5, 8, 12)
_BY_EXAMPLES = 0.1  # of the predictions, where a signature takes them
_PAGES = ("/", "/static/app.js", "/v1/models", "/healthz")
Tree = Any  # of JSON


@dataclasses.dataclass(frozen=True)
class Good:
    """A request whose answer is known.

    Attributes:
      kind: for the counts.
      data: its bytes.
      wanted: the answer's JSON, or its bytes if it is another thing.
      head: of the method HEAD.
      others: what other versions of the model answer; see `Serving`.
      changes: tells of versions, and so only the status is compared while
        these change.
    """

    kind: str
    data: bytes
    wanted: Tree
    head: bool = False
    others: tuple[Tree, ...] = ()
    changes: bool = False


class Serving:
    """Which versions of the model may answer, over time.

    What a version answers is known by its kind: 0 is that of `Good.wanted`,
    1 the first of `Good.others`, and so on.

    Attributes:
      changing: whether there are others than the first kind.
    """

    def __init__(self) -> None:
        self.changing = False
        self._history: list[tuple[float, frozenset[int]]] = [
            (0.0, frozenset([0]))
        ]

    def may(self, *kinds: int) -> None:
        """From now on versions of these kinds may answer."""
        self._history.append((time.monotonic(), frozenset(kinds)))

    def since(self, began: float) -> frozenset[int]:
        """The kinds that may have answered a request sent at `began`."""
        found: frozenset[int] = frozenset()
        for when, kinds in reversed(self._history):
            found |= kinds
            if when <= began:
                break
        return found


@dataclasses.dataclass
class World:
    """What one needs to know to send requests, good and bad.

    Attributes:
      host: where it listens.
      port: where it listens.
      model: the name of its model.
      version: the model's.
      signatures: name -> the names of its inputs, all of them texts.
      lines: texts to send.
      goods: requests with the answers they had in peace.
      serving: which versions may answer.
      grpc: requests by gRPC; None where that is not asked.
    """

    host: str
    port: int
    model: str
    version: int
    signatures: dict[str, list[str]]
    lines: list[str]
    goods: list[Good]
    serving: Serving = dataclasses.field(default_factory=Serving)
    grpc: Any = None

    @property
    def path(self) -> str:
        """Of predictions."""
        return f"/v1/models/{self.model}:predict"

    @property
    def default(self) -> str:
        """The name of a signature that takes texts, the usual if it does."""
        usual = "serving_default"
        return usual if usual in self.signatures else min(self.signatures)

    @property
    def predictions(self) -> list[Good]:
        """The small ones among the good requests for answers of a model."""
        return [
            good
            for good in self.goods
            if good.kind.startswith("predict") and len(good.data) < 2**14
        ]


async def look(
    host: str,
    port: int,
    count: int,
    seed: int,
    only: Sequence[str] | None = None,
) -> World:
    """Asks in peace, one request at a time.

    Args:
      host: where it listens.
      port: where it listens.
      count: how many different predictions to ask.
      seed: of them.
      only: these signatures; all that take texts where None.

    Raises:
      UserError: it is no server of ours, or none of its signatures takes
        texts alone.
    """
    try:
        connection = await wire.Connection.open(host, port)
    except (OSError, asyncio.TimeoutError) as error:
        raise UserError(
            f"cannot connect to http://{host}:{port}: {error}"
        ) from error
    try:
        return await _look(connection, host, port, count, seed, only)
    except (wire.NoAnswer, ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"http://{host}:{port} does not answer as electra-tf serve: "
            f"{error!r}"
        ) from error
    finally:
        await connection.close()


async def _look(
    connection: wire.Connection,
    host: str,
    port: int,
    count: int,
    seed: int,
    only: Sequence[str] | None,
) -> World:
    model = (await _get(connection, "/v1/models")).json()["models"][0]
    name = model["name"]
    metadata = await _get(connection, f"/v1/models/{name}/metadata")
    found = metadata.json()["metadata"]["signature_def"]["signature_def"]
    signatures = {
        key: sorted(signature["inputs"])
        for key, signature in found.items()
        if signature["method_name"] == "tensorflow/serving/predict"
        and all(_is_text(info) for info in signature["inputs"].values())
        and (only is None or key in only)
    }
    if not signatures:
        raise UserError(f"model {name}: no such signature takes texts alone")
    examples = (model["description"] or {}).get("examples") or []
    lines = [text for row in examples for text in row.values()]
    lines += [*texts.built_in(), "", "\0", "a\0b", "<script>", "[MASK] a"]
    world = World(
        host, port, name, int(model["version"]), signatures, lines, []
    )
    paths = [*_PAGES, f"/v1/models/{name}", f"/v1/models/{name}/metadata"]
    for path in paths:
        answer = await _get(connection, path)
        wanted: Tree = answer.body
        if answer.headers["content-type"] == "application/json":
            wanted = answer.json()
        changes = path.startswith("/v1/")
        world.goods.append(
            Good("get", wire.request("GET", path), wanted, changes=changes)
        )
        world.goods.append(
            Good("head", wire.request("HEAD", path), b"", head=True)
        )
    methods = {
        key: signature["method_name"].rpartition("/")[2]
        for key, signature in found.items()
    }
    for index in range(count):
        draw = random.Random(f"{seed}:good:{index}")
        path = world.path
        kind, body = _prediction(world, draw)
        asked = [key for key in methods if methods[key] != "predict"]
        if asked and only is None and draw.random() < _BY_EXAMPLES:
            name = draw.choice(asked)
            kind = methods[name]
            path = path.replace(":predict", f":{methods[name]}")
            body = _examples(world, name, draw)
        data = wire.request("POST", path, body)
        wanted = (await _asked(connection, data)).json()
        world.goods.append(Good(kind, data, wanted))
    return world


async def look_again(world: World) -> None:
    """Asks in peace once more, for the answers of another version."""
    connection = await wire.Connection.open(world.host, world.port)
    try:
        for index, good in enumerate(world.goods):
            if good.kind.startswith(("predict", "classify", "regress")):
                found = (await _asked(connection, good.data)).json()
                others = (*good.others, found)
                world.goods[index] = dataclasses.replace(good, others=others)
    finally:
        await connection.close()


def _prediction(world: World, draw: random.Random) -> tuple[str, bytes]:
    """A kind and the body of a request for answers."""
    signature = draw.choice(list(world.signatures))
    names = world.signatures[signature]
    rows = draw.choice(_ROWS)
    form = draw.choice(["row", "row", "column", "named", "b64"])
    kind = f"predict {form}"
    long = draw.random() < 0.02
    if long:
        kind = "predict long"
        rows, form = draw.choice([(100, "column"), (1, "row")])
    columns: dict[str, list[Tree]] = {
        name: [draw.choice(world.lines) for _ in range(rows)] for name in names
    }
    if long and rows == 1:
        columns[names[0]] = [columns[names[0]][0] + " and on" * 15_000]
    if form == "b64":
        columns = {
            name: [_b64(text.encode() + b"\xff\x00") for text in column]
            for name, column in columns.items()
        }
    document: dict[str, Tree] = {}
    if signature != "serving_default" or draw.random() < 0.5:
        document["signature_name"] = signature
    if form == "column":
        bare = len(names) == 1 and draw.random() < 0.5
        document["inputs"] = columns[names[0]] if bare else columns
    elif form == "named" or len(names) > 1:
        document["instances"] = [
            dict(zip(names, row)) for row in zip(*columns.values())
        ]
    else:
        document["instances"] = columns[names[0]]
    return kind, json.dumps(document).encode()


def _examples(world: World, signature: str, draw: random.Random) -> bytes:
    """The body of a request to Classify or Regress."""
    names = world.signatures[world.default]
    rows = [
        {name: draw.choice(world.lines) for name in names}
        for _ in range(draw.choice(_ROWS))
    ]
    document = {"signature_name": signature, "examples": rows}
    return json.dumps(document).encode()


def _b64(data: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(data).decode()}


def _is_text(info: Tree) -> bool:
    sizes = [dim["size"] for dim in info["tensor_shape"]["dim"]]
    return info["dtype"] == "DT_STRING" and sizes == ["-1"]


async def _get(connection: wire.Connection, path: str) -> wire.Answer:
    return await _asked(connection, wire.request("GET", path))


async def _asked(connection: wire.Connection, data: bytes) -> wire.Answer:
    await connection.send(data)
    answer = await connection.answer()
    if answer.status != 200:
        raise ValueError(f"status {answer.status}: {answer.body[:200]!r}")
    return answer


def difference(
    good: Good,
    answer: wire.Answer,
    tolerance: float,
    serving: Serving | None = None,
    began: float = 0.0,
) -> str:
    """How an answer differs from the one in peace; "" if it does not.

    Args:
      good: the request.
      answer: what came.
      tolerance: see `compare`.
      serving: which versions may have answered; the first where None.
      began: when the request was sent.
    """
    if answer.status != 200:
        return f"status {answer.status}: {answer.body[:200]!r}"
    if serving is not None and serving.changing and good.changes:
        return ""
    if isinstance(good.wanted, bytes):
        return "" if answer.body == good.wanted else "other bytes"
    try:
        found = answer.json()
    except ValueError as error:
        return f"no JSON: {error}"
    known = (good.wanted, *good.others)
    kinds = serving.since(began) if serving and good.others else {0}
    differences = [
        compare(found, known[kind], tolerance) for kind in sorted(kinds)
    ]
    return "" if "" in differences else differences[-1]


def compare(
    found: Tree, wanted: Tree, tolerance: float, place: str = "answer"
) -> str:
    """Where two trees of JSON differ; "" if they do not.

    Args:
      found: what came.
      wanted: what should have.
      tolerance: between decimals, absolute; of those above 1, relative.
      place: where in the answer they are.
    """
    if isinstance(wanted, float) and isinstance(found, float):
        if found == wanted or (found != found and wanted != wanted):
            return ""
        if abs(found - wanted) <= tolerance * max(1.0, abs(wanted)):
            return ""
    elif type(found) is not type(wanted):
        pass
    elif isinstance(wanted, dict):
        if found.keys() == wanted.keys():
            parts = [
                compare(found[key], wanted[key], tolerance, f"{place}.{key}")
                for key in wanted
            ]
            return next(filter(None, parts), "")
    elif isinstance(wanted, list):
        if len(found) == len(wanted):
            parts = [
                compare(a, b, tolerance, f"{place}[{index}]")
                for index, (a, b) in enumerate(zip(found, wanted))
            ]
            return next(filter(None, parts), "")
    elif found == wanted:
        return ""
    return f"{place}: {str(found)[:60]!r}, not {str(wanted)[:60]!r}"
