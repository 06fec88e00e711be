"""A client for `electra-tf serve` and for TensorFlow Serving.

Needs nothing but Python's standard library: no TensorFlow, no NumPy. With an
address that begins with grpc:// it speaks gRPC, which needs the extra
`serving`; see `electra_tf.serving.clients.grpc_client`.
"""

import base64
import binascii
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from electra_tf.errors import UserError
from electra_tf.serving.clients.http_transport import (
    HttpTransport,
    ServingError,
)

Value = str | bytes | int | float | bool | Sequence[Any] | Mapping[str, Any]
Rows = Sequence[Value]
Columns = Mapping[str, Sequence[Any]]


class Api(Protocol):
    """A server's interface, over one protocol or another."""

    def predict(
        self,
        model: str,
        version: int | None,
        signature: str | None,
        data: Rows | Columns,
    ) -> Any:
        """Answers by row to rows, by column to columns."""

    def models(self) -> list[dict[str, Any]] | None:
        """Name, version and description of each; None if it does not tell."""

    def status(self, model: str, version: int | None) -> list[dict[str, Any]]:
        """The versions of a model, each with its state."""

    def metadata(self, model: str, version: int | None) -> dict[str, Any]:
        """The signatures, in the form of the REST interface."""

    def close(self) -> None:
        """Ends the connections."""


class Client:
    """Asks a server for answers. Threads may share one client.

    ```
    client = electra_tf.Client("http://127.0.0.1:8501")
    client.predict(["a fine film", "a dull one"])
    client.predict([{"question": "Who?", "context": "Ada wrote it."}])
    client.predict({"text": ["a fine film", "a dull one"]})
    ```

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
            from electra_tf.serving.clients.grpc_client import GrpcApi

            self._api = GrpcApi(url, timeout, retries, headers)
        else:
            self._api = RestApi(HttpTransport(url, timeout, retries, headers))

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


class RestApi:
    """The REST interface of TensorFlow Serving.

    Args:
      transport: sends and receives JSON.
    """

    def __init__(self, transport: HttpTransport) -> None:
        self._transport = transport

    def predict(
        self,
        model: str,
        version: int | None,
        signature: str | None,
        data: Rows | Columns,
    ) -> Any:
        """See `Api`."""
        by_row = not isinstance(data, Mapping)
        request: dict[str, Any] = {}
        if signature:
            request["signature_name"] = signature
        request["instances" if by_row else "inputs"] = _encoded(data)
        answer = self._transport.request(
            "POST", _path(model, version) + ":predict", request
        )
        return _decoded(_member(answer, "predictions" if by_row else "outputs"))

    def models(self) -> list[dict[str, Any]] | None:
        """See `Api`."""
        try:
            answer = self._transport.request("GET", "/v1/models")
        except ServingError as error:
            if error.status in (400, 404):  # TensorFlow Serving's answer
                return None
            raise
        return _member(answer, "models")

    def status(self, model: str, version: int | None) -> list[dict[str, Any]]:
        """See `Api`."""
        answer = self._transport.request("GET", _path(model, version))
        return _member(answer, "model_version_status")

    def metadata(self, model: str, version: int | None) -> dict[str, Any]:
        """See `Api`."""
        path = _path(model, version) + "/metadata"
        found = _member(self._transport.request("GET", path), "metadata")
        return _member(_member(found, "signature_def"), "signature_def")

    def close(self) -> None:
        """See `Api`."""
        self._transport.close()


def _path(model: str, version: int | None) -> str:
    path = "/v1/models/" + urllib.parse.quote(model, safe="")
    return path if version is None else f"{path}/versions/{version}"


def _member(answer: Any, key: str) -> Any:
    if not isinstance(answer, dict) or key not in answer:
        raise ServingError(f"the answer has no '{key}': no model server's")
    return answer[key]


def _encoded(value: Any) -> Any:
    """`bytes` as JSON can hold them; everything else as it is."""
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode("ascii")}
    if isinstance(value, Mapping):
        return {name: _encoded(each) for name, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_encoded(each) for each in value]
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
