"""Sends HTTP requests for the REST client, with Python's library only."""

import contextlib
import gzip
import http.client
import io
import ipaddress
import os
import pathlib
import re
import socket
import ssl
import threading
import urllib.parse
import urllib.request
import zlib
from base64 import b64encode
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from electra_tf.errors import UserError
from electra_tf.serving.api import ABORT, Deadline

_MAX_IDLE = 64
_WORTH_PACKING = 1024
_PORTS = {"http": 80, "https": 443}
# Names of headers (RFC 9110, 5.6.2), and those that tell where a body ends.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FRAMING = ("content-length", "transfer-encoding")
_EXAMPLE = "expected an address such as http://127.0.0.1:8501"


class Address(NamedTuple):
    """The address of a server.

    Attributes:
      shown: the address without secrets, for messages.
      secure: whether it uses https.
      host: its name or number; "localhost" for a socket file.
      port: the port.
      path: the path before /v1, without a slash at its end.
      socket_file: socket of a server on this machine, or None.
    """

    shown: str
    secure: bool
    host: str
    port: int
    path: str
    socket_file: str | None = None

    @property
    def host_header(self) -> str:
        """The host, with its port unless it is the default."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = self.port == _PORTS["https" if self.secure else "http"]
        return host if usual else f"{host}:{self.port}"


def address_of(url: str) -> Address:
    """Parses http://HOST:PORT/PATH, https://... or unix:///PATH/OF/SOCKET.

    Raises:
      UserError: the address has another form; a password is not in the message.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UserError(f"url: {error}; {_EXAMPLE}") from error
    if parts.scheme == "unix" and parts.path and not parts.netloc:
        path = urllib.parse.unquote(parts.path)
        return Address(url, False, "localhost", 80, "", path)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise UserError(f"url: {url}: {_EXAMPLE}")
    place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    if parts.username is not None or parts.query or parts.fragment:
        raise UserError(
            f"url: {place}: only host, port and path belong in the address; "
            "give headers, such as {'Authorization': ...}, for the rest"
        )
    path = parts.path.rstrip("/")
    if path.endswith("/v1") or "/v1/models" in path:
        raise UserError(
            f"url: {url}: give the address up to /v1, and the model by its name"
        )
    host = parts.hostname
    try:
        host.encode("idna")
    except UnicodeError as error:
        raise UserError(
            f"url: {url}: {host} is not the name of a host"
        ) from error
    return Address(
        place,
        parts.scheme == "https",
        host,
        port or _PORTS[parts.scheme],
        urllib.parse.quote(path, safe="/%:@!$&'()*+,;=~"),
    )


class Reply(NamedTuple):
    """A response, of any status.

    Attributes:
      status: HTTP status.
      headers: headers by lower-case names.
      content: decompressed body.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes


class Exchange:
    """Sends requests to one address, over connections that are kept.

    Threads may share it; a forked process starts without connections.

    Args:
      address: address of the server.
      headers: headers of each request.
      trust_env: whether HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY,
        SSL_CERT_FILE and SSL_CERT_DIR count.
      pack: whether bodies are sent as gzip.

    Raises:
      UserError: a header, or a value of the environment, cannot be used.
    """

    def __init__(
        self,
        address: Address,
        headers: Mapping[str, str],
        trust_env: bool,
        pack: bool,
    ) -> None:
        self._address = address
        self._headers = {
            "Host": address.host_header,
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            **checked_headers(headers),
        }
        self._pack = pack
        self._proxy = _proxy_of(address) if trust_env else None
        self._context = _tls(trust_env) if address.secure else None
        self._idle: list[_Connection] = []
        self._lock = threading.Lock()
        self._process = os.getpid()

    def send(
        self, method: str, path: str, body: bytes | None, deadline: Deadline
    ) -> Reply:
        """Sends a request and returns the response.

        Raises:
          TimeoutError: the time is over.
          OSError: the server is unreachable, or the connection broke.
          http.client.HTTPException: the same, or the response is not HTTP.
        """
        with self._lock:
            if self._process != os.getpid():
                # The parent's connections must not be used.
                self._process, self._idle = os.getpid(), []
            kept = self._idle.pop() if self._idle else None
        if kept:
            # The server may have closed it in the meantime: reconnecting is not
            # a failure.
            with contextlib.suppress(
                ConnectionError, http.client.BadStatusLine
            ):
                return self._ask(kept, method, path, body, deadline)
        new = _Connection(self._address, self._proxy, self._context)
        return self._ask(new, method, path, body, deadline)

    def close(self) -> None:
        """Closes the kept connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _ask(
        self,
        connection: "_Connection",
        method: str,
        path: str,
        body: bytes | None,
        deadline: Deadline,
    ) -> Reply:
        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"] = "application/json"
            if self._pack and len(body) >= _WORTH_PACKING:
                body = gzip.compress(body, 6)
                headers["Content-Encoding"] = "gzip"
        abort = ABORT.get()
        connection.deadline = deadline
        try:
            if abort is not None:
                abort.watch(connection.abort)  # at once if already aborted
            reply = connection.ask(
                method, self._address.path + path, body, headers
            )
        except BaseException:
            connection.close()
            raise
        finally:
            if abort is not None:
                abort.watch(None)
        with self._lock:
            keep = connection.is_open and len(self._idle) < _MAX_IDLE
            if keep:
                self._idle.append(connection)
        if not keep:
            connection.close()
        return reply


class _Connection:
    """One connection, with the deadline of its current request."""

    def __init__(
        self,
        address: Address,
        proxy: "_Proxy | None",
        context: ssl.SSLContext | None,
    ) -> None:
        self.deadline = Deadline(None)
        self._prefix = ""
        self._more: dict[str, str] = {}
        host, port = (
            (proxy.host, proxy.port) if proxy else (address.host, address.port)
        )
        self._http: http.client.HTTPConnection
        if context is not None:
            self._http = http.client.HTTPSConnection(
                host, port, context=context
            )
            if proxy:
                self._http.set_tunnel(
                    address.host, address.port, dict(proxy.headers)
                )
        else:
            self._http = http.client.HTTPConnection(host, port)
            if proxy:
                self._prefix = f"http://{address.host_header}"
                self._more = dict(proxy.headers)
        self._file = address.socket_file
        self._socket: socket.socket | None = None
        self._aborted = False

    @property
    def is_open(self) -> bool:
        """Returns whether another request may be sent."""
        return self._http.sock is not None

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
    ) -> Reply:
        """Connects if needed, sends a request and reads the response."""
        if self._http.sock is None and not self._aborted:
            self._connect()
        if self._aborted:  # possibly while it was connecting
            raise ConnectionAbortedError("cancelled")
        headers = {**headers, **self._more}
        try:
            self._http.request(method, self._prefix + path, body, headers)
        except (BrokenPipeError, ConnectionResetError) as error:
            # A server that refuses a large body responds before its end.
            try:
                response = self._http.getresponse()
            except (OSError, http.client.HTTPException):
                raise error from None
        else:
            response = self._http.getresponse()
        content = response.read()
        if response.headers.get("Content-Encoding", "").lower() == "gzip":
            try:
                content = gzip.decompress(content)
            except (OSError, EOFError, zlib.error) as error:
                raise NotHttp(f"the answer is not gzip: {error}") from error
        lowered = {name.lower(): v for name, v in response.headers.items()}
        return Reply(response.status, lowered, content)

    def close(self) -> None:
        """Closes the connection."""
        self._http.close()

    def abort(self) -> None:
        """Aborts what another thread waits for."""
        self._aborted = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _connect(self) -> None:
        left = self.deadline.left()
        if self._file is not None:
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.settimeout(left)
            self._socket.connect(self._file)
        else:
            self._http.timeout = left
            self._http.connect()
            self._socket = self._http.sock
        self._http.sock = cast(Any, _Timed(self._socket, self))


class _Timed:
    """A socket that waits no longer than its connection's deadline allows."""

    def __init__(self, plain: socket.socket, of: _Connection) -> None:
        self._plain = plain
        self._of = of

    def sendall(self, data: bytes) -> None:
        """Sends all data."""
        self._plain.settimeout(self._of.deadline.left())
        self._plain.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        """Returns a file that reads from the socket."""
        return io.BufferedReader(_TimedFile(self._plain, self._of))

    def close(self) -> None:
        """Closes the socket as soon as its files are closed."""
        self._plain.close()


class _TimedFile(io.RawIOBase):
    """The raw file of a `_Timed`."""

    def __init__(self, plain: socket.socket, of: _Connection) -> None:
        self._plain = plain
        self._of = of
        # The file keeps the socket open until it is closed.
        self._file = plain.makefile("rb", buffering=0)

    def readable(self) -> bool:
        """Returns True."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Reads available data, or waits for it."""
        self._plain.settimeout(self._of.deadline.left())
        return self._file.readinto(buffer)

    def close(self) -> None:
        """Closes the file."""
        if not self.closed:
            self._file.close()
        super().close()


class NotHttp(http.client.HTTPException):
    """Raised for a response that is not HTTP."""


class _Proxy(NamedTuple):
    host: str
    port: int
    headers: tuple[tuple[str, str], ...]


def _proxy_of(address: Address) -> _Proxy | None:
    """Returns the proxy of the environment or the system for an address."""
    found = urllib.request.getproxies()
    url = found.get("https" if address.secure else "http") or found.get("all")
    if not url or address.socket_file is not None:
        return None
    if _is_exempt(address, found.get("no", "")):
        return None
    parts = urllib.parse.urlsplit(url if "://" in url else f"http://{url}")
    try:
        port = parts.port or 80
    except ValueError:
        port = 0
    if parts.scheme != "http" or not parts.hostname or not port:
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        raise UserError(
            f"the environment names the proxy {shown}: expected "
            "http://HOST:PORT; name the server in NO_PROXY, or give "
            "trust_env=False, to do without"
        )
    headers: tuple[tuple[str, str], ...] = ()
    if parts.username is not None:
        words = f"{parts.username}:{parts.password or ''}"
        token = b64encode(urllib.parse.unquote_to_bytes(words)).decode()
        headers = (("Proxy-Authorization", f"Basic {token}"),)
    return _Proxy(parts.hostname, port, headers)


def _is_exempt(address: Address, no_proxy: str) -> bool:
    """Returns whether NO_PROXY has the host, its domain, number or network."""
    for entry in filter(None, map(str.strip, no_proxy.split(","))):
        if entry == "*":
            return True
        name, _, port = entry.lower().rpartition(":")
        if not (name and port.isdigit() and not name.endswith(":")):
            name, port = entry.lower(), str(address.port)
        if int(port) != address.port:
            continue
        name = name.strip("[]").lstrip("*").lstrip(".")
        host = address.host.lower()
        if host == name or host.endswith(f".{name}"):
            return True
        with contextlib.suppress(ValueError):
            if ipaddress.ip_address(host) in ipaddress.ip_network(name, False):
                return True
    return False


def _tls(trust_env: bool) -> ssl.SSLContext:
    """Makes the TLS context, with the system's or environment's authorities.

    OpenSSL itself reads SSL_CERT_FILE and SSL_CERT_DIR, but ignores missing
    files silently.
    """
    if not trust_env:
        paths = ssl.get_default_verify_paths()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        for key, path in (
            ("cafile", paths.openssl_cafile), ("capath", paths.openssl_capath),
        ):  # fmt: skip
            if os.path.exists(path):
                context.load_verify_locations(**{key: path})
        return context
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        named = os.environ.get(name)
        if named and not pathlib.Path(named).exists():
            raise UserError(f"{name}: {named} does not exist")
    return ssl.create_default_context()


def checked_headers(
    headers: Mapping[str, str], coding: str = "latin-1"
) -> dict[str, str]:
    """Checks headers, and returns them with names in the usual spelling.

    Args:
      headers: name -> value.
      coding: characters that a value may have.

    Raises:
      UserError: a header cannot be sent; its value is not in the message.
    """
    for name, value in headers.items():
        good = isinstance(name, str) and isinstance(value, str)
        if not good or set("\r\n\0") & set(name + value):
            # The value may be a secret.
            raise UserError(
                f"headers: {name!r:.40}: expected a name and a value, both "
                "texts of one line"
            )
        if not _TOKEN.fullmatch(name):
            raise UserError(
                f"headers: {name!r:.40}: is no name of a header; expected "
                "letters, digits and hyphens"
            )
        if name.lower() in _FRAMING:
            raise UserError(
                f"headers: {name}: follows from the request; leave it out"
            )
        try:
            value.encode(coding)
        except UnicodeEncodeError as error:
            raise UserError(
                f"headers: {name}: a character at {error.start} that no "
                "header can hold"
            ) from error
    return {name.title(): value for name, value in headers.items()}
