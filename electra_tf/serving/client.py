"""A client for `electra-tf serve` and for TensorFlow Serving.

Needs nothing but Python's standard library: no TensorFlow, no NumPy. With an
address that begins with grpc:// it speaks gRPC, which needs the extra
`serving`; see `electra_tf.serving.grpc_client`.
"""

import base64
import binascii
import contextlib
import http.client
import json
import random
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

from electra_tf.errors import UserError
from electra_tf.serving.api import Api, Columns, Rows, ServingError

_OVERLOADED = (429, 503)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_MAX_IDLE = 16


class Client:
    """Asks a server for answers. Threads may share one client.

        from electra_tf import Client

        client = Client("http://127.0.0.1:8501", "sst2")
        client.predict(["a fine film", "a dull one"])
        client.predict([{"text": "a fine film"}, {"text": "a dull one"}])
        client.predict({"text": ["a fine film", "a dull one"]})

    A model of questions takes `{"question": ..., "context": ...}` for each.

    Args:
      url: http://HOST:PORT, https://..., or grpc://HOST:PORT for TensorFlow
        Serving's other port.
      model: its name on the server; may be left out if there is only one and
        the server tells (TensorFlow Serving does not).
      version: a number; None asks the newest.
      timeout: seconds for each answer.
      retries: how often a request is sent anew after a failure that cannot
        have lost anything: no connection, a connection that broke before the
        answer, an overloaded server (429, 503).
      headers: sent with each request, such as an Authorization.

    Raises:
      UserError: the address is none.
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        *,
        version: int | None = None,
        timeout: float = 60.0,
        retries: int = 3,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.url = url
        self._model = model
        self._version = version
        self._api: Api
        if urllib.parse.urlsplit(url).scheme == "grpc":
            from electra_tf.serving.grpc_client import GrpcApi

            self._api = GrpcApi(url, timeout, retries, headers)
        else:
            self._api = _RestApi(url, timeout, retries, headers)

    def predict(
        self,
        data: Rows | Columns,
        *,
        signature: str | None = None,
    ) -> Any:
        """The model's answers.

        Args:
          data: rows, each a text, or a mapping of input name -> value; or
            columns, a mapping of input name -> list. `bytes` are sent as
            they are, whether they are UTF-8 or not.
          signature: "embed", say; None is the model's main one.

        Returns:
          For rows a list with an answer for each: a value if the signature
          has one output, else output name -> value. For columns a mapping
          output name -> list (a bare list with one output).

        Raises:
          ServingError: the server refused, or could not be reached.
        """
        by_row = not isinstance(data, Mapping)
        if isinstance(data, str | bytes):
            raise UserError("predict takes a list of texts, not one text")
        if by_row and not data:
            return []
        return self._api.predict(self._name(), self._version, signature, data)

    def models(self) -> list[dict[str, Any]]:
        """What is served: name, version and description of each model.

        TensorFlow Serving does not list its models; of it only the `model`
        of this client is told.
        """
        found = self._api.models()
        if found is not None:
            return found
        versions = [
            int(each["version"])
            for each in self.status()
            if each["state"] == "AVAILABLE"
        ]
        newest = str(max(versions)) if versions else None
        return [{"name": self._name(), "version": newest, "description": None}]

    def status(self) -> list[dict[str, Any]]:
        """The versions of the model, each with its state."""
        return self._api.status(self._name(), self._version)

    def metadata(self) -> dict[str, Any]:
        """The signatures: name -> inputs, outputs and their types."""
        return self._api.metadata(self._name(), self._version)

    def close(self) -> None:
        """Ends the connections; with HTTP the client can still be used."""
        self._api.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _name(self) -> str:
        if self._model is None:
            found = self._api.models()
            if found is None:
                raise UserError(
                    f"{self.url} does not tell its models: name one"
                )
            names = [each["name"] for each in found]
            if len(names) != 1:
                raise UserError(
                    f"{self.url} serves {', '.join(names) or 'no model'}: "
                    "name one of them"
                )
            self._model = names[0]
        return self._model


class _RestApi:
    """The REST interface of TensorFlow Serving, over connections that are kept.

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

    def predict(
        self,
        model: str,
        version: int | None,
        signature: str | None,
        data: Rows | Columns,
    ) -> Any:
        by_row = not isinstance(data, Mapping)
        request: dict[str, Any] = {}
        if signature:
            request["signature_name"] = signature
        request["instances" if by_row else "inputs"] = encoded(data)
        answer = self._request(
            "POST", _path(model, version) + ":predict", request
        )
        return _decoded(_member(answer, "predictions" if by_row else "outputs"))

    def models(self) -> list[dict[str, Any]] | None:
        try:
            answer = self._request("GET", "/v1/models")
        except ServingError as error:
            if error.status in (400, 404):  # TensorFlow Serving's answer
                return None
            raise
        return _member(answer, "models")

    def status(self, model: str, version: int | None) -> list[dict[str, Any]]:
        answer = self._request("GET", _path(model, version))
        return _member(answer, "model_version_status")

    def metadata(self, model: str, version: int | None) -> dict[str, Any]:
        path = _path(model, version) + "/metadata"
        found = _member(self._request("GET", path), "metadata")
        return _member(_member(found, "signature_def"), "signature_def")

    def close(self) -> None:
        """Ends the connections that are kept."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _request(self, method: str, path: str, body: Any = None) -> Any:
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


def _path(model: str, version: int | None) -> str:
    path = "/v1/models/" + urllib.parse.quote(model, safe="")
    return path if version is None else f"{path}/versions/{version}"


def _member(answer: Any, key: str) -> Any:
    if not isinstance(answer, dict) or key not in answer:
        raise ServingError(f"the answer has no '{key}': no model server's")
    return answer[key]


def encoded(value: Any) -> Any:
    """Writes `bytes` as JSON can hold them; leaves everything else as it is."""
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode("ascii")}
    if isinstance(value, Mapping):
        return {name: encoded(each) for name, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [encoded(each) for each in value]
    return value


def _decoded(value: Any) -> Any:
    """The way back."""
    if isinstance(value, list):
        return [_decoded(each) for each in value]
    if isinstance(value, dict):
        if value.keys() == {"b64"} and isinstance(value["b64"], str):
            try:
                return base64.b64decode(value["b64"])
            except binascii.Error as error:
                raise ServingError(f"damaged answer: {error}") from error
        return {name: _decoded(each) for name, each in value.items()}
    return value


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
