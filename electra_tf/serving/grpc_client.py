"""Speaks gRPC with TensorFlow Serving, for `Client("grpc://HOST:8500")`.

It needs the extra `serving`, whose messages import TensorFlow; nothing else in
the client does.
"""

import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

from electra_tf.errors import UserError
from electra_tf.serving.api import (
    ABORT,
    Deadline,
    ServingError,
    Target,
    pause,
)
from electra_tf.serving.http_exchange import checked_headers

try:
    import grpc
    import tensorflow as tf
    from google.protobuf import json_format
    from tensorflow_serving.apis import (
        get_model_metadata_pb2,
        get_model_status_pb2,
        model_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_service_pb2_grpc,
    )
except ImportError as import_error:
    raise UserError(
        f"gRPC needs more packages: pip install 'electra-tf[serving]' "
        f"({import_error})"
    ) from import_error

_DEFAULT_SIGNATURE = "serving_default"
# Servers accept 4 MB by default; responses may have any size.
_OPTIONS = [("grpc.max_receive_message_length", -1)]
# gRPC's status -> HTTP's, as TensorFlow Serving has them by REST.
_STATUSES = {
    "INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403, "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409, "ABORTED": 409, "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499, "UNKNOWN": 500, "INTERNAL": 500, "DATA_LOSS": 500,
    "UNIMPLEMENTED": 501, "UNAVAILABLE": 503, "DEADLINE_EXCEEDED": 504,
}  # fmt: skip


class _Unfit(ServingError):
    """Reports that the signature's inputs, as they are known, do not fit."""


class GrpcApi:
    """The gRPC interface of a server; see `electra_tf.serving.api.Api`.

    Args:
      url: grpc://HOST:PORT, or grpcs:// for TLS.
      timeout: seconds for a response, including all attempts; None for no
        limit.
      retries: further attempts while the server is unavailable.
      headers: metadata of each call.
      compress: whether requests are sent as gzip.

    Raises:
      UserError: the address is not valid.
    """

    def __init__(
        self,
        url: str,
        timeout: float | None,
        retries: int,
        headers: Mapping[str, str],
        compress: bool,
    ) -> None:
        try:
            parts = urllib.parse.urlsplit(url)
            port = parts.port or (443 if parts.scheme == "grpcs" else None)
        except ValueError as error:
            raise UserError(f"url: {url}: {error}") from error
        more = parts.path.strip("/") or parts.query or parts.fragment
        if not parts.hostname or not port or more or "@" in parts.netloc:
            raise UserError(
                f"url: {parts.scheme}://{parts.netloc.rpartition('@')[2]}: "
                "expected an address such as grpc://127.0.0.1:8500"
            )
        self._url, self._timeout, self._retries = url, timeout, retries
        checked = checked_headers(headers, "ascii").items()
        self._headers = [(key.lower(), value) for key, value in checked]
        packing = (
            grpc.Compression.Gzip
            if compress
            else grpc.Compression.NoCompression
        )
        if parts.scheme == "grpcs":
            self._channel = grpc.secure_channel(
                parts.netloc, grpc.ssl_channel_credentials(), _OPTIONS, packing
            )
        else:
            self._channel = grpc.insecure_channel(
                parts.netloc, _OPTIONS, packing
            )
        self._predictions = prediction_service_pb2_grpc.PredictionServiceStub(
            self._channel
        )
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)
        self._signatures: dict[Any, dict[str, Any]] = {}

    def predict(
        self,
        target: Target,
        signature: str | None,
        data: Sequence[Any] | Mapping[str, Sequence[Any]],
    ) -> Any:
        """See `Api`."""
        name = signature or _DEFAULT_SIGNATURE
        before = self._signatures.get((target, name))
        try:
            return self._predict(target, name, data)
        except ServingError as error:
            unfit = isinstance(error, _Unfit) or error.status == 400
            if before is None or not unfit:
                raise
            # A newer version may take other inputs.
            self._signatures.pop((target, name), None)
            if self._input_types(target, name) == before:
                raise
        return self._predict(target, name, data)

    def _predict(
        self,
        target: Target,
        name: str,
        data: Sequence[Any] | Mapping[str, Sequence[Any]],
    ) -> Any:
        types = self._input_types(target, name)
        request = predict_pb2.PredictRequest(model_spec=_spec(target, name))
        columns = (
            data
            if isinstance(data, Mapping)
            else _columns(data, list(types), target)
        )
        for key, values in columns.items():
            if key not in types:
                raise _Unfit(
                    f"{target} takes {', '.join(types)}, no '{key}'",
                    model=target.model,
                )
            try:
                tensor = tf.make_tensor_proto(values, dtype=types[key])
            except (TypeError, ValueError) as error:
                raise _Unfit(
                    f"{target}: input '{key}': {error}", model=target.model
                ) from error
            request.inputs[key].CopyFrom(tensor)
        answer = self._call(self._predictions.Predict, request, target)
        # Protocol buffers order them differently in each process.
        outputs = {
            key: _values(key, tf.make_ndarray(tensor))
            for key, tensor in sorted(answer.outputs.items())
        }
        if len(outputs) == 1:
            return next(iter(outputs.values()))
        if isinstance(data, Mapping):
            return outputs
        return [dict(zip(outputs, row)) for row in zip(*outputs.values())]

    def models(self) -> None:
        """Returns None: gRPC has no call that lists the models."""
        return None

    def status(self, target: Target) -> list[dict[str, Any]]:
        """See `Api`."""
        request = get_model_status_pb2.GetModelStatusRequest(
            model_spec=_spec(target)
        )
        answer = self._call(self._models.GetModelStatus, request, target)
        states = get_model_status_pb2.ModelVersionStatus.State
        return [
            {
                "version": str(each.version),
                "state": states.Name(each.state),
                "status": {
                    "error_code": "UNKNOWN" if each.status.error_code else "OK",
                    "error_message": each.status.error_message,
                },
            }
            for each in answer.model_version_status
        ]

    def metadata(self, target: Target) -> dict[str, Any]:
        """See `Api`."""
        return {
            name: json_format.MessageToDict(
                definition,
                preserving_proto_field_name=True,
                always_print_fields_with_no_presence=True,
            )
            for name, definition in self._definitions(target).items()
        }

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def _definitions(self, target: Target) -> Mapping[str, Any]:
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=_spec(target), metadata_field=["signature_def"]
        )
        answer = self._call(self._predictions.GetModelMetadata, request, target)
        found = get_model_metadata_pb2.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(found)
        return found.signature_def

    def _input_types(self, target: Target, signature: str) -> dict[str, Any]:
        """Returns input name -> type, requested once for each signature."""
        key = (target, signature)
        if key not in self._signatures:
            definitions = self._definitions(target)
            if signature not in definitions:
                raise ServingError(
                    f"{target} has no signature '{signature}': it has "
                    + ", ".join(sorted(definitions)),
                    model=target.model,
                )
            self._signatures[key] = {
                name: tf.dtypes.as_dtype(info.dtype)
                for name, info in sorted(definitions[signature].inputs.items())
            }
        return self._signatures[key]

    def _call(self, method: Any, request: Any, target: Target) -> Any:
        deadline = Deadline(self._timeout)
        abort = ABORT.get()
        for attempt in range(self._retries + 1):
            try:
                call = method.future(
                    request, timeout=deadline.left(), metadata=self._headers
                )
                if abort is not None:
                    abort.watch(call.cancel)
                return call.result()
            except TimeoutError as error:
                raise ServingError(
                    f"{self._url}: {target}: no answer within "
                    f"{self._timeout:g} seconds",
                    model=target.model,
                ) from error
            except grpc.RpcError as error:
                code, said = error.code(), error.details() or ""
                large = "larger than max" in said
                busy = not large and code in (
                    grpc.StatusCode.UNAVAILABLE,
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                )
                if busy and attempt < self._retries:
                    if pause(attempt, None, deadline):
                        continue
                problem = f"{code.name}: {said}"
                status = 413 if large else _STATUSES.get(code.name)
                late = code == grpc.StatusCode.DEADLINE_EXCEEDED
                if late and not deadline.allows(0):  # the client's deadline
                    problem = f"no answer within {self._timeout:g} seconds"
                    status = None
                raise ServingError(
                    f"{self._url}: {target}: {problem}",
                    status,
                    model=target.model,
                    said=said or None,
                ) from error
            finally:
                if abort is not None:
                    abort.watch(None)
        raise AssertionError("the last attempt returns or raises")


def _spec(target: Target, signature: str = "") -> Any:
    spec = model_pb2.ModelSpec(name=target.model, signature_name=signature)
    if target.version is not None:
        spec.version.value = target.version
    if target.label is not None:
        spec.version_label = target.label
    return spec


def _columns(
    rows: Sequence[Any], names: list[str], target: Target
) -> dict[str, list[Any]]:
    """Converts rows to one list for each input."""
    bare = not isinstance(rows[0], Mapping) and len(names) == 1
    for number, row in enumerate(rows):
        named = isinstance(row, Mapping)
        if named == bare or (named and set(row) != set(names)):
            expected = f"the inputs {', '.join(sorted(names))}"
            if bare:
                expected = f"a value of {names[0]}, as in row 0"
            raise _Unfit(
                f"{target}: row {number}: expected {expected}",
                model=target.model,
            )
    if bare:
        return {names[0]: list(rows)}
    return {name: [row[name] for row in rows] for name in names}


def _values(name: str, array: Any) -> Any:
    """Converts an array to nested lists, as they come by REST.

    Text is decoded unless it is bytes, and a 32-bit number is the one with the
    fewest digits that identify it.
    """

    def text(value: Any) -> Any:
        if isinstance(value, list):
            return [text(each) for each in value]
        return value.decode("utf-8", errors="replace")

    if array.dtype == "float32":
        return array.astype("U").astype("float64").tolist()
    values = array.tolist()
    is_text = array.dtype == object and not name.endswith("_bytes")
    return text(values) if is_text else values
