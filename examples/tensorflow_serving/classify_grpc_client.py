"""Asks a classifier or regressor by gRPC, with Classify or Regress.

  pip install tensorflow-serving-api
  python classify_grpc_client.py 127.0.0.1:8500 MODEL "a text" [...]

TensorFlow Serving asks by these methods the signatures that are made for them
(`classification` and `regression` of an export). This uses what it documents,
and so asks `electra-tf serve --grpc_port=8500` and `tensorflow_model_server`
alike. A line of JSON is printed for each text: its labels with their
probabilities, or its number.
"""

import json
import sys

import grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)


def main(server: str, model: str, *texts: str) -> None:
    """Prints what the model says of each text."""
    stub = prediction_service_pb2_grpc.PredictionServiceStub(
        grpc.insecure_channel(server)
    )
    metadata = get_model_metadata_pb2.GetModelMetadataRequest()
    metadata.model_spec.name = model
    metadata.metadata_field.append("signature_def")
    told = stub.GetModelMetadata(metadata, timeout=60).metadata
    signatures = get_model_metadata_pb2.SignatureDefMap()
    told["signature_def"].Unpack(signatures)

    classes = "classification" in signatures.signature_def
    request = (
        classification_pb2.ClassificationRequest()
        if classes
        else regression_pb2.RegressionRequest()
    )
    request.model_spec.name = model
    request.model_spec.signature_name = (
        "classification" if classes else "regression"
    )
    for text in texts:
        example = request.input.example_list.examples.add()
        values = example.features.feature["text"].bytes_list.value
        values.append(text.encode())
    if classes:
        rows = stub.Classify(request, timeout=60).result.classifications
        found = [[[c.label, c.score] for c in row.classes] for row in rows]
    else:
        rows = stub.Regress(request, timeout=60).result.regressions
        found = [row.value for row in rows]
    for result in found:
        print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
