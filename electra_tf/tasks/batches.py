"""Batches of rows of like length, padded to the longest row in each.

The training stream is a function of (features, batch size, seed). The units
(rows, or groups of rows) of each epoch are shuffled, and epochs follow one
another without a gap, so that every batch is full: what is left of an epoch
begins the next one's first batch, and data smaller than a batch is gone
through several times for one. The batches that begin in an epoch are divided
into pools; the units of a pool are sorted by length, cut into batches, and the
order of these is shuffled. Any batch is found from its number alone: training
that is resumed replays nothing.
"""

import functools
from collections.abc import Iterator
from typing import Protocol, TypeVar

import numpy as np
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.tasks.features import Features
from electra_tf.training.workers import WHOLE, Share

# Batches in a pool, at most. More make the lengths in a batch more alike, and
# less of its choice random.
POOL = 64
# Lengths are sorted by what they come to when rounded up to this, which the
# usual multiples of padding are multiples of; others stay at random.
_LENGTH_STEP = 4


class Stream(Protocol):
    """Endless batches by their number; what `dataset_of` reads."""

    def signature(self) -> dict[str, tf.TensorSpec]:
        """Shapes and dtypes, None where they change from batch to batch."""

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """Batch number `step`, from 0."""


class BatchStream:
    """The endless training stream of some features.

    Args:
      features: what to batch, with its targets.
      batch_size: B, units in a batch (rows; groups where there are groups).
      seed: of the order.
      pad_to_multiple: lengths are rounded up to it, though not beyond the
        longest row of all, so that there are few different ones.
      bucket: whether batches are made of units of like length. Without, they
        follow the permutation, and are padded to their longest all the same.

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
        # Units are sorted by the longest of what is padded in them.
        self._longest = _longest(features)
        # A pool reaches into the next epoch by less than a batch.
        self._permutation = functools.lru_cache(maxsize=4)(self._permute)
        self._pool = functools.lru_cache(maxsize=2)(self._make_pool)

    def signature(self) -> dict[str, tf.TensorSpec]:
        """Token arrays are [B, None] or [B, group, None].

        Where all rows are padded to the longest, that is their length.
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
        """What `Features.batch` gives, and `example_id` int64 [B].

        An example_id is the unit's position in the whole stream; it never
        comes again.
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
        """Batch number `step`: its units, and their positions, int64 [B]."""
        first, end = self._bounds(step)
        positions = self._pool(first, end)[step - first]
        return self._at(positions), positions

    def _bounds(self, step: int) -> tuple[int, int]:
        """The first batch of the pool that holds `step`, and its end."""
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
        """Batches `first` to `end`: positions, int64 [batches, B]."""
        size = self.batch_size
        positions = np.arange(first * size, end * size, dtype="int64")
        if end - first > 1:
            lengths = -(-self._longest[self._at(positions)] // _LENGTH_STEP)
            positions = positions[np.argsort(lengths, kind="stable")]
        batches = positions.reshape(-1, size)
        rng = np.random.default_rng([self.seed, 1, first])
        return batches[rng.permutation(len(batches))]

    def _at(self, positions: np.ndarray) -> np.ndarray:
        """The units at these positions of the stream."""
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
    """Endless batches; entered at a step they are the same as from 0.

    Args:
      features: see `BatchStream`.
      batch_size: units in a batch of all replicas together.
      seed: see `BatchStream`.
      start_step: batches before the first.
      pad_to_multiple: see `BatchStream`.
      bucket: see `BatchStream`.
      share: of each batch, where several workers train.

    Raises:
      UserError: see `BatchStream`.
    """
    stream = BatchStream(features, batch_size, seed, pad_to_multiple, bucket)
    return dataset_of(stream, start_step, share)


def dataset_of(
    stream: Stream, start_step: int = 0, share: Share = WHOLE
) -> tf.data.Dataset:
    """The batches of a stream from a step on, some of them made ahead.

    Under a strategy each batch is cut along its first axis, one part for each
    replica. Of several workers each makes the whole batch, padded as one
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
    """All rows once, in batches of like length, the longest first.

    Groups are taken apart: these batches are of rows.

    Args:
      features: what to batch.
      batch_size: rows in a batch; the last has what is left.
      pad_to_multiple: see `BatchStream`.
      bucket: by length; otherwise in the order of the rows.

    Yields:
      (int64 [B] row numbers, `input_ids`, `input_mask` and `segment_ids` and
      the other token arrays, each [B, L]).
    """
    rows = token_rows(features)
    lengths = rows.lengths
    longest = int(lengths.max(initial=1))
    order = np.arange(len(rows))
    if bucket:
        # The longest first: if memory is short it shows at once.
        order = np.argsort(-lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        length = padded_length(
            int(lengths[chosen].max()), pad_to_multiple, longest
        )
        yield chosen, rows.batch(chosen, length)


def token_rows(features: Features) -> Features:
    """The rows by themselves: without groups, targets and what else."""
    return Features(
        features.row_splits, features.tokens, padding=features.padding
    )


def unit_lengths(features: Features) -> np.ndarray:
    """Tokens of the longest row of each unit, int64 [units]."""
    lengths = features.lengths
    if features.group > 1:
        return lengths.reshape(-1, features.group).max(axis=1)
    return lengths


def longest(features: Features) -> int:
    """Of all that is padded in a batch; a multiple that makes one shape."""
    return int(_longest(features).max(initial=1))


def _longest(features: Features) -> np.ndarray:
    """Of what is padded in each unit, int64 [units]."""
    sequences = features.sequences.values()
    return np.max(
        [unit_lengths(features), *(s.lengths for s in sequences)], axis=0
    )


def padded_lengths(features: Features, multiple: int = 8) -> np.ndarray:
    """What each unit by itself would be padded to, int64 [units]."""
    lengths = unit_lengths(features)
    return padded_length(lengths, multiple, int(lengths.max(initial=1)))


_Length = TypeVar("_Length", int, np.ndarray)


def padded_length(length: _Length, multiple: int, longest: int) -> _Length:
    """`length` rounded up to a multiple, but not above the longest of all."""
    return np.clip(-(-length // multiple) * multiple, 1, max(1, longest))
