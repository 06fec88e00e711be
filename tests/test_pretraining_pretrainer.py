"""Tests of the joint model: steps, metrics, fit(), replicas, the loop."""

import keras
import numpy as np
import pretraining_tiny as tiny
import pytest
import tensorflow as tf

from electra_tf.models import kernels
from electra_tf.pretraining import masking
from electra_tf.pretraining.masking import SpecialIds
from electra_tf.training import loop
from electra_tf.training.strategy import make_strategy


def _step_losses(model, data, steps=20):
    """Returns the loss of each step; running means are reset between."""
    step = tf.function(model.train_step)
    losses = []
    for batch in data.take(steps):
        losses.append(float(step(batch)["loss"]))
        model.reset_metrics()
    return losses


@pytest.fixture(scope="module")
def plain_losses():
    with kernels.use("plain"):
        return _step_losses(tiny.model(), tiny.dataset())


class _Losses(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.values = []

    def on_train_batch_end(self, batch, logs=None):
        self.values.append(float(logs["loss"]))
        self.model.reset_metrics()


@pytest.mark.usefixtures("plain_kernels")
def test_fit_equals_a_loop_of_steps(plain_losses):
    recorder = _Losses()
    model = tiny.model()
    model.fit(tiny.dataset(), epochs=1, verbose=0, callbacks=[recorder])
    np.testing.assert_allclose(recorder.values, plain_losses, rtol=1e-6)
    assert plain_losses[-1] < plain_losses[0]


def _loop_losses(tmp_path, strategy_name):
    strategy = make_strategy(strategy_name)
    with strategy.scope():
        model = tiny.model()
    loop.train(
        model,
        lambda step: tiny.dataset().skip(step),
        config=loop.TrainConfig(
            num_train_steps=20, batch_size=tiny.BATCH, log_every_steps=1,
            eval_every_steps=0, checkpoint_every_steps=0,
        ),
        run_dir=str(tmp_path),
        strategy=strategy,
        eval_data=tiny.dataset(3, seed=1),
    )  # fmt: skip
    from electra_tf.training.reporting import read_records

    records = read_records(str(tmp_path / "metrics.jsonl"))
    train = [r for r in records if r["split"] == "train"]
    held_out = [r for r in records if r["split"] == "validation"]
    return train, held_out[-1]


@pytest.mark.usefixtures("plain_kernels")
def test_our_loop_equals_fit(plain_losses, tmp_path):
    train, held_out = _loop_losses(tmp_path, "one_device")
    np.testing.assert_allclose(
        [r["loss"] for r in train], plain_losses, rtol=1e-6
    )
    assert 0 < held_out["disc_accuracy"] < 1


@pytest.mark.slow
def test_mirrored_equals_one_device(tmp_path):
    """Two replicas equal one: random values depend on the example alone."""
    one, one_held_out = _loop_losses(tmp_path / "a", "one_device")
    two, two_held_out = _loop_losses(tmp_path / "b", "mirrored")
    assert len(tf.config.list_logical_devices("CPU")) == 2
    for name in ("loss", "mlm_loss", "disc_loss", "mlm_accuracy", "disc_auc"):
        np.testing.assert_allclose(
            [r[name] for r in two], [r[name] for r in one], rtol=1e-5
        )
        assert two_held_out[name] == pytest.approx(one_held_out[name], rel=1e-5)


@pytest.mark.slow
def test_fit_works_under_mirrored():
    strategy = make_strategy("mirrored")
    with strategy.scope():
        model = tiny.model()
    history = model.fit(tiny.dataset(), epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"][0])
    result = model.evaluate(
        tiny.dataset(3, seed=1), verbose=0, return_dict=True
    )
    assert np.isfinite(result["mlm_loss"])


@pytest.mark.slow
def test_whole_step_compiles():
    model = tiny.model()
    batch = next(iter(tiny.dataset()))
    expected = float(tf.function(model.train_step)(batch)["loss"])
    compiled = tiny.model()
    step = tf.function(compiled.train_step, jit_compile=True)
    assert float(step(batch)["loss"]) == pytest.approx(expected, rel=1e-5)


def test_test_step_repeats_and_changes_nothing():
    model = tiny.model()
    before = [v.numpy() for v in model.trainable_variables]
    data = tiny.dataset(3)
    first = model.evaluate(data, verbose=0, return_dict=True)
    second = model.evaluate(data, verbose=0, return_dict=True)
    assert first == second
    for a, b in zip(before, model.trainable_variables):
        np.testing.assert_array_equal(a, b)


def test_metrics_are_what_their_names_say():
    """Metrics equal NumPy's over two batches of unequal sizes."""
    model = tiny.model()
    batches = list(tiny.dataset(2))
    batches[1] = {k: v[:3] for k, v in batches[1].items()}
    outputs = [model(b, training=False) for b in batches]
    for output in outputs:
        model._update_metrics(output)
    metrics = model.get_metrics_result()

    def join(pick):
        return np.concatenate([np.ravel(pick(o)) for o in outputs])

    real = join(lambda o: o.masked.input_mask) == 1
    fake = join(lambda o: o.corrupted.fake_labels)[real]
    logits = join(lambda o: o.judged.logits)[real]
    called = logits > 0
    used = join(lambda o: o.masked.masked_lm_weights) == 1
    gold = join(lambda o: o.masked.masked_lm_ids)[used]
    expected = {
        # Of the whole, not a mean of two batches' losses.
        "loss": join(lambda o: o.token.loss)[used].mean()
        + 50 * join(lambda o: o.judged.loss)[real].mean(),
        "mlm_loss": join(lambda o: o.token.loss)[used].mean(),
        "mlm_accuracy": (
            join(lambda o: o.token.predictions)[used] == gold
        ).mean(),
        "sampled_accuracy": (
            join(lambda o: o.token.sampled_ids)[used] == gold
        ).mean(),
        "disc_loss": join(lambda o: o.judged.loss)[real].mean(),
        "disc_accuracy": (called == (fake == 1)).mean(),
        "disc_precision": fake[called].mean() if called.any() else 0.0,
        "disc_recall": called[fake == 1].mean(),
        "replaced_share": fake.mean(),
        "disc_auc": np.mean(
            logits[fake == 1][:, None] > logits[fake == 0][None]
        ),
    }
    for name, value in expected.items():
        tolerance = 0.02 if name == "disc_auc" else 1e-5
        assert float(metrics[name]) == pytest.approx(value, abs=tolerance), name


@pytest.mark.usefixtures("plain_kernels")
def test_batches_without_example_ids_and_the_default_optimizer():
    model = tiny.model()
    model.compile()
    data = tiny.dataset(4).map(
        lambda b: {k: v for k, v in b.items() if k != "example_id"}
    )
    history = model.fit(data, verbose=0)
    assert np.isfinite(history.history["loss"][0])


@pytest.mark.usefixtures("plain_kernels")
def test_batches_that_keras_accumulates_have_masks_of_their_own():
    """`iterations` counts updates: it stays the same for two batches."""
    model = tiny.model()
    inner = keras.optimizers.SGD(0.0, gradient_accumulation_steps=2)
    model.compile(keras.optimizers.LossScaleOptimizer(inner))
    batch = dict(next(iter(tiny.dataset())))
    del batch["example_id"]
    step = tf.function(model.train_step)
    found = []
    for _ in range(4):
        model.reset_metrics()
        found.append(float(step(batch)["mlm_loss"]))
    assert model.optimizer.iterations == 2 and len(set(found)) == 4


def test_rows_of_padding_have_weight_0():
    model = tiny.model(dropout=0.0)
    batch = next(iter(tiny.dataset()))
    padded = {k: tf.pad(v, [[0, 2]] + [[0, 0]] * (v.shape.rank - 1))
              for k, v in batch.items()}  # fmt: skip
    np.testing.assert_allclose(model(padded).loss, model(batch).loss, rtol=1e-6)
    with tf.GradientTape() as tape:
        loss = model(padded, training=True).loss
    gradients = tape.gradient(loss, model.trainable_variables)
    for g in gradients:
        assert np.isfinite(tf.convert_to_tensor(g).numpy()).all()


def test_unigram_entropy():
    ids = np.array([[2, 7, 7, 8, 3, 0]], "int32")
    data = tf.data.Dataset.from_tensors(
        {"input_ids": ids, "input_mask": (ids > 0).astype("int32")}
    )
    expected = -(2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3))
    entropy = masking.unigram_entropy(data, 10, SpecialIds(2, 3, 4))
    assert entropy == pytest.approx(expected)
