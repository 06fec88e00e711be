"""Converts NumPy's arrays to TensorFlow's tensors and back, strings too."""

import contextlib
import ctypes
from collections.abc import Iterator

import numpy as np

from capi.library import CApiError

STRING = 7
_STRING_BYTES = 24  # sizeof(TF_TString) where pointers have 8 bytes
# Numbers of `TF_DataType`.
_NUMBERS = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8",
    9: "int64", 10: "bool", 17: "uint16", 19: "float16", 22: "uint32",
    23: "uint64",
}  # fmt: skip
NAMES = _NUMBERS | {STRING: "string"}


@contextlib.contextmanager
def made(library: ctypes.CDLL, array: np.ndarray) -> Iterator[int]:
    """Yields a tensor with the array's content, and frees it at the end.

    Args:
      library: of `library.load`.
      array: numbers; or objects, which are bytes.

    Raises:
      CApiError: the array's type is not supported.
    """
    strings = array.dtype == object
    code = STRING
    if not strings:
        code = next(
            (n for n, name in _NUMBERS.items() if array.dtype == name), None
        )
        if code is None:
            raise CApiError(f"cannot feed an array of {array.dtype}")
    size = array.size * _STRING_BYTES if strings else array.nbytes
    shape = (ctypes.c_int64 * array.ndim)(*array.shape)
    tensor = library.TF_AllocateTensor(code, shape, array.ndim, size)
    data = library.TF_TensorData(tensor)
    try:
        if strings:
            for i, text in enumerate(array.ravel().tolist()):
                place = data + i * _STRING_BYTES
                library.TF_StringInit(place)
                library.TF_StringCopy(place, text, len(text))
        elif size:
            ctypes.memmove(data, np.ascontiguousarray(array).ctypes.data, size)
        yield tensor
    finally:
        if strings:
            for i in range(array.size):
                library.TF_StringDealloc(data + i * _STRING_BYTES)
        library.TF_DeleteTensor(tensor)


def array_of(library: ctypes.CDLL, tensor: int) -> np.ndarray:
    """Returns a copy of a tensor's content; strings are objects (bytes).

    Raises:
      CApiError: the tensor's type is not supported.
    """
    code = library.TF_TensorType(tensor)
    rank = library.TF_NumDims(tensor)
    shape = [library.TF_Dim(tensor, i) for i in range(rank)]
    data = library.TF_TensorData(tensor)
    count = int(np.prod(shape, dtype="int64"))
    if code == STRING:
        found = np.empty([count], object)
        for i in range(count):
            place = data + i * _STRING_BYTES
            found[i] = ctypes.string_at(
                library.TF_StringGetDataPointer(place),
                library.TF_StringGetSize(place),
            )
        return found.reshape(shape)
    if code not in _NUMBERS:
        raise CApiError(f"cannot read a tensor of type {code}")
    size = library.TF_TensorByteSize(tensor)
    content = ctypes.string_at(data, size) if size else b""
    return np.frombuffer(content, _NUMBERS[code]).reshape(shape).copy()
