"""Tests two processes that train as one, over TCP."""

import json
import pathlib
import signal

import numpy as np
import pytest
import two_workers
import worker_toy

from electra_tf.training import reporting

SCRIPT = pathlib.Path(worker_toy.__file__)


def _result(job, index=0) -> dict:
    line = next(
        line
        for line in job.output(index).splitlines()
        if line.startswith("RESULT ")
    )
    return json.loads(line.removeprefix("RESULT "))


def _words(run, steps=30, seconds=0.0):
    return [SCRIPT, run, steps, seconds]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Runs undisturbed jobs of two workers and of one process."""
    folder = tmp_path_factory.mktemp("whole")
    two = two_workers.succeed(_words(folder / "two"), folder / "log")
    one = two_workers.succeed(_words(folder / "one"), folder / "log1", count=1)
    return folder, two, one


@pytest.mark.slow
def test_two_workers_equal_one_process(whole):
    folder, two, one = whole
    for index in (0, 1):
        found = _result(two, index)
        assert found["step"] == 30 and found["gathered"] == [
            "worker 0 " * 7,
            "worker 1 " * 7,
        ]
        for split in ("train", "validation"):
            assert found[split] == pytest.approx(_result(one)[split], abs=1e-5)
        assert found["weights"] == _result(two)["weights"]
    curves = [
        [
            r["loss"]
            for r in reporting.read_records(str(folder / n / "metrics.jsonl"))
        ]
        for n in ("one", "two")
    ]
    assert len(curves[0]) == 32
    np.testing.assert_allclose(*curves, rtol=0, atol=1e-5)
    # Only the chief reports scores.
    assert "held-out" in two.output(0) and "held-out" not in two.output(1)


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_resumes_after_a_worker_was_killed(killed, whole, tmp_path):
    run = tmp_path / "run"
    with two_workers.Job(_words(run, seconds=0.2), tmp_path / "a") as job:
        job.kill_at(killed, (run / "checkpoints" / "step-00000009").exists)
        statuses = job.wait(400)
        assert statuses[killed] == -signal.SIGKILL and 2 in statuses
        text = job.output(1 - killed)
    assert f"ERROR lost worker {killed} (127.0.0.1:" in text
    assert "start all workers again" in text
    again = two_workers.succeed(_words(run), tmp_path / "b")
    assert _result(again)["resumed_from"] >= 9
    assert _result(again)["weights"] == _result(whole[1])["weights"]


@pytest.mark.slow
def test_a_worker_that_hangs_is_noticed(tmp_path):
    run = tmp_path / "run"
    with two_workers.Job(_words(run, seconds=0.2), tmp_path / "a") as job:
        job.signal_at(
            1, signal.SIGSTOP, (run / "checkpoints" / "step-00000003").exists
        )
        assert job.processes[0].wait(timeout=400) == 2
        assert "ERROR lost another worker" in job.output(0)
        assert "stopped sending heartbeats" in job.output(0)


@pytest.mark.slow
def test_a_signal_to_one_stops_all_at_one_step(whole, tmp_path):
    run = tmp_path / "run"
    with two_workers.Job(_words(run, seconds=0.2), tmp_path / "a") as job:
        job.signal_at(
            1, signal.SIGTERM, (run / "checkpoints" / "step-00000006").exists
        )
        assert job.wait(400) == [0, 0]
    results = [_result(job, index) for index in (0, 1)]
    assert [r["stopped"] for r in results] == [True, True]
    step = results[0]["step"]
    assert results[1]["step"] == step and 6 <= step < 30
    assert (run / "checkpoints" / f"step-{step:08d}" / "state.json").exists()
    again = two_workers.succeed(_words(run), tmp_path / "b")
    assert _result(again)["resumed_from"] == step
    assert _result(again)["weights"] == _result(whole[1])["weights"]


@pytest.mark.slow
def test_workers_that_share_no_folder(whole, tmp_path):
    """If one has a checkpoint and the other none, both report it and end."""
    run = f"{tmp_path}/run_{{index}}"
    two_workers.succeed(_words(run, steps=3), tmp_path / "a")
    with two_workers.Job(_words(run), tmp_path / "b") as job:
        assert job.wait(400) == [2, 2]
        for index in (0, 1):
            text = job.output(index)
            assert "newest checkpoint" in text
            assert "3 on worker 0" in text and "0 on worker 1" in text
