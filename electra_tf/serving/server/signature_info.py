"""What a signature takes and returns, as TensorFlow Serving describes it."""

import dataclasses
from typing import Any

PREDICT = "tensorflow/serving/predict"


@dataclasses.dataclass(frozen=True)
class TensorInfo:
    """One named input or output.

    Attributes:
      dtype: TensorFlow's name for it, e.g. "DT_STRING".
      shape: a length for each axis, None where any will do; None as a whole
        if even the number of axes is unknown.
      name: the tensor's name in the graph.
    """

    dtype: str
    shape: tuple[int | None, ...] | None
    name: str = ""

    @property
    def batched(self) -> bool:
        """Whether the first axis may have any length."""
        return bool(self.shape) and self.shape[0] is None

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of this shape is one of these."""
        return self.shape is None or (
            len(self.shape) == len(shape)
            and all(
                mine is None or mine == given
                for mine, given in zip(self.shape, shape)
            )
        )

    def as_json(self) -> dict[str, Any]:
        """`TensorInfo` of tensorflow/core/protobuf/meta_graph.proto."""
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
    def batched(self) -> bool:
        """Whether rows of several requests may be given in one call."""
        return all(
            info.batched
            for info in (*self.inputs.values(), *self.outputs.values())
        )

    def as_json(self) -> dict[str, Any]:
        """`SignatureDef` of tensorflow/core/protobuf/meta_graph.proto."""
        return {
            "inputs": {k: info.as_json() for k, info in self.inputs.items()},
            "outputs": {k: info.as_json() for k, info in self.outputs.items()},
            "method_name": self.method_name,
            "defaults": {},
        }
