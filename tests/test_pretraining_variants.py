"""Tests of every objective and option: training, gradients, metrics."""

import keras
import numpy as np
import pretraining_tiny as tiny
import pytest
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.models.config import GeneratorConfig
from electra_tf.pretraining.settings import ObjectiveConfig
from electra_tf.training import checkpoints, loop
from electra_tf.training.strategy import make_strategy

# Names of the metrics that each objective has beside loss and mlm_*.
DISC = {
    "disc_loss", "disc_accuracy", "disc_precision", "disc_recall",
    "replaced_share", "disc_auc",
}  # fmt: skip
SAMPLED, CLOZE = {"sampled_accuracy"}, {"cloze_loss", "cloze_accuracy"}
RESTORED = {"restored_loss", "restored_accuracy"}
METRICS = {
    "mlm": set(),
    "electric": SAMPLED | CLOZE | DISC,
    "two_tower": SAMPLED | CLOZE | DISC,
    "two_tower_untied": SAMPLED | CLOZE | DISC,
    "replaced_mlm": SAMPLED | RESTORED,
    "all_tokens_mlm": SAMPLED | RESTORED | {"restored_masked_accuracy"},
}


@pytest.fixture(scope="module")
def batch():
    return next(iter(tiny.dataset(1)))


def _gradients(model, batch, pick=lambda output: output.loss):
    """Maps a path, without the model's name, to its gradient or None."""
    with tf.GradientTape() as tape:
        value = pick(model(batch, training=True))
    variables = model.trainable_variables
    found = tape.gradient(value, variables)
    return {
        v.path.removeprefix("electra/"): None
        if g is None
        else g.numpy()  # dense, as Keras' optimizers need it
        for v, g in zip(variables, found)
    }


def _moved(gradients, prefix):
    """Returns the variables below `prefix` whose gradient is not 0."""
    return {
        path
        for path, g in gradients.items()
        if path.startswith(prefix) and g is not None and np.abs(g).max() > 0
    }


@pytest.mark.parametrize("name", tiny.VARIANTS)
def test_every_variable_has_a_gradient(name, batch):
    """Every variable has one, unless a stage or freezing excludes it."""
    model = tiny.variant(name, dropout=0.0)
    gradients = _gradients(model, batch)
    if name == "two_stage":
        assert not _moved(gradients, "discriminator/")
        assert not _moved(gradients, "embeddings/")
        gradients = {p: gradients[p] for p in gradients if "generator" in p}
    if name == "adversarial":
        # The baseline's first predictions are wrong, so it has gradients.
        assert _moved(gradients, "baseline/")
    if name == "fast_electra":
        assert not any(p.startswith("generator/") for p in gradients)
    if name == "mlm":
        assert not any("discriminator/head" in p for p in gradients)
    still = set(gradients) - _moved(gradients, "")
    # Softmax ignores a constant in a row of scores: this bias has no gradient.
    assert all("qkv/bias" in p for p in still), still
    metrics = model.test_step(batch)
    expected = METRICS.get(name, SAMPLED | DISC)
    assert set(metrics) == {"loss", "mlm_loss", "mlm_accuracy"} | expected
    assert all(np.isfinite(v) for v in metrics.values())


def test_sampling_passes_no_gradient(batch):
    """The discriminator's loss gives the generator's layers no gradient."""
    for name in ("electra", "untied", "two_tower"):
        model = tiny.variant(name, dropout=0.0)
        gradients = _gradients(
            model, batch, lambda o: tf.reduce_sum(o.judged.loss)
        )
        assert not _moved(gradients, "generator/")
        assert _moved(gradients, "discriminator/")


def test_the_noise_of_electric_is_not_differentiated(batch):
    model = tiny.variant("electric", dropout=0.0)
    gradients = _gradients(model, batch, lambda o: tf.reduce_sum(o.judged.loss))
    assert not _moved(gradients, "generator/")


def test_disentangled_tables_are_the_generators_alone(batch):
    model = tiny.variant("disentangled", dropout=0.0)
    disc = _gradients(model, batch, lambda o: tf.reduce_sum(o.judged.loss))
    assert not _moved(disc, "embeddings/") and not _moved(disc, "generator/")
    assert len(_moved(disc, "discriminator/embedding_differences/")) == 5
    mlm = _gradients(model, batch, lambda o: tf.reduce_sum(o.token.loss))
    assert len(_moved(mlm, "embeddings/")) == 5
    assert not _moved(mlm, "discriminator/")


def test_disentangled_starts_as_shared_and_parts(batch):
    shared = tiny.variant("electra", dropout=0.0)
    parted = tiny.variant("disentangled", dropout=0.0)
    assert float(shared(batch).loss) == pytest.approx(float(parted(batch).loss))
    parted.train_step(batch)
    parted.train_step(batch)
    tables = parted.discriminator.encoder.embeddings
    difference = tables.word_embeddings - parted.embeddings.word_embeddings
    np.testing.assert_allclose(
        difference, tables.differences["word_embeddings"], atol=1e-7
    )
    assert np.abs(difference).max() > 0


def test_the_adversarial_reward(batch):
    """The generator learns by REINFORCE from the discriminator's loss."""
    model = tiny.variant("adversarial", dropout=0.0)
    output = model(batch, training=True)
    masked = output.masked
    reward = tf.gather(
        output.judged.loss, masked.masked_lm_positions, batch_dims=1
    )
    log_p = tf.nn.log_softmax(
        model.generator(
            masked.masked_input_ids, masked.input_mask, masked.segment_ids,
            masked.masked_lm_positions,
        ).logits
    )  # fmt: skip
    log_p = tf.gather(log_p, output.token.sampled_ids, batch_dims=2)
    # The baseline starts with weights of 0: it expects -log(1/2) everywhere.
    weights = masked.masked_lm_weights
    policy = -log_p * (reward - np.log(2))
    fit = tf.nn.sigmoid_cross_entropy_with_logits(
        labels=tf.exp(-reward), logits=tf.zeros_like(reward)
    )
    real = tf.cast(masked.input_mask, tf.float32)
    expected = tf.reduce_sum((policy + fit) * weights) / tf.reduce_sum(
        weights
    ) + 50 * tf.reduce_sum(output.judged.loss * real) / tf.reduce_sum(real)
    assert float(output.loss) == pytest.approx(float(expected), rel=1e-4)


def test_electra_15_counts_masked_positions_alone(batch):
    model = tiny.variant("electra_15", dropout=0.0)
    output = model(batch)
    weights = output.judged.weights.numpy()
    expected = np.zeros_like(weights)
    for row, (positions, used) in enumerate(
        zip(
            output.masked.masked_lm_positions.numpy(),
            output.masked.masked_lm_weights.numpy(),
        )
    ):
        expected[row, positions[used > 0]] = 1
    np.testing.assert_array_equal(weights, expected)


def test_electric_labels_every_masked_position(batch):
    model = tiny.variant("electric", dropout=0.0)
    output = model(batch)
    same = output.corrupted._replace(
        fake_input_ids=output.masked.input_ids
    ).fake_labels
    assert int(tf.reduce_sum(same)) == int(
        tf.reduce_sum(output.masked.masked_lm_weights)
    )
    assert set(np.unique(same)) == {0, 1}


def test_the_auc_of_electric_is_that_of_its_logits():
    """Nearly all of its probabilities are below the metric's thresholds."""
    model = tiny.variant("electric", dropout=0.0)
    kernel = model.discriminator.head.prediction.kernel
    kernel.assign(kernel * 300.0)  # logits that differ
    bias = model.discriminator.head.prediction.bias
    bias.assign([-6.0])
    for each in tiny.dataset(4):
        found = model.test_step(each)
    said = [model.predict_step(each) for each in tiny.dataset(4)]
    logits, labels, weights = (
        np.concatenate([np.ravel(one[f"disc_{name}"]) for one in said])
        for name in ("logits", "labels", "weights")
    )
    real = weights > 0
    noise, text = logits[real & (labels == 1)], logits[real & (labels == 0)]
    above = np.mean(noise[:, None] > text[None, :])
    above += np.mean(noise[:, None] == text[None, :]) / 2
    np.testing.assert_allclose(found["disc_auc"], above, atol=0.005)


def test_disallowed_samples_and_uniform_ones(batch):
    for name in ("disallow_correct", "uniform"):
        output = tiny.variant(name)(batch)
        used = output.masked.masked_lm_weights > 0
        same = output.token.sampled_ids == output.masked.masked_lm_ids
        if name == "disallow_correct":
            assert not np.any(same & used)
        else:
            np.testing.assert_allclose(
                output.token.loss, np.log(tiny.VOCAB), rtol=1e-6
            )


def test_frozen_weights_stay_and_temperature_falls(batch):
    model = tiny.variant("fast_electra")
    before = [v.numpy() for v in model.generator.variables]
    steps = [model.train_step(batch) for _ in range(3)]
    assert np.isfinite(float(steps[-1]["loss"]))
    for a, b in zip(before, model.generator.variables):
        np.testing.assert_array_equal(a, b)


def _two_stage_run(model, steps, skip=0):
    step = tf.function(model.train_step)
    for batch in tiny.dataset(10).skip(skip).take(steps):
        step(batch)
        model.reset_metrics()


@pytest.mark.slow
def test_two_stages():
    model = tiny.variant("two_stage")  # the first stage has three steps
    start = {v.path: v.numpy() for v in model.trainable_variables}

    def still(network):
        return [
            v.path
            for v in network.trainable_variables
            if not np.array_equal(v, start[v.path])
        ] == []

    _two_stage_run(model, 2)
    assert still(model.discriminator) and not still(model.generator)
    _two_stage_run(model, 1, skip=2)
    generator = {
        v.path.replace("generator/", ""): v.numpy()
        for v in model.generator.trainable_variables
    }
    taken = 0
    for v in model.discriminator.trainable_variables:
        path = v.path.replace("discriminator/", "")
        if "/head/" in path:
            np.testing.assert_array_equal(v, start[v.path])
            continue
        np.testing.assert_array_equal(v, generator[path], err_msg=v.path)
        taken += 1
    assert taken == 5 + 12  # tables with their norm; one layer
    start = {v.path: v.numpy() for v in model.trainable_variables}
    _two_stage_run(model, 3, skip=3)
    assert still(model.generator) and not still(model.discriminator)


@pytest.mark.slow
def test_two_stages_resume_from_a_checkpoint(tmp_path):
    """A run resumed before or at the change of stage ends the same."""
    whole = tiny.variant("two_stage")
    _two_stage_run(whole, 5)
    for cut in (2, 3):
        first = tiny.variant("two_stage")
        _two_stage_run(first, cut)
        run = str(tmp_path / str(cut))
        checkpoints.save(run, cut, first, first.optimizer)
        second = tiny.variant("two_stage", seed=5)
        assert checkpoints.restore(run, second, second.optimizer).step == cut
        _two_stage_run(second, 5 - cut, skip=cut)
        for a, b in zip(whole.trainable_variables, second.trainable_variables):
            np.testing.assert_array_equal(a, b, err_msg=a.path)


REFUSED = [
    ({"kind": "uniform"}, {"kind": "mlm"}, "generator.kind"),
    ({"embeddings": "untied"}, {"kind": "mlm"}, "generator.embeddings"),
    ({}, {"kind": "mlm", "disallow_correct": True}, "disallow_correct"),
    ({}, {"kind": "electric"}, "two_tower"),
    ({"frozen": True}, {}, "generator.embeddings"),
    ({"frozen": True, "kind": "tied"}, {}, "generator.kind"),
    ({}, {"kind": "electra_15", "two_stage_steps": 5}, "untied"),
    ({"embeddings": "untied"}, {"two_stage_steps": 5}, "hidden_size"),
    ({}, {"kind": "replaced_mlm", "adversarial": True}, "objective.kind"),
    ({"kind": "tied"}, {"adversarial": True}, "generator.kind"),
    ({}, {"adversarial": True, "temperature": 2.0}, "objective.temperature"),
]


@pytest.mark.parametrize(("generator", "objective", "key"), REFUSED)
def test_settings_that_exclude_each_other(generator, objective, key):
    with pytest.raises(UserError, match=key):
        tiny.model(
            generator=GeneratorConfig(**generator),
            objective=ObjectiveConfig(**objective),
        )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("kind", "bert"), ("temperature", 0.0), ("temperature_start", -1.0),
        ("temperature_decay_steps", 0), ("two_stage_steps", -1),
    ],
)  # fmt: skip
def test_impossible_settings(key, value):
    with pytest.raises(UserError, match=key):
        ObjectiveConfig(**{key: value})


@pytest.mark.parametrize(
    "name",
    ["electric", "all_tokens_mlm", "adversarial", "disentangled", "uniform"],
)
def test_mixed_precision(name, batch):
    """In bfloat16 the loss is about that of float32."""
    expected = float(tiny.variant(name)(batch).loss)
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = tiny.variant(name)
        output = model(batch)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert output.loss.dtype == tf.float32
    assert float(output.loss) == pytest.approx(expected, rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["two_stage", "electric"])
def test_mirrored_equals_one_device(name, tmp_path):
    losses = {}
    for kind in ("one_device", "mirrored"):
        strategy = make_strategy(kind)
        with strategy.scope():
            model = tiny.variant(name)
        result = loop.train(
            model,
            lambda step: tiny.dataset(10).skip(step),
            config=loop.TrainConfig(
                num_train_steps=5, batch_size=tiny.BATCH, log_every_steps=5,
                eval_every_steps=0, checkpoint_every_steps=0,
            ),
            run_dir=str(tmp_path / kind),
            strategy=strategy,
            eval_data=tiny.dataset(3, seed=1),
        )  # fmt: skip
        losses[kind] = result["validation"]["loss"]
    assert losses["mirrored"] == pytest.approx(losses["one_device"], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["two_stage", "electric", "all_tokens_mlm"])
def test_whole_step_compiles(name, batch):
    model, compiled = tiny.variant(name), tiny.variant(name)
    expected = float(tf.function(model.train_step)(batch)["loss"])
    step = tf.function(compiled.train_step, jit_compile=True)
    assert float(step(batch)["loss"]) == pytest.approx(expected, rel=1e-5)
