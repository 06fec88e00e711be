"""Reads settings of single models, and TensorFlow Serving's batching file.

    DIR/serve.yaml                 batch_rows, max_text_bytes, ... of one model
    DIR/N/batching_params.pbtxt    TensorFlow Serving's, of one version
    --batching_parameters_file     TensorFlow Serving's, of all models

Both files of a model are read when a version of it is loaded.
"""

import dataclasses
import functools
import logging
import posixpath
from typing import Annotated, Any

from electra_tf import config, files
from electra_tf.config import Setting, Settings
from electra_tf.errors import UserError
from electra_tf.serving.server.limits import ModelSettings

_LOG = logging.getLogger("electra_tf.serving")
SETTINGS_FILE = "serve.yaml"
BATCHING_FILE = "batching_params.pbtxt"

# Keys of TensorFlow Serving without a counterpart here.
_UNHEEDED = {
    "allowed_batch_sizes": "calls of any number of rows are as fast",
    "pad_variable_length_inputs": "rows are padded within the model",
    "thread_pool_name": "threads have names of their own",
    "enable_large_batch_splitting": "large requests are always divided",
    "max_execution_batch_size": "max_batch_size is the most in one call",
}
# A wrapped number or text, a list of numbers, or a boolean.
_INT, _TEXT, _INTS, _BOOL = "int", "text", "ints", "bool"
_WRAPPERS = {_INT: "Int64Value", _TEXT: "StringValue"}
# session_bundle_config.proto, BatchingParameters: name -> number, kind.
_FIELDS = {
    "max_batch_size": (1, _INT),
    "batch_timeout_micros": (2, _INT),
    "max_enqueued_batches": (3, _INT),
    "num_batch_threads": (4, _INT),
    "thread_pool_name": (5, _TEXT),
    "allowed_batch_sizes": (6, _INTS),
    "pad_variable_length_inputs": (7, _BOOL),
    "enable_large_batch_splitting": (8, _BOOL),
    "max_execution_batch_size": (9, _INT),
}


@dataclasses.dataclass(frozen=True)
class _File(Settings):
    """The keys of `serve.yaml`, named as the flags of `electra-tf serve`."""

    batch_rows: Annotated[
        int | None, Setting("The most rows in one call.", at_least=1)
    ] = None
    batch_wait_ms: Annotated[
        float | None,
        Setting("How long a row may wait for others.", at_least=0),
    ] = None
    parallel_calls: Annotated[
        int | None, Setting("Calls at the same time.", at_least=1)
    ] = None
    max_pending_rows: Annotated[
        int | None, Setting("Rows that may wait.", at_least=1)
    ] = None
    max_text_bytes: Annotated[
        int | None, Setting("The longest text of a row.", at_least=1)
    ] = None
    answer_timeout: Annotated[
        float | None,
        Setting("Seconds for an answer.", at_least=0.001, infinite=True),
    ] = None


def of_version(directory: str) -> ModelSettings:
    """Reads the settings beside a version.

    Args:
      directory: directory of the version, `DIR/N`.

    Raises:
      UserError: a file cannot be read; file and key are named.
    """
    found = ModelSettings()
    path = files.join(directory, BATCHING_FILE)
    if files.exists(path):
        found = read_batching(path)
    path = path_of(directory)
    if not files.exists(path):
        return found
    read = config.resolve(_File, path)
    own = ModelSettings(
        rows=read.batch_rows,
        wait_seconds=None
        if read.batch_wait_ms is None
        else read.batch_wait_ms / 1000,
        parallel=read.parallel_calls,
        pending_rows=read.max_pending_rows,
        text_bytes=read.max_text_bytes,
        answer_seconds=read.answer_timeout,
    )
    given = {k: v for k, v in vars(own).items() if v is not None}
    return dataclasses.replace(found, **given)


def path_of(directory: str) -> str:
    """Returns the path of `serve.yaml` for a version, `DIR/N`."""
    return files.join(posixpath.dirname(directory.rstrip("/")), SETTINGS_FILE)


def read_batching(path: str) -> ModelSettings:
    """Reads TensorFlow Serving's `BatchingParameters` in text form.

    Keys without meaning here are logged, once for each file.

    Raises:
      UserError: the file is missing or has another form, or a number is out of
        bounds.
    """
    from google.protobuf import text_format

    found = _message()()
    try:
        text_format.Parse(files.read_text(path), found)
    except text_format.ParseError as error:
        raise UserError(f"{path}:{error}") from error
    values: dict[str, int] = {}
    for name, (_, kind) in _FIELDS.items():
        if kind != _INT or not found.HasField(name):
            continue
        value = getattr(found, name).value
        least = 0 if name == "batch_timeout_micros" else 1
        if value < least:
            raise UserError(
                f"{path}: {name}: expected at least {least}, got {value}"
            )
        values[name] = value
    _check_sizes(path, list(found.allowed_batch_sizes), values)
    present = {field.name for field, _ in found.ListFields()}
    for name, why in _UNHEEDED.items():
        if name in present:
            _LOG.info("%s: %s is ignored: %s", path, name, why)
    rows = values.get("max_batch_size")
    batches = values.get("max_enqueued_batches")
    if batches and not rows:
        raise UserError(
            f"{path}: max_enqueued_batches needs max_batch_size beside it: "
            "rows that wait are counted here"
        )
    micros = values.get("batch_timeout_micros")
    return ModelSettings(
        rows=rows,
        wait_seconds=None if micros is None else micros / 1e6,
        parallel=values.get("num_batch_threads"),
        pending_rows=rows * batches if rows and batches else None,
    )


def _check_sizes(path: str, sizes: list[int], values: dict[str, int]) -> None:
    """Refuses sizes with which TensorFlow Serving would not start either."""
    most = values.get("max_batch_size", sizes[-1] if sizes else 0)
    if sizes and (sizes != sorted(set(sizes)) or sizes[-1] != most):
        raise UserError(
            f"{path}: allowed_batch_sizes: expected rising numbers up to "
            f"max_batch_size, {most}; got {', '.join(map(str, sizes))}"
        )


@functools.cache
def _message() -> Any:
    """Builds the class of `BatchingParameters`, which no package on PyPI
    has.
    """
    from google.protobuf import (
        descriptor_pb2,
        descriptor_pool,
        message_factory,
        wrappers_pb2,
    )

    file = descriptor_pb2.FileDescriptorProto(
        name="electra_tf/batching_parameters.proto",
        package="electra_tf",
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    message = file.message_type.add(name="BatchingParameters")
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, (number, kind) in _FIELDS.items():
        field = message.field.add(
            name=name, number=number, label=kinds.LABEL_OPTIONAL
        )
        if kind in _WRAPPERS:
            field.type = kinds.TYPE_MESSAGE
            field.type_name = f".google.protobuf.{_WRAPPERS[kind]}"
        elif kind == _INTS:
            field.type = kinds.TYPE_INT64
            field.label = kinds.LABEL_REPEATED
        else:
            field.type = kinds.TYPE_BOOL
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(
        pool.FindMessageTypeByName("electra_tf.BatchingParameters")
    )
