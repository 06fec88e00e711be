"""Makes batches for Keras' loops: arrays by length, datasets in order."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.tasks.batches import (
    BatchStream,
    dataset_of,
    padded_length,
    unit_lengths,
)
from electra_tf.tasks.features import Features

WEIGHT = "sample_weight"
_MULTIPLE = 8  # default multiple that lengths are rounded up to

Batch = dict[str, np.ndarray]


def weighted(features: Features, weights: np.ndarray | None) -> Features:
    """Returns features with a weight for each row.

    Args:
      features: features of N examples.
      weights: float [N]; None returns the features unchanged.

    Raises:
      UserError: rows are grouped, and groups have no weights.
    """
    if weights is None:
        return features
    if features.group > 1:
        raise UserError("sample_weight: candidates of a query have none")
    if features.examples is not None:
        weights = weights[features.examples]
    rows = dict(features.rows) | {WEIGHT: weights.astype("float32")}
    return dataclasses.replace(features, rows=rows)


class _InOrder(BatchStream):
    """A stream of all units in order, repeated."""

    def units(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """See `BatchStream.units`."""
        start = step * self.batch_size
        positions = np.arange(start, start + self.batch_size, dtype="int64")
        return positions % self.features.units, positions


def training(
    features: Features,
    batch_size: int,
    seed: int,
    multiple: int,
    shuffle: bool,
    start: Callable[[], int],
) -> tf.data.Dataset:
    """Makes endless batches, by length or in order.

    Args:
      features: features with targets.
      batch_size: units in a batch.
      seed: seed of the order.
      multiple: lengths are rounded up to it.
      shuffle: whether to sort by length and shuffle; if not, units keep their
        order, padded to the longest of their batch.
      start: returns the number of the first batch; called whenever the dataset
        is iterated over.
    """
    cls = BatchStream if shuffle else _InOrder
    return dataset_of(_Later(cls(features, batch_size, seed, multiple), start))


class _Later:
    """A stream whose first batch is chosen when iteration begins."""

    def __init__(self, stream: BatchStream, start: Callable[[], int]):
        self._stream = stream
        self._start = start
        self._first = 0

    def signature(self) -> dict[str, tf.TensorSpec]:
        return self._stream.signature()

    def batch(self, step: int) -> Batch:
        if step == 0:
            self._first = self._start()
        return self._stream.batch(self._first + step)


def once(
    features: Features, batch_size: int, replicas: int = 1
) -> tf.data.Dataset:
    """Makes batches of all units once, longest first.

    Args:
      features: features with targets.
      batch_size: units in a batch; the last one may have fewer.
      replicas: number of replicas that share a batch: Keras wants equal parts
        in the first one.
    """
    lengths = unit_lengths(features)
    order = np.argsort(-lengths, kind="stable")
    longest = int(lengths.max(initial=1))
    cuts = [*range(0, len(order), batch_size), len(order)]
    first = cuts[1] - cuts[1] % replicas
    if 0 < first < cuts[1]:
        cuts.insert(1, first)

    def batches() -> Iterator[Batch]:
        for start, end in itertools.pairwise(cuts):
            chosen = order[start:end]
            length = padded_length(
                int(lengths[chosen].max()), _MULTIPLE, longest
            )
            yield features.batch(chosen, length, _MULTIPLE)

    signature = _signature(features, features.batch(order[:1]))
    data = tf.data.Dataset.from_generator(batches, output_signature=signature)
    return _unsharded(
        data.apply(tf.data.experimental.assert_cardinality(len(cuts) - 1))
    )


def streamed(
    source: Iterable[Any],
    make: Callable[[Any], Features],
    longest: int,
    count: int | None = None,
) -> tf.data.Dataset:
    """Makes a batch from each element of a dataset, in order.

    Args:
      source: elements of one batch each, a dataset or another iterable.
      make: element -> its features.
      longest: most tokens of a row.
      count: number of batches, as from `cardinality`; None where an element may
        yield none.

    Raises:
      UserError: the dataset is empty, or `make` fails on its first element.
    """

    def batch_of(features: Features) -> Batch:
        length = padded_length(
            int(features.lengths.max(initial=1)), _MULTIPLE, longest
        )
        return features.batch(np.arange(features.units), length, _MULTIPLE)

    def batches() -> Iterator[Batch]:
        # Reads one ahead: a consumer that knows the count never asks for more,
        # but the source's end (a PyDataset's `on_epoch_end`) must be reached.
        before = None
        for element in source:
            found = batch_of(make(element))
            if len(found["input_ids"]):
                if before is not None:
                    yield before
                before = found
        if before is not None:
            yield before

    try:
        first = make(next(iter(source)))
    except StopIteration:
        raise UserError("x: the dataset is empty") from None
    data = tf.data.Dataset.from_generator(
        batches, output_signature=_signature(first, batch_of(first))
    )
    if count is not None:
        data = data.apply(tf.data.experimental.assert_cardinality(count))
    return _unsharded(data)


def _signature(features: Features, batch: Batch) -> dict[str, tf.TensorSpec]:
    """Returns a batch's shapes, with None for rows and tokens."""
    by_token = {"input_mask", *features.tokens, *features.sequences}
    found = {}
    for name, value in batch.items():
        shape = [None, *value.shape[1:]]
        if name in by_token:
            shape[-1] = None
        found[name] = tf.TensorSpec(shape, value.dtype)
    return found


def _unsharded(data: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.OFF
    )
    return data.prefetch(4).with_options(options)
