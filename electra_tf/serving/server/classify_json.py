"""The bodies of `:classify` and `:regress`: TensorFlow Serving's examples.

A request is `{"examples": [{"text": "..."}, ...]}`, each example a feature for
each input of the signature, with an optional `"context"` of features that all
of them share. TensorFlow Serving itself asks for a signature that reads
`tf.Example`s; here any signature with an input for each feature will do, and
its outputs `labels` and `probabilities`, or `score`, are the answer.
"""

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from electra_tf.serving.server import predict_json
from electra_tf.serving.server.limits import invalid
from electra_tf.serving.server.predict_json import PredictRequest
from electra_tf.serving.server.signatures import Arrays, SignatureInfo

# What the outputs are called in which classes and numbers are looked for.
LABELS, PROBABILITIES, SCORE = "labels", "probabilities", "score"


# Method -> the outputs that it needs.
NEEDED = {"classify": {LABELS, PROBABILITIES}, "regress": {SCORE}}
_KINDS = {"classify": "classification", "regress": "regression"}


def check(info: SignatureInfo, method: str) -> None:
    """Refuses a signature without classes, or without a number.

    Args:
      info: of the signature.
      method: "classify" or "regress".

    Raises:
      RequestError: 400, in TensorFlow Serving's words for it.
    """
    needed = NEEDED[method]
    if not needed <= set(info.outputs):
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
    """Reads a request; arguments and errors as `predict_json.parse`'s."""
    document = predict_json.document(body)
    name = document.get("signature_name", "") or predict_json.DEFAULT_SIGNATURE
    if isinstance(name, str):  # what is none is refused by `read`
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
    instances = []
    for number, example in enumerate(examples):
        if not isinstance(example, dict):
            raise invalid(f"Example {number} must be an object of features")
        features = {**context, **example}
        # A feature is a list of values; ours have one.
        instances.append({k: _single(v) for k, v in features.items()})
    request: dict[str, Any] = {"instances": instances}
    if "signature_name" in document:
        request["signature_name"] = document["signature_name"]
    return predict_json.read(request, find_signature, max_rows)


def _single(value: Any) -> Any:
    if isinstance(value, list) and len(value) == 1:
        return value[0]
    return value


def classes_of(outputs: Arrays) -> list[list[tuple[str, float]]]:
    """Each row's labels with their probabilities, in the model's order.

    Args:
      outputs: `labels`, [rows, classes] or [classes], and `probabilities`,
        [rows, classes].

    Raises:
      RequestError: 400, they are of another shape.
    """
    labels, scores = outputs[LABELS], outputs[PROBABILITIES]
    if scores.ndim != 2:
        raise invalid("Expected one row of probabilities for each example")
    names = np.broadcast_to(labels, scores.shape)
    return [
        [(_text(name), score) for name, score in zip(*row)]
        for row in zip(names, _shortest(scores))
    ]


def values_of(outputs: Arrays) -> list[float]:
    """Each row's number.

    Args:
      outputs: `score`, [rows] or [rows, 1].

    Raises:
      RequestError: 400, it is of another shape.
    """
    scores = outputs[SCORE]
    if scores.ndim < 1 or scores.size != len(scores):
        raise invalid("Expected one number for each example")
    return _shortest(scores.ravel())


def classifications(outputs: Arrays, by_row: bool = True) -> bytes:
    """The body of an answer to `:classify`."""
    return _encoded(classes_of(outputs))


def regressions(outputs: Arrays, by_row: bool = True) -> bytes:
    """The body of an answer to `:regress`."""
    return _encoded(values_of(outputs))


def _encoded(results: list[Any]) -> bytes:
    # TensorFlow Serving's documents say "result"; its servers answer this.
    return json.dumps({"results": results}, ensure_ascii=False).encode("utf-8")


def _shortest(scores: np.ndarray) -> list[Any]:
    """Numbers with as few digits as tell them from their neighbours."""
    return scores.astype("U").astype(np.float64).tolist()


def _text(value: Any) -> str:
    return value.decode("utf-8", errors="replace")
