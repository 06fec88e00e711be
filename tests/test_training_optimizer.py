import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
import training_toy as toy

from electra_tf.training.optimizer import (
    AdamWeightDecay,
    OptimizerConfig,
    WarmupPolynomialDecay,
    make_optimizer,
)

GOLDEN = pathlib.Path(__file__).parent / "golden" / "optimizer_steps.npz"
# Settings of the recorded run.
RECORDED = OptimizerConfig(learning_rate=2e-3, num_warmup_steps=3)
RECORDED_STEPS = 8


def variable(value, name="kernel"):
    return keras.Variable(np.asarray(value, np.float32), name=name)


def variable_at(path: str, value: np.ndarray) -> keras.Variable:
    """Returns a variable with the path that a model's layer would give it."""
    *scopes, name = path.split("/")
    with tf.init_scope():
        layer = keras.layers.Layer(name=scopes[-1] if scopes else "layer")
        weight = layer.add_weight(value.shape, name=name)
    weight.assign(value)
    return weight


def recorded_run(variables, gradients, start_slots=None):
    """Yields the optimizer after each update from `gradients`."""
    optimizer = make_optimizer(RECORDED, RECORDED_STEPS)
    optimizer.build(variables)
    for name, value in (start_slots or {}).items():
        (slot,) = [v for v in optimizer.variables if v.name == name]
        slot.assign(value)

    @tf.function
    def update(grads):
        optimizer.apply(grads, variables)

    for grads in gradients:
        update([tf.constant(g) for g in grads])
        yield optimizer


def test_schedule_is_the_recorded_one():
    schedule = WarmupPolynomialDecay(2e-3, RECORDED_STEPS, 3)
    with np.load(GOLDEN) as golden:
        for step in range(5):
            recorded = golden[f"step{step}/lr"]
            np.testing.assert_allclose(schedule(step), recorded, rtol=1e-6)


def test_schedule_ends_and_needs_no_warm_up():
    schedule = WarmupPolynomialDecay(1.0, 10, 0, 2.0, 0.1)
    np.testing.assert_allclose(schedule(0), 1.0)
    np.testing.assert_allclose(schedule(5), 0.9 * 0.25 + 0.1)
    np.testing.assert_allclose(schedule(99), 0.1, rtol=1e-6)
    again = keras.optimizers.schedules.deserialize(
        keras.optimizers.schedules.serialize(schedule)
    )
    np.testing.assert_allclose(again(5), schedule(5))


@pytest.mark.parametrize(
    "warm_up, warned", [(9, False), (10, False), (11, True)]
)
def test_a_warm_up_that_outlasts_the_run_is_reported(caplog, warm_up, warned):
    make_optimizer({"num_warmup_steps": warm_up, "learning_rate": 0.5}, 10)
    expected = (
        "num_warmup_steps is 11, and the run has 10 steps: the learning rate "
        "never reaches 0.5"
    )
    assert (expected in caplog.text) is warned


def test_updates_are_the_recorded_ones():
    # A few of the recorded variables are compared. One more variable stands
    # for the norm of all other gradients, so that clipping is the same.
    with np.load(GOLDEN) as file:
        golden = dict(file)
    names = sorted(
        k.removeprefix("step0/var/") for k in golden if "step0/var/" in k
    )
    variables = [variable_at(n, golden[f"step0/var/{n}"]) for n in names]
    rest = variable([0.0], "rest")
    gradients = [
        [golden[f"step{s}/grad/{n}"] for n in names]
        + [golden[f"step{s}/rest_norm"][None]]
        for s in range(5)
    ]
    run = recorded_run([*variables, rest], gradients)
    for step, optimizer in enumerate(run):
        np.testing.assert_allclose(
            optimizer.last_global_norm.numpy(),
            golden[f"step{step}/global_norm"],
            rtol=1e-6,
        )
        for name, ours in zip(names, variables):
            np.testing.assert_allclose(
                ours.numpy(),
                golden[f"step{step + 1}/var/{name}"],
                rtol=0,
                atol=1e-6,
                err_msg=f"step {step} {name}",
            )
    slots = {v.name: v.numpy() for v in optimizer.variables}
    for name, ours in zip(names, variables):
        prefix = ours.path.replace("/", "_")
        for ours_slot, theirs in ("m", "adam_m"), ("v", "adam_v"):
            np.testing.assert_allclose(
                slots[f"{prefix}_{ours_slot}"],
                golden[f"step5/slot/{name}/{theirs}"],
                rtol=1e-5,
                atol=1e-9,
            )


def test_updates_of_the_whole_recorded_model(shared_dir):
    # The original takes the norm of sparse gradients before it adds up their
    # duplicate rows. In this run every gradient was dense (tied embeddings),
    # its `global_norm` equals the true norm, and so no allowance is needed.
    folder = shared_dir / "golden" / "train" / "electra"
    if not (folder / "train.npz").exists():
        pytest.skip(f"no {folder}/train.npz")
    with np.load(folder / "train.npz") as file:
        golden = dict(file)
    start = tf.train.load_checkpoint(str(folder / "step0.ckpt"))
    names = sorted(
        k.removeprefix("step0/grad/") for k in golden if "step0/grad/" in k
    )
    assert len(names) == 80
    variables, slots = [], {}
    for number, name in enumerate(names):
        kind = "bias" if "LayerNorm" in name or "bias" in name else "kernel"
        value = golden[f"step0/var/{name}"]
        # Unique names that keep the part on which weight decay depends.
        variables.append(variable(value, f"{kind}_{number}"))
        for ours, theirs in ("m", "adam_m"), ("v", "adam_v"):
            slots[f"{kind}_{number}_{ours}"] = start.get_tensor(
                f"{name}/{theirs}"
            )
    gradients = [[golden[f"step{s}/grad/{n}"] for n in names] for s in range(5)]
    run = recorded_run(variables, gradients, slots)
    for step, optimizer in enumerate(run):
        assert (
            golden[f"step{step}/out/global_norm"]
            == golden[f"step{step}/out/global_norm_if_densified"]
        )
        np.testing.assert_allclose(
            optimizer.last_global_norm.numpy(),
            golden[f"step{step}/out/global_norm"],
            rtol=1e-5,
        )
        for name, ours in zip(names, variables):
            key = f"step{step + 1}/var/{name}"
            if key not in golden:  # recorded first and last only
                assert name.endswith("word_embeddings") and step < 4
                continue
            np.testing.assert_allclose(
                ours.numpy(), golden[key], rtol=0, atol=1e-6, err_msg=key
            )


def test_norm_is_of_the_summed_rows():
    table = variable(np.zeros([3, 1]))
    slices = tf.IndexedSlices(
        tf.constant([[3.0], [3.0], [8.0]]), tf.constant([1, 1, 2]), [3, 1]
    )
    optimizer = AdamWeightDecay(0.1, beta_1=0.0)
    optimizer.apply([slices], [table])
    # sqrt(6^2 + 8^2); separate rows would give sqrt(3^2 + 3^2 + 8^2).
    np.testing.assert_allclose(optimizer.last_global_norm.numpy(), 10.0)
    slots = {v.name: v.numpy() for v in optimizer.variables}
    np.testing.assert_allclose(
        slots["kernel_m"], [[0.0], [0.6], [0.8]], rtol=1e-6
    )


@pytest.mark.parametrize("bias_correction", [True, False])
def test_against_keras_adamw(bias_correction):
    rng = np.random.default_rng(0)
    start = rng.normal(size=[4, 3])
    ours, theirs = variable(start), variable(start)
    optimizer = AdamWeightDecay(
        0.1, weight_decay_rate=0.05, bias_correction=bias_correction
    )
    if bias_correction:
        reference = keras.optimizers.AdamW(
            0.1, weight_decay=0.05, epsilon=1e-6, global_clipnorm=1.0
        )
    for _ in range(4):
        gradient = rng.normal(size=[4, 3]).astype(np.float32)
        optimizer.apply([tf.constant(gradient)], [ours])
        if bias_correction:
            reference.apply([tf.constant(gradient)], [theirs])
    if bias_correction:
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-5)
    else:
        assert np.abs(ours.numpy() - start).max() > 0.1


def test_decay_skips_layer_norm_and_bias_and_follows_the_layers_learning_rate():
    kernel, bias = variable([1.0], "kernel"), variable([1.0], "bias")
    gamma = variable_at("layer_norm/gamma", np.ones([1], np.float32))
    deep = variable([1.0], "deep_kernel")
    frozen = variable([1.0], "frozen")
    optimizer = AdamWeightDecay(
        0.1,
        weight_decay_rate=0.5,
        learning_rate_multipliers={"deep_kernel": 0.1, "frozen": 0.0},
    )
    variables = [kernel, bias, gamma, deep, frozen]
    optimizer.apply([tf.zeros([1])] * 5, variables)
    values = [float(v.numpy()[0]) for v in variables]
    np.testing.assert_allclose(values, [0.95, 1, 1, 0.995, 1], rtol=1e-6)


def test_multipliers_may_be_a_function_and_survive_serializing():
    first, second = variable([1.0], "first"), variable([1.0], "second")
    optimizer = AdamWeightDecay(
        0.1,
        learning_rate_multipliers=lambda p: 0.5 if p == "second" else 1.0,
        weight_decay_rate=1.0,
    )
    with pytest.raises(ValueError, match="build"):
        optimizer.get_config()
    optimizer.build([first, second])
    again = AdamWeightDecay.from_config(optimizer.get_config())
    again.apply([tf.zeros([1]), tf.zeros([1])], [first, second])
    np.testing.assert_allclose(
        [first.numpy()[0], second.numpy()[0]], [0.9, 0.95], rtol=1e-6
    )


def test_variables_may_be_excluded_from_decay():
    names = ("kernel", "table", "scale")
    variables = [keras.Variable(np.ones(2), name=name) for name in names]
    optimizer = AdamWeightDecay(1.0, weight_decay_rate=0.5)
    optimizer.exclude_from_weight_decay([variables[1]], ["sca"])
    same = AdamWeightDecay.from_config(optimizer.get_config())
    for made in (optimizer, same):
        for variable in variables:
            variable.assign(np.ones(2))
        made.apply([tf.zeros(2)] * 3, variables)
        found = [variable.numpy().tolist() for variable in variables]
        assert found == [[0.5, 0.5], [1.0, 1.0], [1.0, 1.0]]
    with pytest.raises(ValueError, match="before the optimizer is built"):
        optimizer.exclude_from_weight_decay(var_names=["kernel"])


def test_missing_gradients():
    first, second = variable([1.0], "first"), variable([1.0], "second")
    optimizer = AdamWeightDecay(0.1, weight_decay_rate=0.0)
    optimizer.apply([tf.ones([1]), None], [first, second])
    assert second.numpy()[0] == 1.0 and first.numpy()[0] < 1.0
    with pytest.raises(ValueError, match="no gradient"):
        optimizer.apply([None, None], [first, second])
    with pytest.raises(ValueError, match="not built for variable third"):
        optimizer.apply([tf.ones([1])], [variable([1.0], "third")])
    with pytest.raises(ValueError, match="build the optimizer"):
        AdamWeightDecay(0.1).apply([tf.ones([1])])


def test_in_fit_equals_a_plain_loop():
    batches = [toy.batch_at(s) for s in range(6)]
    fitted, plain = toy.make_model(), toy.make_model()
    # Without `steps_per_epoch`, fit() would start one step too many at the end
    # of the data, and count its examples in the metrics.
    dataset = toy.train_data()(0)
    history = fitted.fit(dataset, verbose=0, epochs=1, steps_per_epoch=6)
    step = tf.function(plain.train_step)
    for batch in batches:
        logs = step({k: tf.constant(v) for k, v in batch.items()})
    toy.assert_same(toy.variables(fitted), toy.variables(plain))
    np.testing.assert_allclose(history.history["loss"][0], logs["loss"])


def test_the_end_of_the_data_moves_no_weight():
    model = toy.make_model()
    iterator = iter(toy.train_data(end=2)(0))

    @tf.function
    def step():
        return model.train_step(next(iterator))

    step(), step()
    before = [v.numpy() for v in model.weights + model.optimizer.variables]
    with pytest.raises(tf.errors.OutOfRangeError):
        step()
    after = [v.numpy() for v in model.weights + model.optimizer.variables]
    for left, right in zip(before, after):
        np.testing.assert_array_equal(left, right)


def test_inside_a_loss_scale_optimizer():
    weight = variable([1.0, 2.0])
    inner = AdamWeightDecay(0.1)
    scaled = keras.optimizers.LossScaleOptimizer(inner, initial_scale=1024.0)

    @tf.function
    def update(gradient):
        scaled.apply([gradient], [weight])

    update(tf.constant([0.6, 0.8]) * 1024.0)
    np.testing.assert_allclose(inner.last_global_norm.numpy(), 1.0, rtol=1e-6)
    before = weight.numpy()
    update(tf.constant([np.inf, 0.0]))
    np.testing.assert_array_equal(weight.numpy(), before)
    assert float(scaled.dynamic_scale.numpy()) == 512.0


@pytest.mark.parametrize(
    ("limit", "norm", "factor"),
    [(1.0, 0.5, 1.0), (1.0, 1.0, 1.0), (1.0, 4.0, 0.25), (0.0, 4.0, 1.0)],
)
def test_only_gradients_above_the_limit_are_scaled(limit, norm, factor):
    """After one update the moment is (1 - beta_1) times the scaled gradient."""
    optimizer = AdamWeightDecay(0.1, max_grad_norm=limit)
    weights = [variable(np.zeros(2), "a"), variable(np.zeros(2), "b")]
    optimizer.build(weights)
    gradients = [norm * np.float32([0.6, 0.0]), norm * np.float32([0.0, 0.8])]
    optimizer.apply([tf.constant(g) for g in gradients], weights)
    moments = [v.numpy() for v in optimizer.variables if v.name.endswith("_m")]
    for moment, gradient in zip(moments, gradients, strict=True):
        np.testing.assert_allclose(moment, 0.1 * factor * gradient, rtol=1e-6)
    assert float(optimizer.last_global_norm.numpy()) == pytest.approx(norm)
