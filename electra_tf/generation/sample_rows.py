"""Rows of tokens that are being drawn, and their random numbers."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from electra_tf.generation import rows
from electra_tf.models import randomness


class SampleTask(NamedTuple):
    """One sample that is to be drawn."""

    prompt: list[int]  # token ids
    number: int  # of the sample among those of its prompt


@dataclasses.dataclass
class SampleRows:
    """Rows that are being written.

    Attributes:
      ids: int32 [B, L].
      mask: int32 [B, L].
      first: int32 [B], where the places begin.
      length: N, places of a row.
      keys: uint32 [B].
      draws: so many have been made.
    """

    ids: np.ndarray
    mask: np.ndarray
    first: np.ndarray
    length: int
    keys: tf.Tensor
    draws: int = 0

    @classmethod
    def of(
        cls,
        tasks: Sequence[SampleTask],
        some: np.ndarray,
        padded: rows.Batch,
        length: int,
        seed: int,
    ) -> "SampleRows":
        """Rows of tasks, not yet begun."""
        chosen = [tasks[i] for i in np.resize(some, len(padded.input_ids))]
        first = [1 + len(task.prompt) for task in chosen]
        numbers = tf.constant([task.number for task in chosen], tf.int64)
        return cls(
            padded.input_ids,
            padded.input_mask,
            np.array(first, "int32"),
            length,
            randomness.example_keys(numbers, seed),
        )

    @property
    def all_places(self) -> np.ndarray:
        """int32 [B, N]."""
        return self.first[:, None] + np.arange(self.length, dtype="int32")

    @property
    def written(self) -> np.ndarray:
        """int32 [B, N], the tokens there."""
        return np.take_along_axis(self.ids, self.all_places, axis=1)

    def uniform(self, salt: int, count: int) -> np.ndarray:
        """float32 [B, count] in [0, 1)."""
        keys = randomness.salted(self.keys, salt)
        return randomness.uniform(keys, count).numpy()
