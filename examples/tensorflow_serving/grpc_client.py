"""Asks a text classifier by gRPC, with tensorflow-serving-api alone.

  pip install tensorflow-serving-api
  python grpc_client.py 127.0.0.1:8500 MODEL "a text" ["another" ...]

It uses what TensorFlow Serving documents of its gRPC interface and nothing
else, so that it asks `electra-tf serve --grpc_port=8500` and
`tensorflow_model_server` alike. One line of JSON is printed: the state of the
model's versions, the names of its signatures, and its outputs.
"""

import json
import sys

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)


def main(server: str, model: str, *texts: str) -> None:
    """Prints what the server says of the model, and of the texts."""
    channel = grpc.insecure_channel(server)
    models = model_service_pb2_grpc.ModelServiceStub(channel)
    predictions = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = model
    states = models.GetModelStatus(status, timeout=60).model_version_status

    metadata = get_model_metadata_pb2.GetModelMetadataRequest()
    metadata.model_spec.name = model
    metadata.metadata_field.append("signature_def")
    told = predictions.GetModelMetadata(metadata, timeout=60)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    told.metadata["signature_def"].Unpack(signatures)

    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = "serving_default"
    request.inputs["text"].CopyFrom(
        tf.make_tensor_proto(list(texts), dtype=tf.string)
    )
    answer = predictions.Predict(request, timeout=60)
    outputs = {
        name: tf.make_ndarray(tensor).tolist()
        for name, tensor in answer.outputs.items()
    }
    kind = get_model_status_pb2.ModelVersionStatus.State
    print(
        json.dumps(
            {
                "states": [kind.Name(each.state) for each in states],
                "version": answer.model_spec.version.value,
                "signatures": sorted(signatures.signature_def),
                "outputs": outputs,
            },
            default=lambda value: value.decode("utf-8", "replace"),
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
