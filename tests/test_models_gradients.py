"""Tests of gradients on several replicas, and of their order."""

import time

import keras
import numpy as np
import pretraining_tiny as tiny
import pytest
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.models.embeddings import DisentangledEmbeddings
from electra_tf.models.gradients import apply, clipped_together
from electra_tf.training.strategy import make_strategy

# The gradient is the sum over two replicas: norms 5 and 12, together 13.
WHOLE = [np.array([3.0, 4.0], "float32"), np.array([0.0, 12.0], "float32")]
CLIPPED = {
    "clipnorm": [WHOLE[0] / 5, WHOLE[1] / 12],
    "clipvalue": [np.ones(2), np.array([0.0, 1.0])],
    "global_clipnorm": [WHOLE[0] / 13, WHOLE[1] / 13],
}


def _step(strategy, optimizer):
    """Returns what one step of rate 1 takes off the weights."""
    with strategy.scope():
        weights = [keras.Variable(np.zeros(2, "float32")) for _ in range(3)]
        made = optimizer()
        made.build(weights)

    def run():
        replica = tf.distribute.get_replica_context()
        count = float(replica.num_replicas_in_sync)
        number = tf.cast(replica.replica_id_in_sync_group, tf.float32)
        # Unlike parts: of two, a quarter and three quarters.
        share = 1.0 if count == 1 else (1.0 + 2.0 * number) / 4.0
        parts = [made.scale_loss(share * tf.constant(g)) for g in WHOLE]
        parts.insert(1, None)
        made.apply(clipped_together(made, parts), weights)

    tf.function(lambda: strategy.run(run))()
    return [-w.numpy() for w in (weights[0], weights[2])]


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("name", CLIPPED)
@pytest.mark.parametrize("kind", ["one_device", "mirrored"])
@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_the_limit_is_that_of_the_whole_gradient(kind, name, scaled):
    """Keras 3.15.1 clips each replica's part: 2 replicas have twice as much."""
    strategy = make_strategy(kind)

    def optimizer():
        made = keras.optimizers.SGD(1.0, **{name: 1.0})
        return keras.optimizers.LossScaleOptimizer(made) if scaled else made

    found = _step(strategy, optimizer)
    np.testing.assert_allclose(found, CLIPPED[name], rtol=1e-5)


def test_without_a_limit_nothing_changes():
    found = _step(make_strategy("mirrored"), lambda: keras.optimizers.SGD(1.0))
    np.testing.assert_allclose(found, WHOLE, rtol=1e-6)


@pytest.mark.parametrize("limit", [{}, {"clipvalue": 1.0}])
@pytest.mark.parametrize("overflows", [0, 1])
def test_an_overflow_on_any_replica_skips_the_step(overflows, limit):
    """Keras 3.15.1 looks at the first replica's gradients alone."""
    strategy = make_strategy("mirrored")
    with strategy.scope():
        weights = [keras.Variable(np.zeros(2, "float32")) for _ in range(2)]
        inner = keras.optimizers.SGD(1.0, **limit)
        made = keras.optimizers.LossScaleOptimizer(inner)
        made.build(weights)

    def run(last):
        replica = tf.distribute.get_replica_context()
        here = tf.equal(replica.replica_id_in_sync_group, overflows)
        gradient = made.scale_loss(tf.constant([0.25, 0.5]))
        infinite = tf.where(here, last, gradient)
        apply(made, [gradient, infinite], weights)

    step = tf.function(lambda last: strategy.run(run, args=(last,)))
    scale = made.dynamic_scale.numpy()
    step(tf.constant([np.inf, 0.0]))
    assert [w.numpy().tolist() for w in weights] == [[0.0, 0.0]] * 2
    assert made.dynamic_scale.numpy() == scale / 2
    assert made.iterations.numpy() == 0
    step(made.scale_loss(tf.constant([0.25, 0.5])))
    assert [w.numpy().tolist() for w in weights] == [[-0.5, -1.0]] * 2
    assert made.iterations.numpy() == 1


@pytest.mark.parametrize("kind", ["one_device", "mirrored"])
def test_the_end_of_the_data_changes_nothing(kind):
    """Keras 3.15.1 decays the weights and counts a step without a gradient."""
    strategy = make_strategy(kind)
    with strategy.scope():
        weights = [keras.Variable(np.ones(2, "float32"))]
        made = keras.optimizers.AdamW(0.1, weight_decay=1.0)
        made.build(weights)
    found = []

    def batches():
        found.append((made.iterations.numpy(), weights[0].numpy().tolist()))
        yield np.zeros(2, "float32")

    data = tf.data.Dataset.from_generator(
        batches, output_signature=tf.TensorSpec([2])
    )

    def run(gradient):
        apply(made, [2.0 * gradient], weights)

    step = tf.function(lambda batch: strategy.run(run, args=(next(batch),)))
    iterator = iter(data)
    step(iterator)
    assert found == [(0, [1.0, 1.0])]
    with pytest.raises(tf.errors.OutOfRangeError):
        step(iterator)
    assert made.iterations.numpy() == 1
    np.testing.assert_allclose(weights[0], 0.9, rtol=1e-6)


@pytest.mark.parametrize(
    "option",
    [
        {"gradient_accumulation_steps": 2},
        {"use_ema": True, "ema_overwrite_frequency": 3},
    ],
)
def test_what_keras_cannot_do_on_several_replicas(option):
    """Keras 3.15.1 raises a RuntimeError about merge_call there."""
    strategy = make_strategy("mirrored")
    with strategy.scope():
        weights = [keras.Variable(np.ones(2, "float32"))]
        made = keras.optimizers.SGD(0.1, **option)
        made.build(weights)

    def run():
        apply(made, [tf.ones(2)], weights)

    name = list(option)[-1]
    with pytest.raises(UserError, match=rf"SGD\({name}={option[name]}\): "):
        tf.function(lambda: strategy.run(run))()


def _slow():
    def wait(value):
        time.sleep(0.3)
        return value

    return tf.py_function(wait, [0.0], tf.float32)


def _table_read_late(self, name):
    with tf.control_dependencies([_slow()]):
        base = tf.convert_to_tensor(getattr(self.base, name))
    return tf.stop_gradient(base) + self.differences[name]


def _step_of_pretraining(name, recompute=False):
    """Returns the weights after a step without any clipping."""
    model = tiny.variant(name, dropout=0.0)
    for network in (model.generator, model.discriminator):
        network.encoder.recompute = recompute
    model.compile(keras.optimizers.SGD(1.0))
    tf.function(model.train_step)(next(iter(tiny.dataset())))
    return [v.numpy() for v in model.trainable_variables]


def test_a_table_is_read_before_its_update(monkeypatch, plain_kernels):
    """TensorFlow 2.21 drops that order where no gradient follows the read."""
    expected = _step_of_pretraining("disentangled")
    monkeypatch.setattr(DisentangledEmbeddings, "_table", _table_read_late)
    found = _step_of_pretraining("disentangled")
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_weight_is_read_again_before_its_update(monkeypatch, plain_kernels):
    """The scale's gradient needs no scale: it is there before this read."""
    expected = _step_of_pretraining("electra")
    cast = tf.cast

    def late(value, dtype):
        if isinstance(value, keras.Variable) and value.name == "gamma":
            with tf.control_dependencies([_slow()]):
                return cast(value, dtype)
        return cast(value, dtype)

    monkeypatch.setattr(tf, "cast", late)
    found = _step_of_pretraining("electra", recompute=True)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
