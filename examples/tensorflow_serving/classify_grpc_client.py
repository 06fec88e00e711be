"""Asks a classifier, regressor or ranker by gRPC: Classify or Regress.

  pip install tensorflow-serving-api
  python classify_grpc_client.py 127.0.0.1:8500 MODEL "a text" [...]
  python classify_grpc_client.py 127.0.0.1:8500 MODEL \\
      '{"query": "a question", "passage": "a text"}' [...]

TensorFlow Serving asks by these methods the signatures that are made for them
(`classification` and `regression` of an export). This uses what it documents,
and so asks `electra-tf serve --grpc_port=8500` and `tensorflow_model_server`
alike. A model of two texts takes an object for each row, by the names of its
texts. A line of JSON is printed for each row: its labels with their
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

REQUESTS = {
    "classification": classification_pb2.ClassificationRequest,
    "regression": regression_pb2.RegressionRequest,
}


def row_of(word: str) -> dict[str, str]:
    """Returns an object of texts; any other word is a text alone."""
    try:
        found = json.loads(word)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"text": word}


def main(server: str, model: str, *rows: str) -> None:
    """Prints what the model says of each row."""
    stub = prediction_service_pb2_grpc.PredictionServiceStub(
        grpc.insecure_channel(server)
    )
    metadata = get_model_metadata_pb2.GetModelMetadataRequest()
    metadata.model_spec.name = model
    metadata.metadata_field.append("signature_def")
    told = stub.GetModelMetadata(metadata, timeout=60).metadata
    signatures = get_model_metadata_pb2.SignatureDefMap()
    told["signature_def"].Unpack(signatures)
    there = signatures.signature_def

    signature = next((name for name in REQUESTS if name in there), None)
    if signature is None:
        sys.exit(f"{model} has neither of {', '.join(REQUESTS)}: {list(there)}")
    request = REQUESTS[signature]()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    for row in map(row_of, rows):
        example = request.input.example_list.examples.add()
        for name, text in row.items():
            values = example.features.feature[name].bytes_list.value
            values.append(text.encode())
    if signature == "classification":
        answer = stub.Classify(request, timeout=60).result.classifications
        found = [[[c.label, c.score] for c in row.classes] for row in answer]
    else:
        answer = stub.Regress(request, timeout=60).result.regressions
        found = [row.value for row in answer]
    for result in found:
        print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
