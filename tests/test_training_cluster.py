"""Tests TF_CONFIG and the workers that it names."""

import json
import socket
import time
from concurrent import futures

import pytest
import tensorflow as tf
import two_workers

from electra_tf.errors import UserError
from electra_tf.training import steps, workers
from electra_tf.training.strategy import make_strategy


def _config(jobs, kind="worker", index=0) -> str:
    return json.dumps({"cluster": jobs, "task": {"type": kind, "index": index}})


TWO = {"worker": ["a:1", "b:2"]}


def test_workers_by_their_place():
    found = workers.read_tf_config(_config(TWO, index=1))
    assert found == workers.Cluster(("a:1", "b:2"), 1)


def test_a_chief_comes_first():
    jobs = {"worker": ["a:1", "b:2"], "chief": ["[::1]:3"]}
    assert workers.read_tf_config(_config(jobs, "chief")).index == 0
    found = workers.read_tf_config(_config(jobs, "worker", 1))
    assert found == workers.Cluster(("[::1]:3", "a:1", "b:2"), 2)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "TF_CONFIG is not set; expected such as"),
        ("{", "is not JSON"),
        ("[1]", "cluster: expected an object"),
        ('{"cluster": {"worker": ["a:1"]}}', "task: expected an object"),
        (_config({"worker": []}), "cluster.worker: expected a list"),
        (_config({"worker": "a:1"}), "cluster.worker: expected a list"),
        (_config({"worker": ["a"]}), "'a' is not an address; expected host"),
        (_config({"worker": ["a:x"]}), "'a:x' is not an address"),
        (_config({"worker": ["a:70000"]}), "'a:70000' is not an address"),
        (_config({"worker": ["a:1", "a:1"]}), "a:1 is there twice"),
        (_config(TWO | {"ps": ["c:3"]}), "cluster.ps: expected workers alone"),
        (_config(TWO, "chief"), "'chief' has no addresses"),
        (_config(TWO, index=2), "index: 2, but .* 2 addresses; .* 0 to 1"),
        (_config(TWO, index=-1), "index: -1, but"),
        (_config(TWO, index="first"), "task.index: expected a whole number"),
        (_config(TWO, kind=""), "task.type: expected a name"),
        (
            _config({"worker": ["c:3"], "chief": ["a:1", "b:2"]}),
            "cluster.chief: expected one address",
        ),
    ],
)
def test_malformed(text, message):
    with pytest.raises(UserError, match=message):
        workers.read_tf_config(text)


def test_address_in_use(monkeypatch):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        jobs = {"worker": [f"127.0.0.1:{port}"]}
        monkeypatch.setenv("TF_CONFIG", _config(jobs))
        with pytest.raises(UserError, match=f"worker 0 .*{port}.*in use"):
            make_strategy("multi_worker")


def test_missing_workers_are_named():
    with socket.socket() as there:
        there.bind(("127.0.0.1", 0))
        there.listen()
        here = f"127.0.0.1:{there.getsockname()[1]}"
        found = workers.Cluster((here, "127.0.0.1:1", "127.0.0.1:2"), 1)
        assert found.missing() == ["worker 2 (127.0.0.1:2)"]


def test_a_worker_that_does_not_come():
    (port,) = two_workers.free_ports(1)
    here = workers.Cluster((f"127.0.0.1:{port}", "127.0.0.1:2"), 0)
    with pytest.raises(
        UserError, match=r"waited 0.1 s, and cannot reach worker 1 .*:2\)"
    ):
        workers.meet(here, 0.1)


def test_workers_meet_whoever_comes_first():
    addresses = tuple(f"127.0.0.1:{port}" for port in two_workers.free_ports(3))
    with futures.ThreadPoolExecutor(3) as pool:
        met = []
        for index in (2, 0, 1):
            one = workers.Cluster(addresses, index)
            met.append(pool.submit(workers.meet, one, 20.0))
            time.sleep(0.3)
            assert all(m.running() for m in met)
        for one in met:
            one.result()


def test_one_process_answers_itself():
    team = workers.of(make_strategy("one_device"))
    assert team.is_chief and team.share == workers.WHOLE
    assert team.any(True) and not team.any(False)
    assert team.gather(b"abc") == [b"abc"]
    team.agree("nothing", 1)
    team.barrier()
    with pytest.raises(tf.errors.UnavailableError), team.watched():
        raise tf.errors.UnavailableError(None, None, "no worker's fault")


def test_shares_are_the_whole():
    for rows in (0, 1, 5, 8):
        whole = list(range(rows))
        for count in (1, 2, 3):
            shares = [workers.Share(i, count).of(rows) for i in range(count)]
            parts = [whole[share] for share in shares]
            assert [row for part in parts for row in part] == whole
            assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_batches_are_split_for_the_replicas_of_a_worker():
    data = tf.data.Dataset.range(7).batch(4).map(lambda x: {"x": x})
    found = [batch["x"].numpy().tolist() for batch in steps.split(data, 2)]
    assert found == [[0, 1], [2, 3], [4], [5, 6]]
    static = tf.data.Dataset.range(8).batch(4, drop_remainder=True)
    assert steps.split(static, 2).element_spec.shape == [2]
