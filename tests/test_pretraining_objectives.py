"""Losses against TensorFlow's own, samples against their distribution."""

import numpy as np
import pytest
import tensorflow as tf

from electra_tf.pretraining import objectives


def _scores(rows, size, seed=0, spread=2.0):
    random = np.random.default_rng(seed)
    return tf.constant(random.normal(size=[rows, size]) * spread, tf.float32)


@pytest.mark.parametrize("size", [7, 256, 1000])
def test_token_loss_and_gradient(size):
    scores, bias = _scores(12, size), _scores(1, size, seed=1)[0]
    labels = tf.constant(np.random.default_rng(2).integers(0, size, 12))
    labels = tf.cast(labels, tf.int32)
    weights = tf.constant(np.linspace(0, 1, 12), tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([scores, bias])
        ours = objectives.token_loss_and_samples(
            scores, bias, labels, tf.zeros([12])
        )
        expected = tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels=labels, logits=scores + bias
        )
        loss = tf.reduce_sum(ours.loss * weights)
        loss_expected = tf.reduce_sum(expected * weights)
    np.testing.assert_allclose(ours.loss, expected, atol=1e-5)
    np.testing.assert_array_equal(
        ours.predictions, tf.argmax(scores + bias, -1)
    )
    for ours_, expected_ in zip(
        tape.gradient(loss, [scores, bias]),
        tape.gradient(loss_expected, [scores, bias]),
    ):
        np.testing.assert_allclose(ours_, expected_, atol=1e-6)


@pytest.mark.parametrize("size", [5, 300, 1024])
def test_draw_follows_the_weights(size):
    random = np.random.default_rng(0)
    weights = random.exponential(size=size).astype("float32")
    weights[random.integers(0, size, size // 3)] = 0
    rows = 20_000
    uniform = (np.arange(rows, dtype="float32") + 0.5) / rows
    drawn = objectives.draw(
        tf.constant(np.repeat(weights[None], rows, 0)), tf.constant(uniform)
    ).numpy()
    counts = np.bincount(drawn, minlength=size)
    expected = weights / weights.sum() * rows
    # Evenly spaced numbers leave no room for chance, only for rounding.
    assert np.abs(counts - expected).max() < 2.5
    assert counts[weights == 0].sum() == 0


def test_draw_at_the_ends():
    weights = np.zeros([3, 600], "float32")
    weights[0, 599] = 1e-30
    weights[1, [0, 599]] = 1
    weights[2, 300] = 5
    last = np.float32(1 - 2**-24)
    for u, expected in ((0.0, [599, 0, 300]), (last, [599, 599, 300])):
        drawn = objectives.draw(tf.constant(weights), tf.fill([3], u))
        np.testing.assert_array_equal(drawn, expected)


def test_temperature_sharpens_samples():
    rows = 4000
    scores = tf.repeat(_scores(1, 50), rows, axis=0)
    uniform = (tf.range(rows, dtype=tf.float32) + 0.5) / rows
    shares = {}
    for temperature in (0.25, 1.0, 4.0):
        sampled = objectives.token_loss_and_samples(
            scores, tf.zeros([50]), tf.zeros([rows], tf.int32), uniform,
            temperature,
        ).sampled_ids  # fmt: skip
        counts = np.bincount(sampled.numpy(), minlength=50) / rows
        expected = tf.nn.softmax(scores[0] / temperature).numpy()
        np.testing.assert_allclose(counts, expected, atol=2e-3)
        shares[temperature] = counts.max()
    assert shares[0.25] > shares[1.0] > shares[4.0]


def test_samples_carry_no_gradient():
    scores = _scores(4, 20)
    with tf.GradientTape() as tape:
        tape.watch(scores)
        token = objectives.token_loss_and_samples(
            scores, tf.zeros([20]), tf.zeros([4], tf.int32), tf.fill([4], 0.5)
        )
        loss = tf.reduce_sum(tf.cast(token.sampled_ids, tf.float32))
    assert tape.gradient(loss, scores) is None


def test_replaced_token_loss():
    logits = tf.constant([[-2.0, 0.0, 3.0]])
    labels = tf.constant([[0, 1, 1]])
    p = 1 / (1 + np.exp(-logits.numpy()))
    expected = -np.where(labels == 1, np.log(p), np.log(1 - p))
    np.testing.assert_allclose(
        objectives.replaced_token_loss(logits, labels), expected, rtol=1e-5
    )


def test_weighted_mean_of_nothing_is_nought():
    zero = tf.zeros([2, 3])
    assert float(objectives.weighted_mean(zero + 5, zero, 0.0)) == 0.0
