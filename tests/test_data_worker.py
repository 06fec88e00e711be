"""Tests how a worker process starts, and what it does on SIGTERM."""

import os
import signal
import subprocess
import sys
import time

import pytest

from electra_tf.data import worker


@pytest.fixture
def stop(monkeypatch):
    """The worker's handler of SIGTERM, installed in this process."""
    stop = worker._Stop()
    monkeypatch.setattr(worker, "_stop", stop)
    before = signal.signal(signal.SIGTERM, stop)
    yield stop
    signal.signal(signal.SIGTERM, before)


def test_sigterm_abandons_the_current_unit_and_all_others(stop, monkeypatch):
    def long_work(unit):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    monkeypatch.setattr(worker, "_worker", long_work)
    start = time.monotonic()
    with pytest.raises(worker.Stopped):
        worker.work([])
    assert time.monotonic() - start < 30
    monkeypatch.setattr(worker, "_worker", lambda unit: "result")
    with pytest.raises(worker.Stopped):
        worker.work([])


def test_sigterm_between_units_interrupts_nothing(stop, monkeypatch):
    monkeypatch.setattr(worker, "_worker", lambda unit: "result")
    assert worker.work([]) == "result"
    # Nothing is interrupted here, as a result may be in transit.
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.wanted
    with pytest.raises(worker.Stopped):
        worker.work([])


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="no /proc")
def test_what_workers_are_forked_with_is_all_they_need_and_has_no_threads():
    code = """
        import os, sys
        import electra_tf.data.worker_preload
        print(len(os.listdir("/proc/self/task")))
        before = set(sys.modules)
        from electra_tf.data import tfrecords, worker
        from electra_tf.text import segment, tokenizer, vocab
        print(len(set(sys.modules) - before))
    """
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(map(str.strip, code.splitlines()))],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.split() == ["1", "0"]
