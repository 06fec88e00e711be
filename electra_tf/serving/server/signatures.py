"""Describes signatures, and joins and splits the rows of calls.

Outputs are padded, never ragged: the second axis of `tags` is as long as the
longest row of the call. A signature that pads has an output `num_...` with the
real length of each row, so that a row of a larger call can be cut to the width
that it would have had alone.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

METHODS = "tensorflow/serving/"
PREDICT = f"{METHODS}predict"
_COUNT_PREFIX = "num_"
Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class TensorInfo:
    """One named input or output.

    Attributes:
      dtype: TensorFlow's name for it, e.g. "DT_STRING".
      shape: a length for each axis, None for any; None as a whole if even the
        number of axes is unknown.
      name: the tensor's name in the graph.
    """

    dtype: str
    shape: tuple[int | None, ...] | None
    name: str = ""

    @property
    def batched(self) -> bool:
        """Whether the first axis may have any length."""
        return bool(self.shape and self.shape[0] is None)

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Returns whether a shape fits."""
        return self.shape is None or (
            len(self.shape) == len(shape)
            and all(
                mine is None or mine == given
                for mine, given in zip(self.shape, shape)
            )
        )

    def as_json(self) -> dict[str, Any]:
        """Returns the `TensorInfo` of
        tensorflow/core/protobuf/meta_graph.proto.
        """
        sizes = [-1 if size is None else size for size in self.shape or ()]
        return {
            "dtype": self.dtype,
            "tensor_shape": {
                "dim": [{"size": str(size), "name": ""} for size in sizes],
                "unknown_rank": self.shape is None,
            },
            "name": self.name,
        }


@dataclasses.dataclass(frozen=True)
class SignatureInfo:
    """The named inputs and outputs of one signature."""

    inputs: dict[str, TensorInfo]
    outputs: dict[str, TensorInfo]
    method_name: str = PREDICT

    @property
    def by_examples(self) -> bool:
        """Whether its only input is serialized `tf.Example`s.

        It is for signatures of Classify and Regress.
        """
        kinds = [info.dtype for info in self.inputs.values()]
        return self.method_name != PREDICT and kinds == ["DT_STRING"]

    @functools.cached_property
    def batched(self) -> bool:
        """Whether rows of several requests may share one call."""
        return all(
            info.batched
            for info in (*self.inputs.values(), *self.outputs.values())
        )

    @functools.cached_property
    def divisible(self) -> bool:
        """Whether results do not depend on the other rows of a call.

        It is so if nothing is padded, or if an output has the real lengths.
        Several padded axes are not supported.
        """
        inner = [
            size
            for info in self.outputs.values()
            for size in (info.shape or ())[2:]
        ]
        if not self.batched or None in inner:
            return False
        return not self._padded or self._count is not None

    def take(self, outputs: Arrays, start: int, end: int) -> Arrays:
        """Takes the outputs of rows [start, end), without excess padding.

        Args:
          outputs: arrays of a `divisible` signature; their first axis is the
            call's rows.
          start: the first row.
          end: the row after the last.
        """
        found = {name: array[start:end] for name, array in outputs.items()}
        if self._count is not None:
            width = int(found[self._count].max(initial=0))
            for name in self._padded:
                found[name] = found[name][:, :width]
        return found

    def as_json(self) -> dict[str, Any]:
        """Returns `SignatureDef` of
        tensorflow/core/protobuf/meta_graph.proto.
        """
        return {
            "inputs": {k: info.as_json() for k, info in self.inputs.items()},
            "outputs": {k: info.as_json() for k, info in self.outputs.items()},
            "method_name": self.method_name,
            "defaults": {},
        }

    @functools.cached_property
    def _count(self) -> str | None:
        """The output with the real lengths of rows, if there is one."""
        names = [
            name
            for name, info in self.outputs.items()
            if name.startswith(_COUNT_PREFIX)
            and info.shape is not None
            and len(info.shape) == 1
        ]
        return names[0] if len(names) == 1 else None

    @functools.cached_property
    def _padded(self) -> list[str]:
        """The outputs whose second axis varies between calls."""
        return [
            name
            for name, info in self.outputs.items()
            if info.shape and len(info.shape) > 1 and info.shape[1] is None
        ]


def row_bytes(inputs: Arrays, by_row: bool = True) -> np.ndarray:
    """Returns the bytes of each row's texts, int64 [rows]; 0 without texts.

    Args:
      inputs: input arrays of a call.
      by_row: whether its rows are independent; if not, all count as one, [1].
    """
    rows = max((len(x) for x in inputs.values()), default=0) if by_row else 1
    sizes = np.zeros(rows, np.int64)
    for array in inputs.values():
        if array.dtype == object and array.size:
            lengths = [len(leaf) for leaf in array.ravel()]
            sizes += np.reshape(lengths, (rows, -1)).sum(axis=1)
    return sizes


def cuts(sizes: np.ndarray, rows: int, padded_bytes: int) -> Iterator[slice]:
    """Yields where to split rows, so that no call is too large.

    Args:
      sizes: the bytes of each row.
      rows: most rows in one call.
      padded_bytes: most bytes of a call's rows, each counted as long as the
        longest; a single row may be longer.
    """
    start, longest = 0, 0
    for index, size in enumerate(sizes.tolist()):
        longest = max(longest, size)
        count = index + 1 - start
        if index > start and (count > rows or count * longest > padded_bytes):
            yield slice(start, index)
            start, longest = index, size
    yield slice(start, len(sizes))


def joined_values(parts: Sequence[Mapping[str, Any]]) -> int:
    """Returns the number of values of `join`, from the parts' shapes."""
    total = 0
    for name in parts[0]:
        shapes = [part[name].shape for part in parts]
        count = sum(shape[0] if shape else 1 for shape in shapes)
        inner = max(math.prod(shape[1:]) for shape in shapes)
        total += count * inner
    return total


def join(parts: Sequence[Arrays]) -> Arrays:
    """Joins the outputs of consecutive rows to those of one call.

    Narrower arrays are padded: text with "", integers with -1, floats with 0,
    booleans with False.
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
