"""What every reader of a format returns and every writer takes."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

import numpy as np

from electra_tf.hub.config import DirectoryConfig
from electra_tf.text.vocab import Vocab

Slots = Mapping[str, tuple[np.ndarray, np.ndarray]]
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A model out of its format: our names, our shapes.

    Attributes:
      config: what it is.
      weights: our name on disk -> array. May be lazy: each look-up may read
        from the file, so look up once; `shapes_of` reads nothing.
      vocab: its vocabulary; None where the source has none.
      slots: our name -> Adam's (m, v), each of the weight's shape; None
        where the source has none.
      leftover: names of the source that were not used.
      assumed: sentences: what the source did not tell and was taken by
        default, e.g. "model.num_heads 4 (hidden size 256 // 64)".
      source: the path, for messages.
    """

    config: DirectoryConfig
    weights: Mapping[str, np.ndarray]
    vocab: Vocab | None
    slots: Slots | None = None
    leftover: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    source: str = ""


class Lazy(Mapping[str, T], Generic[T]):
    """A mapping that computes a value at each look-up and keeps none.

    Attributes:
      shapes: name -> shape, known without computing.
    """

    def __init__(
        self,
        read: Callable[[str], T],
        shapes: Mapping[str, tuple[int, ...]],
    ):
        """Takes what reads a name's value, and the names with their shapes."""
        self._read = read
        self.shapes = dict(shapes)

    def __getitem__(self, name: str) -> T:
        if name not in self.shapes:
            raise KeyError(name)
        return self._read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)

    # Mapping's own looks the value up.
    def __contains__(self, name: object) -> bool:
        return name in self.shapes


def shapes_of(
    weights: Mapping[str, np.ndarray],
) -> Mapping[str, tuple[int, ...]]:
    """Name -> shape; of a lazy mapping without reading its arrays."""
    shapes = getattr(weights, "shapes", None)
    if shapes is None:
        shapes = {name: tuple(np.shape(a)) for name, a in weights.items()}
    return shapes
