"""Converts examples to serialized `tf.train.Example` records and back.

A record of ours has these features:

* `input_ids`: int64 list, `[CLS] first [SEP]` or `[CLS] first [SEP] second
  [SEP]`, not padded;
* `first_segment_length`: one int64, the length of `[CLS] first [SEP]`;
* `word_starts`, only with a segmenter: int64 list, 1 at the tokens that begin a
word.

A record of the original has `input_ids`, `input_mask` and `segment_ids`, each
padded to the sequence length. Both can be read.
"""

import functools
import itertools
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from electra_tf.data.examples import Examples
from electra_tf.errors import UserError

OURS = frozenset({"input_ids", "first_segment_length"})
ORIGINAL = frozenset({"input_ids", "input_mask", "segment_ids"})

# Largest value in three varint bytes.
MAX_ID = (1 << 21) - 1

Batch = dict[str, tf.Tensor]


def serialize(examples: Examples) -> list[bytes]:
    """Serializes one record for each example.

    The protocol buffers are written here for all examples at once: about thirty
    times faster than by `tf.train.Example`, and tested to be the same messages.
    """
    payload, ends = _varints(examples.ids)
    bounds = ends[examples.starts].tolist()
    first = examples.first_lengths.tolist()
    if examples.word_starts is None:
        return [
            _head(b - a, length) + payload[a:b]
            for (a, b), length in zip(itertools.pairwise(bounds), first)
        ]
    flags = examples.word_starts.astype(np.uint8).tobytes()
    places = examples.starts.tolist()
    return [
        _head(b - a, length, d - c) + payload[a:b] + _tail(d - c) + flags[c:d]
        for (a, b), (c, d), length in zip(
            itertools.pairwise(bounds), itertools.pairwise(places), first
        )
    ]


def _varints(values: np.ndarray) -> tuple[bytes, np.ndarray]:
    """Encodes `values` as varints; returns them, and where each begins.

    Args:
      values: integers from 0 to `MAX_ID`, [n].
    """
    size = (values > 0x7F).view(np.uint8) + (values > 0x3FFF) + np.uint8(1)
    ends = np.zeros(len(values) + 1, np.int64)
    np.cumsum(size, out=ends[1:])
    at = ends[:-1]
    out = np.empty(ends[-1] + 1, np.uint8)
    long = np.flatnonzero(size == 3)
    low = values.astype(np.uint8) | np.uint8(0x80)
    low[size == 1] &= 0x7F
    middle = (values >> 7).astype(np.uint8) & np.uint8(0x7F)
    middle[long] |= 0x80
    # Second bytes are written first: where there is none, the next value's
    # first byte overwrites it.
    out[at + 1] = middle
    out[at] = low
    out[at[long] + 2] = values[long] >> 14
    return out[:-1].tobytes(), ends


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(tag: int, content: bytes) -> bytes:
    """Encodes a length-delimited field of a protocol buffer."""
    return bytes([tag << 3 | 2]) + _varint(len(content)) + content


@functools.lru_cache(1 << 16)
def _head(payload_length: int, first_length: int, flags: int = 0) -> bytes:
    """Encodes everything before the packed ids of a record.

    Args:
      payload_length: number of bytes of the packed ids.
      first_length: value of the feature `first_segment_length`.
      flags: number of packed flags that follow, after their `_tail`.
    """
    ids = _before_values(b"input_ids", payload_length)
    length = _field(3, _field(1, _varint(first_length)))
    other = _field(1, _field(1, b"first_segment_length") + _field(2, length))
    size = len(other) + len(ids) + payload_length
    if flags:
        size += len(_tail(flags)) + flags
    return bytes([1 << 3 | 2]) + _varint(size) + other + ids


@functools.lru_cache(1 << 10)
def _tail(flags: int) -> bytes:
    """Encodes everything between the packed ids and the packed flags."""
    return _before_values(b"word_starts", flags)


def _before_values(name: bytes, payload_length: int) -> bytes:
    """Encodes everything before the packed integers of a feature.

    Example.features(1).feature(1, a map: key 1, value 2).int64_list(3)
    .value(1, packed).
    """
    packed = bytes([1 << 3 | 2]) + _varint(payload_length)
    size = len(packed) + payload_length
    feature = bytes([3 << 3 | 2]) + _varint(size) + packed
    size += len(feature) - len(packed)
    entry = _field(1, name) + bytes([2 << 3 | 2]) + _varint(size) + feature
    size += len(entry) - len(feature)
    return bytes([1 << 3 | 2]) + _varint(size) + entry


def keys_of(record: bytes) -> frozenset[str]:
    """Returns the names of the features in a serialized example.

    Raises:
      ValueError: the record is not a serialized `tf.train.Example`.
    """
    try:
        return frozenset(tf.train.Example.FromString(record).features.feature)
    except Exception as error:  # protobuf's own DecodeError is not public
        raise ValueError("not a serialized tf.train.Example") from error


def parser(
    record: bytes, max_seq_length: int, where: str
) -> Callable[[tf.Tensor], Batch]:
    """Returns a function that decodes batches of records like `record`.

    Args:
      record: a sample record.
      max_seq_length: the width L that batches are padded to.
      where: name of the data, for messages.

    Returns:
      A function of a string tensor [B] that gives `input_ids`, `input_mask`
      and `segment_ids`, int32 [B, L], and `word_starts` if `record` has it.

    Raises:
      UserError: features are unknown, or `max_seq_length` is too small (for our
        records the caller checks it against the manifest).
    """
    keys = _known_keys(record, where)
    if keys >= ORIGINAL:
        length = padded_length(record, where)
        check_length(max_seq_length, length, where)
        return functools.partial(
            _parse_original, length=length, max_seq_length=max_seq_length
        )
    return functools.partial(
        _parse_ours,
        max_seq_length=max_seq_length,
        word_starts="word_starts" in keys,
    )


def _known_keys(record: bytes, where: str) -> frozenset[str]:
    """Returns the features of a record, which are the original's or ours."""
    try:
        keys = keys_of(record)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error
    if not (keys >= ORIGINAL or keys >= OURS):
        raise UserError(
            f"{where}: records have the features {sorted(keys)}; expected "
            f"{sorted(OURS)} or {sorted(ORIGINAL)}; make them with "
            "`electra-tf build-data`"
        )
    return keys


def padded_length(record: bytes, where: str) -> int:
    """Returns the number of positions of a record of the original's.

    Args:
      record: a sample record.
      where: name of the data, for messages.

    Raises:
      UserError: it is another record; of ours a manifest says the length.
    """
    if not _known_keys(record, where) >= ORIGINAL:
        raise UserError(
            f"{where}: records of build-data without their manifest.json, "
            "which has their length and vocabulary; give the directory that "
            "build-data made"
        )
    features = tf.train.Example.FromString(record).features.feature
    return len(features["input_ids"].int64_list.value)


def misfit(record: bytes, length: int, vocab_size: int) -> str | None:
    """Describes what is wrong with a record of the original's, if anything.

    Args:
      record: the record.
      length: the positions that it should have.
      vocab_size: tokens of the vocabulary.
    """
    try:
        missing = ORIGINAL - keys_of(record)
    except ValueError as error:
        return str(error)
    if missing:
        return f"it has no feature {', '.join(sorted(missing))}"
    features = tf.train.Example.FromString(record).features.feature
    for name in sorted(ORIGINAL):
        size = len(features[name].int64_list.value)
        if size != length:
            return (
                f"{name} has {size} values, and the first record {length}; "
                "give files of one length"
            )
    ids = features["input_ids"].int64_list.value
    wrong = [i for i in ids if not 0 <= i < vocab_size]
    if wrong:
        return (
            f"token id {wrong[0]}, but the vocabulary has {vocab_size} "
            "tokens; give the vocabulary that the data was built with"
        )
    return None


def check_length(max_seq_length: int, length: int, where: str) -> None:
    """Refuses to read examples of `length` tokens into fewer."""
    if max_seq_length < length:
        raise UserError(
            f"{where}: examples have up to {length} tokens, max_seq_length is "
            f"{max_seq_length}; set it to {length} or more, or build the "
            f"data again with --max_seq_length={max_seq_length}"
        )


def _parse_ours(
    records: tf.Tensor, max_seq_length: int, word_starts: bool
) -> Batch:
    row = tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64)
    features = {
        "input_ids": row,
        "first_segment_length": tf.io.FixedLenFeature([], tf.int64),
    }
    if word_starts:
        features["word_starts"] = row
    parsed: Mapping[str, tf.RaggedTensor | tf.Tensor] = tf.io.parse_example(
        records, features
    )
    ids = parsed["input_ids"]
    # A manifest says so; without one the caller may be wrong.
    tf.debugging.assert_less_equal(
        ids.row_lengths(),
        tf.constant(max_seq_length, tf.int64),
        f"an example has more tokens than max_seq_length {max_seq_length}",
    )
    position = tf.range(max_seq_length, dtype=tf.int64)[tf.newaxis]
    real = position < ids.row_lengths()[:, tf.newaxis]
    second = position >= parsed["first_segment_length"][:, tf.newaxis]
    batch = {
        "input_ids": tf.cast(
            ids.to_tensor(shape=[None, max_seq_length]), tf.int32
        ),
        "input_mask": tf.cast(real, tf.int32),
        "segment_ids": tf.cast(real & second, tf.int32),
    }
    if word_starts:
        # A record without it, of other data: every token is a word.
        starts = parsed["word_starts"].to_tensor(
            1, shape=[None, max_seq_length]
        )
        batch["word_starts"] = tf.where(real, tf.cast(starts, tf.int32), 0)
    return batch


def _parse_original(
    records: tf.Tensor, length: int, max_seq_length: int
) -> Batch:
    spec = tf.io.FixedLenFeature([length], tf.int64)
    parsed = tf.io.parse_example(records, dict.fromkeys(ORIGINAL, spec))
    padding = [[0, 0], [0, max_seq_length - length]]
    return {
        name: tf.pad(tf.cast(parsed[name], tf.int32), padding)
        for name in ("input_ids", "input_mask", "segment_ids")
    }
