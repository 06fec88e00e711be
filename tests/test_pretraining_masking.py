"""Tests of masking: positions, frequencies and replacements."""

import numpy as np
import pytest
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.models import randomness
from electra_tf.pretraining import masking
from electra_tf.pretraining.masking import MaskingConfig, SpecialIds

SPECIAL = SpecialIds(cls_id=2, sep_id=3, mask_id=4)
LENGTH = 64


def _batch(rows=64, length=LENGTH, seed=0):
    random = np.random.default_rng(seed)
    ids = random.integers(5, 1000, [rows, length]).astype("int32")
    lengths = random.integers(3, length + 1, rows)
    mask = (np.arange(length) < lengths[:, None]).astype("int32")
    ids[:, 0] = 2
    ids[np.arange(rows), lengths // 2] = 3
    ids[np.arange(rows), lengths - 1] = 3
    return {
        "input_ids": tf.constant(ids * mask),
        "input_mask": tf.constant(mask),
        "segment_ids": tf.zeros([rows, length], tf.int32),
    }


def _keys(rows, seed=0):
    return randomness.example_keys(tf.range(rows, dtype=tf.int64), seed)


def _mask(batch, config=None, seed=0):
    rows = batch["input_ids"].shape[0]
    return masking.mask(
        batch, config or MaskingConfig(), SPECIAL, _keys(rows, seed)
    )


def test_positions_are_distinct_real_and_not_special():
    batch = _batch(256)
    masked = _mask(batch)
    ids, real = batch["input_ids"].numpy(), batch["input_mask"].numpy()
    lengths = real.sum(1)
    for row in range(256):
        used = masked.masked_lm_weights.numpy()[row] > 0
        positions = masked.masked_lm_positions.numpy()[row][used]
        candidates = (real[row] == 1) & ~np.isin(ids[row], [2, 3])
        wanted = np.clip(
            np.round(np.float32(0.15) * np.float32(lengths[row])), 1, 9
        )
        assert used.sum() == min(wanted, candidates.sum())
        assert len(set(positions)) == len(positions)
        assert candidates[positions].all()
        np.testing.assert_array_equal(
            masked.masked_lm_ids.numpy()[row][used], ids[row][positions]
        )
        changed = np.flatnonzero(
            masked.masked_input_ids.numpy()[row] != ids[row]
        )
        assert set(changed) <= set(positions)
        assert (masked.masked_input_ids.numpy()[row][changed] == 4).all()


def test_shares_over_many_rows():
    batch = _batch(4096)
    masked = _mask(batch)
    used = masked.masked_lm_weights.numpy() > 0
    at = np.take_along_axis(
        masked.masked_input_ids.numpy(), masked.masked_lm_positions.numpy(), 1
    )
    share = (at == 4)[used].mean()
    assert share == pytest.approx(0.85, abs=0.01)
    # Every candidate is equally likely.
    full = {k: v[:, :LENGTH] for k, v in _batch(1, seed=5).items()}
    full["input_mask"] = tf.ones_like(full["input_mask"])
    ids = np.full([1, LENGTH], 7, "int32")
    ids[0, 0], ids[0, -1] = 2, 3
    many = {
        "input_ids": tf.constant(np.repeat(ids, 8192, 0)),
        "input_mask": tf.ones([8192, LENGTH], tf.int32),
        "segment_ids": tf.zeros([8192, LENGTH], tf.int32),
    }
    positions = _mask(many).masked_lm_positions.numpy()
    counts = np.bincount(positions.ravel(), minlength=LENGTH)[1:-1]
    expected = 8192 * 9 / 62
    chi2 = ((counts - expected) ** 2 / expected).sum()
    assert chi2 < 115  # 61 degrees of freedom


def test_masks_change_with_the_example_and_repeat_with_the_seed():
    batch = _batch(8)
    first, again, other = _mask(batch), _mask(batch), _mask(batch, seed=1)
    np.testing.assert_array_equal(
        first.masked_lm_positions, again.masked_lm_positions
    )
    assert np.any(
        first.masked_lm_positions.numpy() != other.masked_lm_positions.numpy()
    )


def test_row_without_candidates_stays_as_it_is():
    batch = {
        "input_ids": tf.constant([[2, 3, 3, 0], [0, 0, 0, 0], [2, 9, 3, 0]]),
        "input_mask": tf.constant([[1, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 0]]),
        "segment_ids": tf.zeros([3, 4], tf.int32),
    }
    masked = _mask(batch, MaskingConfig(mask_prob=0.5))
    np.testing.assert_array_equal(
        tf.reduce_sum(masked.masked_lm_weights, 1), [0, 0, 1]
    )
    np.testing.assert_array_equal(
        masked.masked_input_ids[:2], batch["input_ids"][:2]
    )
    assert masked.masked_lm_positions.numpy()[2][0] == 1


def test_corrupt_labels_only_what_changed():
    batch = _batch(16)
    masked = _mask(batch)
    same = masking.corrupt(masked, masked.masked_lm_ids)
    np.testing.assert_array_equal(same.fake_input_ids, batch["input_ids"])
    assert not same.fake_labels.numpy().any()
    other = masking.corrupt(masked, masked.masked_lm_ids + 1)
    np.testing.assert_array_equal(
        tf.reduce_sum(other.fake_labels, 1),
        tf.reduce_sum(masked.masked_lm_weights, 1),
    )


@pytest.mark.parametrize(
    ("length", "prob", "slots"), [(64, 0.15, 9), (128, 0.15, 19),
                                  (512, 0.15, 79), (512, 0.25, 130)]
)  # fmt: skip
def test_slots_are_the_originals(length, prob, slots):
    assert MaskingConfig(mask_prob=prob).slots(length) == slots
    assert MaskingConfig(max_predictions=5).slots(length) == 5


@pytest.mark.parametrize(
    "wrong",
    [{"mask_prob": 0.0}, {"mask_prob": 1.5}, {"max_predictions": 0}],
)
def test_impossible_shares(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        MaskingConfig(**wrong)
