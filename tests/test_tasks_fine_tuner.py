"""Tests FineTuner: its updates do not depend on splits, devices or padding."""

import dataclasses

import finetuning_toy as toy
import keras
import numpy as np
import pytest
import tensorflow as tf

from electra_tf.finetuning.fine_tuner import FineTuner, plan_steps
from electra_tf.models import kernels
from electra_tf.models.config import ModelConfig
from electra_tf.tasks import batches
from electra_tf.tasks.features import Features
from electra_tf.training import loop
from electra_tf.training.optimizer import OptimizerConfig, make_optimizer
from electra_tf.training.strategy import make_strategy


@pytest.fixture(autouse=True, scope="module")
def quick():
    """Turns off compilation, which would take most of the time."""
    with kernels.use("plain"):
        yield


def tuner(kind="sequence", parts=1, dropout=0.1, rate=0.01, seed=42, **options):
    model = FineTuner(
        toy.network(kind, dropout), toy.ToyTask(kind), seed, parts, **options
    )
    # With a small epsilon, Adam would amplify rounding errors of gradients.
    config = OptimizerConfig(
        learning_rate=rate, num_warmup_steps=0, epsilon=1e-3
    )
    model.compile(make_optimizer(config, 1000))
    return model


def stepper(model, data):
    """Returns a training step, traced once for batches of all lengths."""
    return tf.function(
        model.train_step,
        autograph=False,
        input_signature=[data.element_spec],
    )


def train(model, data, steps=3):
    step = stepper(model, data)
    for batch in data.take(steps):
        step(batch)
    return {v.path: v.numpy() for v in model.trainable_variables}


def data(group=1, tags=False, size=8, multiple=8):
    return batches.training_dataset(
        toy.features(40, group, tags), size, seed=5, pad_to_multiple=multiple
    )


def assert_close(a, b, tolerance=1e-5):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_allclose(
            a[name], b[name], atol=tolerance, err_msg=name
        )


@pytest.fixture(scope="module")
def whole():
    """The weights after steps on whole batches."""
    return train(tuner(), data())


def test_the_variables_are_the_networks_own():
    model = tuner()
    assert [v.path for v in model.trainable_variables] == [
        v.path for v in model.network.trainable_variables
    ]
    assert all(
        v.path.startswith("discriminator/") for v in model.trainable_variables
    )


@pytest.mark.parametrize(
    ("kind", "group", "parts"),
    [
        ("sequence", 3, 2),
        pytest.param("sequence", 1, 4, marks=pytest.mark.slow),
        pytest.param("token", 1, 8, marks=pytest.mark.slow),
    ],
)
def test_accumulation_changes_nothing(kind, group, parts):
    given = data(group, kind == "token")
    whole = train(tuner(kind), given)
    start = {v.path: v.numpy() for v in tuner(kind).network.trainable_variables}
    assert any(np.abs(whole[n] - start[n]).max() > 1e-3 for n in whole)
    assert_close(train(tuner(kind, parts), given), whole)


def test_a_batch_is_cut_by_its_tokens(whole):
    model = tuner(side_by_side=2, tokens_at_once=64)

    def parts(rows, length):
        batch = {"input_ids": tf.zeros([rows, length], tf.int32)}
        found, lanes = model._parts(batch, rows)
        return int(found), lanes

    assert [parts(8, length) for length in (8, 9, 16, 17, 99)] == [
        (1, 2), (2, 2), (2, 2), (4, 2), (4, 2),
    ]  # fmt: skip
    assert parts(7, 99) == (1, 1)  # 7 rows cannot be halved
    model.gradient_accumulation = 2
    assert [parts(8, length) for length in (8, 17)] == [(2, 2), (4, 2)]
    # Batches of 8 rows have 24 tokens and more.
    assert_close(train(tuner(side_by_side=2, tokens_at_once=24), data()), whole)


def test_the_loss_is_the_mean_since_the_reset():
    for parts in (1, 4):
        model = tuner(parts=parts, rate=0.0, dropout=0.0)
        step = stepper(model, data())
        expected = []
        for batch in data().take(3):
            found = step(batch)
            expected.append(float(tf.reduce_mean(model(batch))))
        assert float(found["loss"]) == pytest.approx(np.mean(expected), 1e-5)
        assert set(found) == {"loss"}
        model.reset_metrics()
        assert float(step(batch)["loss"]) == pytest.approx(expected[-1], 1e-5)
        model.reset_metrics()
        model.test_step(batch)
        assert float(model.get_metrics_result()["loss"]) == pytest.approx(
            expected[-1], 1e-5
        )


def test_a_batch_that_cannot_be_cut():
    model = tuner(parts=3)
    with pytest.raises(tf.errors.InvalidArgumentError, match="3 equal parts"):
        train(model, data(), 1)
    with pytest.raises(ValueError, match="gradient_accumulation"):
        tuner(parts=0)


@pytest.mark.parametrize("kind", ["sequence", "token"])
def test_padding_changes_nothing(kind):
    """Dropout is on: its mask depends on positions, not on the padded width."""
    tags = kind == "token"
    little = train(tuner(kind), data(tags=tags, multiple=1))
    much = train(tuner(kind), data(tags=tags, multiple=64))
    assert_close(little, much)


def test_dropout_goes_by_example_step_and_seed():
    model = tuner(dropout=0.5)
    batch = next(iter(data()))

    def losses(**changes):
        return model({**batch, **changes}, training=True).numpy()

    first = losses()
    np.testing.assert_array_equal(losses(), first)
    turned = {name: value[::-1] for name, value in batch.items()}
    np.testing.assert_allclose(losses(**turned)[::-1], first, atol=1e-6)
    assert np.abs(losses(example_id=batch["example_id"] + 1) - first).max() > 0
    model.optimizer.iterations.assign(1)
    assert np.abs(losses() - first).max() > 0
    model.optimizer.iterations.assign(0)
    other = tuner(dropout=0.5, seed=43)
    other.network.set_weights(model.network.get_weights())
    assert np.abs(other(batch, training=True).numpy() - first).max() > 0
    no_ids = {n: v for n, v in batch.items() if n != "example_id"}
    numbered = losses(example_id=tf.range(8, dtype=tf.int64))
    np.testing.assert_array_equal(model(no_ids, training=True), numbered)


def test_batches_that_keras_accumulates_have_dropout_of_their_own():
    """`iterations` counts updates: it stays the same for two batches."""
    model = tuner(dropout=0.5)
    sgd = keras.optimizers.SGD(0.0, gradient_accumulation_steps=2)
    model.compile(sgd, run_eagerly=True)
    batch = next(iter(data()))
    found = []
    for _ in range(4):
        model.reset_metrics()
        found.append(float(model.train_step(batch)["loss"]))
    assert model.optimizer.iterations == 2 and len(set(found)) == 4


def test_rows_of_a_group_have_dropout_of_their_own():
    model = tuner(dropout=0.5)
    batch = dict(next(iter(data(group=2))))
    for name in ("input_ids", "input_mask", "segment_ids"):
        batch[name] = tf.repeat(batch[name][:, :1], 2, axis=1)
    # With equal dropout, the equal rows would score the same: loss log 2.
    losses = model(batch, training=True).numpy()
    assert np.abs(losses - np.log(2)).max() > 1e-3
    np.testing.assert_allclose(model(batch).numpy(), np.log(2), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 2])
def test_mirrored_equals_one_device(tmp_path, parts):
    found = []
    for name in ("one_device", "mirrored"):
        strategy = make_strategy(name)
        with strategy.scope():
            model = tuner(parts=parts)
        result = loop.train(
            model,
            lambda step: batches.training_dataset(
                toy.features(40), 8, seed=5, start_step=step
            ),
            config=loop.TrainConfig(
                num_train_steps=4, batch_size=8, log_every_steps=4
            ),
            run_dir=str(tmp_path / name),
            strategy=strategy,
        )
        weights = {v.path: v.numpy() for v in model.trainable_variables}
        found.append((weights, result["train"]["loss"]))
    assert strategy.num_replicas_in_sync == 2
    assert_close(found[0][0], found[1][0])
    assert found[0][1] == pytest.approx(found[1][1], abs=1e-5)


def test_a_replica_without_rows():
    """The last batch has one row: the loss is a number all the same."""
    batch = toy.features(5).batch(np.arange(5))
    rows = tf.data.Dataset.from_tensor_slices(batch).batch(4)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.OFF
    )
    found = []
    for kind in ("one_device", "mirrored"):
        with make_strategy(kind).scope():
            model = tuner()
        history = model.fit(rows.with_options(options), verbose=0).history
        weights = {v.path: v.numpy() for v in model.trainable_variables}
        found.append((history["loss"][0], weights))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-5)
    assert_close(found[0][1], found[1][1])


def test_one_trace_serves_all_lengths(tmp_path):
    model = tuner()
    traces = []
    inner = model.network.encoder.call

    def counted(*args, **kwargs):
        traces.append(1)
        return inner(*args, **kwargs)

    model.network.encoder.call = counted
    lengths = {b["input_ids"].shape[1] for b in data().take(10)}
    assert len(lengths) > 1
    loop.train(
        model,
        lambda step: data(),
        config=loop.TrainConfig(num_train_steps=10, batch_size=8),
        run_dir=str(tmp_path),
        strategy=make_strategy("one_device"),
    )
    assert len(traces) == 1


def test_kernels_are_chosen_for_the_step():
    """Compiled or not, the update is the same, and the mode does not leak."""
    plain = train(tuner(), data(), 1)
    model = tuner()
    model.kernel_mode = "xla"
    used = []
    inner = model.network.encoder.call

    def watched(*args, **kwargs):
        used.append(kernels.mode())
        return inner(*args, **kwargs)

    model.network.encoder.call = watched
    assert_close(train(model, data(), 1), plain)
    assert set(used) == {"xla"} and kernels.mode() == "plain"


@pytest.mark.parametrize(
    ("size", "rows", "steps", "expected"),
    [
        ("small", 2000, 2000, "xla"),
        ("small", 2000, 4, "plain"),
        ("large", 2000, 100, "xla"),
        ("tiny", 50, 20, "plain"),
        ("small", 0, 100, "plain"),
    ],
)
def test_compiling_must_pay(size, rows, steps, expected):
    config = ModelConfig.of_size(size, vocab_size=100)
    features = toy.features(rows or 1)
    if not rows:
        features = Features(np.zeros([1], "int64"), {})
    found = plan_steps(config, features, 32, steps, make_strategy())
    assert found.kernel_mode == expected
    whole = plan_steps(
        config, features, 32, steps, make_strategy(), jit_compile=True
    )
    assert (whole.pad_to_multiple, whole.side_by_side) == (8, 1)
    rounded = plan_steps(
        config, features, 32, steps, make_strategy(), bfloat16_products=True
    )
    assert rounded == dataclasses.replace(found, side_by_side=1)


def test_lengths_are_fine_where_compiling_them_pays():
    config = ModelConfig.of_size("small", vocab_size=100)
    features = toy.features(2000, longest=100)
    multiples = [
        plan_steps(config, features, 32, steps, make_strategy()).pad_to_multiple
        for steps in (250, 20_000)
    ]
    assert multiples == [8, 4]


@pytest.mark.parametrize(
    ("kind", "parts"),
    [("sequence", 1), pytest.param("token", 2, marks=pytest.mark.slow)],
)
def test_lanes_give_the_gradients_of_the_whole(kind, parts, whole):
    """Embeddings, weights, and variables without a gradient are the same."""
    given = data(tags=kind == "token")
    if kind == "token":
        whole = train(tuner(kind), given)
    model = tuner(kind, parts)
    model.side_by_side = 2
    assert_close(train(model, given), whole)


def test_lanes_run_beside_each_other():
    """No operation of one lane waits for one of the other."""
    model = tuner()
    model.side_by_side = 2
    graph = stepper(model, data()).get_concrete_function().graph
    softmax = [op for op in graph.get_operations() if op.type == "Exp"]
    before = [_ancestors(op) for op in softmax]
    assert len(softmax) >= 2 and len(softmax) % 2 == 0
    half = len(softmax) // 2
    assert not set(softmax[:half]) & set.union(*before[half:])


def _ancestors(op):
    found, left = set(), [op]
    while left:
        here = left.pop()
        above = {i.op for i in here.inputs} | set(here.control_inputs)
        left += above - found
        found |= above
    return found


@pytest.mark.slow
def test_an_odd_batch_has_one_lane():
    model = tuner()
    model.side_by_side = 2
    assert_close(train(model, data(size=7)), train(tuner(), data(size=7)))


def test_it_learns():
    model = tuner(rate=0.01)
    features = toy.features(200)
    given = batches.training_dataset(features, 16, seed=1)
    step = stepper(model, given)
    losses = []
    for batch in given.take(120):
        model.reset_metrics()
        losses.append(float(step(batch)["loss"]))
    assert np.mean(losses[-20:]) < 0.6 * np.mean(losses[:5])


def test_loss_scaling():
    plain = train(tuner(dropout=0.0), data())
    model = tuner(dropout=0.0, parts=2)
    model.compile(
        keras.optimizers.LossScaleOptimizer(
            model.optimizer, initial_scale=1024.0
        )
    )
    assert_close(train(model, data()), plain)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sequence", "token"])
def test_whole_step_compiles(kind):
    losses = []
    for compile_ in (False, True):
        model = tuner(kind)
        step = tf.function(model.train_step, jit_compile=compile_)
        found = []
        for batch in data(tags=kind == "token").take(5):
            found.append(float(step(batch)["loss"]))
            model.reset_metrics()
        losses.append(found)
    np.testing.assert_allclose(*losses, rtol=1e-4)
