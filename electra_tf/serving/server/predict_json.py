"""The bodies of `:predict`: requests and answers, by row and by column."""

import dataclasses
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import numpy as np

from electra_tf.serving.server import json_tensors
from electra_tf.serving.server.request_error import RequestError, invalid
from electra_tf.serving.server.signature_info import SignatureInfo

DEFAULT_SIGNATURE = "serving_default"


@dataclasses.dataclass(frozen=True)
class PredictRequest:
    """What a client asked.

    Attributes:
      signature: its name.
      inputs: an array for each input of the signature.
      by_row: whether the answer is wanted row by row too.
    """

    signature: str
    inputs: dict[str, np.ndarray]
    by_row: bool


def parse(
    body: bytes,
    find_signature: Callable[[str], SignatureInfo],
    max_rows: int = 2**31,
) -> PredictRequest:
    """Reads a request.

    Args:
      body: JSON, `{"instances": [...]}` or `{"inputs": ...}`, with an
        optional `"signature_name"`.
      find_signature: the signature of a name, or RequestError.
      max_rows: more are not looked at.

    Raises:
      RequestError: 400, with TensorFlow Serving's words for it; 413, too many
        rows.
    """
    document = _document(body)
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            "JSON Value: not formatted correctly. 'signature_name' key must "
            "be a string value."
        )
    name = name or DEFAULT_SIGNATURE
    signature = find_signature(name)
    if "instances" in document and "inputs" in document:
        raise invalid(
            "JSON Value: Not formatted correctly expecting only one of "
            "'inputs' or 'instances' keys to exist "
        )
    if "instances" in document:
        _check_rows(document["instances"], max_rows)
        columns = _columns(document["instances"], signature)
        return PredictRequest(name, _arrays(columns, signature), True)
    if "inputs" in document:
        columns = _named(document["inputs"], signature)
        for column in columns.values():
            _check_rows(column, max_rows)
        return PredictRequest(name, _arrays(columns, signature), False)
    raise invalid("Missing 'inputs' or 'instances' key")


def _check_rows(value: Any, most: int) -> None:
    if isinstance(value, list) and len(value) > most:
        raise RequestError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"The request has {len(value)} rows; at most {most} are answered "
            "at once",
        )


def _document(body: bytes) -> dict[str, Any]:
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        document = json.loads(body.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise invalid(
            f"JSON Parse error: byte {error.start} is not UTF-8; send other "
            'bytes as {"b64": ...}'
        ) from error
    except json.JSONDecodeError as error:
        raise invalid(
            f"JSON Parse error: {error.msg} at offset: {error.pos}"
        ) from error
    except RecursionError as error:
        raise invalid("JSON Parse error: nested too deeply") from error
    except ValueError as error:  # a whole number of thousands of digits
        raise invalid(f"JSON Parse error: {error}") from error
    if not isinstance(document, dict):
        raise invalid(
            f"JSON Value: {json_tensors.shown(document)} Is not object"
        )
    return document


def _columns(instances: Any, signature: SignatureInfo) -> dict[str, list[Any]]:
    """Rows to one list for each input."""
    if not isinstance(instances, list):
        raise invalid("Expecting 'instances' to be an list/array")
    if not instances:
        raise invalid("No values in 'instances' array")
    names = list(signature.inputs)
    named = _is_named(instances[0])
    if not named and len(names) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as "
            "multiple input tensors required as per tensorinfo_map: "
            + ",".join(sorted(names))
        )
    for index, row in enumerate(instances):
        if _is_named(row) != named:
            expected, got = ("object", "value/list")[:: 1 if named else -1]
            raise invalid(
                f"Expecting {expected} but got {got} at item {index} of "
                "input list"
            )
        if named and row.keys() != signature.inputs.keys():
            raise invalid(
                f"Failed to process element: {index} of 'instances' list. "
                f"JSON object: has the keys {_keys(row)}; keys must be equal "
                f"to: {','.join(sorted(names))}"
            )
    if not named:
        return {names[0]: instances}
    return {name: [row[name] for row in instances] for name in names}


def _named(inputs: Any, signature: SignatureInfo) -> dict[str, Any]:
    """The value of each input, from an object or from a bare value."""
    if not _is_named(inputs):
        if len(signature.inputs) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as "
                "multiple input tensors required as per tensorinfo_map: "
                + ",".join(sorted(signature.inputs))
            )
        return {next(iter(signature.inputs)): inputs}
    for name in signature.inputs:
        if name not in inputs:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    return {name: inputs[name] for name in signature.inputs}


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not json_tensors.is_bytes(value)


def _keys(row: dict[str, Any]) -> str:
    return json_tensors.shown(",".join(sorted(row)))


def _arrays(
    columns: dict[str, Any], signature: SignatureInfo
) -> dict[str, np.ndarray]:
    arrays = {}
    for name, value in columns.items():
        try:
            arrays[name] = json_tensors.to_array(value, signature.inputs[name])
        except RequestError as error:
            raise invalid(f"input '{name}': {error}") from error
    if signature.batched:
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{k}: {n}" for k, n in sorted(lengths.items()))
            raise invalid(
                "Input tensors must have equal 0th-dimension size, but they "
                f"have {told}"
            )
    return arrays


def answer(outputs: dict[str, np.ndarray], by_row: bool) -> bytes:
    """The body for a signature's outputs.

    Args:
      outputs: an array for each output; by row all have the same first axis.
      by_row: `{"predictions": [...]}`, else `{"outputs": ...}`. With one
        output its name is left out in both.

    Raises:
      RequestError: 400, asked by row for outputs that are no rows.
    """
    columns = {
        name: json_tensors.to_json(name, array)
        for name, array in outputs.items()
    }
    if not by_row:
        one = len(columns) == 1
        found = next(iter(columns.values())) if one else columns
        return _encoded({"outputs": found})
    shapes = [array.shape for array in outputs.values()]
    if not all(shapes) or len({shape[0] for shape in shapes}) > 1:
        raise invalid(
            "The outputs have inconsistent batch sizes: ask by column, with "
            "'inputs'"
        )
    if len(columns) == 1:
        return _encoded({"predictions": next(iter(columns.values()))})
    rows = zip(*columns.values())
    return _encoded({"predictions": [dict(zip(columns, row)) for row in rows]})


def _encoded(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode("utf-8")
