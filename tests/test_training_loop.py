import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
import training_toy as toy

from electra_tf.errors import UserError
from electra_tf.training import checkpoints, loop, reporting, steps
from electra_tf.training.stopping import StopRequest
from electra_tf.training.strategy import make_strategy

SCRIPT = str(pathlib.Path(__file__).with_name("training_toy.py"))


def train(run, model=None, data=None, strategy=None, on_step=None, **settings):
    """Trains a toy in `run`; returns the model and the result."""
    strategy = strategy or make_strategy("one_device")
    run_config = settings.pop("run_config", None)
    held_out = settings.pop("eval_data", toy.eval_data())
    config = toy.config(**settings)
    if model is None:
        with strategy.scope():
            model = toy.make_model()

    class Watched(reporting.Reporter):
        def progress(self, step):
            super().progress(step)
            if on_step:
                on_step(step)

    reporter = Watched(
        str(run),
        num_train_steps=config.num_train_steps,
        batch_size=config.batch_size,
    )
    result = loop.train(
        model,
        data or toy.train_data(),
        config=config,
        run_dir=str(run),
        strategy=strategy,
        eval_data=held_out,
        run_config=run_config,
        reporter=reporter,
    )
    return model, result


def records(run) -> list[dict]:
    found = reporting.read_records(str(run / "metrics.jsonl"))
    for record in found:
        record.pop("time")
        record.pop("examples_per_second", None)
    return found


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Trains 30 steps without a stop; returns run directory, model, result."""
    run = tmp_path_factory.mktemp("straight")
    return run, *train(run)


def test_a_run_leaves_its_records(straight):
    run, model, result = straight
    assert result["step"] == 30 and not result["stopped"]
    assert result["resumed_from"] is None
    assert result["checkpoint"].endswith("step-00000030")
    assert sorted(os.listdir(run / "checkpoints")) == [
        "step-00000020",
        "step-00000025",
        "step-00000030",
    ]
    found = records(run)
    trained = [r["step"] for r in found if r["split"] == "train"]
    assert trained == [5, 10, 15, 20, 25, 30]
    held_out = [r for r in found if r["split"] == "validation"]
    assert [r["step"] for r in held_out] == [10, 20, 30]
    again = steps.evaluate(model, toy.eval_data(), make_strategy("one_device"))
    assert again == result["validation"]
    assert held_out[-1]["loss"] == again["loss"]
    state = json.loads(
        (run / "checkpoints" / "step-00000030" / "state.json").read_text()
    )
    assert state["data_position"] == 240


def test_an_evaluation_is_traced_once(monkeypatch):
    """One trace serves all batches, also the last one, which is smaller."""
    model, traced = toy.make_model(), []
    inner = model.test_step

    def watched(batch):
        traced.append(1)
        return inner(batch)

    monkeypatch.setattr(model, "test_step", watched)
    data = toy.eval_data()
    assert len({len(batch["y"]) for batch in data}) == 2
    evaluator = steps.Evaluator(model, data, make_strategy("one_device"))
    first, again = (evaluator.run(lambda: False) for _ in range(2))
    assert first == again and len(traced) == 1


def test_metrics_are_means_since_the_last_record(tmp_path):
    _, result = train(
        tmp_path, num_train_steps=4, log_every_steps=2, eval_every_steps=0
    )
    reference = toy.make_model()
    losses = []
    for step in range(4):
        reference.reset_metrics()
        losses.append(float(reference.train_step(toy.batch_at(step))["loss"]))
    found = [r["loss"] for r in records(tmp_path) if r["split"] == "train"]
    np.testing.assert_allclose(
        found, [np.mean(losses[:2]), np.mean(losses[2:])], rtol=1e-6
    )
    # The held-out data is still evaluated at the end.
    assert result["validation"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_and_resumed_is_as_not_stopped(
    tmp_path, straight, number, capsys
):
    def stop(step):
        if step == 11:
            signal.raise_signal(number)

    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    _, first = train(tmp_path, on_step=stop)
    after = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    assert before == after
    assert first["stopped"] and first["step"] == 11
    assert first["checkpoint"].endswith("step-00000011")
    assert f"{number.name}: stopped after step 11" in capsys.readouterr().err
    second_model, second = train(tmp_path)
    assert second["resumed_from"] == 11 and second["step"] == 30
    assert "resuming from step 11" in capsys.readouterr().err
    straight_run, straight_model, result = straight
    toy.assert_same(toy.variables(second_model), toy.variables(straight_model))
    assert second["validation"] == result["validation"]
    assert [r for r in records(tmp_path) if r["step"] > 15] == [
        r for r in records(straight_run) if r["step"] > 15
    ]


def test_a_finished_run_says_so(straight, capsys):
    run, _, _ = straight
    _, result = train(run, data=lambda step: pytest.fail("no data needed"))
    assert "step 30 of 30: all done" in capsys.readouterr().err
    assert result["step"] == 30 and result["resumed_from"] == 30
    assert result["checkpoint"].endswith("step-00000030")


def test_a_stop_in_an_evaluation_owes_it(tmp_path, straight):
    def endless():
        yield toy.batch_at(0)
        signal.raise_signal(signal.SIGTERM)
        yield toy.batch_at(1)
        pytest.fail("the evaluation went on")

    spec = tf.nest.map_structure(
        lambda a: tf.TensorSpec(a.shape, a.dtype), toy.batch_at(0)
    )
    data = tf.data.Dataset.from_generator(endless, output_signature=spec)
    _, first = train(tmp_path, eval_data=data)
    assert first["stopped"] and first["step"] == 10
    assert not any(r["split"] == "validation" for r in records(tmp_path))
    second_model, _ = train(tmp_path)
    toy.assert_same(toy.variables(second_model), toy.variables(straight[1]))
    held_out = [r for r in records(tmp_path) if r["split"] == "validation"]
    assert held_out == [
        r for r in records(straight[0]) if r["split"] == "validation"
    ]


def test_steps_in_the_graph_are_the_same(tmp_path, straight):
    model, result = train(tmp_path, steps_per_loop=4)
    toy.assert_same(toy.variables(model), toy.variables(straight[1]))
    assert records(tmp_path) == records(straight[0])
    assert result["train"] == straight[2]["train"]


def test_xla_step_is_nearly_the_same(tmp_path):
    plain, _ = train(
        tmp_path / "plain", model=toy.make_model(0.0), num_train_steps=5
    )
    compiled, _ = train(
        tmp_path / "xla",
        model=toy.make_model(0.0),
        num_train_steps=5,
        jit_compile=True,
    )
    toy.assert_same(
        toy.variables(plain), toy.variables(compiled), tolerance=1e-5
    )


def test_mirrored_equals_one_device(tmp_path):
    """Two replicas equal one device, even on an odd number of held-out rows."""
    models, results = [], []
    for name in ("one_device", "mirrored"):
        strategy = make_strategy(name)
        with strategy.scope():
            model = toy.make_model(dropout=0.0)
        train(tmp_path / name, model, strategy=strategy, num_train_steps=11)
        model, result = train(
            tmp_path / name, model, strategy=strategy, num_train_steps=20
        )
        assert result["resumed_from"] == 11
        models.append(model)
        results.append(result)
    assert make_strategy("mirrored").num_replicas_in_sync == 2
    toy.assert_same(
        toy.variables(models[0]), toy.variables(models[1]), tolerance=2e-6
    )
    one, two = (records(tmp_path / n) for n in ("one_device", "mirrored"))
    assert len(one) == len(two)
    for left, right in zip(one, two):
        assert left["split"] == right["split"]
        for name in ("step", "loss", "accuracy", "gradient_norm"):
            if name in left:
                np.testing.assert_allclose(left[name], right[name], atol=1e-5)
    # Both replicas hold the same weights.
    for variable in models[1].trainable_variables:
        copies = strategy.experimental_local_results(variable.value)
        assert len(copies) == 2
        np.testing.assert_array_equal(copies[0], copies[1])


@pytest.mark.slow
def test_mirrored_with_dropout_resumes_bit_for_bit(tmp_path):
    strategy = make_strategy("mirrored")
    ends = []
    for stops in ([20], [7, 20]):
        for stop in stops:
            with strategy.scope():
                model = toy.make_model()
            run = tmp_path / str(len(stops))
            train(run, model, strategy=strategy, num_train_steps=stop)
        ends.append(toy.variables(model))
    toy.assert_same(*ends)


@pytest.mark.parametrize(
    "name", ["one_device", pytest.param("mirrored", marks=pytest.mark.slow)]
)
def test_mixed_float16_with_loss_scaling(tmp_path, name):
    strategy = make_strategy(name)
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_float16")
        with strategy.scope():
            model = toy.make_model(dropout=0.0)
            scaled = keras.optimizers.LossScaleOptimizer(
                model.optimizer, initial_scale=2.0**20, name="loss_scale"
            )
            model.compile(optimizer=scaled)
        _, result = train(
            tmp_path, model, strategy=strategy, eval_every_steps=0
        )
    finally:
        keras.config.set_dtype_policy(before)
    # At first the scale was too large, and those updates were skipped.
    assert 15 < int(scaled.iterations.numpy()) < 30
    assert float(scaled.dynamic_scale.numpy()) < 2.0**20
    assert result["step"] == 30 and np.isfinite(result["validation"]["loss"])


@pytest.mark.parametrize("steps_per_loop", [1, 4])
def test_nan_stops_and_names_the_step(tmp_path, steps_per_loop):
    model = toy.make_model(poison_at=12)  # the 13th update
    with pytest.raises(UserError) as error:
        train(tmp_path, model, steps_per_loop=steps_per_loop)
    assert "loss of step 13 is not finite" in str(error.value)
    assert "step-00000010" in str(error.value)
    assert sorted(os.listdir(tmp_path / "checkpoints"))[-1] == "step-00000010"
    assert max(r["step"] for r in records(tmp_path)) == 10
    restored = toy.make_model()
    checkpoints.restore(str(tmp_path), restored)
    assert all(np.isfinite(v.numpy()).all() for v in restored.weights)


def test_a_gradient_that_is_not_finite_is_caught_before_the_checkpoint(
    tmp_path,
):
    class Exploding(toy.Toy):
        def train_step(self, batch):
            if self.optimizer.built:
                bad = tf.equal(self.optimizer.iterations.value, 4)
                with tf.GradientTape() as tape:
                    losses = self.forward(batch, training=True)
                    loss = tf.reduce_mean(losses)
                grads = tape.gradient(loss, self.trainable_variables)
                factor = tf.where(bad, np.inf, 1.0)
                grads = [tf.convert_to_tensor(g) * factor for g in grads]
                self.optimizer.apply(grads, self.trainable_variables)
            return self.get_metrics_result()

    base = toy.make_model()
    model = Exploding(0.0, 8)
    model(toy.batch_at(0)["x"])
    model.compile(optimizer=base.optimizer)
    with pytest.raises(UserError, match="gradient of step 5 is not fin") as got:
        train(tmp_path, model)
    assert "stopped. No checkpoint was written yet: begin a run with a" in (
        str(got.value)
    )
    assert not (tmp_path / "checkpoints").exists()


def test_other_settings_are_shown(tmp_path):
    settings = {"model": {"size": "tiny"}, "train": {"seed": 1}, "x": [1, 2]}
    train(tmp_path, num_train_steps=2, run_config=settings)
    assert json.loads((tmp_path / "config.json").read_text()) == settings
    changed = {"model": {"size": "small"}, "train": {"seed": 1}, "new": None}
    with pytest.raises(UserError) as error:
        train(tmp_path, num_train_steps=2, run_config=changed)
    message = str(error.value)
    assert 'model.size: "tiny" there, "small" now' in message
    assert "x: [1, 2] there, absent now" in message
    assert "new: absent there, null now" in message
    assert "seed" not in message
    _, result = train(tmp_path, num_train_steps=2, run_config=settings)
    assert result["resumed_from"] == 2


def test_two_processes_do_not_train_in_one_directory(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    half = tmp_path / "checkpoints" / "step-00000002.tmp-of-the-other"
    half.mkdir(parents=True)
    # A file opened again has a lock of its own, as in another process.
    other = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(UserError, match="another process works on this output"):
        train(tmp_path, num_train_steps=1)
    assert half.exists()  # the other one is writing it
    os.close(other)
    train(tmp_path, num_train_steps=1)
    assert not half.exists()
    other = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)  # free again
    os.close(other)


def test_data_that_ends_too_early(tmp_path):
    with pytest.raises(
        UserError, match=r"training data ends .* step 7, before"
    ):
        train(tmp_path, data=toy.train_data(end=7))
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["step-00000005"]
    _, result = train(tmp_path)
    assert result["resumed_from"] == 5


def test_bad_arguments(tmp_path):
    with pytest.raises(UserError, match=r"batch_size 7 .* 2 replicas"):
        train(tmp_path, strategy=make_strategy("mirrored"), batch_size=7)
    with pytest.raises(UserError, match="num_train_steps"):
        train(tmp_path, num_train_steps=0)
    with pytest.raises(UserError, match="jit_compile works on one device"):
        train(tmp_path, strategy=make_strategy("mirrored"), jit_compile=True)
    with pytest.raises(ValueError, match="built and compiled"):
        train(tmp_path, keras.Sequential([keras.layers.Dense(1)]))
    model = toy.make_model()
    one = make_strategy("one_device")
    with pytest.raises(UserError, match="data is infinite"):
        steps.evaluate(model, toy.eval_data().repeat(), one)
    with pytest.raises(UserError, match="holds no batch"):
        steps.evaluate(model, toy.eval_data().take(0), one)
    some = steps.evaluate(model, toy.eval_data().repeat(), one, num_steps=2)
    assert set(some) == {"loss", "accuracy"}


def test_full_disk_ends_the_run_and_the_next_start_goes_on(
    tmp_path, straight, monkeypatch
):
    real = checkpoints.tensors.save

    def no_room(path, arrays, metadata=None):
        if "step-00000015" in path and "optimizer" in path:
            raise UserError(f"cannot write {path}: No space left on device")
        real(path, arrays, metadata)

    monkeypatch.setattr(checkpoints.tensors, "save", no_room)
    with pytest.raises(UserError, match="No space left"):
        train(tmp_path)
    assert sorted(os.listdir(tmp_path / "checkpoints")) == [
        "step-00000005",
        "step-00000010",
    ]
    monkeypatch.undo()
    model, result = train(tmp_path)
    assert result["resumed_from"] == 10
    toy.assert_same(toy.variables(model), toy.variables(straight[1]))
    assert records(tmp_path) == records(straight[0])


def test_second_interrupt_aborts():
    before = signal.getsignal(signal.SIGINT)  # ignored in background jobs
    with pytest.raises(KeyboardInterrupt), StopRequest() as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert stop.requested and stop.signal_name == "SIGTERM"
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def start(run, steps, seconds) -> subprocess.Popen:
    """Trains the toy in its own process; its stdout contains stderr, too."""
    environment = dict(os.environ)
    root = str(pathlib.Path(SCRIPT).parent.parent)
    environment["PYTHONPATH"] = root
    return subprocess.Popen(
        [sys.executable, SCRIPT, str(run), str(steps), str(seconds)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_checkpoint(process, run, after: int = 0) -> None:
    deadline = time.monotonic() + 120
    while max(checkpoints.all_steps(str(run)), default=0) <= after:
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline, "no checkpoint in 120 s"
        time.sleep(0.02)


@pytest.mark.slow
def test_killed_with_9_and_resumed(tmp_path):
    steps = 40
    straight_run, run = tmp_path / "straight", tmp_path / "killed"
    straight = start(straight_run, steps, 0)
    reached = 0
    for _ in range(3):
        process = start(run, steps, 0.1)
        wait_for_checkpoint(process, run, after=reached)
        time.sleep(0.15)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        reached = max(checkpoints.all_steps(str(run)))
        assert reached < steps
    last = start(run, steps, 0)
    output, _ = last.communicate(timeout=120)
    assert last.returncode == 0, output
    assert "resuming from step" in output
    assert f"RESULT step={steps} stopped=False" in output
    output, _ = straight.communicate(timeout=120)
    assert straight.returncode == 0, output
    for name in ("model.safetensors", "optimizer.safetensors"):
        file = pathlib.Path("checkpoints") / f"step-{steps:08d}" / name
        assert (run / file).read_bytes() == (straight_run / file).read_bytes()
    held_out = [
        [r for r in records(r_) if r["split"] == "validation"]
        for r_ in (run, straight_run)
    ]
    assert held_out[0] == held_out[1]


@pytest.mark.slow
def test_sigterm_ends_a_process_well(tmp_path):
    process = start(tmp_path, 10_000, 0.05)
    wait_for_checkpoint(process, tmp_path)
    process.terminate()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "stopped=True" in output and "SIGTERM: stopped after" in output
    step = max(checkpoints.all_steps(str(tmp_path)))
    assert f"RESULT step={step} " in output
