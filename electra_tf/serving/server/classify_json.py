"""Reads and writes the bodies of `:classify` and `:regress`.

A request is `{"examples": [{"text": "..."}, ...]}`, where each example has a
feature for each input of the signature, with an optional `"context"` of
features that all share. TensorFlow Serving itself needs a signature that reads
serialized `tf.Example`s, with the outputs `classes` and `scores`, or `outputs`.
Here a signature with an input for each feature also works, and its outputs
`labels` and `probabilities`, or `score`, are the response.
"""

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from electra_tf.serving.server import predict_json
from electra_tf.serving.server.limits import RequestError, invalid
from electra_tf.serving.server.predict_json import PredictRequest
from electra_tf.serving.server.signatures import (
    METHODS,
    Arrays,
    SignatureInfo,
)

# Method -> required outputs: of signatures with an input for each feature, and
# of those that read examples.
NEEDED: dict[str, tuple[str, ...]] = {
    "classify": ("labels", "probabilities"), "regress": ("score",),
}  # fmt: skip
_OF_EXAMPLES: dict[str, tuple[str, ...]] = {
    "classify": ("classes", "scores"), "regress": ("outputs",),
}  # fmt: skip
_KINDS = {"classify": "classification", "regress": "regression"}


def check(info: SignatureInfo, method: str) -> None:
    """Refuses a signature without classes, or without a number.

    Args:
      info: description of the signature.
      method: "classify" or "regress".

    Raises:
      RequestError: 400, with TensorFlow Serving's message.
    """
    needed = NEEDED[method]
    if info.method_name == METHODS + method:
        needed = _OF_EXAMPLES[method]
    if not set(needed) <= set(info.outputs):
        raise invalid(
            f"Expected {_KINDS[method]} signature method_name to be "
            f"tensorflow/serving/{method}. Was: {info.method_name}; or its "
            f"outputs to be {', '.join(sorted(needed))}"
        )


def parse(
    body: bytes,
    find_signature: Callable[[str], SignatureInfo],
    max_rows: int = 2**31,
    method: str = "classify",
) -> PredictRequest:
    """Parses a request; see `predict_json.parse`."""
    document = predict_json.document(body)
    name = document.get("signature_name", "") or predict_json.DEFAULT_SIGNATURE
    if isinstance(name, str):  # other values are refused by `read`
        check(find_signature(name), method)
    examples = document.get("examples")
    if not isinstance(examples, list) or not examples:
        raise invalid(
            "When method is classify/regress, 'examples' key must be there and "
            "be a non-empty list"
        )
    context = document.get("context", {})
    if not isinstance(context, dict):
        raise invalid("'context' key must be an object")
    rows = []
    for number, example in enumerate(examples):
        if not isinstance(example, dict):
            raise invalid(f"Example {number} must be an object of features")
        rows.append({**context, **example})
    if isinstance(name, str) and (info := find_signature(name)).by_examples:
        predict_json.check_rows(rows, max_rows)
        column = np.empty(len(rows), object)
        column[:] = [
            _serialized(row, number) for number, row in enumerate(rows)
        ]
        return PredictRequest(name, dict.fromkeys(info.inputs, column), True)
    # A feature is a list of values; ours have one.
    instances = [{k: _single(v) for k, v in row.items()} for row in rows]
    request: dict[str, Any] = {"instances": instances}
    if "signature_name" in document:
        request["signature_name"] = document["signature_name"]
    return predict_json.read(request, find_signature, max_rows)


def _serialized(features: dict[str, Any], number: int) -> bytes:
    """Serializes a row as a `tf.Example`, with types by values."""
    import tensorflow as tf  # a model is loaded, and so is this

    found = tf.train.Example()
    for name, value in features.items():
        leaves = value if isinstance(value, list) else [value]
        kinds = {type(leaf) for leaf in leaves}
        try:
            predict_json.values([name], "DT_STRING")  # refuses lone surrogates
            feature = found.features.feature[name]
            if kinds & {str, dict}:
                given = predict_json.values(leaves, "DT_STRING")
                feature.bytes_list.value.extend(given)
            elif kinds == {int}:
                given = predict_json.values(leaves, "DT_INT64")
                feature.int64_list.value.extend(given)
            else:
                given = predict_json.values(leaves, "DT_FLOAT")
                feature.float_list.value.extend(given)
        except RequestError as error:
            raise invalid(
                f"Example {number}, feature '{name[:100]}': {error.message}"
            ) from error
    return found.SerializeToString()


def _single(value: Any) -> Any:
    if isinstance(value, list) and len(value) == 1:
        return value[0]
    return value


def classes_of(outputs: Arrays) -> list[list[tuple[str, float]]]:
    """Returns each row's labels with probabilities, in the model's order.

    Args:
      outputs: `labels` or `classes`, [rows, classes] or [classes], and
        `probabilities` or `scores`, [rows, classes].

    Raises:
      RequestError: 400, they have another shape.
    """
    labels, scores = _found(outputs, "classify")
    if scores.ndim != 2:
        raise invalid("Expected one row of probabilities for each example")
    names = np.broadcast_to(labels, scores.shape)
    return [
        [(_text(name), score) for name, score in zip(*row)]
        for row in zip(names, _shortest(scores))
    ]


def values_of(outputs: Arrays) -> list[float]:
    """Returns each row's number.

    Args:
      outputs: `score` or `outputs`, [rows] or [rows, 1].

    Raises:
      RequestError: 400, it has another shape.
    """
    (scores,) = _found(outputs, "regress")
    if scores.ndim < 1 or scores.size != len(scores):
        raise invalid("Expected one number for each example")
    return _shortest(scores.ravel())


def _found(outputs: Arrays, method: str) -> list[np.ndarray]:
    names = NEEDED[method]
    if not set(names) <= set(outputs):
        names = _OF_EXAMPLES[method]
    return [outputs[name] for name in names]


def classifications(outputs: Arrays, by_row: bool = True) -> bytes:
    """Makes the body of a response to `:classify`."""
    return _encoded(classes_of(outputs))


def regressions(outputs: Arrays, by_row: bool = True) -> bytes:
    """Makes the body of a response to `:regress`."""
    return _encoded(values_of(outputs))


def _encoded(results: list[Any]) -> bytes:
    # TensorFlow Serving's documentation says "result"; its servers send this.
    return json.dumps({"results": results}, ensure_ascii=False).encode("utf-8")


def _shortest(scores: np.ndarray) -> list[Any]:
    """Rounds numbers to the fewest digits that identify them."""
    return scores.astype("U").astype(np.float64).tolist()


def _text(value: Any) -> str:
    return value.decode("utf-8", errors="replace")
