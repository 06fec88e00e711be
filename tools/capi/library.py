"""Loads TensorFlow's C library from the installed wheel, without Python.

TensorFlow Serving has the same loader and the same kernels, and no Python
either that a model could depend on.
"""

import contextlib
import ctypes
import functools
import importlib.util
import pathlib
from collections.abc import Iterator
from typing import Any


class CApiError(Exception):
    """TensorFlow reported an error."""


class Output(ctypes.Structure):
    """`TF_Output`: an operation and the number of its output."""

    _fields_ = (("operation", ctypes.c_void_p), ("index", ctypes.c_int))


class Buffer(ctypes.Structure):
    """`TF_Buffer`: bytes that TensorFlow owns."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("length", ctypes.c_size_t),
        ("deallocator", ctypes.c_void_p),
    )


_P, _TEXT, _SIZE = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
_INT, _LONGS = ctypes.c_int, ctypes.POINTER(ctypes.c_int64)
_POINTERS = ctypes.POINTER(ctypes.c_void_p)
# From tensorflow/c/c_api.h, tf_tensor.h, tf_tstring.h: result, arguments.
_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "TF_Version": (_TEXT, ()),
    "TF_NewStatus": (_P, ()),
    "TF_DeleteStatus": (None, (_P,)),
    "TF_GetCode": (_INT, (_P,)),
    "TF_Message": (_TEXT, (_P,)),
    "TF_LoadLibrary": (_P, (_TEXT, _P)),
    "TF_NewGraph": (_P, ()),
    "TF_DeleteGraph": (None, (_P,)),
    "TF_GraphOperationByName": (_P, (_P, _TEXT)),
    "TF_NewBuffer": (ctypes.POINTER(Buffer), ()),
    "TF_DeleteBuffer": (None, (ctypes.POINTER(Buffer),)),
    "TF_NewSessionOptions": (_P, ()),
    "TF_DeleteSessionOptions": (None, (_P,)),
    "TF_LoadSessionFromSavedModel": (
        _P,
        (_P, ctypes.POINTER(Buffer), _TEXT, ctypes.POINTER(_TEXT), _INT, _P,
         ctypes.POINTER(Buffer), _P),
    ),
    "TF_SessionRun": (
        None,
        (_P, ctypes.POINTER(Buffer), ctypes.POINTER(Output), _POINTERS, _INT,
         ctypes.POINTER(Output), _POINTERS, _INT, _POINTERS, _INT,
         ctypes.POINTER(Buffer), _P),
    ),
    "TF_CloseSession": (None, (_P, _P)),
    "TF_DeleteSession": (None, (_P, _P)),
    "TF_AllocateTensor": (_P, (_INT, _LONGS, _INT, _SIZE)),
    "TF_DeleteTensor": (None, (_P,)),
    "TF_TensorType": (_INT, (_P,)),
    "TF_NumDims": (_INT, (_P,)),
    "TF_Dim": (ctypes.c_int64, (_P, _INT)),
    "TF_TensorData": (_P, (_P,)),
    "TF_TensorByteSize": (_SIZE, (_P,)),
    "TF_StringInit": (None, (_P,)),
    "TF_StringCopy": (None, (_P, _TEXT, _SIZE)),
    "TF_StringGetDataPointer": (_P, (_P,)),
    "TF_StringGetSize": (_SIZE, (_P,)),
    "TF_StringDealloc": (None, (_P,)),
}  # fmt: skip


@functools.cache
def load() -> ctypes.CDLL:
    """Returns the library, with tensorflow-text's operations; loads it once.

    Raises:
      CApiError: TensorFlow or tensorflow-text is not installed, or lacks
        these libraries.
    """
    folder = _folder("tensorflow")
    # Libraries of operations look this one up by its name.
    _opened(folder / "libtensorflow_framework.so.2", ctypes.RTLD_GLOBAL)
    library = _opened(folder / "libtensorflow_cc.so.2", ctypes.RTLD_LOCAL)
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    operations = _folder("tensorflow_text") / "python" / "ops"
    found = sorted(operations.glob("*.so"))
    if not found:
        raise CApiError(f"{operations}: has no libraries of operations")
    for path in found:
        with checked(library, f"cannot load {path}") as status:
            library.TF_LoadLibrary(str(path).encode(), status)
    return library


@contextlib.contextmanager
def checked(library: ctypes.CDLL, what: str) -> Iterator[int]:
    """Yields a `TF_Status` for a call, and checks it afterwards.

    Raises:
      CApiError: the call failed; the status's message follows `what`.
    """
    status = library.TF_NewStatus()
    try:
        yield status
        if library.TF_GetCode(status):
            message = library.TF_Message(status).decode("utf-8", "replace")
            raise CApiError(f"{what}: {message}")
    finally:
        library.TF_DeleteStatus(status)


def _folder(package: str) -> pathlib.Path:
    """Returns the folder of an installed package, without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise CApiError(f"{package} is not installed")
    return pathlib.Path(spec.submodule_search_locations[0])


def _opened(path: pathlib.Path, mode: int) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(path), mode=mode)
    except OSError as error:
        raise CApiError(f"cannot load {path}: {error}") from error
