"""Rows of several calls in one array, and out of it again.

Outputs are padded, never ragged: the second axis of `tags` is as long as the
longest row of the call. A signature that pads says how much of each row is
real in an output `num_...`; so a row taken out of a larger call can get back
the width that it would have had alone.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from electra_tf.serving.server.signature_info import SignatureInfo

_COUNT_PREFIX = "num_"
Arrays = dict[str, np.ndarray]


def count_output(signature: SignatureInfo) -> str | None:
    """The output that counts what is real in a row; None if there is none."""
    names = [
        name
        for name, info in signature.outputs.items()
        if name.startswith(_COUNT_PREFIX)
        and info.shape is not None
        and len(info.shape) == 1
    ]
    return names[0] if len(names) == 1 else None


def padded_outputs(signature: SignatureInfo) -> list[str]:
    """The outputs whose second axis may be of another length in each call."""
    return [
        name
        for name, info in signature.outputs.items()
        if info.shape is not None
        and len(info.shape) > 1
        and info.shape[1] is None
    ]


def divisible(signature: SignatureInfo) -> bool:
    """Whether answers are the same whatever rows share the call.

    That is so if nothing is padded, or if an output counts what is real. Of
    more than one padded axis nothing is known.
    """
    if not signature.batched:
        return False
    padded = padded_outputs(signature)
    inner = [
        size
        for info in signature.outputs.values()
        for size in (info.shape or ())[2:]
    ]
    if None in inner:
        return False
    return not padded or count_output(signature) is not None


def row_bytes(inputs: Arrays) -> np.ndarray:
    """How long the texts of each row are, int64 [rows]; 0 without texts."""
    rows = max((len(array) for array in inputs.values()), default=0)
    sizes = np.zeros(rows, np.int64)
    for array in inputs.values():
        if array.dtype == object and array.size:
            lengths = [len(leaf) for leaf in array.ravel()]
            sizes += np.reshape(lengths, (rows, -1)).sum(axis=1)
    return sizes


def cuts(sizes: np.ndarray, rows: int, padded_bytes: int) -> Iterator[slice]:
    """Where to divide rows, so that no call is too large.

    Args:
      sizes: the bytes of each row.
      rows: the most in one call.
      padded_bytes: the most that the rows of a call may take if each is as
        long as the longest; one row may be longer.
    """
    start, longest = 0, 0
    for index, size in enumerate(sizes.tolist()):
        longest = max(longest, size)
        count = index + 1 - start
        if index > start and (count > rows or count * longest > padded_bytes):
            yield slice(start, index)
            start, longest = index, size
    yield slice(start, len(sizes))


def joined_values(parts: Sequence[Arrays]) -> int:
    """How many values `join` would make of these parts."""
    total = 0
    for name in parts[0]:
        shapes = [part[name].shape for part in parts]
        count = sum(shape[0] if shape else 1 for shape in shapes)
        inner = max(math.prod(shape[1:]) for shape in shapes)
        total += count * inner
    return total


def rows(outputs: Arrays, start: int, end: int, info: SignatureInfo) -> Arrays:
    """The outputs of the rows [start, end), no wider than they need.

    Args:
      outputs: arrays whose first axis is the call's rows.
      start: the first row.
      end: one past the last.
      info: a signature that is `divisible`.
    """
    found = {name: array[start:end] for name, array in outputs.items()}
    count = count_output(info)
    if count is None:
        return found
    width = int(found[count].max(initial=0))
    for name in padded_outputs(info):
        found[name] = found[name][:, :width]
    return found


def join(parts: Sequence[Arrays]) -> Arrays:
    """The outputs of consecutive rows as those of one call.

    Narrower arrays are padded: text with "", whole numbers with -1, decimals
    with 0, truth values with False.
    """
    if len(parts) == 1:
        return dict(parts[0])
    return {
        name: _concatenated([part[name] for part in parts]) for name in parts[0]
    }


def _concatenated(arrays: Sequence[np.ndarray]) -> np.ndarray:
    if arrays[0].ndim > 1:
        width = max(array.shape[1] for array in arrays)
        arrays = [_widened(array, width) for array in arrays]
    return np.concatenate(arrays, axis=0)


def _widened(array: np.ndarray, width: int) -> np.ndarray:
    missing = width - array.shape[1]
    if not missing:
        return array
    fill = {"O": b"", "i": -1}.get(array.dtype.kind, 0)
    shape = (array.shape[0], missing, *array.shape[2:])
    padding = np.full(shape, fill, array.dtype)
    return np.concatenate([array, padding], axis=1)
