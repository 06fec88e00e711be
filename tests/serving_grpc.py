"""TensorFlow Serving's gRPC interface for one SavedModel, for tests."""

import grpc
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

_NAME, _VERSION = "toy", 2


def add_to(server, directory) -> None:
    """Adds the two services to a gRPC server."""
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((directory / "saved_model.pb").read_bytes())
    definitions = {
        name: definition
        for name, definition in saved.meta_graphs[0].signature_def.items()
        if not name.startswith("__")
    }
    loaded = tf.saved_model.load(str(directory))

    def check(request, context):
        if request.model_spec.name != _NAME:
            context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found")

    class Predictions(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):
            check(request, context)
            function = loaded.signatures[request.model_spec.signature_name]
            outputs = function(
                **{
                    name: tf.constant(
                        tf.make_ndarray(tensor), tf.as_dtype(tensor.dtype)
                    )
                    for name, tensor in request.inputs.items()
                }
            )
            answer = predict_pb2.PredictResponse()
            for name, value in outputs.items():
                answer.outputs[name].CopyFrom(
                    tf.make_tensor_proto(value.numpy(), value.dtype)
                )
            return answer

        def GetModelMetadata(self, request, context):
            check(request, context)
            found = get_model_metadata_pb2.SignatureDefMap()
            for name, definition in definitions.items():
                found.signature_def[name].CopyFrom(definition)
            answer = get_model_metadata_pb2.GetModelMetadataResponse()
            answer.metadata["signature_def"].Pack(found)
            return answer

    class Models(model_service_pb2_grpc.ModelServiceServicer):
        def GetModelStatus(self, request, context):
            check(request, context)
            answer = get_model_status_pb2.GetModelStatusResponse()
            answer.model_version_status.add(version=_VERSION, state=30)
            return answer

    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        Predictions(), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(Models(), server)
