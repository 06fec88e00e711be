"""Reads a data directory as a deterministic, seekable stream of batches.

The stream is a function of (data, seed): the shards are permuted for each
epoch, and then windows of `SHUFFLE_WINDOW` examples are. Since each shard is
an even sample of the whole corpus (see `builder`), this mixes well, and the
stream can be entered anywhere without a stored shuffle buffer.
"""

import atexit
import dataclasses
import itertools
import logging
import os
import shutil
import tempfile
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from electra_tf import files
from electra_tf.data import manifest, packing, shards, tfrecords
from electra_tf.errors import UserError

SHUFFLE_WINDOW = 1 << 15
# Data up to this size is read completely before training, so that damage shows
# at the start; for larger data only file sizes are checked.
_VERIFY_BYTES = 1 << 28
_COUNT_BATCH = 4096
_BUFFER = 1 << 22
_FOREVER = np.iinfo(np.int64).max

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ExampleFiles:
    """The TFRecord files of one split, already checked.

    Attributes:
      source: their directory or glob.
      paths: the files, in order.
      counts: number of examples in each.
      max_seq_length: longest example, or None without a manifest.
      corrupt_records: number of damaged records that were left out.
    """

    source: str
    paths: tuple[str, ...]
    counts: tuple[int, ...]
    max_seq_length: int | None
    corrupt_records: int = 0

    @property
    def total(self) -> int:
        """The number of examples."""
        return sum(self.counts)

    def first_record(self) -> bytes:
        """Reads the first record of the first file that is not empty."""
        path = next(p for p, n in zip(self.paths, self.counts) if n)
        records = tf.data.TFRecordDataset(path, buffer_size=_BUFFER)
        return next(iter(records.take(1))).numpy()


def find_examples(
    source: str,
    split: str = "train",
    skip_corrupt: bool = False,
    num_shards: int = 1,
    shard_index: int = 0,
) -> ExampleFiles:
    """Finds and checks the files of a split.

    Args:
      source: a directory made by `electra-tf build-data`; or a glob or a
        directory of TFRecord files without a manifest, such as the
        original's (all of it is the training split then, and it is read
        through once to be counted).
      split: "train" or "validation".
      skip_corrupt: whether to skip damaged records, and count them.
      num_shards: number of workers, each of which checks a share of the files
        that a manifest lists; with `skip_corrupt`, all.
      shard_index: number of this worker.

    Raises:
      UserError: there is no data, no such split, or no example; or a file is
        truncated or damaged (file and record are named).
    """
    if manifest.is_finished(source):
        looks = slice(shard_index, None, num_shards)
        if skip_corrupt:
            looks = slice(None)
        found = _from_manifest(source, split, skip_corrupt, looks)
    else:
        found = _from_glob(source, split, skip_corrupt)
    if found.corrupt_records:
        _log.warning(
            "%s: %d damaged records left out", source, found.corrupt_records
        )
    if not found.total:
        hint = ""
        if split == "validation":
            hint = "; build it with a larger --validation_fraction"
        raise UserError(f"{source}: no {split} examples there{hint}")
    return found


def _from_manifest(
    directory: str, split: str, skip_corrupt: bool, looks: slice
) -> ExampleFiles:
    about = manifest.load_manifest(directory)
    if split not in about.splits:
        raise UserError(
            f"{directory}: has no {split} split, only "
            f"{', '.join(about.splits)}; build it with "
            "--validation_fraction above 0"
        )
    listed = about.splits[split].shards
    verify = skip_corrupt or sum(s.bytes for s in listed) <= _VERIFY_BYTES
    verified = set(listed[looks]) if verify else set()
    paths, counts, lost = [], [], 0
    for shard in listed:
        path = files.join(directory, shard.file)
        count: int | None = shard.examples
        if not files.exists(path):
            if not skip_corrupt:
                raise UserError(
                    f"{path}: missing, though {manifest.FILE} names it; copy "
                    "the whole directory again, or build it again"
                )
            lost += shard.examples
            continue
        if files.size(path) != shard.bytes:
            count = None
        elif shard in verified:
            count = _count(path)
        if count != shard.examples:
            path, count, _ = _damaged(path, skip_corrupt, shard.examples)
            lost += shard.examples - count
        paths.append(path)
        counts.append(count)
    return ExampleFiles(
        directory, tuple(paths), tuple(counts), about.max_seq_length, lost
    )


def _from_glob(source: str, split: str, skip_corrupt: bool) -> ExampleFiles:
    if split != "train":
        raise UserError(
            f"{source}: files without a {manifest.FILE} have no {split} split"
        )
    pattern = source
    if files.is_directory(source):
        if files.exists(files.join(source, manifest.BUILDING)):
            manifest.load_manifest(source)  # reports an unfinished build
        pattern = files.join(source, "*tfrecord*")
    paths, counts, lost = [], [], 0
    try:
        found = files.expand(pattern, "--data")
    except UserError as error:
        raise UserError(
            f"{error}; expected a directory made by build-data, or TFRecords"
        ) from error
    for path in found:
        count = _count(path)
        if count is None:
            path, count, bad = _damaged(path, skip_corrupt, None)
            lost += bad
        paths.append(path)
        counts.append(count)
    return ExampleFiles(source, tuple(paths), tuple(counts), None, lost)


def _count(path: str) -> int | None:
    """Counts the records of a file; None if it is damaged."""
    records = tf.data.TFRecordDataset(path, buffer_size=_BUFFER)
    count = size = 0
    try:
        for batch in records.batch(_COUNT_BATCH):
            count += int(batch.shape[0])
            size += int(tf.reduce_sum(tf.strings.length(batch)))
    except (tf.errors.DataLossError, tf.errors.OutOfRangeError):
        return None
    except tf.errors.OpError as error:
        raise UserError(f"cannot read {path}: {error.message}") from error
    # TensorFlow does not notice a file truncated in the twelve bytes before a
    # record.
    whole = size + count * shards.OVERHEAD == files.size(path)
    return count if whole else None


def _damaged(
    path: str, skip_corrupt: bool, expected: int | None
) -> tuple[str, int, int]:
    """Makes a copy of a file without damaged records: path, count, lost."""
    if not skip_corrupt:
        raise UserError(_describe(path, expected))
    folder = tempfile.mkdtemp(prefix="electra_tf-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    copy = os.path.join(folder, os.path.basename(path))
    kept, lost = shards.copy_good_records(path, copy)
    return copy, kept, lost


def _describe(path: str, expected: int | None) -> str:
    found = shards.find_corruption(path)
    advice = (
        "copy or build the file again, or set --skip_corrupt to leave "
        "damaged records out"
    )
    if found is None:
        return (
            f"{path}: not the {expected} records that {manifest.FILE} "
            f"promises; {advice}"
        )
    return (
        f"{path}: record {found.record} (at byte {found.offset}) is damaged: "
        f"{found.reason}; {advice}"
    )


def data_loss_error(source: str, split: str = "train") -> UserError:
    """Explains a `tf.errors.DataLossError` met while reading `source`.

    It reads all files until it finds the damage.
    """
    try:
        if manifest.is_finished(source):
            about = manifest.load_manifest(source)
            paths = [
                files.join(source, shard.file)
                for shard in about.splits[split].shards
            ]
        else:
            paths = list(_from_glob(source, split, False).paths)
        for path in paths:
            if _count(path) is None:
                return UserError(_describe(path, None))
    except UserError as error:
        return error
    return UserError(f"{source}: damaged data was read; read it again")


def misfit_error(source: str, length: int, vocab_size: int) -> UserError | None:
    """Explains an error of reading the original's records, or returns None.

    It reads all files until it finds a record that does not fit.

    Args:
      source: their directory or glob.
      length: positions of each record.
      vocab_size: tokens of the vocabulary.
    """
    for path in _from_glob(source, "train", True).paths:
        records = tf.data.TFRecordDataset(path, buffer_size=_BUFFER)
        for number, record in enumerate(records.as_numpy_iterator()):
            problem = tfrecords.misfit(record, length, vocab_size)
            if problem:
                return UserError(f"{path}: record {number}: {problem}")
    return None


def pretraining_dataset(
    source: str,
    *,
    split: str = "train",
    batch_size: int,
    max_seq_length: int,
    seed: int = 0,
    start_example: int = 0,
    shuffle: bool = True,
    repeat: bool = True,
    new_epochs: bool = False,
    num_shards: int = 1,
    shard_index: int = 0,
    skip_corrupt: bool = False,
    drop_remainder: bool = True,
    shuffle_window: int = SHUFFLE_WINDOW,
    pack_rows_by: int | None = None,
) -> tf.data.Dataset:
    """Returns batches of pre-training examples.

    The stream continues over epochs without a gap: batches span their ends.
    From `start_example` on it equals the stream from 0 without the first
    examples, bit for bit.

    Each of several workers reads only its own examples from local files, and
    once the lengths of all, 12 bytes per example; from remote files, and in a
    pass that keeps an incomplete last batch, it reads everything and takes its
    slices.

    Args:
      source: directory or glob, see `find_examples`.
      split: "train" or "validation"; the latter is never shuffled.
      batch_size: examples in a batch of all workers together.
      max_seq_length: width L; shorter examples are padded with zeros.
      seed: seed of the examples' order.
      start_example: position in the stream to start at.
      shuffle: whether each epoch has another order; if not, the files' order.
      repeat: whether to repeat for ever; if not, one epoch.
      new_epochs: whether, without `repeat`, each pass over the dataset is the
        next epoch, from 0 on, with a new order and new positions; if not, all
        passes are the first epoch.
      num_shards: number of workers, each of which reads an equal slice of each
        batch.
      shard_index: number of this worker.
      skip_corrupt: whether to skip damaged records (counted in the log).
      drop_remainder: without `repeat`, whether to leave out a last batch
        that is not full.
      shuffle_window: number of examples that are shuffled at a time.
      pack_rows_by: if given, examples of a batch are packed into rows, whose
        number is a multiple of this. See `packing.pack`.

    Returns:
      A dataset of dicts: `input_ids`, `input_mask`, `segment_ids`, int32
      [B, L], and `example_id`, int64 [B], the positions in the stream, with
      B = batch_size / num_shards; for data built with a word segmenter also
      `word_starts`, int32 [B, L], 1 at the tokens that begin a word. With
      `pack_rows_by`, the result of `packing.pack`.

    Raises:
      UserError: see `find_examples`; or `max_seq_length` is less than the
        data's, or workers cannot share the batch size.
    """
    if batch_size < 1 or batch_size % num_shards:
        raise UserError(
            f"a batch of {batch_size} cannot be shared by {num_shards} "
            "workers; make it a multiple of their number"
        )
    found = find_examples(source, split, skip_corrupt, num_shards, shard_index)
    if found.max_seq_length is not None:
        tfrecords.check_length(max_seq_length, found.max_seq_length, source)
    parse = tfrecords.parser(found.first_record(), max_seq_length, source)
    share = batch_size // num_shards
    first = shard_index * share
    full = drop_remainder or repeat  # every batch is

    def stream(epoch: int | tf.Tensor, skipped: int = 0) -> tf.data.Dataset:
        """Returns the batches from a position in an epoch on."""
        start = epoch * found.total + skipped

        def decode(index: tf.Tensor, batch: tf.Tensor) -> tfrecords.Batch:
            position = start + index * batch_size + first
            ids = position + tf.range(tf.shape(batch, tf.int64)[0])
            features = parse(batch)
            features["example_id"] = ids
            if pack_rows_by is None:
                return features
            return packing.pack(features, pack_rows_by)

        order = _Order(
            found,
            seed=seed,
            first_epoch=epoch,
            skipped=skipped,
            shuffle=shuffle and split == "train",
            repeat=repeat,
            window=shuffle_window,
        )
        if num_shards > 1 and full and all(map(files.is_local, found.paths)):
            rest = 0 if repeat else (found.total - skipped) % batch_size

            def mine(positions: tf.Tensor) -> tf.Tensor:
                since = positions - start
                ours = since % batch_size // share == shard_index
                ours &= since >= 0
                if rest:
                    ours &= since < found.total - skipped - rest
                return ours

            batches = order.chosen(mine).rebatch(share, drop_remainder=True)
        else:
            batches = order.windows().rebatch(batch_size, drop_remainder=full)
            if num_shards > 1:
                batches = batches.map(lambda b: b[first : first + share])
        return batches.enumerate().map(
            decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )

    if new_epochs:
        data = _passes().flat_map(stream)
        whole, rest = divmod(found.total, batch_size)
        data = data.apply(
            tf.data.experimental.assert_cardinality(
                whole + (rest > 0 and not drop_remainder)
            )
        )
    else:
        epoch, skipped = divmod(start_example, found.total)
        if not repeat and epoch:
            epoch, skipped = 0, found.total
        data = stream(epoch, skipped)
    options = tf.data.Options()
    # A worker can compute which examples are its own.
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.OFF
    )
    options.deterministic = True
    return data.with_options(options).prefetch(tf.data.AUTOTUNE)


def _passes() -> tf.data.Dataset:
    """Returns the number of the current pass over the dataset, int64."""
    numbers = itertools.count()

    def count(_: tf.Tensor) -> tf.Tensor:
        number = tf.numpy_function(
            lambda: np.int64(next(numbers)), [], tf.int64
        )
        return tf.ensure_shape(number, [])

    return tf.data.Dataset.range(1).map(count)


class _Order:
    """The order of examples from a position on.

    Args:
      found: the files.
      seed: seed of the order.
      first_epoch: the epoch to start in.
      skipped: number of its examples to skip.
      shuffle: whether each epoch has another order.
      repeat: whether to continue for ever; if not, to the end of that epoch.
      window: number of examples that are shuffled at a time.
    """

    def __init__(
        self,
        found: ExampleFiles,
        *,
        seed: int,
        first_epoch: int | tf.Tensor,
        skipped: int,
        shuffle: bool,
        repeat: bool,
        window: int,
    ):
        self._found, self._skipped = found, skipped
        self._shuffle, self._window = shuffle, window
        self._base = tf.constant(
            [seed & 0x7FFFFFFF, seed >> 31 & 0x7FFFFFFF], dtype=tf.int32
        )
        self._epochs = tf.data.Dataset.range(
            first_epoch, _FOREVER if repeat else first_epoch + 1
        )

    def windows(self) -> tf.data.Dataset:
        """Yields all serialized examples, in string tensors of any size."""
        paths, window = tf.constant(self._found.paths), self._window

        def epoch_windows(epoch: tf.Tensor) -> tf.data.Dataset:
            order = tf.gather(paths, self._files(epoch))
            records = tf.data.TFRecordDataset(order, buffer_size=_BUFFER)
            return (
                records.batch(window)
                .enumerate()
                .map(lambda index, batch: (epoch, index, batch))
            )

        def mix(
            epoch: tf.Tensor, index: tf.Tensor, batch: tf.Tensor
        ) -> tf.Tensor:
            if not self._shuffle:
                return batch
            return tf.gather(
                batch, self._mixed(epoch, index, tf.shape(batch)[0])
            )

        windows = self._epochs.flat_map(epoch_windows)
        windows = windows.skip(self._skipped // window)
        windows = windows.map(mix, num_parallel_calls=1, deterministic=True)
        rest = self._skipped % window
        if rest:
            windows = windows.enumerate().map(
                lambda i, batch: batch[tf.where(i == 0, rest, 0) :]
            )
        return windows.prefetch(1)

    def chosen(self, mine: Callable[[tf.Tensor], tf.Tensor]) -> tf.data.Dataset:
        """Yields like `windows`, but reads only some examples.

        Args:
          mine: returns by positions in the stream, int64 [n], which are wanted;
            also called for positions before the first.
        """
        found, window = self._found, self._window
        records = shards.ChosenRecords(found.paths, found.counts)
        number = -(-found.total // window)

        def epoch_windows(epoch: tf.Tensor) -> tf.data.Dataset:
            return tf.data.Dataset.range(number).map(
                lambda index: (epoch, index)
            )

        def read(epoch: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
            before = index * window
            size = tf.minimum(
                tf.constant(window, tf.int64), found.total - before
            )
            places = tf.range(size)
            ours = mine(epoch * found.total + before + places)
            if self._shuffle:
                places = tf.cast(
                    self._mixed(epoch, index, tf.cast(size, tf.int32)),
                    tf.int64,
                )
            batch = tf.numpy_function(
                records.read,
                [self._files(epoch), before + places[ours]],
                tf.string,
            )
            return tf.ensure_shape(batch, [None])

        windows = self._epochs.flat_map(epoch_windows)
        windows = windows.skip(self._skipped // window)
        windows = windows.map(read, num_parallel_calls=1, deterministic=True)
        return windows.prefetch(1)

    def _files(self, epoch: tf.Tensor) -> tf.Tensor:
        """Returns the order of the files in an epoch, int32 [files]."""
        size = len(self._found.paths)
        if not self._shuffle:
            return tf.range(size)
        # No window has index -1, so these random numbers are separate.
        return _permutation(self._base, epoch, -1, size)

    def _mixed(
        self, epoch: tf.Tensor, index: tf.Tensor, size: tf.Tensor
    ) -> tf.Tensor:
        """Returns the order of the examples in a window, int32 [size]."""
        return _permutation(self._base, epoch, index, size)


def _permutation(
    base: tf.Tensor,
    epoch: tf.Tensor,
    index: tf.Tensor | int,
    size: tf.Tensor | int,
) -> tf.Tensor:
    """Returns a random permutation that depends only on its arguments."""
    seed = tf.random.fold_in(base, tf.cast(epoch, tf.int32), "philox")
    seed = tf.random.fold_in(seed, tf.cast(index, tf.int32), "philox")
    keys = tf.random.stateless_uniform(
        [size], seed, minval=None, maxval=None, dtype=tf.int64, alg="philox"
    )
    return tf.argsort(keys, stable=True)
