"""Reads and writes the bodies of `:predict`, by row and by column.

JSON is converted to arrays and back as in TensorFlow Serving: a tensor is
nested lists; text that is not UTF-8 is `{"b64": "..."}`. The numbers NaN,
Infinity and -Infinity are supported. Nothing here imports TensorFlow.
"""

import base64
import binascii
import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

import numpy as np

from electra_tf.serving.server.limits import RequestError, invalid
from electra_tf.serving.server.signatures import SignatureInfo, TensorInfo

DEFAULT_SIGNATURE = "serving_default"
_NUMPY_TYPES: dict[str, np.dtype[Any]] = {
    "DT_STRING": np.dtype(object),
    "DT_FLOAT": np.dtype(np.float32),
    "DT_DOUBLE": np.dtype(np.float64),
    "DT_INT8": np.dtype(np.int8),
    "DT_INT16": np.dtype(np.int16),
    "DT_INT32": np.dtype(np.int32),
    "DT_INT64": np.dtype(np.int64),
    "DT_UINT8": np.dtype(np.uint8),
    "DT_UINT16": np.dtype(np.uint16),
    "DT_UINT32": np.dtype(np.uint32),
    "DT_UINT64": np.dtype(np.uint64),
    "DT_BOOL": np.dtype(np.bool_),
}
# Outputs with such a name have bytes, not text.
_BYTES_SUFFIX = "_bytes"
_MAX_RANK = 16
_MANY = 10_000
_BLOCK = 2048  # values that are written at a time
_SHOWN = 60


@dataclasses.dataclass(frozen=True)
class PredictRequest:
    """A parsed request.

    Attributes:
      signature: its name.
      inputs: an array for each input of the signature.
      by_row: whether the response is by row too.
    """

    signature: str
    inputs: dict[str, np.ndarray]
    by_row: bool


def parse(
    body: bytes,
    find_signature: Callable[[str], SignatureInfo],
    max_rows: int = 2**31,
) -> PredictRequest:
    """Parses a request.

    Args:
      body: JSON, `{"instances": [...]}` or `{"inputs": ...}`, with an
        optional `"signature_name"`.
      find_signature: returns the signature of a name, or raises RequestError.
      max_rows: most rows.

    Raises:
      RequestError: 400, with TensorFlow Serving's message; 413, too many rows.
    """
    return read(document(body), find_signature, max_rows)


def read(
    found: dict[str, Any],
    find_signature: Callable[[str], SignatureInfo],
    max_rows: int = 2**31,
) -> PredictRequest:
    """Interprets the JSON object of a request; see `parse`."""
    name = found.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            "JSON Value: not formatted correctly. 'signature_name' key must "
            "be a string value."
        )
    name = name or DEFAULT_SIGNATURE
    signature = find_signature(name)
    if "instances" in found and "inputs" in found:
        raise invalid(
            "JSON Value: Not formatted correctly expecting only one of "
            "'inputs' or 'instances' keys to exist "
        )
    if "instances" in found:
        check_rows(found["instances"], max_rows)
        columns = _columns(found["instances"], signature)
        return PredictRequest(name, _arrays(columns, signature), True)
    if "inputs" in found:
        columns = _named(found["inputs"], signature)
        for column in columns.values():
            check_rows(column, max_rows)
        return PredictRequest(name, _arrays(columns, signature), False)
    raise invalid("Missing 'inputs' or 'instances' key")


def check_rows(value: Any, most: int) -> None:
    """Refuses too many rows, with 413."""
    if isinstance(value, list) and len(value) > most:
        raise RequestError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"The request has {len(value)} rows; at most {most} are answered "
            "at once",
        )


def document(body: bytes) -> dict[str, Any]:
    """Parses a body as a JSON object.

    Raises:
      RequestError: 400, it is not a JSON object.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        found = json.loads(body.decode("utf-8-sig"))
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
    except ValueError as error:  # an integer of thousands of digits
        raise invalid(f"JSON Parse error: {error}") from error
    if not isinstance(found, dict):
        raise invalid(f"JSON Value: {_shown(found)} Is not object")
    return found


def _columns(instances: Any, signature: SignatureInfo) -> dict[str, list[Any]]:
    """Converts rows to one list for each input."""
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
    """Returns the value of each input, from an object or a bare value."""
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
    return isinstance(value, dict) and not _is_bytes(value)


def _keys(row: dict[str, Any]) -> str:
    return _shown(",".join(sorted(row)))


def _arrays(
    columns: dict[str, Any], signature: SignatureInfo
) -> dict[str, np.ndarray]:
    arrays = {}
    for name, value in columns.items():
        try:
            arrays[name] = _to_array(value, signature.inputs[name])
        except RequestError as error:
            raise invalid(f"input '{name}': {error}") from error
    if signature.batched:
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{k}: {n}" for k, n in sorted(lengths.items()))
            raise invalid(
                "Input tensors must have equal 0th-dimension size, but they "
                f"have {listed}"
            )
    return arrays


def answer(outputs: dict[str, np.ndarray], by_row: bool) -> bytes:
    """Makes the body for a signature's outputs.

    Args:
      outputs: an array for each output; by row, all have the same first axis.
      by_row: whether to write `{"predictions": [...]}` rather than `{"outputs":
        ...}`. With one output its name is left out in both.

    Raises:
      RequestError: 400, the outputs are not rows, but wanted by row.
    """
    values = sum(array.size for array in outputs.values())
    columns = {name: _to_json(name, array) for name, array in outputs.items()}
    if not by_row:
        one = len(columns) == 1
        found = next(iter(columns.values())) if one else columns
        return _encoded({"outputs": found}, values)
    shapes = [array.shape for array in outputs.values()]
    if not all(shapes) or len({shape[0] for shape in shapes}) > 1:
        raise invalid(
            "The outputs have inconsistent batch sizes: ask by column, with "
            "'inputs'"
        )
    if len(columns) == 1:
        return _encoded({"predictions": next(iter(columns.values()))}, values)
    rows = zip(*columns.values())
    return _encoded(
        {"predictions": [dict(zip(columns, row)) for row in rows]}, values
    )


def _encoded(document: dict[str, Any], values: int) -> bytes:
    """Serializes a document with so many values."""
    if values > _MANY:
        return "".join(_written(document)).encode("utf-8")
    return json.dumps(document, ensure_ascii=False).encode("utf-8")


def _written(value: Any) -> Iterator[str]:
    """Yields JSON in pieces, as json's writer blocks other threads."""
    if isinstance(value, dict):
        before = "{"
        for key, inner in value.items():
            yield f"{before}{json.dumps(key, ensure_ascii=False)}: "
            yield from _written(inner)
            before = ", "
        yield "}" if value else "{}"
    elif isinstance(value, list) and any(
        isinstance(inner, list | dict) and not _is_bytes(inner)
        for inner in value[:1]
    ):
        before = "["
        for inner in value:
            yield before
            yield from _written(inner)
            before = ", "
        yield "]"
    elif isinstance(value, list) and len(value) > _BLOCK:
        for start in range(0, len(value), _BLOCK):
            block = json.dumps(
                value[start : start + _BLOCK], ensure_ascii=False
            )
            yield ("[" if not start else ", ") + block[1:-1]
        yield "]"
    else:
        yield json.dumps(value, ensure_ascii=False)


def _shown(value: Any) -> str:
    """Formats a JSON value for an error message, truncated."""
    if isinstance(value, list | dict):
        kind = "list" if isinstance(value, list) else "object"
        return f"a {kind} of {len(value)}"
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _is_bytes(value: Any) -> bool:
    """Returns whether `value` is `{"b64": "..."}`."""
    return (
        isinstance(value, dict)
        and len(value) == 1
        and isinstance(value.get("b64"), str)
    )


def _to_array(value: Any, info: TensorInfo) -> np.ndarray:
    """Converts a JSON value to an array.

    Args:
      value: a number, text, boolean, `{"b64": ...}`, or lists of them.
      info: required type and shape.

    Returns:
      An array of the type's NumPy type; strings are `bytes` in an object
      array.

    Raises:
      RequestError: 400, the type or shape differs, or lists are ragged.
    """
    if info.dtype not in _NUMPY_TYPES:
        raise invalid(f"Conversion of JSON to type {info.dtype} is unknown")
    shape: list[int] = []
    inner = value
    while isinstance(inner, list):
        shape.append(len(inner))
        if len(shape) > _MAX_RANK:
            raise invalid(f"Lists are nested deeper than {_MAX_RANK}")
        if not inner:
            break
        inner = inner[0]
    if shape and shape[-1] == 0 and info.shape is not None:
        # An empty list has no inner axes: it takes the tensor's.
        missing = info.shape[len(shape) :]
        shape += [0 if size is None else size for size in missing]
    if max(shape, default=0) > _MANY and not info.fits(tuple(shape)):
        # Only the first elements are checked: checking all would take long.
        raise _wrong_shape(shape, info)
    leaves: list[Any] = []
    _collect(value, shape, 0, leaves)
    array = np.empty(len(leaves), _NUMPY_TYPES[info.dtype])
    try:
        array[:] = values(leaves, info.dtype)
    except RequestError:
        if shape:
            _name_item(leaves, info.dtype, shape[0])
        raise
    array = array.reshape(shape)
    if not info.fits(array.shape):
        raise _wrong_shape(shape, info)
    return array


def _name_item(leaves: list[Any], dtype: str, items: int) -> None:
    """Raises the error of the first bad value, with the number of its item."""
    for number, leaf in enumerate(leaves):
        try:
            values([leaf], dtype)
        except RequestError as error:
            item = number * items // len(leaves)
            raise invalid(f"{error.message} (item {item})") from error


def _wrong_shape(shape: list[int], info: TensorInfo) -> RequestError:
    expected = [-1 if size is None else size for size in info.shape or ()]
    return invalid(f"Expecting shape {expected} but got: {shape}")


def _collect(
    value: Any, shape: list[int], level: int, leaves: list[Any]
) -> None:
    """Collects the values of the innermost lists, which have equal lengths."""
    if not isinstance(value, list):
        if not shape:
            leaves.append(value)
            return
        raise invalid(
            f"JSON Value: {_shown(value)} found at incorrect level: "
            f"{level + 1} in the JSON DOM. Expected at level: {len(shape)}"
        )
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: "
            f"{level} expected size: {shape[level]}"
        )
    if level + 1 < len(shape):
        for element in value:
            _collect(element, shape, level + 1, leaves)
    elif any(isinstance(element, list) for element in value):
        raise invalid(
            f"Encountered list at unexpected level: {level + 1} expected < "
            f"{level + 1}"
        )
    else:
        leaves += value


def values(leaves: list[Any], dtype: str) -> list[Any]:
    """Checks the type of JSON values, and converts texts to bytes.

    Args:
      leaves: values that are not lists.
      dtype: TensorFlow's name for the type.

    Raises:
      RequestError: 400, a value has another type.
    """
    if dtype == "DT_STRING":
        return [_string(leaf) for leaf in leaves]
    kind = _NUMPY_TYPES[dtype].kind
    if kind == "b":
        for leaf in leaves:
            if not isinstance(leaf, bool):
                raise _wrong_type(leaf, dtype)
        return leaves
    for leaf in leaves:
        # In Python a boolean is a number; in JSON it is not.
        if isinstance(leaf, bool) or not isinstance(leaf, int | float):
            raise _wrong_type(leaf, dtype)
    if kind == "f":
        return [_decimal(leaf, dtype) for leaf in leaves]
    limits = np.iinfo(_NUMPY_TYPES[dtype])
    for leaf in leaves:
        if isinstance(leaf, float) or not limits.min <= leaf <= limits.max:
            raise _wrong_type(leaf, dtype)
    return leaves


def _string(leaf: Any) -> bytes:
    if isinstance(leaf, str):
        try:
            return leaf.encode("utf-8")
        except UnicodeEncodeError as error:
            raise invalid(
                "JSON Parse error: The surrogate pair in string is invalid"
            ) from error
    if isinstance(leaf, dict):
        if not _is_bytes(leaf):
            raise invalid(
                f"JSON Value: {_shown(leaf)} not formatted correctly for "
                "base64 data"
            )
        text = "".join(leaf["b64"].split())  # lines may be broken
        try:
            padded = text + "=" * (-len(text) % 4)
            return base64.b64decode(padded, validate=True)
        except (binascii.Error, ValueError) as error:
            raise invalid("Unable to base64 decode") from error
    raise _wrong_type(leaf, "DT_STRING")


def _decimal(leaf: int | float, dtype: str) -> float:
    """Returns a number, and refuses integers with too many digits."""
    about = np.finfo(_NUMPY_TYPES[dtype])
    if isinstance(leaf, int):
        fits = abs(leaf) < 2 ** (about.nmant + 1)
        value = float(leaf) if fits else math.inf
    else:
        value = leaf
        fits = abs(value) <= float(about.max) or not math.isfinite(value)
    if not fits:
        raise invalid(
            f"Cannot convert JSON value: {_shown(leaf)} to "
            f"{_type_name(dtype)} without loss of precision."
        )
    return value


def _wrong_type(leaf: Any, dtype: str) -> RequestError:
    kinds = {
        type(None): "Null",
        bool: "True" if leaf is True else "False",
        dict: "Object",
        list: "Array",
        str: "String",
    }
    return invalid(
        f"JSON Value: {_shown(leaf)} Type: {kinds.get(type(leaf), 'Number')} "
        f"is not of expected type: {_type_name(dtype)}"
    )


def _type_name(dtype: str) -> str:
    return dtype.removeprefix("DT_").lower()


def _to_json(name: str, array: np.ndarray) -> Any:
    """Converts an array to nested lists.

    Args:
      name: name of the output: one that ends in "_bytes" is written in base64.
      array: numbers, booleans, or `bytes` in an object array.

    Returns:
      Nested lists as deep as the array has axes, a bare value if it has
      none. Bytes that are not UTF-8 become the replacement character. A 32-bit
      number has the fewest digits that identify it.
    """
    if array.dtype == object:
        write = _base64 if name.endswith(_BYTES_SUFFIX) else _text
        leaves = np.empty(array.size, object)
        leaves[:] = [write(leaf) for leaf in array.ravel()]
        return leaves.reshape(array.shape).tolist()
    if array.dtype == np.float32:
        shortest = np.empty(array.size, np.float64)
        flat = array.ravel()
        for start in range(0, array.size, _BLOCK):
            some = slice(start, start + _BLOCK)
            # NumPy's text of a float32 is the shortest that reads back exactly.
            shortest[some] = flat[some].astype("U").astype(np.float64)
        return shortest.reshape(array.shape).tolist()
    return array.tolist()


def _text(leaf: bytes) -> str:
    return leaf.decode("utf-8", errors="replace")


def _base64(leaf: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(leaf).decode("ascii")}
