"""Requests that TensorFlow Serving runs when it loads a version.

`assets.extra/tf_serving_warmup_requests` is a TFRecord file of `PredictionLog`
messages (tensorflow_serving/apis/prediction_log.proto). They are written field
by field, so that an export needs no package beside TensorFlow.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from electra_tf import files

FILE = "tf_serving_warmup_requests"

# Numbers of fields in prediction_log.proto, predict.proto and model.proto.
_LOG_PREDICT = 6
_PREDICT_REQUEST = 1
_REQUEST_MODEL, _REQUEST_INPUTS = 1, 2
_MODEL_NAME, _MODEL_SIGNATURE = 1, 3
_ENTRY_KEY, _ENTRY_VALUE = 1, 2


# The name of a signature, and input name -> texts.
Request = tuple[str, dict[str, list[str]]]


def requests(about: Mapping[str, Any]) -> list[Request]:
    """For all signatures the examples, one by one and then together.

    Args:
      about: the content of electra_tf.json.
    """
    found: list[Request] = []
    rows = about["examples"]
    for name, signature in about["signatures"].items():
        columns = list(signature["inputs"])
        batches = [*([row] for row in rows), rows]
        if not all(column in rows[0] for column in columns):
            # Such as `text` of a model that is asked questions: any text.
            batches = [
                [dict.fromkeys(columns, text) for text in row.values()]
                for row in rows
            ]
        for batch in batches:
            inputs = {c: [row[c] for row in batch] for c in columns}
            found.append((name, inputs))
    return found


def write(path: str, messages: Iterable[bytes]) -> None:
    """Writes the messages as a file of TFRecords."""
    with (
        files.named_errors(path, "write"),
        tf.io.TFRecordWriter(path) as writer,
    ):
        for message in messages:
            writer.write(message)


def message(
    model: str, signature: str, inputs: Mapping[str, Sequence[str]]
) -> bytes:
    """A `PredictionLog` of a `PredictRequest`.

    Args:
      model: its name.
      signature: the name.
      inputs: input name -> texts.
    """
    spec = _field(_MODEL_NAME, model.encode()) + _field(
        _MODEL_SIGNATURE, signature.encode()
    )
    request = _field(_REQUEST_MODEL, spec)
    for name, texts in inputs.items():
        tensor = tf.make_tensor_proto(
            [text.encode() for text in texts], tf.string, [len(texts)]
        )
        entry = _field(_ENTRY_KEY, name.encode()) + _field(
            _ENTRY_VALUE, tensor.SerializeToString()
        )
        request += _field(_REQUEST_INPUTS, entry)
    return _field(_LOG_PREDICT, _field(_PREDICT_REQUEST, request))


def _field(number: int, content: bytes) -> bytes:
    """A field of bytes: its key (wire type 2), its length, itself."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first, the top bit where more follow."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
