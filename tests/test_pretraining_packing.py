"""Tests that packed examples train as if each had a row of its own."""

import numpy as np
import pretraining_tiny as tiny
import pytest
import tensorflow as tf

from electra_tf.data import packing as rows
from electra_tf.models import kernels
from electra_tf.models.config import GeneratorConfig
from electra_tf.pretraining import masking, packing
from electra_tf.pretraining.masking import MaskingConfig, SpecialIds

EXAMPLES = 13


def _batch(seed=0, longest=tiny.LENGTH, count=EXAMPLES):
    """Returns examples of up to `longest` tokens; the first has no text."""
    random = np.random.default_rng(seed)
    lengths = random.integers(3, longest + 1, count)
    lengths[0] = 2
    mask = (np.arange(tiny.LENGTH) < lengths[:, None]).astype("int32")
    ids = random.integers(5, tiny.VOCAB, mask.shape).astype("int32")
    ids[:, 0] = 2
    ids[np.arange(count), lengths - 1] = 3
    second = (np.arange(tiny.LENGTH) >= lengths[:, None] // 2).astype("int32")
    return {
        "input_ids": tf.constant(ids * mask),
        "input_mask": tf.constant(mask),
        "segment_ids": tf.constant(second * mask),
        "example_id": tf.range(100, 100 + count, dtype=tf.int64),
    }


def _gradients(model, batch):
    with tf.GradientTape() as tape:
        output = model(batch, training=True)
    return output, tape.gradient(output.loss, model.trainable_variables)


def _sorted(output, name):
    """Returns `name` of all predictions, sorted: packing reorders them."""
    used = output.masked.masked_lm_weights > 0
    return np.sort(getattr(output.token, name)[used])


@pytest.mark.parametrize("name", [*tiny.VARIANTS])
def test_losses_and_gradients_are_the_unpacked_ones(name):
    batch = _batch(longest=14)
    packed = rows.pack(batch)
    assert packed["input_ids"].shape[0] < EXAMPLES * 3 // 4
    model = tiny.variant(name, dropout=0.0)
    with kernels.use("plain"):
        output, expected = _gradients(model, batch)
        again, found = _gradients(model, packed)
    assert float(again.loss) == pytest.approx(float(output.loss), rel=1e-5)
    np.testing.assert_allclose(
        _sorted(again, "loss"), _sorted(output, "loss"), atol=1e-5
    )
    if name != "mlm":
        assert list(_sorted(again, "sampled_ids")) == list(
            _sorted(output, "sampled_ids")
        )
    assert any(g is not None for g in expected)
    for variable, a, b in zip(model.trainable_variables, expected, found):
        assert (a is None) == (b is None)
        if a is not None:
            a, b = tf.convert_to_tensor(a), tf.convert_to_tensor(b)
            scale = max(1.0, float(tf.reduce_max(tf.abs(a))))
            np.testing.assert_allclose(
                a, b, rtol=0, atol=1e-5 * scale, err_msg=variable.path
            )


@pytest.mark.parametrize("unit", ["token", "whole_word", "span"])
def test_masks_are_the_unpacked_ones(unit):
    special = SpecialIds(2, 3, 4, tuple(i % 3 == 0 for i in range(tiny.VOCAB)))
    config = MaskingConfig(unit=unit, mask_prob=0.3)
    batch = _batch(1, longest=9, count=40)
    keys = tf.cast(batch["example_id"], tf.uint32) * 977
    alone = masking.mask(batch, config, special, keys)
    packed = rows.pack(batch)
    keys = tf.cast(packed["example_id"], tf.uint32) * 977
    together = packing.mask(packed, config, special, keys)

    def examples(found, ids, sequences=None):
        """Maps an example_id to its masked tokens, and its labels by place."""
        masks = {}
        for row, names in enumerate(np.atleast_2d(ids.numpy().T).T):
            for number, name in enumerate(names, start=1):
                if name < 0:
                    continue
                here = found.input_mask.numpy()[row] > 0
                if sequences is not None:
                    here = sequences.numpy()[row] == number
                used = found.masked_lm_weights.numpy()[row] > 0
                at = found.masked_lm_positions.numpy()[row][used]
                labels = found.masked_lm_ids.numpy()[row][used]
                first = int(np.argmax(here))
                mine = here[at]
                masks[int(name)] = (
                    found.masked_input_ids.numpy()[row][here].tolist(),
                    dict(zip((at[mine] - first).tolist(), labels[mine])),
                )
        return masks

    expected = examples(alone, batch["example_id"])
    found = examples(together, packed["example_id"], packed["sequence_ids"])
    assert len(expected) == 40 and found == expected
    assert float(tf.reduce_sum(alone.masked_lm_weights)) == float(
        tf.reduce_sum(together.masked_lm_weights)
    )


@pytest.mark.parametrize("share", [0.15, 0.25, 0.5, 0.9])
def test_there_is_a_slot_for_every_prediction(share):
    """Full rows of equally long examples lose no prediction."""
    config = MaskingConfig(mask_prob=share)
    for length in (3, 4, 5, 7, 10, 13):
        batch = _batch(longest=length, count=12)
        column = tf.range(tiny.LENGTH)
        batch["input_mask"] = tf.cast(
            tf.tile(column[None] < length, [12, 1]), tf.int32
        )
        batch["input_ids"] = tf.where(column < length, 9, 0)[None] * tf.ones(
            [12, 1], tf.int32
        )
        keys = tf.range(12)
        alone = masking.mask(
            batch, config, tiny.SPECIAL, tf.cast(keys, tf.uint32)
        )
        packed = rows.pack(batch)
        together = packing.mask(
            packed,
            config,
            tiny.SPECIAL,
            tf.cast(packed["example_id"], tf.uint32),
        )
        assert float(tf.reduce_sum(together.masked_lm_weights)) == float(
            tf.reduce_sum(alone.masked_lm_weights)
        )


def test_parts_of_a_batch_and_evaluation():
    batch = rows.pack(_batch(longest=14, count=16), multiple=2)
    whole, parts = tiny.model(dropout=0.0), tiny.model(dropout=0.0)
    parts.gradient_accumulation = 2
    with kernels.use("plain"):
        found = [float(m.train_step(batch)["loss"]) for m in (whole, parts)]
        assert found[0] == pytest.approx(found[1], rel=1e-5)
        for a, b in zip(whole.trainable_variables, parts.trainable_variables):
            np.testing.assert_allclose(a, b, atol=1e-4)
        whole.reset_metrics()
        assert float(whole.test_step(batch)["loss"]) > 0


@pytest.mark.slow
def test_clusters_and_dropout_train():
    batch = rows.pack(_batch(longest=14, count=32))
    model = tiny.model()
    step = tf.function(model.train_step, autograph=False)
    losses = []
    for _ in range(25):
        model.reset_metrics()
        losses.append(float(step(batch)["loss"]))
    assert losses[-1] < 0.9 * losses[0]


def test_two_towers_that_wrap_around_are_refused():
    model = tiny.model(
        generator=GeneratorConfig(0.5, kind="two_tower", wrap_around=True)
    )
    with pytest.raises(ValueError, match="one sequence a row"):
        model(rows.pack(_batch()))
