"""Tests losses against TensorFlow's, and samples against probabilities."""

import numpy as np
import pytest
import tensorflow as tf

from electra_tf.pretraining import losses
from electra_tf.pretraining.objectives import restored


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
        ours = losses.token_loss_and_samples(
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
def test_sampling_follows_the_weights(size):
    random = np.random.default_rng(0)
    weights = random.exponential(size=size).astype("float32")
    weights[random.integers(0, size, size // 3)] = 0
    rows = 20_000
    uniform = (np.arange(rows, dtype="float32") + 0.5) / rows
    drawn = losses.draw(
        tf.constant(np.repeat(weights[None], rows, 0)), tf.constant(uniform)
    ).numpy()
    counts = np.bincount(drawn, minlength=size)
    expected = weights / weights.sum() * rows
    # With evenly spaced values nothing is random; only rounding remains.
    assert np.abs(counts - expected).max() < 2.5
    assert counts[weights == 0].sum() == 0


def test_sampling_at_the_ends():
    weights = np.zeros([3, 600], "float32")
    weights[0, 599] = 1e-30
    weights[1, [0, 599]] = 1
    weights[2, 300] = 5
    last = np.float32(1 - 2**-24)
    for u, expected in ((0.0, [599, 0, 300]), (last, [599, 599, 300])):
        drawn = losses.draw(tf.constant(weights), tf.fill([3], u))
        np.testing.assert_array_equal(drawn, expected)


def test_temperature_sharpens_samples():
    rows = 4000
    scores = tf.repeat(_scores(1, 50), rows, axis=0)
    uniform = (tf.range(rows, dtype=tf.float32) + 0.5) / rows
    shares = {}
    for temperature in (0.25, 1.0, 4.0):
        sampled = losses.token_loss_and_samples(
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
        token = losses.token_loss_and_samples(
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
        losses.replaced_token_loss(logits, labels), expected, rtol=1e-5
    )


def test_weighted_mean_of_nothing_is_0():
    zero = tf.zeros([2, 3])
    assert float(losses.weighted_mean(zero + 5, zero, 0.0)) == 0.0


def test_disallowed_labels_are_never_sampled():
    """The other tokens keep their proportions, even if the label is certain."""
    rows, size = 4000, 40
    scores = _scores(1, size).numpy()
    scores[0, 7] = 200.0
    label = 7
    uniform = (tf.range(rows, dtype=tf.float32) + 0.5) / rows
    sampled = losses.token_loss_and_samples(
        tf.repeat(tf.constant(scores), rows, axis=0), tf.zeros([size]),
        tf.fill([rows], label), uniform, disallow_correct=True,
    ).sampled_ids  # fmt: skip
    counts = np.bincount(sampled.numpy(), minlength=size) / rows
    scores[0, label] = -np.inf
    np.testing.assert_allclose(
        counts, tf.nn.softmax(scores[0]).numpy(), atol=2e-3
    )
    assert counts[label] == 0


def test_disallowed_labels_are_not_sampled_at_low_temperatures_either():
    scores = tf.constant([[30.0, 1.0, 0.0]])
    for uniform in (0.0, 0.5, 0.99):
        sampled = losses.draw_adjusted(
            scores, tf.zeros([3]), tf.constant([0]), tf.constant([uniform]),
            temperature=0.01, disallow_correct=True,
        )  # fmt: skip
        assert sampled.numpy() == [1]


def test_a_traced_temperature_is_a_constant_one():
    scores, bias = _scores(30, 300), _scores(1, 300, seed=1)[0]
    uniform = tf.random.stateless_uniform([30], [1, 2])
    labels = tf.zeros([30], tf.int32)

    @tf.function
    def traced(temperature):
        return losses.token_loss_and_samples(
            scores, bias, labels, uniform, temperature
        ).sampled_ids

    for temperature in (0.5, 1.0, 3.0):
        np.testing.assert_array_equal(
            traced(tf.constant(temperature)),
            losses.token_loss_and_samples(
                scores, bias, labels, uniform, temperature
            ).sampled_ids,
        )


def test_uniform_samples():
    uniform = (tf.range(6000, dtype=tf.float32) + 0.5) / 6000
    labels = tf.fill([6000], 3)
    every = losses.draw_uniform(6, labels, uniform)
    np.testing.assert_array_equal(np.bincount(every), [1000] * 6)
    others = losses.draw_uniform(6, labels, uniform, disallow_correct=True)
    np.testing.assert_array_equal(
        np.bincount(others), [1200, 1200, 1200, 0, 1200, 1200]
    )


def test_temperature_falls():
    at = [
        float(losses.temperature_at(tf.constant(step), 2.0, 1.0, 100))
        for step in (0, 100, 10_000)
    ]
    np.testing.assert_allclose(at, [2.0, 1 + np.exp(-1), 1.0], rtol=1e-6)


def test_no_samples_unless_asked_for():
    token = losses.token_loss_and_samples(
        _scores(4, 20), tf.zeros([20]), tf.zeros([4], tf.int32)
    )
    assert token.sampled_ids is None
    np.testing.assert_allclose(
        token.log_z, tf.reduce_logsumexp(_scores(4, 20), axis=-1), rtol=1e-5
    )


def test_joint_loss_is_a_sum_of_weighted_means():
    values, weights = tf.constant([1.0, 3.0]), tf.constant([1.0, 3.0])
    loss = losses.joint_loss(
        [
            losses.Term(2.0, values, weights),
            losses.Term(10.0, values, tf.constant([0.0, 1.0])),
        ]
    )
    assert float(loss) == pytest.approx(2 * 10 / 4 + 10 * 3)


def test_the_copy_mechanism_is_a_distribution():
    """Its probabilities sum to 1; predictions and gradients are right."""
    size = 30
    scores, bias = _scores(1, size), _scores(1, size, seed=1)[0]
    every = tf.range(size)
    repeated = losses.Scores(tf.repeat(scores, size, axis=0), bias)
    for copy, read in ((-3.0, 4), (0.0, 4), (3.0, 11)):
        copy_logits = tf.fill([size], copy)
        with tf.GradientTape() as tape:
            tape.watch(copy_logits)
            token = restored.with_copy(
                copy_logits,
                repeated,
                losses.token_loss_and_samples(*repeated, every),
                every,
                tf.fill([size], read),
            )
        p = np.exp(-token.loss.numpy())
        assert p.sum() == pytest.approx(1, rel=1e-5)
        expected = (1 - tf.sigmoid(copy)) * tf.nn.softmax(scores[0] + bias)
        expected = expected.numpy()
        expected[read] += tf.sigmoid(copy).numpy()
        np.testing.assert_allclose(p, expected, rtol=1e-4)
        np.testing.assert_array_equal(token.predictions, [p.argmax()] * size)
        assert np.isfinite(tape.gradient(token.loss, copy_logits)).all()
