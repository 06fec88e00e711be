"""Reads `tf_model.h5`, which older transformers wrote from TensorFlow.

Its variables have PyTorch's structure with Keras' names: linear weights are
kernels and not transposed. The library h5py reads it; no code in it is
executed.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.hub.checkpoint import Lazy

# Last part of a name -> PyTorch's.
_LEAVES = {
    "kernel": "weight", "gamma": "weight", "beta": "bias", "bias": "bias",
    "embeddings": "weight", "weight": "weight",
}  # fmt: skip


def read(path: str) -> Lazy[np.ndarray]:
    """Opens the file as PyTorch's names and arrays, each read when looked up.

    Args:
      path: a local file.

    Raises:
      UserError: the file is damaged, or h5py is not installed; the file is
        named.
    """
    try:
        import h5py
    except ImportError as error:
        raise UserError(
            f"cannot read {path}: needs the package h5py; pip install h5py, or "
            "ask for model.safetensors"
        ) from error
    places: dict[str, tuple[str, bool]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    held = files.size(path)
    try:
        with h5py.File(path, "r") as file:
            for place, found in _arrays(file):
                name, turned = _named(place)
                shape = tuple(map(int, found.shape))
                if math.prod(shape) * found.dtype.itemsize > held:
                    raise ValueError(f"{place} is larger than the file")
                places[name] = place, turned and len(shape) == 2
                shapes[name] = shape[::-1] if places[name][1] else shape
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(
            f"cannot read {path}: not a whole file of weights ({error})"
        ) from error

    def array(name: str) -> np.ndarray:
        place, turned = places[name]
        with h5py.File(path, "r") as file:
            found = np.asarray(file[place])
        return found.T if turned else found

    return Lazy(array, shapes)


def _arrays(file: Any) -> Iterator[tuple[str, Any]]:
    """Yields the arrays in all groups, without following links."""
    found: list[tuple[str, Any]] = []
    file.visititems(lambda name, item: found.append((name, item)))
    for name, item in found:
        if not isinstance(item, Mapping) and hasattr(item, "dtype"):
            yield name, item


def _named(place: str) -> tuple[str, bool]:
    """Returns PyTorch's name of an array, and whether it is a kernel."""
    parts = place.partition(":")[0].split("/")
    # The group of a layer, then the model's name, such as tf_electra_model_1.
    models = [i for i, part in enumerate(parts) if part.startswith("tf_")]
    parts = parts[models[0] + 1 :] if models else parts
    leaf = parts.pop()
    # Keras' name of a part may precede PyTorch's: mlm___cls.
    words = [part.rpartition("___")[2] for part in parts]
    words = [word.replace("layer_._", "layer.") for word in words]
    return ".".join([*words, _LEAVES.get(leaf, leaf)]), leaf == "kernel"
