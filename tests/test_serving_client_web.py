"""Tests of the clients against correct and faulty servers."""

import array
import asyncio
import collections
import gc
import http.server
import json
import pathlib
import socket
import ssl
import subprocess
import sys
import threading
import time
import types

import numpy as np
import pytest
import web_servers
from web_servers import BUSY, GOOD, answers, reply

import electra_tf
from electra_tf.errors import UserError
from electra_tf.serving.client import ServingError


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("HTTP", "HTTPS", "ALL", "NO"):
        monkeypatch.delenv(f"{name}_PROXY", raising=False)
        monkeypatch.delenv(f"{name}_proxy".lower(), raising=False)


@pytest.fixture(scope="module")
def server():
    with web_servers.lengths() as found:
        yield found


@pytest.fixture
def client(server):
    server.requests.clear()
    with electra_tf.Client(server.url, "m") as found:
        yield found


# --- requests --------------------------------------------------------------


class Table:
    """A table whose columns have a method of pandas, Polars or Arrow.

    tests/test_columns.py has more of them.
    """

    columns = ("text",)

    def __init__(self, way):
        self._way = way

    def __getitem__(self, name):
        assert name == "text"
        return types.SimpleNamespace(**{self._way: lambda: ["ab", "c"]})


class Tensor:
    """Stands in for a tensor of TensorFlow."""

    dtype = "string"

    def numpy(self):
        return np.array([b"ab", b"c"], object)


RIGHT = {
    "list": ["ab", "c"],
    "tuple": ("ab", "c"),
    "generator": (text for text in ["ab", "c"]),
    "map": map(str, ["ab", "c"]),
    "iterator": iter(["ab", "c"]),
    "deque": collections.deque(["ab", "c"]),
    "dict's keys": dict.fromkeys(["ab", "c"]).keys(),
    "array of texts": np.array(["ab", "c"]),
    "array of objects": np.array(["ab", "c"], object),
    "texts of an array": list(np.array(["ab", "c"])),
    "rows": [{"text": "ab"}, {"text": "c"}],
    "other mappings": [types.MappingProxyType({"text": "ab"}), {"text": "c"}],
    "row of an array's": [{"text": np.array(["ab"])[0]}, {"text": "c"}],
    "pandas": Table("tolist"),
    "polars": Table("to_list"),
    "arrow": Table("to_pylist"),
}


@pytest.mark.parametrize("name", RIGHT)
def test_rows_of_all_kinds(client, name):
    assert client.predict(RIGHT[name]) == [2, 1]


def test_bytes_of_all_kinds(client, server):
    """Bytes of all types are sent as {"b64": ...}."""
    kinds = (
        b"ab", bytearray(b"ab"), memoryview(b"ab"), np.bytes_(b"ab"),
        *Tensor().numpy()[:1],
    )  # fmt: skip
    for kind in kinds:
        with pytest.raises(ServingError):  # this server reads no b64
            electra_tf.Client(server.url, "m", retries=0).predict([kind])
    from electra_tf.serving import rows
    from electra_tf.serving.client import encoded

    values = [rows.plain(kind, "row") for kind in kinds]
    assert encoded(values) == [{"b64": "YWI="}] * len(kinds)
    assert list(rows.plain_rows(Tensor())) == [b"ab", b"c"]


def test_numbers_of_all_kinds():
    from electra_tf.serving import rows

    given = [
        np.float32(0.5), np.int64(3), np.bool_(True), True, 3, 0.5,
        np.arange(3), np.eye(2), array.array("d", [1]).tolist(), (1, 2),
    ]  # fmt: skip
    found = [rows.plain(value, "row") for value in given]
    assert found == [
        0.5, 3, True, True, 3, 0.5, [0, 1, 2], [[1, 0], [0, 1]], [1], [1, 2],
    ]  # fmt: skip
    assert json.loads(json.dumps(found)) == found


async def _asynchronous():
    yield "a"


LOOP: list = []
LOOP.append(LOOP)
WRONG = {
    "one text": ("a", "a list of texts, not one text"),
    "bytes": (b"a", "not one text"),
    "bytearray": (bytearray(b"a"), "not one text"),
    "array of one": (np.array("abc"), "expected a list, got a ndarray"),
    "None": (None, "expected a list, got None"),
    "number": (3, "expected a list, got a int"),
    "path": (pathlib.Path("a"), "expected a list, got a PosixPath"),
    "set": ({"a"}, "a set, which has no order"),
    "asynchronous": (_asynchronous(), "AsyncClient"),
    "None in it": (["a", None], "row 1: .*got None"),
    "None in a row": ([{"text": None}], "row 0, 'text': .*got None"),
    "set in it": ([{"a", "b"}], "row 0: .*got a set"),
    "path in it": ([pathlib.Path("a")], "row 0: .*got a PosixPath"),
    "object": ([object()], "row 0: .*got a object"),
    "date": (np.array(["2020-01-01"], "M8[D]"), "row 0: .*got a date"),
    "complex": ([1j], "row 0: .*got a complex"),
    "function": ([len], "row 0: .*got a builtin"),
    "loop": ([LOOP], "row 0: the lists are nested without end"),
    "half a pair": (["ok", "a\ud83d"], "row 1: character 1 is half a"),
    "name": ([{1: "a"}], "row 0: expected names of inputs, got 1"),
    "column": ({"text": "a"}, r"'text': .*columns are \{'input': \[...\]"),
    "no column": ({"text": None}, "column 'text': expected a list, got None"),
    "column's name": ({1: ["a"]}, "expected names of inputs, got 1"),
    "in a column": ({"text": ["a", None]}, "column 'text', row 1: .*got None"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_data_is_reported(client, server, name):
    data, words = WRONG[name]
    with pytest.raises(UserError, match=words) as error:
        client.predict(data)
    assert not isinstance(error.value, ServingError)
    assert server.requests == []


def test_wrong_arguments_are_reported():
    for words, options in (
        ("timeout: expected seconds above 0, or None, got 0", {"timeout": 0}),
        ("timeout", {"timeout": -1}), ("timeout", {"timeout": "9"}),
        ("timeout", {"timeout": float("nan")}), ("timeout", {"timeout": True}),
        ("retries: expected a whole number from 0 on, got -1",
         {"retries": -1}),
        ("retries", {"retries": None}), ("retries", {"retries": 1.5}),
        ("version", {"version": "3"}), ("version", {"version": -3}),
        ("not both", {"version": 3, "label": "stable"}),
        ("label", {"label": 3}), ("model", {"model": ""}),
        ("model", {"model": 3}), ("headers", {"headers": [1]}),
        ("headers: 'A'", {"headers": {"A": "x\r\nB: secret"}}),
        ("headers: 'A'", {"headers": {"A": 3}}),
        ("headers: A", {"headers": {"A": "\u4e2d"}}),
        ("headers: ''", {"headers": {"": "secret"}}),
        ("headers: ':a'", {"headers": {":a": "secret"}}),
        ("headers: 'a b'", {"headers": {"a b": "secret"}}),
        ("headers: Content-Length", {"headers": {"Content-Length": "3"}}),
    ):  # fmt: skip
        with pytest.raises(UserError, match=words) as error:
            electra_tf.Client("http://x", **options)
        assert "secret" not in str(error.value)
    for url in (
        "", "localhost:8501", "ftp://x", "http://", "http://x:99999",
        "http://me:secret@x", "http://x/?a=1", "http://x/#a", "http://[::1",
        "http://x/v1", "http://x/v1/models/m:predict", "http://a..b",
        "unix://x/y", "unix:", None, 3, b"http://x",
    ):  # fmt: skip
        with pytest.raises(UserError, match="url") as error:
            electra_tf.Client(url)
        assert "secret" not in str(error.value)
    client = electra_tf.Client("http://127.0.0.1:1", "m")
    for options in ({"batch_size": 0}, {"batch_size": 1.5}, {"signature": 3}):
        with pytest.raises(UserError, match=next(iter(options))):
            client.predict(["a"], **options)


@pytest.mark.parametrize(
    "text", ["a", '"', "\\", "\n", "\x00", "\u4e2d", "\U0001f600"]
)
def test_a_request_is_no_larger_than_it_may_be(text):
    from electra_tf.serving import rows

    row = {text * 5: [text * 1000, text, 0.1234567890123456, True]}
    most = 50_000
    parts = list(rows.parts([row] * 30, 256, most))
    assert sum(map(len, parts)) == 30
    for part in parts:
        body = json.dumps(part, ensure_ascii=False).encode()
        assert len(body) <= most


def test_long_lists_are_split(client, server):
    done = []
    texts = ["x" * (n % 7) for n in range(1000)]
    found = client.predict(iter(texts), progress=done.append)
    assert found == [len(text) for text in texts]
    assert done == [256, 512, 768, 1000]
    large = ["\u4e2d" * 250_000] * 5 + ["x" * 3_000_000]
    server.requests.clear()
    assert client.predict(large) == [250_000] * 5 + [3_000_000]
    assert [rows for _, _, rows in server.requests] == [2, 2, 1, 1]
    assert client.predict([]) == client.predict(iter([])) == []


def test_the_path_of_requests(server):
    server.requests.clear()
    for options in ({}, {"version": 2}, {"label": "a b"}):
        electra_tf.Client(f"{server.url}/x/", "m/n", **options).predict(["a"])
    headers = {"authorization": "Bearer t", "host": "there"}
    electra_tf.Client(
        server.url, "m", headers=headers, compress=True
    ).predict(["a" * 2000])  # fmt: skip
    paths = [path for path, _, _ in server.requests]
    assert paths[:3] == [
        "/x/v1/models/m%2Fn:predict",
        "/x/v1/models/m%2Fn/versions/2:predict",
        "/x/v1/models/m%2Fn/labels/a%20b:predict",
    ]
    sent = server.requests[-1][1]
    assert sent["Authorization"] == "Bearer t"
    assert sent["Host"] == "there"
    assert sent["Content-Encoding"] == "gzip"


def test_other_sockets(tmp_path):
    with web_servers.lengths(socket_file=tmp_path / "s", packs=True) as found:
        assert electra_tf.Client(found.url, "m").predict(["ab"]) == [2]
    client = electra_tf.Client(f"unix://{tmp_path}/none", "m", retries=0)
    with pytest.raises(ServingError, match="No such file"):
        client.predict(["a"])
    if socket.has_ipv6:
        try:
            url = answers(GOOD, family=socket.AF_INET6)
        except OSError:
            return
        assert electra_tf.Client(url, "m").predict(["a"]) == [1]


# --- responses -------------------------------------------------------------


def test_requests_are_repeated_where_that_is_safe():
    cut = reply(b"200 OK", b'{"predictions": [1]}')[:-5]
    for first in (b"", BUSY, cut, BUSY.replace(b"503", b"429")):
        client = electra_tf.Client(answers(first, GOOD), "m")
        assert client.predict(["a"]) == [1]
    client = electra_tf.Client(answers(cut, cut), "m", retries=1)
    with pytest.raises(ServingError, match=r"m: .* broke during the answer"):
        client.predict(["a"])
    client = electra_tf.Client(answers(BUSY), "m", retries=0)
    with pytest.raises(ServingError, match="503") as error:
        client.predict(["a"])
    assert (error.value.status, error.value.model) == (503, "m")
    assert error.value.said == "busy"


@pytest.mark.slow
def test_retry_after_is_obeyed():
    later = BUSY.replace(b"After: 0", b"After: 1")
    client = electra_tf.Client(answers(later, GOOD), "m")
    began = time.monotonic()
    assert client.predict(["a"]) == [1]
    assert time.monotonic() - began >= 1.0
    # Retry-After exceeds the timeout, so the client does not wait.
    much = BUSY.replace(b"Retry-After: 0", b"retry-after: 90")
    client = electra_tf.Client(answers(much), "m")
    began = time.monotonic()
    with pytest.raises(ServingError, match="503"):
        client.predict(["a"])
    assert time.monotonic() - began < 5


ODD = {
    "HTML": (b"200 OK", b"<html>login</html>", "is not JSON.*<html>login"),
    "a list": (b"200 OK", b"[]", "no 'predictions'"),
    "another": (b"200 OK", b'{"outputs": [1]}', "no 'predictions'"),
    "too many": (b"200 OK", b'{"predictions": [1, 2]}', "for 1 answers, got 2"),
    "none": (b"200 OK", b'{"predictions": 1}', "for 1 answers, got no list"),
    "b64": (b"200 OK", b'{"predictions": [{"b64": "x"}]}', "damaged"),
    "not found": (b"404 No", b'{"error": "no m"}', "m: 404 Not Found: no m"),
    "failed": (b"500 Oh", b"<html>", "500 Internal Server Error: <html>"),
    "empty": (b"502 Oh", b"", "502 Bad Gateway$"),
    "own number": (b"599 Oh", b"x" * 999, "599: x{200}$"),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_answers_are_reported_once(name):
    status, body, words = ODD[name]
    client = electra_tf.Client(answers(reply(status, body), GOOD), "m")
    with pytest.raises(ServingError, match=words):
        client.predict(["a"])


def test_a_server_that_does_not_speak_http():
    for raw in (b"SSH-2.0-OpenSSH\r\n", b"220 mail\r\n", b"\x15\x03\x01\x00"):
        client = electra_tf.Client(answers(raw, GOOD), "m")
        with pytest.raises(ServingError, match="as a web server does"):
            client.predict(["a"])
    moved = reply(b"307 Moved", b"", b"Location: https://there/")
    client = electra_tf.Client(answers(moved, GOOD), "m")
    with pytest.raises(ServingError, match="sends to https://there/"):
        client.predict(["a"])
    bad = reply(b"200 OK", b"no", b"Content-Encoding: gzip")
    with pytest.raises(ServingError, match="is not gzip"):
        electra_tf.Client(answers(bad), "m").predict(["a"])
    url = answers(b"HTTP/1.1 400 Bad\r\n\r\n").replace("http:", "https:")
    with pytest.raises(ServingError, match=r"no https: .*http://"):
        electra_tf.Client(url, "m").predict(["a"])


def test_the_timeout_is_for_the_whole_answer():
    """The timeout ends an answer that arrives too slowly, byte by byte."""
    long = reply(b"200 OK", b'{"predictions": [1]}' + b" " * 999)
    body = long.index(b"\r\n\r\n")
    for raw in (long, long[: body + 4]):
        url = answers(raw, drip=0.02)
        client = electra_tf.Client(url, "m", timeout=0.3)
        began = time.monotonic()
        with pytest.raises(ServingError, match=r"within 0\.3 seconds") as error:
            client.predict(["a"])
        assert time.monotonic() - began < 1.5
        assert error.value.status is None
    client = electra_tf.Client(answers(GOOD, drip=0.001), "m", timeout=None)
    assert client.predict(["a"]) == [1]
    # The timeout is that of all attempts together.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    client = electra_tf.Client(
        f"http://127.0.0.1:{port}", "m", timeout=0.3, retries=99
    )
    began = time.monotonic()
    with pytest.raises(ServingError, match="cannot be reached"):
        client.predict(["a"])
    assert time.monotonic() - began < 1.5


def test_a_refusal_before_the_end_of_a_large_request():
    listener = socket.create_server(("127.0.0.1", 0))

    def go():
        with listener:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(reply(b"413 Large", b'{"error": "big"}'))
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(2**20):
                    pass

    threading.Thread(target=go, daemon=True).start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(ServingError, match=r"413 .*big"):
        electra_tf.Client(url, "m").predict(["x" * 5_000_000])


def test_a_server_that_restarts():
    with web_servers.lengths() as first:
        client = electra_tf.Client(first.url, "m")
        assert client.predict(["ab"]) == [2]
        port = first.server_address[1]
    threading.Timer(0.3, lambda: started.append(stack.__enter__())).start()
    started, stack = [], web_servers.lengths(port=port)
    try:
        assert client.predict(["abc"]) == [3]
    finally:
        stack.__exit__(None, None, None)


def test_kept_connections_and_processes(client, server):
    for _ in range(5):
        client.predict(["a"])
    found = [o for o in gc.get_objects() if type(o).__name__ == "_Connection"
             and o.is_open]  # fmt: skip
    assert len(found) >= 1
    exchange = client._api._exchange
    assert len(exchange._idle) == 1
    exchange._process = -1  # as if after a fork
    assert client.predict(["ab"]) == [2]
    assert len(exchange._idle) == 1


def test_tensorflow_serving_does_not_list_its_models():
    refused = reply(b"400 Bad", b'{"error": "Missing model name"}')
    states = reply(
        b"200 OK",
        b'{"model_version_status": [{"version": "12", "state": "AVAILABLE",'
        b' "status": {"error_code": "OK", "error_message": ""}}]}',
    )
    client = electra_tf.Client(answers(refused, states), "m")
    assert client.models() == [
        {"name": "m", "version": "12", "description": None}
    ]
    with pytest.raises(UserError, match="name one"):
        electra_tf.Client(answers(refused)).predict(["a"])


# --- the environment -------------------------------------------------------


class Proxy(http.server.BaseHTTPRequestHandler):
    """Answers requests itself, and records them."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, dict(self.headers)))
        self.wfile.write(GOOD)

    def do_CONNECT(self):
        self.server.requests.append((self.path, dict(self.headers)))
        self.send_error(403)

    def log_message(self, *words):
        pass


@pytest.fixture
def proxy():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    server.requests = []
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_proxies(proxy, server, monkeypatch):
    place = f"me:a%20b@127.0.0.1:{proxy.server_address[1]}"
    monkeypatch.setenv("HTTP_PROXY", f"http://{place}")
    monkeypatch.setenv("HTTPS_PROXY", place)
    client = electra_tf.Client("http://models.example:81/x", "m")
    assert client.predict(["a"]) == [1]
    path, headers = proxy.requests.pop()
    assert path == "http://models.example:81/x/v1/models/m:predict"
    assert headers["Host"] == "models.example:81"
    assert headers["Proxy-Authorization"] == "Basic bWU6YSBi"
    secure = electra_tf.Client("https://models.example", "m", retries=0)
    with pytest.raises(ServingError, match="Tunnel connection failed: 403"):
        secure.predict(["a"])
    assert proxy.requests.pop()[0] == "models.example:443"
    # No proxy is used if the environment is ignored or NO_PROXY has the host.
    direct = electra_tf.Client(server.url, "m", trust_env=False)
    assert direct.predict(["ab"]) == [2]
    port = server.server_address[1]
    for entry in (
        "*", "127.0.0.1", "x, 127.0.0.0/8", f"127.0.0.1:{port}",
    ):  # fmt: skip
        monkeypatch.setenv("NO_PROXY", entry)
        assert electra_tf.Client(server.url, "m").predict(["ab"]) == [2]
    assert proxy.requests == []
    for entry in ("27.0.0.1", "127.0.0.1:1", "10.0.0.0/8", ".0.0.1x"):
        monkeypatch.setenv("NO_PROXY", entry)
        assert electra_tf.Client(server.url, "m").predict(["ab"]) == [1]
    monkeypatch.setenv("HTTP_PROXY", "socks5://me:secret@x:1")
    with pytest.raises(UserError, match=r"socks5://x:1.*NO_PROXY") as error:
        electra_tf.Client(server.url)
    assert "secret" not in str(error.value)


def test_exceptions_by_domain():
    from electra_tf.serving import http_exchange

    address = http_exchange.address_of("http://a.models.example")
    exempt = http_exchange._is_exempt
    for entry in ("models.example", ".models.example", "*.models.example",
                  "a.models.example:80", "A.MODELS.example"):  # fmt: skip
        assert exempt(address, entry), entry
    for entry in ("", "odels.example", "a.models.example:81", "b.example"):
        assert not exempt(address, entry), entry
    address = http_exchange.address_of("http://[fe80::1]:9")
    assert exempt(address, "[fe80::1]:9") and exempt(address, "fe80::/10")
    assert not exempt(address, "fe80::2")


def test_authorities(tmp_path, monkeypatch):
    openssl = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes",
         "-keyout", tmp_path / "key", "-out", tmp_path / "cert", "-days", "2",
         "-subj", "/CN=x", "-addext", "subjectAltName=IP:127.0.0.1"],
        capture_output=True, check=False,
    )  # fmt: skip
    if openssl.returncode:
        pytest.skip("no openssl that makes a certificate")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    with web_servers.lengths(context=context) as found:
        client = electra_tf.Client(found.url, "m")
        with pytest.raises(ServingError, match=r"not trusted .*SSL_CERT_FILE"):
            client.predict(["a"])
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert"))
        with electra_tf.Client(found.url, "m") as client:
            assert client.predict(["ab"]) == [2]
        client = electra_tf.Client(found.url, "m", trust_env=False)
        with pytest.raises(ServingError, match="not trusted"):
            client.predict(["a"])
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    with pytest.raises(
        UserError, match=r"SSL_CERT_FILE: .*none does not exist"
    ):
        electra_tf.Client("https://x")


# --- asynchronously --------------------------------------------------------


def test_many_at_once(server):
    async def texts():
        for text in ("a", "ab"):
            yield text

    async def go():
        async with electra_tf.AsyncClient(server.url, "m") as client:
            found = await asyncio.gather(
                *(client.predict(["x" * n]) for n in range(40))
            )
            assert found == [[n] for n in range(40)]
            assert await client.predict(texts()) == [1, 2]
            with pytest.raises(UserError, match="got None"):
                await client.predict(None)

    asyncio.run(go())


def test_a_call_that_is_cancelled_ends():
    """A cancelled call frees the only thread at once, for the next call."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        silent = f"http://127.0.0.1:{listener.getsockname()[1]}"

        async def go():
            client = electra_tf.AsyncClient(silent, "m", connections=1)
            began = time.monotonic()
            for _ in range(3):
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(client.predict(["a"]), 0.2)
            assert time.monotonic() - began < 3
            await client.close()

        asyncio.run(go())
        # There were three connections and no more.
        listener.settimeout(0.2)
        for _ in range(3):
            listener.accept()[0].close()
        with pytest.raises(TimeoutError):
            listener.accept()


def test_wrong_options_of_the_asynchronous_client():
    with pytest.raises(UserError, match="connections"):
        electra_tf.AsyncClient("http://x", connections=0)
    with pytest.raises(UserError, match="retries"):
        electra_tf.AsyncClient("http://x", retries=-1)


def test_neither_numpy_nor_tensorflow_is_imported(server):
    code = (
        "import asyncio, sys, electra_tf\n"
        "async def go():\n"
        f"    client = electra_tf.AsyncClient({server.url!r}, 'm')\n"
        "    assert await client.predict(['ab']) == [2]\n"
        "    await client.close()\n"
        "asyncio.run(go())\n"
        "heavy = {'tensorflow', 'keras', 'numpy', 'httpx'}\n"
        "loaded = heavy & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert done.returncode == 0, done.stderr
