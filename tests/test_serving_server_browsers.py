"""Tests of hosts and origins, and of unusual but valid HTTP."""

import json

import pytest
import serving_toy
from serving_toy import ask

from electra_tf.errors import UserError
from electra_tf.serving.server.browsers import Browsers, target_path
from electra_tf.serving.server.limits import RequestError

pytest.importorskip("uvicorn")

PREDICT = "/v1/models/toy:predict"
BODY = {"signature_name": "size", "instances": ["abc"]}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "toy"
    serving_toy.save(path / "1")
    with serving_toy.served(
        {"toy": path}, cors_origins=["https://app.example"]
    ) as found:
        yield found


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost:8501"}, 200),
        ({"Host": "LOCALHOST"}, 200),
        ({"Host": "127.0.0.1:1"}, 200),
        ({"Host": "[::1]:8501"}, 200),
        ({"Host": "10.1.2.3"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "localhost.evil.example:8501"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Origin": "http://[localhost", "Host": "localhost"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "http://localhost", "Host": "localhost"}, 200),
        ({"Origin": "http://localhost:1", "Host": "localhost"}, 403),
        ({"Origin": "https://app.example"}, 200),
        ({"Content-Type": "text/plain"}, 200),  # curl -d, without an origin
        ({"Content-Type": "text/plain", "Origin": "http://a.example"}, 403),
    ],
)
def test_post(server, headers, status):
    found, answered, content = ask(server, "POST", PREDICT, BODY, headers)
    assert found == status
    allowed = answered.get("access-control-allow-origin")
    if status == 200:
        assert json.loads(content) == {"predictions": [3.0]}
    else:
        assert list(json.loads(content)) == ["error"]
    origin = headers.get("Origin")
    assert allowed == (origin if origin == "https://app.example" else None)


def test_preflight(server):
    headers = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    status, found, _ = ask(server, "OPTIONS", PREDICT, None, headers)
    assert status == 204
    assert found["access-control-allow-origin"] == "https://app.example"
    assert "POST" in found["access-control-allow-methods"]
    assert "content-type" in found["access-control-allow-headers"].lower()
    headers["Origin"] = "https://other.example"
    status, found, _ = ask(server, "OPTIONS", PREDICT, None, headers)
    assert status == 403
    assert "access-control-allow-origin" not in found


def test_an_error_is_readable_for_an_allowed_page(server):
    headers = {"Origin": "https://app.example"}
    status, found, _ = ask(server, "POST", PREDICT, b"{", headers)
    assert status == 400
    assert found["access-control-allow-origin"] == "https://app.example"


def check(host, name, **settings):
    return Browsers(host, **settings).check("POST", {"host": name})


def test_a_server_for_other_machines_has_any_name_unless_named():
    assert check("0.0.0.0", "model.internal:8501") == {}
    with pytest.raises(RequestError, match="--allowed_hosts"):
        check("0.0.0.0", "evil.example", allowed_hosts=["model.internal"])
    assert check("127.0.0.1", "a.example", allowed_hosts=["A.example"]) == {}
    assert check("127.0.0.1", "b.example", allowed_hosts=["*"]) == {}
    assert check("127.0.0.1", "[::2]", allowed_hosts=["::2", "[::3]"]) == {}
    with pytest.raises(RequestError):
        check("::1", "b.example")
    with pytest.raises(RequestError):
        check("127.0.0.2", "b.example")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"allowed_hosts": ["http://a"]}, "--allowed_hosts.*http://a"),
        ({"cors_origins": ["app.example"]}, "--cors_origins.*app.example"),
        ({"cors_origins": ["https://a/b"]}, "--cors_origins.*https://a/b"),
        ({"allowed_hosts": ["a:8501"]}, "--allowed_hosts.*port.*'a:8501'"),
        ({"allowed_hosts": ["[::1]:8501"]}, "--allowed_hosts.*::1]:8501"),
        ({"allowed_hosts": ["*.a"]}, r"--allowed_hosts.*'\*\.a'"),
        ({"cors_origins": ["https://*.a"]}, r"--cors_origins.*\*\.a'"),
        ({"cors_origins": ["https://a?b"]}, r"--cors_origins.*a\?b'"),
        ({"cors_origins": ["http://["]}, r"--cors_origins.*http://\['"),
        ({"cors_origins": ["http://a:x"]}, "--cors_origins.*http://a:x"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(UserError, match=message):
        Browsers("127.0.0.1", **settings)


def request(target, more=b"", body=b""):
    host = b"" if b"Host" in more else b"Host: localhost\r\n"
    return b"POST %s HTTP/1.1\r\n%s%s\r\n%s" % (target, host, more, body)


TEXT = json.dumps(BODY).encode()
SIZED = b"Content-Length: %d\r\n" % len(TEXT)
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(TEXT), TEXT)


def test_absolute_form_is_accepted(server):
    target = b"http://localhost:8501/v1/models/toy:predict"
    found = serving_toy.raw(
        server, request(target, SIZED + b"Connection: close\r\n", TEXT)
    )
    assert found.startswith(b"HTTP/1.1 200 ")
    # The host of the target counts, not that of the header.
    target = b"http://evil.example/v1/models/toy:predict"
    found = serving_toy.raw(
        server, request(target, SIZED + b"Connection: close\r\n", TEXT)
    )
    assert found.startswith(b"HTTP/1.1 403 ")


def test_targets():
    assert target_path("/a") == ("/a", None)
    assert target_path("*") == ("*", None)
    assert target_path("HTTP://h:1/a:b") == ("/a:b", "h:1")
    assert target_path("http://h") == ("/", "h")
    for wrong in (
        "ftp://h/a", "h:80", "http:///a", "", "http://[", "http://h:x/",
    ):  # fmt: skip
        with pytest.raises(RequestError):
            target_path(wrong)


def test_empty_lines_before_a_request_are_skipped(server):
    last = request(PREDICT.encode(), SIZED + b"Connection: close\r\n", TEXT)
    found = serving_toy.raw(server, b"\r\n\r\n" + last)
    assert found.startswith(b"HTTP/1.1 200 ")


def test_two_lengths_end_the_connection(server):
    both = SIZED + b"Transfer-Encoding: chunked\r\n"
    one = request(PREDICT.encode(), both, CHUNKED)
    next_one = request(PREDICT.encode(), SIZED, TEXT)
    found = serving_toy.raw(server, one + next_one)
    assert found.startswith(b"HTTP/1.1 200 ")
    assert found.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in found.lower()
