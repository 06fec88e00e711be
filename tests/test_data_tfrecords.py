import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from electra_tf.data import tfrecords
from electra_tf.data.examples import Examples
from electra_tf.errors import UserError


def _examples(rows, firsts):
    starts = np.concatenate([[0], np.cumsum([len(r) for r in rows])])
    return Examples(
        np.array([i for row in rows for i in row], np.int32),
        starts.astype(np.int64),
        np.array(firsts, np.int64),
        np.array([len(rows)]),
    )


_id = st.one_of(
    st.integers(0, tfrecords.MAX_ID),
    st.sampled_from([0, 127, 128, 16383, 16384, tfrecords.MAX_ID]),
)


@given(st.lists(st.lists(_id, min_size=1, max_size=200), max_size=5))
def test_records_are_tf_train_examples(rows):
    firsts = [len(row) * 3 for row in rows]
    records = tfrecords.serialize(_examples(rows, firsts))
    for record, row, first in zip(records, rows, firsts):
        features = tf.train.Example.FromString(record).features.feature
        assert set(features) == tfrecords.OURS
        assert list(features["input_ids"].int64_list.value) == row
        length = features["first_segment_length"].int64_list.value
        assert list(length) == [first]
    assert len(records) == len(rows)


def test_our_records_are_decoded_and_padded():
    rows = [[1, 300, 2], [1, 70000, 2, 9, 9, 2]]
    records = tfrecords.serialize(_examples(rows, [3, 3]))
    parse = tfrecords.parser(records[0], 8, "data")
    batch = parse(tf.constant(records))
    assert batch["input_ids"].numpy().tolist() == [
        [1, 300, 2, 0, 0, 0, 0, 0],
        [1, 70000, 2, 9, 9, 2, 0, 0],
    ]
    assert batch["input_mask"].numpy().tolist() == [
        [1, 1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 1, 1, 0, 0],
    ]
    assert batch["segment_ids"].numpy().tolist() == [
        [0] * 8,
        [0, 0, 0, 1, 1, 1, 0, 0],
    ]
    assert {v.dtype for v in batch.values()} == {tf.int32}


def _record(**lists):
    return tf.train.Example(
        features=tf.train.Features(
            feature={
                name: tf.train.Feature(
                    int64_list=tf.train.Int64List(value=value)
                )
                for name, value in lists.items()
            }
        )
    ).SerializeToString()


def test_padded_records_are_decoded():
    record = _record(
        input_ids=[1, 5, 2, 0], input_mask=[1, 1, 1, 0], segment_ids=[0] * 4
    )
    batch = tfrecords.parser(record, 6, "data")(tf.constant([record] * 2))
    assert batch["input_ids"].numpy().tolist() == [[1, 5, 2, 0, 0, 0]] * 2
    assert batch["input_mask"].numpy().tolist() == [[1, 1, 1, 0, 0, 0]] * 2
    with pytest.raises(UserError, match=r"data: .* 4 tokens.* is 3"):
        tfrecords.parser(record, 3, "data")


def test_other_records_are_refused():
    with pytest.raises(UserError, match=r"data: .*\['labels'\]"):
        tfrecords.parser(_record(labels=[1]), 8, "data")
    with pytest.raises(UserError, match="data: not a serialized"):
        tfrecords.parser(b"\xff\xff\xff", 8, "data")
