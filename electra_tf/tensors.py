"""Reads and writes safetensors files, one array at a time.

The format is that of Hugging Face `safetensors`: a length, a JSON header, raw
little-endian data. Reading and writing are ours: the library's writer needs a
second copy of all data, its reader maps the file into memory, where the pages
remain beside the copy, and both only support local paths.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping

import ml_dtypes
import numpy as np

from electra_tf import files
from electra_tf.errors import UserError

_NAMES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16",
    "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8",
    "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8",
    "bool": "BOOL",
}  # fmt: skip
_DTYPES = {
    code: np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)
    for name, code in _NAMES.items()
}
_LONGEST_HEADER = 100_000_000  # bytes; the library's limit too


def save(
    path: str,
    tensors: Mapping[str, np.ndarray],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes `tensors` to `path` atomically, in the order of their names.

    Args:
      path: target file.
      tensors: name -> array (anything that `np.asarray` takes). A lazy mapping
        is read twice for each array, and no array is kept.
      metadata: string pairs for the header.
    """
    header: dict[str, object] = {}
    if metadata:
        header["__metadata__"] = dict(sorted(metadata.items()))
    offset = 0
    for name in sorted(tensors):
        array = np.asarray(tensors[name])
        end = offset + array.nbytes
        header[name] = {
            "dtype": _NAMES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    with files.atomic_write(path) as handle:
        handle.write(len(text).to_bytes(8, "little"))
        handle.write(text)
        for name in sorted(tensors):
            array = np.ascontiguousarray(tensors[name])
            handle.write(array.tobytes())


class TensorFile(Mapping[str, np.ndarray]):
    """The arrays of a safetensors file, each read when looked up.

    An array is read again at each look-up: only the header is kept.

    Attributes:
      path: the file.
      metadata: the string pairs of its header.
      shapes: name -> shape, known without reading the array.
    """

    def __init__(self, path: str):
        """Reads and checks the header.

        Raises:
          UserError: the file is missing, truncated or not a safetensors file;
            it is named.
        """
        self.path = path
        self._places: dict[str, tuple[str, int, int]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        with files.open_read(path) as handle:
            try:
                start, header = _header(handle.read, files.size(path))
                self.metadata = header.pop("__metadata__", None) or {}
                self._take(header, start, files.size(path) - start)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise UserError(
                    f"cannot read {path}: not a whole safetensors file "
                    f"({error})"
                ) from error

    def _take(self, header: dict, start: int, length: int) -> None:
        reached = 0
        for name, entry in sorted(
            header.items(), key=lambda item: item[1]["data_offsets"]
        ):
            first, last = entry["data_offsets"]
            if first != reached or last < first or last > length:
                raise ValueError(f"its data has no place for {name}")
            shape = tuple(entry["shape"])
            dtype = _DTYPES.get(entry["dtype"])
            if dtype and math.prod(shape) * dtype.itemsize != last - first:
                raise ValueError(f"{name} has another size than its shape's")
            self.shapes[name] = shape
            self._places[name] = (entry["dtype"], start + first, last - first)
            reached = last
        if reached != length:
            raise ValueError(f"{length - reached} bytes belong to no name")

    def __getitem__(self, name: str) -> np.ndarray:
        code, offset, length = self._places[name]
        if code not in _DTYPES:
            raise UserError(
                f"cannot read {self.path}: {name} is of type {code}, which "
                "is not read; store it as F32, F16 or BF16"
            )
        data = read_at(self.path, offset, length)
        return data.view(_DTYPES[code]).reshape(self.shapes[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    # Mapping's own method would read the array.
    def __contains__(self, name: object) -> bool:
        return name in self._places


def read_at(path: str, offset: int, length: int) -> np.ndarray:
    """Reads bytes of a file from `offset` on, [length] uint8, writable.

    Raises:
      UserError: the file is unreadable, or ends too early.
    """
    with files.named_errors(path, "read"):
        if "://" not in path:
            # Directly into the array; gfile would make two more copies.
            data = np.fromfile(path, np.uint8, length, offset=offset)
        else:
            with files.open_read(path) as handle:
                handle.seek(offset)
                data = np.frombuffer(bytearray(handle.read(length)), np.uint8)
    if len(data) != length:
        raise UserError(f"cannot read {path}: it ends early; copy it again")
    return data


def _header(read: Callable[[int], bytes], size: int) -> tuple[int, dict]:
    """Returns the offset of the data, and the parsed header."""
    length = int.from_bytes(read(8), "little")
    if size < 8 or length > min(size - 8, _LONGEST_HEADER):
        raise ValueError(f"{size} bytes do not hold its header")
    header = json.loads(read(length).decode("utf-8"))
    if not isinstance(header, dict):
        raise ValueError("its header is not a mapping")
    return 8 + length, header


def load(path: str) -> dict[str, np.ndarray]:
    """Returns all arrays of a safetensors file at once.

    Raises:
      UserError: the file is missing, truncated or not a safetensors file; it is
        named.
    """
    return dict(TensorFile(path))
