"""Wrong HTTP, and clients that hang up, dawdle or send several at once."""

import json
import random

from abuse.attacks import Attack, Wanted, answered, refused
from abuse.wire import request
from abuse.world import World
from abuse.wrong_bodies import Make

_TLS = bytes.fromhex("1603010200010001fc0303") + b"\x42" * 60
_HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def _head(world: World, *headers: str) -> bytes:
    """A request for answers up to its headers' end, of any length."""
    return request("POST", world.path, None, *headers)


def garbage(draw: random.Random, world: World) -> Attack:
    """Bytes that are no HTTP."""
    data = draw.choice(
        [
            b"\0" * draw.randrange(1, 3000) + b"\r\n\r\n",
            draw.randbytes(draw.randrange(1, 3000)) + b"\r\n\r\n",
            b"hello\r\n\r\n",
            b"GET /\r\n\r\n",
            b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
            b"GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"G\0T / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\nA: b\0c\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\n: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\nA B: c\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: y\r\n\r\n",
            b"SIP/2.0 200 OK\r\n\r\n",
            _TLS + b"\r\n\r\n",
            _HTTP2,
        ]
    )
    return Attack(
        "garbage", (data,), refused(400, 505), silence=True, end="close"
    )


def odd_hosts(draw: random.Random, world: World) -> Attack:
    """Headers that some programs stumble over; the server need not."""
    host = draw.choice(["[::1", "[", "a b", "x:y:z", "x/../y?#", "\xe9", ""])
    path = draw.choice(["/none", "/static/none", "/static", "/healthz/"])
    data = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1")
    return Attack("odd host", (data,), refused(400, 403, 404), silence=True)


def wrong_length(draw: random.Random, world: World) -> Attack:
    """Lengths that are none, or two."""
    headers = draw.choice(
        [
            ("Content-Length: -1",),
            ("Content-Length: x",),
            ("Content-Length: 5, 6",),
            ("Content-Length: 5", "Content-Length: 6"),
            ("Content-Length: " + "9" * 30,),
            ("Content-Length: 99999999999",),
            ("Content-Length: +5",),
            ("Transfer-Encoding: gzip",),
            ("Transfer-Encoding: chunked, chunked",),
        ]
    )
    return Attack(
        "wrong length",
        (_head(world, *headers) + b"abcde",),
        refused(400, 413, 501),
        silence=True,
        end="close",
    )


def short_length(draw: random.Random, world: World) -> Attack:
    """A body that continues after its length: the rest is no request."""
    good = draw.choice(world.predictions)
    head, _, body = good.data.partition(b"\r\n\r\n")
    less = draw.randrange(1, len(body))
    head = head.replace(
        b"Content-Length: %d" % len(body), b"Content-Length: %d" % less
    )
    data = head + b"\r\n\r\n" + body
    return Attack(
        "short length", (data,), refused(400), silence=True, end="close"
    )


def long_length(draw: random.Random, world: World) -> Attack:
    """A body that ends before its length, and then the connection does."""
    data = draw.choice(world.predictions).data
    cut = data[: len(data) - draw.randrange(1, 20)]
    return Attack("long length", (cut,), end="gone")


def chunks(draw: random.Random, world: World) -> Attack:
    """A body in chunks, one of which is none."""
    head = _head(world, "Transfer-Encoding: chunked")
    body = draw.choice(
        [
            b"zz\r\nabc\r\n0\r\n\r\n",
            b"-1\r\nabc\r\n0\r\n\r\n",
            b"3\r\nabcdef\r\n0\r\n\r\n",
            b"fffffffffffffffffffff\r\nabc\r\n",
            b"3" + b";x=y" * 30_000 + b"\r\nabc\r\n0\r\n\r\n",
        ]
    )
    return Attack(
        "bad chunks",
        (head + body,),
        refused(400, 431),
        silence=True,
        end="close",
    )


def good_chunks(draw: random.Random, world: World) -> Attack:
    """A good request in tiny chunks, with extensions and a trailer."""
    good = draw.choice(world.predictions)
    body = good.data.partition(b"\r\n\r\n")[2]
    size = draw.randrange(1, 99)
    pieces = [body[i : i + size] for i in range(0, len(body), size)]
    data = b"".join(b"%x;a=b\r\n%s\r\n" % (len(p), p) for p in pieces)
    head = _head(world, "Transfer-Encoding: chunked")
    data = head + data + b"0\r\nTrailer: x\r\n\r\n"
    return Attack("good in chunks", (data,), answered([good]))


def headers(draw: random.Random, world: World) -> Attack:
    """Headers of more bytes than there is room for."""
    lines = draw.choice(
        [
            ["X: " + "y" * 100_000],
            ["X" * 100_000 + ": y"],
            [f"X{i}: {'y' * 90}" for i in range(1000)],
            ["Cookie: " + "a=b; " * 20_000],
        ]
    )
    return Attack(
        "large headers",
        (_head(world, *lines),),
        refused(400, 431),
        silence=True,
        end="close",
    )


def codings(draw: random.Random, world: World) -> Attack:
    """Bodies that claim to be compressed, or wait to be asked for."""
    header, status = draw.choice(
        [
            ("Content-Encoding: deflate", 415),
            ("Content-Encoding: br, gzip", 415),
            ("Content-Encoding: \xe9", 415),
            ("Expect: 100-continue", 413),
        ]
    )
    data = _head(world, header, "Content-Length: 5000000")
    return Attack(
        "coding", (data,), refused(status, 400), silence=True, end="close"
    )


def upgrade(draw: random.Random, world: World) -> Attack:
    """A good request that would rather speak another protocol."""
    good = next(good for good in world.goods if good.kind == "get")
    line, _, rest = good.data.partition(b"\r\n")
    more = b"Connection: upgrade\r\nUpgrade: " + draw.choice(
        [b"websocket", b"h2c", b"TLS/1.0"]
    )
    data = line + b"\r\n" + more + b"\r\n" + rest
    return Attack("upgrade", (data,), answered([good]))


def cut(draw: random.Random, world: World) -> Attack:
    """A good request, and no interest in its answer."""
    data = draw.choice(world.predictions).data
    where = draw.choice(["headers", "body", "answer", "nothing"])
    middle = data.index(b"\r\n\r\n") + 4
    if where == "headers":
        data = data[: draw.randrange(1, middle)]
    elif where == "body":
        data = data[: draw.randrange(middle, len(data))]
    elif where == "nothing":
        data = b""
    pause = draw.choice([0.0, 0.0, 0.01])
    return Attack(
        f"cut at {where}",
        (data, pause),
        end=draw.choice(["gone", "torn"]),
    )


def pipelined(draw: random.Random, world: World) -> Attack:
    """Several at once; the good among them are answered right, in order."""
    size = draw.randrange(2, 6)
    several = world.predictions + [g for g in world.goods if g.kind == "get"]
    goods = [draw.choice(several) for _ in range(size)]
    wanted = list(answered(goods))
    data = [good.data for good in goods]
    if draw.random() < 0.5:
        place = draw.randrange(len(goods) + 1)
        data.insert(place, request("POST", world.path, b"{"))
        wanted[place:place] = refused(400)
    if draw.random() < 0.2:
        data.append(b"nonsense\r\n\r\n")
        wanted.append(Wanted(frozenset([400])))
    return Attack("pipelined", (b"".join(data),), tuple(wanted))


def slow_headers(draw: random.Random, world: World) -> Attack:
    """A header now and then."""
    data = _head(world)[:-2]
    steps: list[bytes | float] = [data]
    for number in range(60):
        steps += [1.0, b"X%d: y\r\n" % number]
    return Attack(
        "slow headers", tuple(steps), silence=True, end="wait", slow=True
    )


def slow_body(draw: random.Random, world: World) -> Attack:
    """A byte now and then."""
    steps: list[bytes | float] = [_head(world, "Content-Length: 9000")]
    for _ in range(60):
        steps += [1.0, b" "]
    return Attack(
        "slow body",
        tuple(steps),
        refused(408),
        silence=True,  # the answer is lost where bytes are under way
        end="wait",
        slow=True,
    )


def silent(draw: random.Random, world: World) -> Attack:
    """Connects, maybe begins, and stays."""
    data = draw.choice([b"", b"POST", _head(world)[:-2]])
    return Attack("silent", (data,), silence=True, end="wait", slow=True)


def silent_body(draw: random.Random, world: World) -> Attack:
    """Promises a body, and sends none of it."""
    data = _head(world, "Content-Length: 90")
    return Attack("silent body", (data,), refused(408), end="wait", slow=True)


def unread(draw: random.Random, world: World) -> Attack:
    """Asks for much, and reads nothing for a minute."""
    row = {name: "a" for name in world.signatures[world.default]}
    document = {"signature_name": world.default, "instances": [row] * 4000}
    body = json.dumps(document).encode()
    data = request("POST", world.path, body)
    return Attack(
        "unread answer", (data, 45.0), refused(200, 503, 504), silence=True,
        end="wait", slow=True, small_buffer=True,
    )  # fmt: skip


KINDS: list[tuple[float, Make]] = [
    (3.0, garbage),
    (1.0, odd_hosts),
    (1.5, wrong_length),
    (1.0, short_length),
    (1.0, long_length),
    (1.5, chunks),
    (1.0, good_chunks),
    (1.0, headers),
    (1.0, codings),
    (0.5, upgrade),
    (6.0, cut),
    (3.0, pipelined),
]
SLOW: list[tuple[float, Make]] = [
    (1.0, slow_headers),
    (1.0, slow_body),
    (1.0, silent),
    (1.0, silent_body),
    (0.5, unread),
]
