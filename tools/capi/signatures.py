"""Reads the signatures of a SavedModel from its MetaGraphDef."""

import collections
import pathlib
from typing import NamedTuple

from google.protobuf.empty_pb2 import Empty
from google.protobuf.unknown_fields import UnknownFieldSet

from capi import tensors

_NEGATIVE = 1 << 63


class TensorInfo(NamedTuple):
    """Describes an input or output of a signature."""

    operation: str
    index: int  # of the operation's output
    dtype: str
    shape: tuple[int, ...] | None  # -1: any size; None: unknown rank


class Signature(NamedTuple):
    """Describes a signature: its inputs, outputs and method."""

    inputs: dict[str, TensorInfo]
    outputs: dict[str, TensorInfo]
    method: str  # "predict", "classify", "regress"

    @property
    def by_examples(self) -> bool:
        """Whether its input holds serialized `tf.Example`s."""
        return self.method != "predict"


def of_folder(path: str) -> dict[str, Signature]:
    """Returns the signatures of a SavedModel's first graph; does not load it.

    Args:
      path: the folder with saved_model.pb.
    """
    content = (pathlib.Path(path) / "saved_model.pb").read_bytes()
    return read(_fields(content)[2][0])


def read(meta_graph: bytes) -> dict[str, Signature]:
    """Returns name -> signature; leaves out those without outputs.

    Args:
      meta_graph: a serialised MetaGraphDef.
    """
    found = {}
    for name, content in _entries(_fields(meta_graph)[5]).items():
        fields = _fields(content)
        outputs = _tensors(fields[2])
        if outputs:  # "__saved_model_init_op" has only an operation
            method = (fields[3] or [b"predict"])[0].decode().rpartition("/")[2]
            found[name] = Signature(_tensors(fields[1]), outputs, method)
    return dict(sorted(found.items()))


def _tensors(entries: list[bytes]) -> dict[str, TensorInfo]:
    found = {}
    for name, content in _entries(entries).items():
        info = _fields(content)
        operation, _, index = info[1][0].decode().partition(":")
        if not operation or name.startswith("__"):
            continue
        code = info[2][0] if info[2] else 0
        dtype = tensors.NAMES.get(code, f"type {code}")
        found[name] = TensorInfo(
            operation, int(index or 0), dtype, _shape(info[3])
        )
    return dict(sorted(found.items()))


def _shape(content: list[bytes]) -> tuple[int, ...] | None:
    fields = _fields(content[0] if content else b"")
    if fields[3] and fields[3][0]:
        return None
    sizes = []
    for dimension in fields[2]:
        size = (_fields(dimension)[1] or [0])[0]
        sizes.append(-1 if size >= _NEGATIVE else size)
    return tuple(sizes)


def _entries(entries: list[bytes]) -> dict[str, bytes]:
    """Returns the entries of a map: messages with key 1 and value 2."""
    found = {}
    for entry in entries:
        fields = _fields(entry)
        found[fields[1][0].decode()] = (fields[2] or [b""])[0]
    return found


def _fields(message: bytes) -> dict[int, list]:
    """Returns number -> values of a message, without its definition."""
    found: dict[int, list] = collections.defaultdict(list)
    for field in UnknownFieldSet(Empty.FromString(message)):
        found[field.field_number].append(field.data)
    return found
