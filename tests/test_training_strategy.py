import os
import pathlib
import subprocess
import sys
import types

import pytest
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.training import strategy as strategies
from electra_tf.training.strategy import make_strategy


def test_one_device_is_the_default_strategy():
    strategy = make_strategy("one_device")
    assert strategy.num_replicas_in_sync == 1


def test_unknown_name():
    with pytest.raises(UserError, match="'mirorred': expected one of one_dev"):
        make_strategy("mirorred")


def test_mirrored_reports_a_single_device(monkeypatch, caplog):
    device = types.SimpleNamespace(name="/device:CPU:0")
    monkeypatch.setattr(strategies, "_mirrored", lambda names: names)
    for count in (1, 2):
        caplog.clear()
        monkeypatch.setattr(
            tf.config,
            "list_logical_devices",
            lambda kind, n=count: [device] * n if kind == "CPU" else [],
        )
        assert len(make_strategy("mirrored")) == count
        text = "has one device, /device:CPU:0; it computes as one_device does"
        assert (text in caplog.text) == (count == 1)


def test_a_lost_worker_error_names_the_checkpoint_to_resume_from(
    tmp_path, monkeypatch
):
    assert strategies._resume_hint(None) == "start all workers again"
    run = tmp_path / "run"
    begin = f"there is no checkpoint in {run} yet: start all workers again"
    assert strategies._resume_hint(str(run)) == f"{begin} from step 0"
    steps = {}
    for number, folder in enumerate(("trial_2", "trial_1")):
        step = run / folder / "checkpoints" / "step-00000003"
        step.mkdir(parents=True)
        state = step / "state.json"
        state.touch()
        os.utime(state, (number, number))
        steps[str(run / folder)] = str(step)
    assert (
        strategies._resume_hint(str(run)) == f"{begin} from step 0"
    )  # damaged
    monkeypatch.setattr(strategies.checkpoints, "latest", steps.get)
    assert strategies._resume_hint(str(run)) == (
        f"start all workers again to resume from {steps[str(run / 'trial_1')]}"
    )


def test_a_tpu_for_another_strategy():
    with pytest.raises(UserError, match="--tpu=mine: is for --strategy=tpu"):
        with strategies.distributed("one_device", tpu="mine"):
            pass


def test_no_tpu():
    with pytest.raises(UserError, match="no TPU found"):
        make_strategy("tpu")


def test_too_late_to_split_the_cpu():
    tf.constant(1)
    now = len(tf.config.list_logical_devices("CPU"))
    with pytest.raises(UserError, match="make the strategy first"):
        make_strategy("mirrored", num_logical_cpus=now + 1)
    # Requesting the present number is no error.
    strategy = make_strategy("mirrored", num_logical_cpus=now)
    assert strategy.num_replicas_in_sync == now


@pytest.mark.slow
def test_splits_the_cpu_in_a_fresh_process():
    code = (
        "from electra_tf.training.strategy import make_strategy\n"
        "s = make_strategy('mirrored', num_logical_cpus=3)\n"
        "print('replicas', s.num_replicas_in_sync)"
    )
    root = str(pathlib.Path(__file__).parent.parent)
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=dict(os.environ) | {"PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    assert "replicas 3" in run.stdout
