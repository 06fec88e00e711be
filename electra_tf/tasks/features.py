"""Rows of tokens of different lengths, and their targets, without padding."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from electra_tf.errors import UserError
from electra_tf.tasks.mixture import Mixture

INPUTS = ("input_ids", "input_mask", "segment_ids")


class Sequences(NamedTuple):
    """Rows of tokens with lengths of their own: what is to be written.

    They are padded with 0.
    """

    row_splits: np.ndarray  # int64 [N + 1], where each row starts
    tokens: np.ndarray  # int32 [T], of all rows

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, int64 [N]."""
        return np.diff(self.row_splits)

    def batch(self, rows: np.ndarray, length: int) -> np.ndarray:
        """Some rows, padded to `length`: int32 [B, length]."""
        real = np.arange(length)[None] < self.lengths[rows][:, None]
        at = self.row_splits[rows][:, None] + np.arange(length)[None]
        found = np.zeros(real.shape, "int32")
        found[real] = self.tokens[at[real]]
        return found


@dataclasses.dataclass(frozen=True, eq=False)
class Features:
    """What a network reads, as N rows; padding comes with the batches.

    Attributes:
      row_splits: int64 [N + 1], where each row starts in the token arrays.
      tokens: name -> [T] array over all tokens of all rows: `input_ids` and
        `segment_ids` int32, and labels of tokens where there are any.
        (`input_mask` is made with the batch.)
      rows: name -> [N, ...] array, the targets of rows: labels, positions.
        Of groups: [N / group, ...].
      sequences: name -> N rows of tokens with lengths of their own.
      padding: name -> value of padded tokens, 0 where a name is absent.
      group: so many rows in a row belong together and are one unit of
        training (a query's candidates); their batches are [B, group, L].
      examples: int64 [N], the example that each row is of; None where row i
        is of example i.
      extra: what the task's `predictions` needs beside the outputs.
      mixture: how often units are seen in an epoch of training; each once
        where None.
    """

    row_splits: np.ndarray
    tokens: Mapping[str, np.ndarray]
    rows: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    sequences: Mapping[str, Sequences] = dataclasses.field(default_factory=dict)
    padding: Mapping[str, int] = dataclasses.field(default_factory=dict)
    group: int = 1
    examples: np.ndarray | None = None
    extra: Any = None
    mixture: Mixture | None = None

    def __len__(self) -> int:
        """Rows."""
        return len(self.row_splits) - 1

    @property
    def units(self) -> int:
        """Rows, or groups of them."""
        return len(self) // self.group

    @property
    def epoch_units(self) -> int:
        """Units that an epoch of training has."""
        return sum(self.mixture.draws) if self.mixture else self.units

    def epoch(self, number: int, seed: int) -> np.ndarray:
        """The units of an epoch, int64 [epoch_units], not yet shuffled."""
        if self.mixture:
            return self.mixture.epoch(number, seed)
        return np.arange(self.units)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, int64 [N]."""
        return np.diff(self.row_splits)

    def batch(
        self,
        units: Sequence[int] | np.ndarray,
        length: int | None = None,
        multiple: int = 1,
    ) -> dict[str, np.ndarray]:
        """Some units, padded.

        Args:
          units: B numbers of rows, or of groups.
          length: L; the longest row's where None.
          multiple: lengths of sequences are rounded up to it, but not above
            the longest of all.

        Returns:
          `input_ids`, `input_mask`, `segment_ids` and the other token arrays
          [B, L], or [B, group, L]; row arrays [B, ...]; sequences [B, their
          own length].
        """
        units = np.asarray(units, "int64")
        rows = units
        if self.group > 1:
            rows = (units[:, None] * self.group + np.arange(self.group)).ravel()
        lengths = self.lengths[rows]
        if length is None:
            length = int(lengths.max(initial=1))
        within = np.arange(length)[None]
        real = within < lengths[:, None]
        # Positions past a row's end read token 0, and are overwritten.
        source = np.where(real, self.row_splits[rows][:, None] + within, 0)
        shape = [len(units), self.group, length]
        if self.group == 1:
            shape = [len(units), length]
        found = {"input_mask": real.astype("int32").reshape(shape)}
        for name, values in self.tokens.items():
            padded = np.full(
                real.shape, self.padding.get(name, 0), values.dtype
            )
            if len(values):
                padded[real] = values[source[real]]
            found[name] = padded.reshape(shape)
        for name, values in self.rows.items():
            found[name] = values[units]
        for name, sequence in self.sequences.items():
            most = int(sequence.lengths.max(initial=1))
            own = int(sequence.lengths[rows].max(initial=1))
            found[name] = sequence.batch(
                rows, min(-(-own // multiple) * multiple, most)
            )
        return found


def from_rows(
    rows: Sequence[Mapping[str, np.ndarray]],
    /,
    names: Sequence[str] = ("input_ids", "segment_ids"),
    **others: Any,
) -> Features:
    """Features from one mapping of token arrays a row.

    Args:
      rows: N mappings, the arrays of one of them all of one length.
      names: the token arrays.
      **others: the other attributes of `Features`.
    """
    lengths = [len(row[names[0]]) for row in rows]
    tokens = {
        name: np.concatenate(
            [np.asarray(row[name], "int32") for row in rows]
            or [np.zeros([0], "int32")]
        )
        for name in names
    }
    splits = np.concatenate([[0], np.cumsum(lengths)]).astype("int64")
    return Features(splits, tokens, **others)


def check_lengths(features: Features, max_positions: int) -> None:
    """Refuses rows that are longer than the model can read.

    Raises:
      UserError: there are some.
    """
    longest = int(features.lengths.max(initial=0))
    if longest > max_positions:
        raise UserError(
            f"options.max_seq_length: a row has {longest} tokens, and the "
            f"model has {max_positions} positions; set it to {max_positions} "
            "or less"
        )
    for sequence in features.sequences.values():
        longest = int(sequence.lengths.max(initial=0))
        if longest > max_positions:
            raise UserError(
                f"options.max_target_length: a target has {longest} tokens, "
                f"and the model has {max_positions} positions; set it to "
                f"{max_positions - 2} or less"
            )
