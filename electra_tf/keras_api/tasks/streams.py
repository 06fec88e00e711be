"""Batches for Keras' loops: of arrays by length, of datasets as they come."""

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
_MULTIPLE = 8  # that lengths are rounded up to, where nothing is planned

Batch = dict[str, np.ndarray]


def weighted(features: Features, weights: np.ndarray | None) -> Features:
    """Returns the features with a weight for each of their rows.

    Args:
      features: of N examples.
      weights: float [N]; None leaves the features as they are.

    Raises:
      UserError: rows come in groups, which have no weights.
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
    """The units one after another, again and again."""

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
    """Makes endless batches, by length and in random order.

    Args:
      features: with targets.
      batch_size: units in a batch.
      seed: of the order.
      multiple: lengths are rounded up to it.
      shuffle: otherwise units keep their order, and are padded to the longest
        of their batch.
      start: asked, whenever the dataset is iterated over, for the number of
        the first batch.
    """
    cls = BatchStream if shuffle else _InOrder
    return dataset_of(_Later(cls(features, batch_size, seed, multiple), start))


class _Later:
    """A stream whose first batch is chosen when it begins."""

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
    """Makes batches of all units once, the longest first.

    Args:
      features: with targets.
      batch_size: units in a batch; the last has what is left.
      replicas: that share a batch: Keras wants as many units for each in the
        first one.
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
    """Makes a batch of each element of a dataset, in its order.

    Args:
      source: elements of one batch each, a dataset or another iterable.
      make: element -> its features.
      longest: tokens of a row, at most.
      count: how many batches there are, as `cardinality` has it; None where
        an element may come to none.

    Raises:
      UserError: the dataset is empty, or `make` raises one on its first
        element.
    """

    def batch_of(features: Features) -> Batch:
        length = padded_length(
            int(features.lengths.max(initial=1)), _MULTIPLE, longest
        )
        return features.batch(np.arange(features.units), length, _MULTIPLE)

    def batches() -> Iterator[Batch]:
        # One ahead: who knows the count does not ask whether there are more,
        # and the source's end (a PyDataset's `on_epoch_end`) shall be reached.
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
    """Returns the batch's shapes, without numbers of rows and tokens."""
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
