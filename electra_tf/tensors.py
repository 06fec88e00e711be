"""Named arrays in one safetensors file, written and read in a stream.

The format is that of Hugging Face `safetensors` (a length, a JSON header, raw
little-endian data). Local files are read through the library, which maps them
into memory; writing is ours, because the library's needs a second copy of all
the data and a local path.
"""

import json
from collections.abc import Mapping

import numpy as np

from electra_tf import files
from electra_tf.errors import UserError

_NAMES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16",
    "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8",
    "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8",
    "bool": "BOOL",
}  # fmt: skip


def save(
    path: str,
    tensors: Mapping[str, np.ndarray],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes `tensors` to `path` atomically, in the order of their names.

    Args:
      path: target file.
      tensors: name -> array (anything `np.asarray` takes).
      metadata: string pairs kept in the header.
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


def load(path: str) -> dict[str, np.ndarray]:
    """All arrays of a safetensors file.

    Raises:
      UserError: missing, truncated or not a safetensors file; names it.
    """
    import safetensors
    import safetensors.numpy

    if not files.exists(path):
        raise UserError(f"cannot read {path}: no such file")
    try:
        if "://" in path:
            return safetensors.numpy.load(files.read_bytes(path))
        return safetensors.numpy.load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"cannot read {path}: not a whole safetensors file ({error})"
        ) from error
