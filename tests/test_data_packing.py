"""Tests the packing of examples into rows: none is lost, little is padding."""

import numpy as np
import pytest
import tensorflow as tf

from electra_tf.data import packing

LENGTH = 48


def _batch(lengths, **more):
    lengths = np.asarray(lengths)
    random = np.random.default_rng(0)
    mask = (np.arange(LENGTH) < lengths[:, None]).astype("int32")
    ids = random.integers(1, 100, mask.shape).astype("int32") * mask
    second = (np.arange(LENGTH) >= lengths[:, None] // 2).astype("int32")
    return {
        "input_ids": tf.constant(ids),
        "input_mask": tf.constant(mask),
        "segment_ids": tf.constant(second * mask),
        "example_id": tf.range(len(lengths), dtype=tf.int64) + 1000,
        **more,
    }


def _examples(packed):
    """Returns example_id -> (tokens, segments), and checks the rows."""
    found = {}
    arrays = {name: value.numpy() for name, value in packed.items()}
    for row, sequence in enumerate(arrays["sequence_ids"]):
        names = [n for n in arrays["example_id"][row] if n >= 0]
        assert set(sequence) - {0} == set(range(1, len(names) + 1))
        # The examples come in order, and then padding.
        real = sequence[sequence > 0]
        assert (np.diff(real) >= 0).all() and not sequence[len(real) :].any()
        np.testing.assert_array_equal(sequence > 0, arrays["input_mask"][row])
        for number, name in enumerate(names, start=1):
            here = sequence == number
            assert name not in found
            found[int(name)] = tuple(
                arrays[key][row][here].tolist()
                for key in ("input_ids", "segment_ids")
            )
    return found


@pytest.mark.parametrize("count,multiple", [(1, 1), (7, 2), (64, 1), (200, 3)])
def test_examples_come_back(count, multiple):
    lengths = np.random.default_rng(count).integers(2, LENGTH + 1, count)
    batch = _batch(lengths)
    packed = packing.pack(batch, multiple)
    assert packed["example_id"].shape[1] == packing.places(LENGTH)
    assert len(packed["input_ids"]) % multiple == 0
    expected = {
        1000 + i: (
            batch["input_ids"][i].numpy()[:n].tolist(),
            batch["segment_ids"][i].numpy()[:n].tolist(),
        )
        for i, n in enumerate(lengths)
    }
    assert _examples(packed) == expected


def test_few_positions_are_left_empty():
    lengths = np.random.default_rng(1).integers(5, 25, 256)
    packed = packing.pack(_batch(lengths))
    assert float(tf.reduce_mean(tf.cast(packed["input_mask"], "float"))) > 0.93


def test_examples_that_fill_a_row_stay_alone():
    batch = _batch([LENGTH] * 5)
    packed = packing.pack(batch)
    assert packed["input_ids"].shape == [5, LENGTH]
    assert set(packed["sequence_ids"].numpy().ravel()) == {1}


def test_numbers_of_rows_are_few():
    needed = tf.range(1, 1000)
    rows = [int(packing._rounded_up(n, 1000, 1)) for n in needed]
    assert all(0 <= r - n <= n / 16 for r, n in zip(rows, range(1, 1000)))
    assert len(set(rows)) < 120
    # Never more rows than without packing, except to fill the multiple.
    assert int(packing._rounded_up(tf.constant(9), 10, 4)) == 12


def test_word_starts_are_packed_too():
    starts = tf.constant(np.tile([1, 0, 0, 1], [6, LENGTH // 4]), tf.int32)
    batch = _batch([20, 9, 9, 9, 30, 8])
    starts *= batch["input_mask"]
    packed = packing.pack(batch | {"word_starts": starts})
    assert int(tf.reduce_sum(packed["word_starts"])) == int(
        tf.reduce_sum(starts)
    )
    assert packed["word_starts"][:, 0].numpy().all()
