"""Tests of TFRecords whose vocabulary and length no manifest says."""

import pytest
import tensorflow as tf

from electra_tf.data import tfrecords
from electra_tf.errors import UserError
from electra_tf.keras_api.data import PretrainingData, pretraining_dataset

NAMES = ("input_ids", "input_mask", "segment_ids")
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c"]


@pytest.fixture
def vocab(tmp_path):
    path = tmp_path / "v.txt"
    path.write_text("".join(f"{token}\n" for token in TOKENS))
    return str(path)


def record(ids, length=6, names=NAMES):
    """Returns a record as the original's, or with other names."""
    ids = [2, *ids, 3]
    rest = [0] * (length - len(ids))
    values = (ids + rest, [1] * len(ids) + rest, [0] * length)
    features = {
        name: tf.train.Feature(int64_list=tf.train.Int64List(value=numbers))
        for name, numbers in zip(names, values)
    }
    features = tf.train.Features(feature=features)
    return tf.train.Example(features=features).SerializeToString()


def written(folder, *records):
    path = str(folder / "x.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        for each in records:
            writer.write(each)
    return path


def read(data):
    """Reads all batches, and explains an error as the recipes do."""
    try:
        return list(data.validation(2, split="train"))
    except tf.errors.OpError as error:
        raise data.explain(error) from error


@pytest.mark.parametrize(
    "later, message",
    [
        (record([5, 8]), "record 3: token id 8, but the vocabulary has 8"),
        (record([5, 6], 7), "record 3: input_ids has 7 values, .* record 6"),
        (record([5], names="abc"), "record 3: it has no feature input_ids"),
    ],
)
def test_a_record_that_does_not_fit_is_named(tmp_path, vocab, later, message):
    path = written(tmp_path, *[record([5, 6])] * 3, later)
    data = PretrainingData.open(path, vocab)
    with pytest.raises(UserError, match=message) as error:
        read(data)
    assert path in str(error.value)


def test_records_that_fit_are_read(tmp_path, vocab):
    path = written(tmp_path, *[record([5, 7])] * 3)
    sizes = [
        len(b["input_ids"]) for b in read(PretrainingData.open(path, vocab))
    ]
    assert sizes == [2, 1]


@pytest.mark.parametrize(
    "first, message",
    [
        (record([5, 8]), "token id 8, but the vocabulary has 8 tokens"),
        (record([5], names="abc"), "have the features .'a', 'b', 'c'."),
        (b"no record", "not a serialized tf.train.Example"),
        # Others may be longer than the first: its length says nothing.
        (
            record([5], 3, ("input_ids", "first_segment_length")),
            "without their manifest.json.*give the directory",
        ),
    ],
)
def test_a_first_record_that_does_not_fit(tmp_path, vocab, first, message):
    path = written(tmp_path, first)
    with pytest.raises(UserError, match=message):
        PretrainingData.open(path, vocab)
    if b"input_mask" not in first:
        with pytest.raises(UserError, match=message):
            pretraining_dataset(path, batch_size=1)


def test_no_example_is_truncated_in_silence():
    ours = record([5], 3, ("input_ids", "first_segment_length"))
    features = tf.train.Example.FromString(ours)
    del features.features.feature["first_segment_length"].int64_list.value[1:]
    ours = features.SerializeToString()
    parse = tfrecords.parser(ours, 2, "data")
    with pytest.raises(tf.errors.InvalidArgumentError, match="length 2"):
        parse(tf.constant([ours]))
