"""Reads arrays from PyTorch's `.bin` files, without running their code.

Such a file is a pickle, a small program that may call any function it names,
with raw data beside it. This reader knows only the few names that tensors need,
each bound to a function of this module that records its arguments; any other
name is refused. Neither torch nor anything that the file names is imported or
called.

Two layouts exist: a zip archive (since PyTorch 1.6), and before it five
consecutive pickles followed by the data.
"""

import collections
import contextlib
import io
import math
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from typing import IO, Any, NamedTuple

import ml_dtypes
import numpy as np

from electra_tf import files, tensors
from electra_tf.errors import UserError

_STORAGES = {
    f"torch.{name}Storage": dtype
    for name, dtype in (
        ("Double", "float64"), ("Float", "float32"), ("Half", "float16"),
        ("BFloat16", ml_dtypes.bfloat16), ("Long", "int64"), ("Int", "int32"),
        ("Short", "int16"), ("Char", "int8"), ("Byte", "uint8"),
        ("Bool", "bool"),
    )
}  # fmt: skip
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_REMEDY = "ask for model.safetensors, or save it again with torch.save"


class _Storage(NamedTuple):
    """Consecutive numbers that one or several tensors view."""

    key: str
    dtype: np.dtype
    length: int  # in elements


class _View(NamedTuple):
    """A tensor: a storage, its offset in it, and its layout."""

    storage: _Storage
    offset: int  # in elements, like the strides
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def span(self) -> int:
        """The number of elements from its first number to its last."""
        if 0 in self.shape:
            return 0
        return 1 + sum((n - 1) * s for n, s in zip(self.shape, self.strides))


# The objects bound to a pickle's names have no attributes, and neither do the
# tuples above: a pickle may set attributes of any object it gets.
class _Tensor:
    __slots__ = ()

    def __call__(
        self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any
    ) -> _View:
        view = _View(storage, offset, tuple(shape), tuple(strides))
        numbers = (offset, *view.shape, *view.strides)
        if (
            not isinstance(storage, _Storage)
            or any(type(n) is not int or n < 0 for n in numbers)
            or len(view.shape) != len(view.strides)
        ):
            raise ValueError("a tensor of impossible layout")
        # An expanded tensor repeats numbers, and could exhaust the memory; none
        # that we know of is larger than its storage.
        if max(math.prod(view.shape), offset + view.span) > storage.length:
            raise ValueError("a tensor that reaches beyond its storage")
        return view


class _Parameter:
    __slots__ = ()

    def __call__(self, view: Any, *_: Any) -> Any:
        return view


_KNOWN: dict[str, Any] = {
    "collections.OrderedDict": collections.OrderedDict,
    "torch.Size": tuple,
    "torch._utils._rebuild_tensor": _Tensor(),
    "torch._utils._rebuild_tensor_v2": _Tensor(),
    "torch._utils._rebuild_parameter": _Parameter(),
} | {name: name for name in _STORAGES}


class _Unpickler(pickle.Unpickler):
    """Unpickles tensors only, and refuses every other name."""

    def __init__(self, handle: IO[bytes], path: str):
        super().__init__(handle, encoding="utf-8")
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        """Returns the object bound to a name.

        Raises:
          UserError: tensors do not need this name.
        """
        full = f"{module}.{name}"
        if full not in _KNOWN:
            raise UserError(
                f"cannot read {self._path}: its pickle asks for {full}, which "
                "no tensor needs; nothing of it was run. If you trust it, "
                "convert it to safetensors with PyTorch"
            )
        return _KNOWN[full]

    def persistent_load(self, pid: Any) -> _Storage:
        """Returns the storage that the file describes."""
        kind, name, key, _, count = pid[:5]
        if kind != "storage" or name not in _STORAGES:
            raise ValueError("an unknown kind of data")
        if type(count) is not int or count < 0:
            raise ValueError("a storage of impossible size")
        if len(pid) > 5 and pid[5] is not None:
            raise ValueError("a storage that is part of another")
        return _Storage(str(key), np.dtype(_STORAGES[name]), count)


class TorchFile(Mapping[str, np.ndarray]):
    """The tensors of a `.bin` file, each read when looked up.

    Attributes:
      path: the file.
      shapes: name -> shape, known without reading the tensor.
    """

    def __init__(self, path: str):
        """Reads the names and layouts.

        Raises:
          UserError: the file is missing or damaged, or its pickle needs
            anything but tensors; it is named.
        """
        self.path = path
        with _named_damage(path), _opened(path) as handle:
            if zipfile.is_zipfile(handle):
                found, self._places, swap = _read_zip(handle, path)
            else:
                handle.seek(0)
                found, self._places = _read_legacy(handle, path)
                swap = False
            self._swap = swap
            self._views = _views(found)
            for view in self._views.values():
                self._check(view.storage)
        self.shapes = {name: v.shape for name, v in self._views.items()}

    def _check(self, storage: _Storage) -> None:
        length = storage.length * storage.dtype.itemsize
        if self._places.get(storage.key, (0, -1))[1] < length:
            raise ValueError(f"lacks data of storage {storage.key}")

    def __getitem__(self, name: str) -> np.ndarray:
        view = self._views[name]
        dtype = view.storage.dtype
        size = dtype.itemsize
        start = self._places[view.storage.key][0] + view.offset * size
        array = tensors.read_at(self.path, start, view.span * size)
        array = array.view(dtype)
        if self._swap:
            array = array.byteswap()
        if not view.span:
            return array.reshape(view.shape)
        return np.lib.stride_tricks.as_strided(
            array, view.shape, [stride * size for stride in view.strides]
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    # Mapping's own method would read the array.
    def __contains__(self, name: object) -> bool:
        return name in self._views


@contextlib.contextmanager
def _named_damage(path: str) -> Iterator[None]:
    """Converts any error of a damaged file to a `UserError` that names it."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # arbitrary bytes may fail in any way
        raise UserError(
            f"cannot read {path}: not a whole file of PyTorch tensors "
            f"({error or type(error).__name__}); {_REMEDY}"
        ) from error


def _opened(path: str) -> IO[bytes]:
    if not files.exists(path):
        raise UserError(f"cannot read {path}: no such file")
    if "://" in path:
        return io.BytesIO(files.read_bytes(path))
    return open(path, "rb")


_Places = dict[str, tuple[int, int]]  # key -> offset in the file, bytes


def _read_zip(handle: IO[bytes], path: str) -> tuple[Any, _Places, bool]:
    """Returns the content, the storages' places, and whether to swap bytes."""
    with zipfile.ZipFile(handle) as archive:
        members = {info.filename: info for info in archive.infolist()}
        pickles = [n for n in members if n.split("/")[1:] == ["data.pkl"]]
        if len(pickles) != 1:
            raise ValueError("a zip archive of something else")
        root = pickles[0].removesuffix("data.pkl")
        # PyTorch stores it uncompressed; compressed, it could be of any size.
        if members[pickles[0]].file_size > handle.seek(0, io.SEEK_END):
            raise ValueError("its pickle is larger than the file")
        order = b"little"
        if f"{root}byteorder" in members:
            order = archive.read(f"{root}byteorder").strip()
        content = _Unpickler(io.BytesIO(archive.read(pickles[0])), path).load()
    places = {}
    for name, info in members.items():
        if not name.startswith(f"{root}data/"):
            continue
        if info.compress_type != zipfile.ZIP_STORED:
            raise ValueError("its data is compressed")
        # A local header is 30 bytes, a name, and a field whose length may
        # differ from the directory's.
        handle.seek(info.header_offset)
        header = handle.read(30)
        lengths = header[26:28], header[28:30]
        start = info.header_offset + 30
        start += sum(int.from_bytes(n, "little") for n in lengths)
        places[name.removeprefix(f"{root}data/")] = start, info.file_size
    return content, places, order == b"big"


def _read_legacy(handle: IO[bytes], path: str) -> tuple[Any, _Places]:
    def load() -> Any:
        return _Unpickler(handle, path).load()

    if load() != _LEGACY_MAGIC or load() != _LEGACY_PROTOCOL:
        raise ValueError("a pickle of something else")
    system = load()
    if system.get("little_endian") is not True:
        raise ValueError("written on a big-endian machine")
    content = load()
    keys = load()
    counts = {v.storage.key: v.storage for v in _views(content).values()}
    places = {}
    for key in map(str, keys):
        count = int.from_bytes(handle.read(8), "little")
        if key not in counts:
            raise ValueError(f"storage {key} belongs to no tensor")
        length = count * counts[key].dtype.itemsize
        start = handle.tell()
        if handle.seek(0, io.SEEK_END) < start + length:
            raise ValueError("its data ends early")
        handle.seek(start + length)
        places[key] = start, length
    return content, places


def _views(content: Any) -> dict[str, _View]:
    """Returns name -> tensor; refuses anything that is not a state dict."""
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) for name in content
    ):
        raise ValueError("no mapping of names to tensors")
    views = {n: v for n, v in content.items() if isinstance(v, _View)}
    if not views:
        raise ValueError("no tensor under any name")
    return views
