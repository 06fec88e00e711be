"""Requests in good HTTP whose bodies, paths or sizes are wrong."""

import json
import random
from collections.abc import Callable
from typing import Any

from abuse.attacks import Attack, refused
from abuse.wire import request
from abuse.world import World

Make = Callable[[random.Random, World], Attack]
_NESTED = 10_000
_LARGE = 5_000_000


def _text(draw: random.Random, world: World) -> str:
    return draw.choice(world.lines)


def _named(draw: random.Random, world: World) -> dict[str, Any]:
    """A row of the default signature, or of another."""
    names = world.signatures[world.default]
    return {name: _text(draw, world) for name in names}


def _document(world: World, **keys: Any) -> bytes:
    return json.dumps({"signature_name": world.default, **keys}).encode()


def _with(draw: random.Random, world: World, value: Any) -> bytes:
    """A row in which one value is `value`; others may be right."""
    row = _named(draw, world)
    row[draw.choice(list(row))] = value
    rows = [_named(draw, world) for _ in range(draw.randrange(3))]
    rows.insert(draw.randrange(len(rows) + 1), row)
    if draw.random() < 0.5:
        columns = {name: [each[name] for each in rows] for name in row}
        return _document(world, inputs=columns)
    return _document(world, instances=rows)


def _bad_values(draw: random.Random) -> Any:
    return draw.choice(
        [
            0, -1, 1.5, None, True, False, [], {}, [[]], {"b64": 1},
            {"b64": "!"}, {"b64": "\0"}, {"x": "y"}, 10**400, -(10**30),
            float("nan"), float("inf"), ["a", "b"], {"b64": "YQ", "x": 1},
        ]
    )  # fmt: skip


def _bodies(draw: random.Random, world: World) -> dict[str, bytes]:
    """Kind -> a body that is answered with 400."""
    name = world.signatures[world.default][0]
    good = _document(world, instances=[_named(draw, world)])
    return {
        "no json": draw.choice(
            [b"hello", b"{'instances': ['a']}", b"<a/>", b"\x80\x04N.", b"{,}"]
        ),
        "cut json": good[: draw.randrange(1, len(good))],
        "trailing json": good + draw.choice([b"x", b"{}", b"\0", b"]"]),
        "empty body": b"",
        "not an object": draw.choice([b"[]", b"1", b'"a"', b"null", b"true"]),
        "no key": draw.choice([b"{}", b'{"instance": ["a"]}', b'{"": 1}']),
        "both keys": _document(world, instances=["a"], inputs=["a"]),
        "empty list": _document(world, instances=[]),
        "no list": _document(
            world, instances=draw.choice(["a", 1, None, {}, {"a": []}])
        ),
        "wrong type": _with(draw, world, _bad_values(draw)),
        "wrong name": _document(world, instances=[{"\0" + name: "a"}]),
        "nested": _document(
            world, inputs={name: draw.choice([[["a"]], [[], []], [["a"], "b"]])}
        ),
        "ragged": _document(
            world, inputs={name: draw.choice([[["a"], []], ["a", ["b"]]])}
        ),
        "scalar": _document(world, inputs={name: "a"}),
        "unknown signature": _document(
            world, signature_name="x" * draw.randrange(1, 2000), inputs=["a"]
        ),
        "signature no text": _document(
            world, signature_name=draw.choice([1, None, [], {}, ["a"]])
        ),
        "deep nesting": draw.choice(
            [
                b'{"instances": ' + b"[" * _NESTED + b"]" * _NESTED + b"}",
                b'{"instances": ' + b"[" * _NESTED,
                b'{"a":' * _NESTED + b"1" + b"}" * _NESTED,
                b'{"inputs": ' + b"[" * 900 + b"]" * 900 + b"}",
            ]
        ),
        "huge number": draw.choice(
            [
                b'{"instances": [' + b"9" * 4000 + b"]}",
                b'{"instances": [' + b"9" * 30_000 + b"]}",
                b'{"instances": [1e999999]}',
                b'{"instances": [-1e-999999]}',
                b'{"instances": [0.' + b"3" * 20_000 + b"]}",
            ]
        ),
        "not utf-8": good.replace(
            b'": "', b'": "' + draw.choice([b"\xff", b"\xc3", b"\xed\xa0\x80"])
        ),
        "surrogate": draw.choice(
            [b'{"instances": ["\\ud800"]}', b'{"inputs": ["\\udfff\\ud83d"]}']
        ),
        "NUL in json": b'{"instances": ["a\0b"]}',
        "bad escape": b'{"instances": ["\\x"]}',
    }


def wrong_body(kind: str) -> Make:
    """What makes requests with such a body."""

    def make(draw: random.Random, world: World) -> Attack:
        data = request("POST", world.path, _bodies(draw, world)[kind])
        return Attack(kind, (data,), refused(400))

    return make


def flipped(draw: random.Random, world: World) -> Attack:
    """A good request some of whose body's bytes are others."""
    head, _, body = draw.choice(world.predictions).data.partition(b"\r\n\r\n")
    changed = bytearray(body)
    for _ in range(draw.randrange(1, 9)):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    # It may still be a request; then any answer will do.
    data = head + b"\r\n\r\n" + bytes(changed)
    return Attack("flipped bytes", (data,), refused(200, 400))


def wrong_path(draw: random.Random, world: World) -> Attack:
    """Models, versions and verbs that are not there."""
    base, model = "/v1/models", f"/v1/models/{world.model}"
    body = draw.choice(world.predictions).data.partition(b"\r\n\r\n")[2]
    method, path, status = draw.choice(
        [
            ("POST", f"{base}/{world.model}x:predict", 404),
            ("POST", f"{base}/%00%ff:predict", 404),
            ("POST", f"{model}/versions/{2**62}:predict", 404),
            ("POST", f"{model}/versions/{2**64}:predict", 400),
            ("POST", f"{model}/versions/{'9' * 6000}:predict", 400),
            ("POST", f"{model}/versions/-1:predict", 400),
            ("POST", f"{model}/labels/stable:predict", 400),
            ("POST", f"{model}:classify", 400),
            ("POST", f"{model}:regress", 400),
            ("POST", f"{model}:generate", 400),
            ("POST", f"{model}", 400),
            ("POST", f"/v1/{'m' * 3000}", 400),
            ("POST", "/v2/models", 404),
            ("POST", "/predict", 404),
            ("POST", "/", 405),
            ("POST", "/healthz", 405),
            ("PUT", world.path, 400),
            ("DELETE", world.path, 400),
            ("OPTIONS", world.path, 400),
            ("PATCH", model, 400),
            ("TRACE", world.path, 400),
            ("BREW", world.path, 400),
            ("PUT", "/", 405),
            ("DELETE", "/static/app.js", 405),
            ("OPTIONS", "*", 404),
        ]
    )
    data = request(method, path, body)
    return Attack("wrong path", (data,), refused(status))


def traversal(draw: random.Random, world: World) -> Attack:
    """Files that are nobody's business."""
    up = draw.choice(
        ["..", "%2e%2e", ".%2e", "..%2f..", "..%5c..", "%2e%2e%2f"]
    )
    target = draw.choice(
        ["etc/passwd", "clients/client.py", "server/app.py", "%00", "proc/self"]
    )
    start = draw.choice(["/static/", "/", "/static//", "/v1/models/"])
    path = start + f"{up}/" * draw.randrange(1, 9) + target
    return Attack("traversal", (request("GET", path),), refused(400, 404))


def wrong_head(draw: random.Random, world: World) -> Attack:
    """HEAD of what is not there, or of what is asked by POST."""
    path, status = draw.choice(
        [(world.path, 400), ("/none", 404), ("/v1/models/none", 404)]
    )
    data = request("HEAD", path)
    return Attack("wrong head", (data,), refused(status, head=True))


def too_large(draw: random.Random, world: World) -> Attack:
    """Five million bytes, in one piece or in chunks."""
    body = draw.choice(
        [
            _document(world, instances=["x" * _LARGE]),
            b"x" * _LARGE,
            b"[" * _LARGE,
            b'{"instances": [' + b"1," * (_LARGE // 2) + b"1]}",
        ]
    )
    data = request("POST", world.path, body)
    if draw.random() < 0.3:
        size = 64 * 1024
        pieces = [body[i : i + size] for i in range(0, len(body), size)]
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces)
        head = request("POST", world.path, None, "Transfer-Encoding: chunked")
        data = head + chunks + b"0\r\n\r\n"
    return Attack("5 MB", (data,), refused(413), silence=True)


def large_and_wrong(draw: random.Random, world: World) -> Attack:
    """Millions of bytes that are let in, and then are nothing."""
    size = draw.choice([10**5, 10**6, 3 * 10**6])
    body = draw.choice(
        [
            b'{"instances": [' + b"1," * (size // 2) + b"1]}",
            b'{"instances": [' + b"[]," * (size // 3) + b"[]]}",
            b'{"instances": [[' + b"[]," * (size // 3) + b"[]]]}",
            b'{"a": [' + b"{}," * (size // 3) + b"1]}",
            b'{"instances": ["' + b"\\u0000" * (size // 6),
            b"{" + b'"a":"b",' * (size // 8) + b"}",
        ]
    )
    data = request("POST", world.path, body)
    return Attack("large and wrong", (data,), refused(400, 413))


def too_many_rows(draw: random.Random, world: World) -> Attack:
    """More than any request may have."""
    body = _document(world, instances=[_named(draw, world)] * 5000)
    data = request("POST", world.path, body)
    return Attack("too many rows", (data,), refused(413))


BODIES = (
    "no json", "cut json", "trailing json", "empty body", "not an object",
    "no key", "both keys", "empty list", "no list", "wrong type",
    "wrong name", "nested", "ragged", "scalar", "unknown signature",
    "signature no text", "deep nesting", "huge number", "not utf-8",
    "surrogate", "NUL in json", "bad escape",
)  # fmt: skip
# How often, and what makes it.
KINDS: list[tuple[float, Make]] = [
    *((1.0, wrong_body(kind)) for kind in BODIES),
    (4.0, flipped),
    (4.0, wrong_path),
    (2.0, traversal),
    (1.0, wrong_head),
    (0.4, too_large),
    (0.4, large_and_wrong),
    (0.4, too_many_rows),
]
