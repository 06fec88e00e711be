"""Batches of rows of like length, padded to the longest row in each.

The training stream is a function of (features, batch size, seed). The units
(rows, or groups of rows) of each epoch are shuffled, and epochs follow one
another without a gap, so that every batch is full: the rest of an epoch goes
into the next epoch's first batch, and data smaller than a batch is repeated
within it. The batches that begin in an epoch are divided into pools; the units
of a pool are sorted by length, cut into batches, and the order of these is
shuffled. Any batch is found from its number alone: training that is resumed
replays nothing.
"""

import functools
from collections.abc import Iterator
from typing import Protocol, TypeVar

import numpy as np
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.tasks.features import Features
from electra_tf.training.workers import WHOLE, Share

# Batches in a pool, at most. Larger pools make the lengths within a batch more
# alike, and the choice of its rows less random.
POOL = 64
# Lengths are rounded up to a multiple of this before they are sorted, so that
# rows of nearly equal length stay in random order. The usual padding multiples
# are multiples of it.
_LENGTH_STEP = 4


class Stream(Protocol):
    """An endless stream of batches found by number; see `dataset_of`."""

    def signature(self) -> dict[str, tf.TensorSpec]:
        """Returns shapes and dtypes; None for sizes that differ by batch."""

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """Returns batch number `step`, from 0."""


class BatchStream:
    """The endless training stream of some features.

    Args:
      features: what to batch, with its targets.
      batch_size: B, units in a batch (rows; groups where there are groups).
      seed: seed of the order.
      pad_to_multiple: lengths are rounded up to it, though not beyond the
        longest row of all, so that there are few different ones.
      bucket: whether batches are made of units of similar length. If not, they
        follow the permutation, each still padded to its longest row.

    Raises:
      UserError: no units, or a batch size or multiple below 1.
    """

    def __init__(
        self,
        features: Features,
        batch_size: int,
        seed: int,
        pad_to_multiple: int = 8,
        bucket: bool = True,
    ):
        if not features.units:
            raise UserError("there is no example to train on")
        for name, value in (
            ("batch_size", batch_size),
            ("pad_to_multiple", pad_to_multiple),
        ):
            if value < 1:
                raise UserError(f"{name}: expected at least 1, got {value}")
        self.features = features
        self.batch_size = batch_size
        self.seed = seed
        self.pad_to_multiple = pad_to_multiple
        self.bucket = bucket
        self._lengths = unit_lengths(features)
        # Units are sorted by their longest padded array.
        self._longest = _longest(features)
        # A pool extends into the next epoch by less than one batch.
        self._permutation = functools.lru_cache(maxsize=4)(self._permute)
        self._pool = functools.lru_cache(maxsize=2)(self._make_pool)

    def signature(self) -> dict[str, tf.TensorSpec]:
        """Returns the specs: token arrays are [B, None] or [B, group, None].

        Where all rows are padded to the longest, its length replaces None.
        """
        features = self.features
        changing = {"input_mask", *features.tokens, *features.sequences}
        if self.pad_to_multiple >= longest(self.features):
            changing = set()
        return {
            name: tf.TensorSpec(
                (*value.shape[:-1], None) if name in changing else value.shape,
                value.dtype,
            )
            for name, value in self.batch(0).items()
        }

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """Returns what `Features.batch` gives, and `example_id` int64 [B].

        An example_id is the unit's position in the whole stream, so it is never
        repeated.
        """
        units, positions = self.units(step)
        length = padded_length(
            int(self._lengths[units].max()),
            self.pad_to_multiple,
            int(self._lengths.max()),
        )
        found = self.features.batch(units, length, self.pad_to_multiple)
        return found | {"example_id": positions}

    def units(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the units of batch `step` and their positions, int64 [B]."""
        first, end = self._bounds(step)
        positions = self._pool(first, end)[step - first]
        return self._at(positions), positions

    def _bounds(self, step: int) -> tuple[int, int]:
        """Returns first and end batch of the pool that holds `step`."""
        if not self.bucket:
            return step, step + 1
        size, total = self.batch_size, self.features.epoch_units
        epoch = step * size // total
        start = -(-epoch * total // size)
        count = -(-(epoch + 1) * total // size) - start
        pools = -(-count // POOL)  # of sizes that differ by 1 at most
        pool = ((step - start + 1) * pools - 1) // count
        return (
            start + pool * count // pools,
            start + (pool + 1) * count // pools,
        )

    def _make_pool(self, first: int, end: int) -> np.ndarray:
        """Returns the positions in batches `first` to `end`, [batches, B]."""
        size = self.batch_size
        positions = np.arange(first * size, end * size, dtype="int64")
        if end - first > 1:
            lengths = -(-self._longest[self._at(positions)] // _LENGTH_STEP)
            positions = positions[np.argsort(lengths, kind="stable")]
        batches = positions.reshape(-1, size)
        rng = np.random.default_rng([self.seed, 1, first])
        return batches[rng.permutation(len(batches))]

    def _at(self, positions: np.ndarray) -> np.ndarray:
        """Returns the units at some positions of the stream."""
        epochs, within = np.divmod(positions, self.features.epoch_units)
        found = np.empty_like(positions)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            found[here] = self._permutation(int(epoch))[within[here]]
        return found

    def _permute(self, epoch: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, 0, epoch])
        return rng.permutation(self.features.epoch(epoch, self.seed))


def training_dataset(
    features: Features,
    batch_size: int,
    *,
    seed: int,
    start_step: int = 0,
    pad_to_multiple: int = 8,
    bucket: bool = True,
    share: Share = WHOLE,
) -> tf.data.Dataset:
    """Returns the endless batches of training from a given step on.

    Args:
      features: see `BatchStream`.
      batch_size: units in a batch of all replicas together.
      seed: see `BatchStream`.
      start_step: number of batches to skip; the others are as from step 0.
      pad_to_multiple: see `BatchStream`.
      bucket: see `BatchStream`.
      share: this worker's share of each batch, where several workers train.

    Raises:
      UserError: see `BatchStream`.
    """
    stream = BatchStream(features, batch_size, seed, pad_to_multiple, bucket)
    return dataset_of(stream, start_step, share)


def dataset_of(
    stream: Stream, start_step: int = 0, share: Share = WHOLE
) -> tf.data.Dataset:
    """Returns the batches of a stream from a step on, some prefetched.

    Under a strategy each batch is split along its first axis, one part for each
    replica. With several workers each makes the whole batch, padded as one
    process would pad it, and takes its share.
    """

    def rows(value: np.ndarray | tf.TensorSpec) -> slice:
        return share.of(value.shape[0])

    def batches() -> Iterator[dict[str, np.ndarray]]:
        step = start_step
        while True:
            batch = stream.batch(step)
            yield {name: value[rows(value)] for name, value in batch.items()}
            step += 1

    signature = {
        name: tf.TensorSpec(
            [len(range(spec.shape[0])[rows(spec)]), *spec.shape[1:]], spec.dtype
        )
        for name, spec in stream.signature().items()
    }
    data = tf.data.Dataset.from_generator(batches, output_signature=signature)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.OFF
    )
    return data.prefetch(4).with_options(options)


def inference_batches(
    features: Features,
    batch_size: int,
    pad_to_multiple: int = 8,
    bucket: bool = True,
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Yields all rows once, in batches of similar length, longest first.

    Groups are split into their rows.

    Args:
      features: what to batch.
      batch_size: rows in a batch; the last one may have fewer.
      pad_to_multiple: see `BatchStream`.
      bucket: whether to sort by length; if not, rows keep their order.

    Yields:
      (int64 [B] row numbers, `input_ids`, `input_mask` and `segment_ids` and
      the other token arrays, each [B, L]).
    """
    rows = token_rows(features)
    lengths = rows.lengths
    longest = int(lengths.max(initial=1))
    order = np.arange(len(rows))
    if len(rows) == 1 and lengths[0]:
        yield order, rows.alone()
        return
    if bucket:
        # The longest first: too little memory shows at once.
        order = np.argsort(-lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        length = padded_length(
            int(lengths[chosen].max()), pad_to_multiple, longest
        )
        yield chosen, rows.batch(chosen, length)


def token_rows(features: Features) -> Features:
    """Returns features with token arrays only: no groups, no targets."""
    return Features(
        features.row_splits, features.tokens, padding=features.padding
    )


def unit_lengths(features: Features) -> np.ndarray:
    """Returns the length of each unit's longest row, int64 [units]."""
    lengths = features.lengths
    if features.group > 1:
        return lengths.reshape(-1, features.group).max(axis=1)
    return lengths


def longest(features: Features) -> int:
    """Returns the longest length of all: padded to it, batches have one
    shape.
    """
    return int(_longest(features).max(initial=1))


def _longest(features: Features) -> np.ndarray:
    """Returns the longest padded array of each unit, int64 [units]."""
    sequences = features.sequences.values()
    return np.max(
        [unit_lengths(features), *(s.lengths for s in sequences)], axis=0
    )


def padded_lengths(features: Features, multiple: int = 8) -> np.ndarray:
    """Returns the padded length of each unit alone, int64 [units]."""
    lengths = unit_lengths(features)
    return padded_length(lengths, multiple, int(lengths.max(initial=1)))


_Length = TypeVar("_Length", int, np.ndarray)


def padded_length(length: _Length, multiple: int, longest: int) -> _Length:
    """Rounds `length` up to a multiple, but not above the longest of all."""
    return np.clip(-(-length // multiple) * multiple, 1, max(1, longest))
