"""Writes files for TensorFlow Serving, in a version of a model and beside it.

    DIR/models.config             name and path of the model
    DIR/batching_parameters.txt   settings of batching DIR/compose.yaml the
    server in a container: docker compose up
    DIR/1/assets.extra/tf_serving_warmup_requests   run when it is loaded

Those beside it do not depend on a version, and your own changes are kept:
existing files are not overwritten.

Warm-up requests are a TFRecord file of `PredictionLog` messages
(tensorflow_serving/apis/prediction_log.proto). They are written field by
field, so that an export needs no package besides TensorFlow.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from electra_tf import files
from electra_tf.exporting.graphs import example_signatures

WARMUP_FILE = "tf_serving_warmup_requests"

# Field numbers of prediction_log.proto, predict.proto and model.proto.
_LOG_PREDICT = 6
_PREDICT_REQUEST = 1
_REQUEST_MODEL, _REQUEST_INPUTS = 1, 2
_MODEL_NAME, _MODEL_SIGNATURE = 1, 3
_ENTRY_KEY, _ENTRY_VALUE = 1, 2

# The name of a signature, and input name -> texts, or serialized examples.
Request = tuple[str, dict[str, list[Any]]]

# A release reads models of the same or an older version of TensorFlow; patch
# releases of either have separate numbers.
_IMAGE = "tensorflow/serving:" + ".".join([*tf.__version__.split(".")[:2], "0"])

_MODELS = """\
# tensorflow_model_server --model_config_file=.../models.config
model_config_list {{
  config {{
    name: "{name}"
    base_path: "/models/{name}"
    model_platform: "tensorflow"
    # Serves the newest version alone. A newer one that appears in the
    # directory takes over, and no request fails.
    model_version_policy {{ latest {{ num_versions: 1 }} }}
  }}
}}
"""

_BATCHING = """\
# tensorflow_model_server --enable_batching --batching_parameters_file=...
# A request waits at most this long for others to be run with.
max_batch_size { value: 64 }
batch_timeout_micros { value: 2000 }
# Batches that run at the same time; set it to the number of cores.
num_batch_threads { value: 2 }
# Batches that may wait; requests beyond them are refused (UNAVAILABLE).
max_enqueued_batches { value: 64 }
"""

_COMPOSE = """\
# docker compose up
# curl -d '{curl}' \\
#   http://localhost:8501/v1/models/{name}:predict
services:
  serving:
    image: {image}
    command:
      - --model_config_file=/models/{name}/models.config
      - --enable_batching
      - --batching_parameters_file=/models/{name}/batching_parameters.txt
      - --file_system_poll_wait_seconds=5
    ports:
      # This machine alone; leave the address out to serve others.
      - "127.0.0.1:8500:8500" # gRPC
      - "127.0.0.1:8501:8501" # REST
    volumes:
      - .:/models/{name}:ro
    # A SavedModel is a program: it gets what it needs and no more.
    read_only: true
    tmpfs: [/tmp]
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    mem_limit: 4g
    pids_limit: 512
    restart: unless-stopped
"""


def write(output: str, name: str, curl: str) -> list[str]:
    """Writes those of the files that do not exist.

    Args:
      output: directory of the model's versions.
      name: name of the model.
      curl: the JSON body of a request, for a comment.

    Returns:
      Names of the files that were written.
    """
    contents = {
        "models.config": _MODELS.format(name=name),
        "batching_parameters.txt": _BATCHING,
        "compose.yaml": _COMPOSE.format(
            name=name, image=_IMAGE, curl=curl.replace("'", "\\u0027")
        ),
    }
    written = []
    for file, content in contents.items():
        path = files.join(output, file)
        if not files.exists(path):
            files.write_text(path, content)
            written.append(file)
    return written


def warmup_requests(about: Mapping[str, Any]) -> list[Request]:
    """Makes warm-up requests: each signature's examples singly and together.

    Args:
      about: content of electra_tf.json.
    """
    found: list[Request] = []
    rows = about["examples"]
    for name, signature in about["signatures"].items():
        if name in example_signatures.METHODS:
            examples = [example_signatures.serialized(row) for row in rows]
            for batch in (*([one] for one in examples), examples):
                found.append((name, {example_signatures.INPUT: batch}))
            continue
        columns = list(signature["inputs"])
        batches = [*([row] for row in rows), rows]
        if not any(column in rows[0] for column in columns):
            # Further inputs, such as `text` of a model for questions: any text.
            batches = [
                [dict.fromkeys(columns, text) for text in row.values()]
                for row in rows
            ]
        for batch in batches:
            # Inputs that an example lacks may be empty, such as a label to
            # explain.
            inputs = {c: [row.get(c, "") for row in batch] for c in columns}
            found.append((name, inputs))
    return found


def write_warmup(path: str, messages: Iterable[bytes]) -> None:
    """Writes the messages as a file of TFRecords."""
    with (
        files.named_errors(path, "write"),
        tf.io.TFRecordWriter(path) as writer,
    ):
        for message in messages:
            writer.write(message)


def warmup_message(
    model: str, signature: str, inputs: Mapping[str, Sequence[str | bytes]]
) -> bytes:
    """Serializes a `PredictionLog` of a `PredictRequest`.

    Args:
      model: name of the model.
      signature: name of the signature.
      inputs: input name -> texts.
    """
    spec = _field(_MODEL_NAME, model.encode()) + _field(
        _MODEL_SIGNATURE, signature.encode()
    )
    request = _field(_REQUEST_MODEL, spec)
    for name, texts in inputs.items():
        tensor = tf.make_tensor_proto(
            list(map(tf.compat.as_bytes, texts)), tf.string, [len(texts)]
        )
        entry = _field(_ENTRY_KEY, name.encode()) + _field(
            _ENTRY_VALUE, tensor.SerializeToString()
        )
        request += _field(_REQUEST_INPUTS, entry)
    return _field(_LOG_PREDICT, _field(_PREDICT_REQUEST, request))


def _field(number: int, content: bytes) -> bytes:
    """Encodes a field of bytes: key (wire type 2), length, content."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Encodes a number as varint."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
