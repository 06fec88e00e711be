"""Reads built examples as batches, and describes the data."""

import dataclasses
import hashlib
import json
import numbers
import os
from typing import Any, Literal

import tensorflow as tf

from electra_tf import files
from electra_tf.data import manifest, reader, shards, tfrecords
from electra_tf.errors import UserError
from electra_tf.keras_api.settings import PretrainSettings
from electra_tf.pretraining.masking import SpecialIds
from electra_tf.text import segment
from electra_tf.text.vocab import Vocab, load_vocab
from electra_tf.training.workers import WHOLE, Share


def pretraining_dataset(
    data: str,
    *,
    batch_size: int = 32,
    split: Literal["train", "validation"] = "train",
    seed: int = 42,
    shuffle: bool = True,
    repeat: bool = False,
    max_seq_length: int | None = None,
    skip_corrupt: bool = False,
) -> tf.data.Dataset:
    """Reads batches of pre-training examples, for `ElectraPretrainer.fit`.

    One pass is one epoch, of `cardinality()` batches. Each further pass over
    "train" has a new order and new positions in the stream, and with them new
    masks; passes over "validation" are all the same.

    Args:
      data: a directory made by build-data; or a glob of the original's
        TFRecords, which is all "train".
      batch_size: examples in a batch, over all replicas.
      split: "train", whose last batch is left out if it is not full; or
        "validation", never shuffled and whole.
      seed: seed of the examples' order.
      shuffle: whether "train" is in another order in each epoch.
      repeat: whether to repeat for ever, with batches across the ends of
        epochs: the stream of the recipe `pretrain`. `fit` then needs
        steps_per_epoch.
      max_seq_length: the width L of a batch; None takes the data's.
      skip_corrupt: whether to skip damaged records instead of stopping.

    Returns:
      Dicts of `input_ids`, `input_mask`, `segment_ids`, int32 [B, L], and
      `example_id`, int64 [B]; see `data.reader.pretraining_dataset`.

    Raises:
      UserError: no such data or split, damaged files, fewer examples than a
        batch.
    """
    if split not in ("train", "validation"):
        raise UserError(f"split: expected train or validation, got '{split}'")
    if not isinstance(data, str | os.PathLike):
        raise UserError(
            "data: expected the path of a directory made by build-data, or a "
            f"glob, got {data!r}"
        )
    data = os.fspath(data)
    if not isinstance(batch_size, numbers.Integral):
        raise UserError(
            f"batch_size: expected a whole number, got {batch_size!r}"
        )
    if batch_size < 1:
        raise UserError(f"batch_size: expected at least 1, got {batch_size}")
    found = reader.find_examples(data, split, skip_corrupt)
    training = split == "train"
    if training and not repeat and found.total < batch_size:
        raise UserError(
            f"{data}: its {found.total} training examples make no batch of "
            f"{batch_size}; choose a smaller batch_size"
        )
    length = max_seq_length or found.max_seq_length
    if length is None:
        length = tfrecords.padded_length(found.first_record(), data)
    dataset = reader.pretraining_dataset(
        data,
        split=split,
        batch_size=batch_size,
        max_seq_length=length,
        seed=seed,
        shuffle=shuffle,
        repeat=repeat,
        new_epochs=training and not repeat,
        drop_remainder=training,
        skip_corrupt=skip_corrupt,
    )
    if not training and not repeat:  # else Keras warns that data ran out
        dataset = dataset.apply(
            tf.data.experimental.assert_cardinality(
                -(-found.total // batch_size)
            )
        )
    return dataset


@dataclasses.dataclass(frozen=True)
class PretrainingData:
    """A directory or glob of examples, and its description."""

    source: str
    vocab: Vocab
    max_seq_length: int
    lower_case: bool
    strip_accents: bool | None
    held_out: bool  # whether there is a validation split
    fingerprint: str  # identifies the examples, as far as counts can
    skip_corrupt: bool = False  # whether to skip damaged records
    word_starts: bool = False  # whether examples mark where words begin
    has_manifest: bool = True  # whether the vocabulary is known to be theirs

    @classmethod
    def open(
        cls,
        source: files.AnyPath,
        vocab_path: files.AnyPath | None = None,
        skip_corrupt: bool = False,
        lower_case: bool = True,
        strip_accents: bool | None = None,
    ) -> "PretrainingData":
        """Opens the examples; the default vocabulary is their own.

        Args:
          source: a directory made by build-data; or TFRecords of the original,
            which need `vocab_path`.
          vocab_path: the run's vocabulary, checked against the data's.
          skip_corrupt: whether to skip damaged records.
          lower_case: whether text was lower-cased, where there is no manifest.
          strip_accents: whether accents were stripped; None as `lower_case`.

        Raises:
          UserError: no examples, no vocabulary, or two that differ; or text
            that was treated otherwise, as the manifest says.
        """
        source = os.fspath(source)
        if not manifest.is_finished(source):
            # Raises an error that explains what is missing.
            found = reader.find_examples(source, skip_corrupt=skip_corrupt)
            record = found.first_record()
            length = tfrecords.padded_length(record, source)
            if vocab_path is None:
                raise UserError(
                    f"--vocab: {source} has no {manifest.FILE}, so it does not "
                    "say which vocabulary made it; give the file"
                )
            vocab = load_vocab(vocab_path)
            problem = tfrecords.misfit(record, length, len(vocab))
            if problem:
                raise UserError(f"{source}, {vocab_path}: {problem}")
            return cls(
                source,
                vocab,
                length,
                lower_case,
                strip_accents,
                held_out=False,
                fingerprint=_fingerprint(found.counts),
                skip_corrupt=skip_corrupt,
                has_manifest=False,
            )
        about = manifest.load_manifest(source)
        _check_case(about, source, lower_case, strip_accents)
        vocab = load_vocab(
            vocab_path or files.join(source, manifest.VOCAB_FILE)
        )
        manifest.check_vocab(about, vocab)
        split = about.splits.get("validation")
        return cls(
            source,
            vocab,
            about.max_seq_length,
            about.lower_case,
            about.strip_accents,
            held_out=split is not None and split.examples > 0,
            fingerprint=_fingerprint(about.what_was_built()),
            skip_corrupt=skip_corrupt,
            word_starts="word_segmenter" in about.settings,
        )

    @property
    def special(self) -> SpecialIds:
        """The special token ids, for masking."""
        return special_ids(self.vocab)

    def training(
        self,
        settings: PretrainSettings,
        start_step: int,
        share: Share = WHOLE,
        replicas: int = 1,
    ) -> tf.data.Dataset:
        """Returns endless batches from a step on, or one worker's share of
        them.

        Args:
          settings: settings of the run.
          start_step: step of the first batch.
          share: this worker's share.
          replicas: replicas of this worker, which share its batches.
        """
        train = settings.train
        rows_by = None
        if settings.data.pack_examples:
            rows_by = replicas * train.gradient_accumulation
        return self._checked(
            reader.pretraining_dataset(
                self.source,
                batch_size=train.batch_size,
                max_seq_length=self.max_seq_length,
                seed=train.seed,
                start_example=start_step * train.batch_size,
                shuffle=settings.data.shuffle,
                num_shards=share.count,
                shard_index=share.index,
                skip_corrupt=self.skip_corrupt,
                pack_rows_by=rows_by,
            )
        )

    def validation(
        self,
        batch_size: int,
        share: Share = WHOLE,
        split: Literal["train", "validation"] = "validation",
    ) -> tf.data.Dataset:
        """Returns one pass over held-out examples, or a share of each batch.

        Args:
          batch_size: batch size of all workers together.
          share: this worker's share.
          split: "train" takes the training examples instead, in file order.
        """
        return self._checked(
            reader.pretraining_dataset(
                self.source,
                split=split,
                batch_size=batch_size,
                max_seq_length=self.max_seq_length,
                shuffle=False,
                repeat=False,
                num_shards=share.count,
                shard_index=share.index,
                drop_remainder=False,
                skip_corrupt=self.skip_corrupt,
            )
        )

    def _checked(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Returns batches that are an error where ids are beyond the
        vocabulary; GPUs would read zeros there.
        """
        if self.has_manifest:
            return batches
        size = len(self.vocab)

        def check(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            ids = batch["input_ids"]
            tf.debugging.assert_non_negative(ids, "a token id is negative")
            tf.debugging.assert_less(ids, size, "a token id is too large")
            return batch

        return batches.map(
            check, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )

    def fit(
        self, settings: PretrainSettings, rows: int | None = None
    ) -> PretrainSettings:
        """Returns settings with the vocabulary's size, checked against the
        data.

        Args:
          settings: settings of the run.
          rows: see `PretrainSettings.with_vocab_size`.

        Raises:
          UserError: the vocabulary size or number of positions does not fit the
            data; whole words are to be masked where every token is a word; or
            examples are to be packed for a generator that reads across the ends
            of a row.
        """
        if settings.data.pack_examples and settings.generator.wrap_around:
            raise UserError(
                "data.pack_examples, generator.wrap_around: in a packed row "
                "another example follows the end of one; set one of the two to "
                "false"
            )
        if settings.masking.unit == "whole_word" and not self.word_starts:
            segment.check_pieces(self.vocab, self.source)
        settings = settings.with_vocab_size(len(self.vocab), rows)
        if self.max_seq_length > settings.model.max_positions:
            raise UserError(
                f"the data's sequences have {self.max_seq_length} tokens, "
                f"model.max_positions is {settings.model.max_positions}; raise "
                "it, or build the data with a smaller --max_seq_length"
            )
        return settings

    def explain(self, error: tf.errors.OpError) -> Exception:
        """Converts an error of the graph to a `UserError` if the data is at
        fault.
        """
        if isinstance(error, tf.errors.DataLossError) or (
            shards.DAMAGED in error.message
        ):
            found = reader.data_loss_error(self.source)
            if "read it again" in str(found) and self.held_out:
                return reader.data_loss_error(self.source, "validation")
            return found
        if isinstance(
            error, tf.errors.NotFoundError | tf.errors.PermissionDeniedError
        ):
            return UserError(f"{self.source}: {error.message}")
        if isinstance(error, tf.errors.InvalidArgumentError) and (
            not self.has_manifest
        ):
            misfit = reader.misfit_error(
                self.source, self.max_seq_length, len(self.vocab)
            )
            return misfit or error
        return error


def _check_case(
    about: manifest.Manifest,
    source: str,
    lower_case: bool,
    strip_accents: bool | None,
) -> None:
    """Refuses flags that differ from how the text of the data was treated."""
    stripped = about.strip_accents
    if stripped is None:
        stripped = about.lower_case
    flag = None
    if about.lower_case and not lower_case:
        flag = "--nolower_case"
    elif strip_accents is not None and strip_accents != stripped:
        flag = "--strip_accents" if strip_accents else "--nostrip_accents"
    if flag is not None:
        raise UserError(
            f"{flag}: {source} was built without it, as its {manifest.FILE} "
            f"says; leave it out, or build the data again with {flag}"
        )


def special_ids(vocab: Vocab) -> SpecialIds:
    """Returns the special token ids of a vocabulary, for masking."""
    return SpecialIds(
        vocab.cls_id, vocab.sep_id, vocab.mask_id, vocab.continues
    )


def _fingerprint(description: Any) -> str:
    text = json.dumps(description, sort_keys=True)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
