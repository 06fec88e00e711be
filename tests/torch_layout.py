"""Writes files in PyTorch's layouts, without PyTorch."""

import collections
import io
import pickle
import sys
import types
import zipfile

import numpy as np

_KINDS = {
    "float64": "DoubleStorage", "float32": "FloatStorage",
    "float16": "HalfStorage", "bfloat16": "BFloat16Storage",
    "int64": "LongStorage", "bool": "BoolStorage",
}  # fmt: skip


class View:
    """Describes a tensor as a view of a one-dimensional array, its storage."""

    def __init__(self, storage, shape, strides, offset=0):
        self.storage = storage
        self.arguments = (offset, tuple(shape), tuple(strides), False)


def view(array):
    """Returns a view of a whole array, which is its own storage."""
    strides = [
        s // array.itemsize for s in np.empty(array.shape, array.dtype).strides
    ]
    return View(array.reshape(-1), array.shape, strides)


def _fake_torch():
    torch = types.ModuleType("torch")
    for name in _KINDS.values():
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    inner = types.ModuleType("torch._utils")
    source = (
        "def _rebuild_tensor_v2(*a): pass\ndef _rebuild_parameter(*a): pass"
    )
    exec(source, inner.__dict__)
    torch._utils = inner
    return torch


class _Pickler(pickle.Pickler):
    """Writes `View`s as torch writes tensors, everything else unchanged."""

    def __init__(self, handle, torch, legacy):
        super().__init__(handle, protocol=2)
        self._torch, self._legacy = torch, legacy
        self.storages = []

    def persistent_id(self, value):
        if not isinstance(value, np.ndarray):
            return None
        kind = getattr(self._torch, _KINDS[value.dtype.name])
        known = [id(s) for s in self.storages]
        if id(value) not in known:
            self.storages.append(value)
            known.append(id(value))
        key = str(known.index(id(value)))
        pid = ("storage", kind, key, "cpu", value.size)
        return (*pid, None) if self._legacy else pid

    def reducer_override(self, value):
        if not isinstance(value, View):
            return NotImplemented
        hooks = collections.OrderedDict()
        arguments = (value.storage, *value.arguments, hooks)
        return self._torch._utils._rebuild_tensor_v2, arguments


def _pickled(content, legacy):
    torch = _fake_torch()
    old = {n: sys.modules.get(n) for n in ("torch", "torch._utils")}
    sys.modules |= {"torch": torch, "torch._utils": torch._utils}
    try:
        handle = io.BytesIO()
        pickler = _Pickler(handle, torch, legacy)
        pickler.dump(content)
    finally:
        for name, module in old.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
    return handle.getvalue(), pickler.storages


def save(path, tensors):
    """Writes name -> array, `View` or anything else, as a zip archive."""
    content = collections.OrderedDict(
        (n, view(t) if isinstance(t, np.ndarray) else t)
        for n, t in tensors.items()
    )
    pickled, storages = _pickled(content, legacy=False)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", "little")
        for i, storage in enumerate(storages):
            archive.writestr(f"archive/data/{i}", storage.tobytes())
        archive.writestr("archive/version", "3\n")


def save_legacy(path, tensors):
    """Writes name -> array as PyTorch before 1.6 did."""
    content = {n: view(t) for n, t in tensors.items()}
    pickled, storages = _pickled(content, legacy=True)
    with open(path, "wb") as handle:
        for part in (
            0x1950A86A20F9469CFC6C,
            1001,
            {"protocol_version": 1001, "little_endian": True},
        ):
            pickle.dump(part, handle, protocol=2)
        handle.write(pickled)
        pickle.dump([str(i) for i in range(len(storages))], handle, protocol=2)
        for storage in storages:
            handle.write(storage.size.to_bytes(8, "little"))
            handle.write(storage.tobytes())
