"""Implements TensorFlow Serving's gRPC services for prediction and models.

They run on the event loop of the HTTP server and share its models, calls,
limits and metrics. Reloading by request gives UNIMPLEMENTED: clients must not
choose which programs run. It needs the extra `serving`.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

import numpy as np

from electra_tf.errors import UserError
from electra_tf.serving.server import classify_json
from electra_tf.serving.server.limits import (
    CLIENT_GONE,
    Limits,
    RequestError,
    code_name,
    invalid,
)
from electra_tf.serving.server.loaded_model import LoadedModel
from electra_tf.serving.server.metrics import Metrics
from electra_tf.serving.server.model_versions import ModelVersions
from electra_tf.serving.server.predict_json import DEFAULT_SIGNATURE
from electra_tf.serving.server.predicting import Predicting
from electra_tf.serving.server.signatures import (
    METHODS,
    Arrays,
    SignatureInfo,
)

try:
    import grpc
    import grpc.aio
    import tensorflow as tf
    from google.protobuf import message
    from tensorflow.core.framework import types_pb2
    from tensorflow.core.protobuf import meta_graph_pb2
    from tensorflow_serving.apis import (
        classification_pb2,
        get_model_metadata_pb2,
        get_model_status_pb2,
        inference_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_service_pb2_grpc,
        regression_pb2,
    )
except ImportError as import_error:
    raise UserError(
        "--grpc_port needs more packages: pip install 'electra-tf[serving]' "
        f"({import_error})"
    ) from import_error

_LOG = logging.getLogger("electra_tf.serving")
_SIGNATURES = "signature_def"  # the only field of metadata


class GrpcServer:
    """Serves gRPC on a port, on the running event loop.

    Args:
      address: HOST:PORT; port 0 takes a free port.
      versions: the models.
      predicting: runs the models.
      limits: size limits.
      metrics: counters.
    """

    def __init__(
        self,
        address: str,
        versions: ModelVersions,
        predicting: Predicting,
        limits: Limits,
        metrics: Metrics,
    ) -> None:
        self._address = address
        self._services = _Services(versions, predicting, limits, metrics)
        self._limits = limits
        self._server: Any = None
        self.port = 0

    async def start(self) -> None:
        """Starts listening.

        Raises:
          UserError: the port is taken.
        """
        # It would log long messages about invalid bytes.
        logging.getLogger("grpc").setLevel(logging.CRITICAL)
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", self._limits.request_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),
            ],
            maximum_concurrent_rpcs=self._limits.connections,
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            self._services, self._server
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(
            self._services, self._server
        )
        try:
            self.port = self._server.add_insecure_port(self._address)
        except RuntimeError as error:
            raise UserError(
                f"--grpc_port: cannot listen on {self._address}; "
                "--grpc_port=0 takes a free port"
            ) from error
        await self._server.start()

    async def stop(self, seconds: float) -> None:
        """Stops accepting calls, and waits for running ones."""
        if self._server is not None:
            await self._server.stop(seconds)


class _Services(
    prediction_service_pb2_grpc.PredictionServiceServicer,
    model_service_pb2_grpc.ModelServiceServicer,
):
    """Implements both services, with methods named as in their definitions."""

    def __init__(
        self,
        versions: ModelVersions,
        predicting: Predicting,
        limits: Limits,
        metrics: Metrics,
    ) -> None:
        self._versions = versions
        self._predicting = predicting
        self._limits = limits
        self._metrics = metrics

    async def Predict(self, request: Any, context: Any) -> Any:
        """Returns a signature's outputs, all or those of `output_filter`."""

        async def answer() -> Any:
            model, name, info = self._asked(request.model_spec)
            inputs = self._arrays(request.inputs, info)
            wanted = list(request.output_filter) or list(info.outputs)
            for output in wanted:
                if output not in info.outputs:
                    raise invalid(
                        f"output tensor alias not found in signature: {output} "
                        f"Outputs expected to be in the set "
                        f"{{{','.join(info.outputs)}}}."
                    )
            outputs = await self._run(model, name, inputs)
            found = predict_pb2.PredictResponse()
            _fill_spec(found.model_spec, model, name)
            for output in wanted:
                found.outputs[output].CopyFrom(
                    tf.make_tensor_proto(outputs[output])
                )
            return found

        return await self._answered(
            "predict", request.model_spec.name, context, answer
        )

    async def Classify(self, request: Any, context: Any) -> Any:
        """Returns each example's labels with their probabilities."""

        async def answer() -> Any:
            found = classification_pb2.ClassificationResponse()
            await self._of_examples(
                request.model_spec, request.input, "classify", found
            )
            return found

        return await self._answered(
            "classify", request.model_spec.name, context, answer
        )

    async def Regress(self, request: Any, context: Any) -> Any:
        """Returns each example's number."""

        async def answer() -> Any:
            found = regression_pb2.RegressionResponse()
            await self._of_examples(
                request.model_spec, request.input, "regress", found
            )
            return found

        return await self._answered(
            "regress", request.model_spec.name, context, answer
        )

    async def MultiInference(self, request: Any, context: Any) -> Any:
        """Runs several signatures of one model on the same examples."""

        async def answer() -> Any:
            found = inference_pb2.MultiInferenceResponse()
            names = {task.model_spec.name for task in request.tasks}
            if len(names) != 1:
                raise invalid(
                    "Inference request must have tasks, all of one model; got "
                    + (", ".join(sorted(names)) or "none")
                )
            asked = set()
            for task in request.tasks:
                spec, method = task.model_spec, task.method_name
                verb = method.removeprefix(METHODS)
                if method == verb or verb not in classify_json.NEEDED:
                    raise RequestError(
                        HTTPStatus.NOT_IMPLEMENTED,
                        f"Unsupported signature method_name: {method[:100]}",
                    )
                if spec.signature_name in asked:
                    raise invalid(
                        "Duplicate evaluation of signature: "
                        f"{spec.signature_name[:100]}"
                    )
                asked.add(spec.signature_name)
                await self._of_examples(
                    spec, request.input, verb, found.results.add()
                )
            return found

        name = request.tasks[0].model_spec.name if request.tasks else ""
        return await self._answered("multi_inference", name, context, answer)

    async def GetModelMetadata(self, request: Any, context: Any) -> Any:
        """Returns the signatures of a version."""

        async def answer() -> Any:
            if not request.metadata_field:
                raise invalid(
                    "GetModelMetadataRequest must specify at least one "
                    "metadata_field"
                )
            for field in request.metadata_field:
                if field != _SIGNATURES:
                    raise invalid(
                        f"Metadata field {field[:100]} is not supported"
                    )
            model = self._version(request.model_spec)
            found = get_model_metadata_pb2.GetModelMetadataResponse()
            _fill_spec(found.model_spec, model, "")
            signatures = get_model_metadata_pb2.SignatureDefMap()
            for name, info in model.signatures.items():
                signatures.signature_def[name].CopyFrom(_definition(info))
            found.metadata[_SIGNATURES].Pack(signatures)
            return found

        return await self._answered(
            "metadata", request.model_spec.name, context, answer
        )

    async def GetModelStatus(self, request: Any, context: Any) -> Any:
        """Returns the state of one version or of all."""

        async def answer() -> Any:
            spec = request.model_spec
            version = None
            if spec.HasField("version"):
                version = spec.version.value
            elif spec.version_label:
                version = self._versions.labelled(spec.name, spec.version_label)
            found = get_model_status_pb2.GetModelStatusResponse()
            states = get_model_status_pb2.ModelVersionStatus.State
            for state in self._versions.status(spec.name, version):
                status = found.model_version_status.add(
                    version=int(state["version"]),
                    state=states.Value(state["state"]),
                )
                if state["status"]["error_message"]:
                    status.status.error_code = grpc.StatusCode.UNKNOWN.value[0]
                    status.status.error_message = state["status"][
                        "error_message"
                    ]
            return found

        return await self._answered(
            "status", request.model_spec.name, context, answer
        )

    async def _answered(
        self,
        verb: str,
        name: str,
        context: Any,
        answer: Callable[[], Awaitable[Any]],
    ) -> Any:
        """Runs a handler, counts it, and converts errors to gRPC's status."""
        began = time.monotonic()
        model = name if name in self._versions.names else ""
        status: int = HTTPStatus.OK
        try:
            return await answer()
        except RequestError as error:
            status = error.status
            code = getattr(grpc.StatusCode, code_name(status))
            await context.abort(code, error.message)
        except asyncio.CancelledError:
            status = CLIENT_GONE
            raise
        except Exception:
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            _LOG.exception("%s by gRPC", verb)
            await context.abort(
                grpc.StatusCode.INTERNAL, "The server failed; see its log"
            )
        finally:
            seconds = time.monotonic() - began
            self._metrics.answered(model, verb, "GRPC", int(status), seconds)

    def _version(self, spec: Any) -> LoadedModel:
        version = spec.version.value if spec.HasField("version") else None
        return self._versions.get(
            spec.name, version, spec.version_label or None
        )

    def _asked(self, spec: Any) -> tuple[LoadedModel, str, SignatureInfo]:
        model = self._version(spec)
        name = spec.signature_name or DEFAULT_SIGNATURE
        return model, name, model.find_signature(name)

    async def _of_examples(
        self, spec: Any, given: Any, method: str, result: Any
    ) -> None:
        """Handles Classify or Regress.

        Args:
          spec: the model and signature.
          given: `Input`, the `tf.Example`s.
          method: "classify" or "regress".
          result: the message for the response, with a `model_spec`, and a
            `result` or a `classification_result` and a `regression_result`.
        """
        model, name, info = self._asked(spec)
        classify_json.check(info, method)
        kind = given.WhichOneof("kind")
        listed = getattr(given, kind) if kind else None
        if listed is None or not listed.examples:
            raise invalid("Input is empty")
        shared = (
            dict(listed.context.features.feature)
            if kind == "example_list_with_context"
            else {}
        )
        rows = [
            {**shared, **example.features.feature}
            for example in listed.examples
        ]
        if len(rows) > self._limits.request_rows:
            raise invalid(f"At most {self._limits.request_rows} examples")
        if info.by_examples:
            inputs = dict.fromkeys(info.inputs, _serialized(rows))
        else:
            inputs = {
                key: _feature_column(key, rows, tensor.dtype)
                for key, tensor in info.inputs.items()
            }
        outputs = await self._run(model, name, inputs)
        _fill_spec(result.model_spec, model, name)
        alone = hasattr(result, "result")
        if method == "classify":
            target = result.result if alone else result.classification_result
            for row in classify_json.classes_of(outputs):
                classes = target.classifications.add()
                for label, score in row:
                    classes.classes.add(label=label, score=score)
        else:
            target = result.result if alone else result.regression_result
            for value in classify_json.values_of(outputs):
                target.regressions.add(value=value)

    async def _run(
        self, model: LoadedModel, name: str, inputs: Arrays
    ) -> Arrays:
        # gRPC itself cancels a call whose client leaves.
        return await self._predicting.run(model, name, inputs)

    def _arrays(
        self, tensors: Mapping[str, Any], info: SignatureInfo
    ) -> Arrays:
        """Converts the request's tensors, checked against the signature."""
        if set(tensors) != set(info.inputs):
            raise invalid(
                "input tensor alias not found or missing: expected the inputs "
                f"{{{','.join(sorted(info.inputs))}}}, got "
                f"{{{','.join(sorted(tensors))[:200]}}}"
            )
        found = {}
        for name, expected in info.inputs.items():
            tensor = tensors[name]
            given = types_pb2.DataType.Name(tensor.dtype)
            if given != expected.dtype:
                raise invalid(
                    f"input '{name}': expected {expected.dtype}, got {given}"
                )
            shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
            if not expected.fits(shape) or min(shape, default=0) < 0:
                raise invalid(
                    f"input '{name}': expected the shape "
                    f"{list(expected.shape or ())}, got {list(shape)}"
                )
            if shape and shape[0] > self._limits.request_rows:
                raise invalid(
                    f"The request has {shape[0]} rows; at most "
                    f"{self._limits.request_rows} are answered at once"
                )
            # A tensor may be a single value with a large shape.
            if math.prod(shape) > self._limits.request_bytes:
                raise invalid(f"input '{name}': {shape} has too many values")
            try:
                found[name] = tf.make_ndarray(tensor)
            except (TypeError, ValueError) as error:
                raise invalid(f"input '{name}': {error}") from error
        if info.batched and len({len(x) for x in found.values()}) > 1:
            raise invalid("Input tensors must have equal 0th-dimension size")
        return found


def _feature_column(
    name: str, rows: list[dict[str, Any]], dtype: str
) -> np.ndarray:
    """Converts one feature of all examples to a signature's input."""
    is_text = dtype == "DT_STRING"
    numpy_type = (
        np.dtype(object)
        if is_text
        else tf.dtypes.as_dtype(types_pb2.DataType.Value(dtype)).as_numpy_dtype
    )
    column = np.empty(len(rows), numpy_type)
    for number, row in enumerate(rows):
        feature = row.get(name)
        kind = feature.WhichOneof("kind") if feature is not None else None
        values = getattr(feature, kind).value if kind else []
        if len(values) != 1:
            raise invalid(
                f"Example {number}: expected one value of the feature "
                f"'{name}', got {len(values)}"
            )
        if is_text != (kind == "bytes_list"):
            raise invalid(f"Example {number}: feature '{name}': got {kind}")
        column[number] = values[0]
    return column


def _serialized(rows: list[dict[str, Any]]) -> np.ndarray:
    """Serializes features as `tf.Example`s, as a signature's input."""
    found = np.empty(len(rows), object)
    found[:] = [
        tf.train.Example(
            features=tf.train.Features(feature=row)
        ).SerializeToString()
        for row in rows
    ]
    return found


def _fill_spec(spec: Any, model: LoadedModel, signature: str) -> None:
    spec.name = model.name
    spec.version.value = model.version
    spec.signature_name = signature


def _definition(info: SignatureInfo) -> message.Message:
    """Returns the `SignatureDef` of a signature."""
    found = meta_graph_pb2.SignatureDef(method_name=info.method_name)
    for source, target in (
        (info.inputs, found.inputs),
        (info.outputs, found.outputs),
    ):
        for name, tensor in source.items():
            proto = target[name]
            proto.name = tensor.name
            proto.dtype = types_pb2.DataType.Value(tensor.dtype)
            if tensor.shape is None:
                proto.tensor_shape.unknown_rank = True
                continue
            for size in tensor.shape:
                proto.tensor_shape.dim.add(size=-1 if size is None else size)
    return found
