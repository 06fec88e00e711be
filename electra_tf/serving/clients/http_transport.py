"""JSON over HTTP with the standard library: connections, retries, errors."""

import contextlib
import http.client
import json
import random
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Mapping
from typing import Any

from electra_tf.errors import UserError

_OVERLOADED = (429, 503)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_MAX_IDLE = 16


class ServingError(UserError):
    """The server refused, failed or could not be reached.

    Attributes:
      status: of HTTP; None if there was no answer.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class HttpTransport:
    """Keeps connections to one server; threads may share it.

    Every request of the REST interface only reads, so that one that broke off
    can be sent again.

    Args:
      url: http:// or https://, may have a path before /v1.
      timeout: seconds without a byte of the answer.
      retries: further attempts after a failure that is safe to repeat.
      headers: sent with each request.
    """

    def __init__(
        self,
        url: str,
        timeout: float,
        retries: int,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        parts = urllib.parse.urlsplit(url)
        try:
            port = parts.port
        except ValueError as error:
            raise UserError(f"{url}: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(
                f"{url}: expected an address such as http://127.0.0.1:8501"
            )
        if parts.username or parts.query or parts.fragment:
            raise UserError(
                f"{parts.scheme}://{parts.hostname}: only host, port and path "
                "belong in the address; give headers for the rest"
            )
        if timeout <= 0:
            raise UserError(f"timeout: expected seconds, got {timeout}")
        self._place = f"{parts.scheme}://{parts.netloc}"
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, port
        self._prefix = parts.path.rstrip("/")
        self._timeout = timeout
        self._retries = retries
        self._headers = {"Accept": "application/json", **(headers or {})}
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Sends JSON, returns the answer's JSON.

        Raises:
          ServingError: an error of the server's, or no answer.
        """
        data = None if body is None else json.dumps(body).encode("utf-8")
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            try:
                status, headers, content = self._send(method, path, data)
            except TimeoutError as error:
                # It may still be at work on it: asking again adds to that.
                raise ServingError(
                    f"{self._place}: no answer within {self._timeout:g} seconds"
                ) from error
            except ssl.SSLError as error:
                raise ServingError(f"{self._place}: {error}") from error
            except (OSError, http.client.HTTPException) as error:
                if last:
                    raise ServingError(
                        _unreached(self._place, error)
                    ) from error
                _pause(attempt, None)
                continue
            if status in _OVERLOADED and not last:
                _pause(attempt, headers.get("Retry-After"))
                continue
            return self._read(status, content)
        raise AssertionError("the last attempt returns or raises")

    def close(self) -> None:
        """Ends the connections that are kept."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _send(
        self, method: str, path: str, data: bytes | None
    ) -> tuple[int, Any, bytes]:
        with self._lock:
            kept = self._idle.pop() if self._idle else None
        if kept:
            # The server may have closed it in the meantime: then anew, which
            # is no failure.
            with contextlib.suppress(
                ConnectionError, http.client.BadStatusLine
            ):
                return self._exchange(kept, method, path, data)
        return self._exchange(self._connection(), method, path, data)

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        data: bytes | None,
    ) -> tuple[int, Any, bytes]:
        headers = dict(self._headers)
        if data is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, self._prefix + path, data, headers)
            response = connection.getresponse()
            content = response.read()
        except BaseException:
            connection.close()
            raise
        with self._lock:
            # http.client has closed it if the server said so.
            keep = connection.sock and len(self._idle) < _MAX_IDLE
            if keep:
                self._idle.append(connection)
        if not keep:
            connection.close()
        return response.status, response.headers, content

    def _connection(self) -> http.client.HTTPConnection:
        kind = (
            http.client.HTTPSConnection
            if self._secure
            else http.client.HTTPConnection
        )
        connection = kind(self._host, self._port, timeout=self._timeout)
        connection.connect()
        # Headers and body are two writes; the second shall not wait.
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _read(self, status: int, content: bytes) -> Any:
        try:
            # TensorFlow Serving writes strings as they are, UTF-8 or not.
            answer = json.loads(content.decode("utf-8", errors="replace"))
        except (ValueError, RecursionError):
            answer = None
        if status == http.client.OK:
            if answer is None:
                raise ServingError(f"{self._place}: the answer is not JSON")
            return answer
        told = answer.get("error") if isinstance(answer, dict) else None
        if not isinstance(told, str):
            told = content[:200].decode("utf-8", errors="replace").strip()
        phrase = http.client.responses.get(status, "")
        raise ServingError(
            f"{self._place}: {status} {phrase}: {told}".strip(": "), status
        )


def _pause(attempt: int, told: str | None) -> None:
    """Waits before another attempt, longer each time, never in step."""
    pause = min(_FIRST_PAUSE * 2**attempt, _LONGEST_PAUSE)
    pause *= random.uniform(0.5, 1.5)
    if told and told.isascii() and told.isdigit() and len(told) < 6:
        pause = max(pause, min(float(told), _LONGEST_PAUSE))
    time.sleep(pause)


def _unreached(place: str, error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error) or repr(error)
    return f"{place}: cannot be reached: {reason}"
