"""Code point -> a small number, looked up in the graph."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

CODE_POINTS = 0x110000
BLOCK = 256


class CharacterClasses:
    """A class of each code point.

    Blocks of code points that are alike are kept once.

    Args:
      classes: uint8 [CODE_POINTS].
    """

    def __init__(self, classes: np.ndarray | Sequence[int]):
        blocks = np.asarray(classes, "uint8").reshape(-1, BLOCK)
        different, which = np.unique(blocks, axis=0, return_inverse=True)
        self._blocks = different.ravel()
        self._which = which.ravel().astype("int32")

    def __call__(self, codes: tf.Tensor) -> tf.Tensor:
        """int32 [N] code points -> int32 [N] classes."""
        block = tf.gather(self._which, codes // BLOCK)
        found = tf.gather(self._blocks, block * BLOCK + codes % BLOCK)
        return tf.cast(found, tf.int32)
