"""Tests that `abuse_server.py` sends every attack and finds what is wrong."""

import asyncio
import json
import os
import pathlib
import random
import subprocess
import sys
import threading
import time

import abuse_server
import pytest
import serving_toy
from abuse import (
    calls,
    mixed_load,
    rude_clients,
    tally,
    wire,
    world,
    wrong_bodies,
)
from abuse import versions as changing_versions
from abuse.attacks import Outcome

from electra_tf.serving.server import limits

pytest.importorskip("uvicorn")

SIGNATURES = ["serving_default", "size", "pair"]
FEW = ["--num_answers=60", *(f"--signature={name}" for name in SIGNATURES)]


@pytest.fixture(scope="module")
def versions(tmp_path_factory):
    """Versions 1 and 2, whose answers differ."""
    path = tmp_path_factory.mktemp("versions")
    serving_toy.save(path / "1")
    serving_toy.save(path / "2", factor=2.0)
    return path


@pytest.fixture
def toy(versions, tmp_path):
    """A model directory with version 1."""
    path = tmp_path / "toy"
    path.mkdir()
    serving_toy.add_version(versions / "1", path / "1")
    return path


def test_answers_are_compared():
    def same(found, wanted):
        return not world.compare(found, wanted, 1e-5)

    wanted = {"a": [1.0, {"b": "x"}], "n": 3, "t": True}
    assert same(wanted, {"a": [1.000009, {"b": "x"}], "n": 3, "t": True})
    assert same([1000.005, float("nan")], [1000.0, float("nan")])
    for found in (
        {"a": [1.0001, {"b": "x"}], "n": 3, "t": True},
        {"a": [1.0, {"b": "y"}], "n": 3, "t": True},
        {"a": [1.0], "n": 3, "t": True},
        {"a": [1.0, {"b": "x"}], "n": 4, "t": True},
        {"a": [1.0, {"b": "x"}], "n": 3, "t": 1},
        {"a": [1.0, {"b": "x"}], "n": 3},
        {"a": [1, {"b": "x"}], "n": 3, "t": True},
        {"a": [float("nan"), {"b": "x"}], "n": 3, "t": True},
        None,
    ):
        assert not same(found, wanted)
    difference = world.compare({"a": [0, {"b": 1}]}, {"a": [0, {"b": 2}]}, 0)
    assert difference == "answer.a[1].b: '1', not '2'"


def a_world():
    goods = [
        world.Good(
            "get", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"page"
        ),
        world.Good(
            "predict row",
            b'POST /p HTTP/1.1\r\nContent-Length: 16\r\n\r\n{"inputs":["a"]}',
            {},
        ),
    ]
    return world.World(
        "x", 1, "m", 1, {"serving_default": ["b", "a"]}, ["t", "u v"], goods
    )


def test_the_same_seed_sends_the_same():
    first, second = (
        [mixed_load.job(index, seed, a_world()) for index in range(300)]
        for seed in (7, 7)
    )
    assert first == second
    kinds = [type(task).__name__ for task in first]
    assert kinds.count("Attack") == 100
    assert first != [mixed_load.job(i, 8, a_world()) for i in range(300)]


def test_every_kind_of_attack_is_made_and_expects_something():
    makers = [*wrong_bodies.KINDS, *rude_clients.KINDS, *rude_clients.SLOW]
    kinds = set()
    for weight, make in makers:
        assert weight > 0
        for seed in range(3):
            attack = make(random.Random(seed), a_world())
            kinds.add(attack.kind)
            assert attack.steps
            assert attack.wanted or attack.end in ("gone", "torn", "wait")
            for wanted in attack.wanted:
                assert wanted.good or all(
                    status >= 400 or "flipped" in attack.kind
                    for status in wanted.statuses - {200}
                )
    assert len(kinds) >= 45


def test_wrong_bodies_are_wrong():
    for kind in wrong_bodies.BODIES:
        for seed in range(20):
            draw = random.Random(seed)
            make = wrong_bodies.wrong_body(kind)
            data = make(draw, a_world()).steps[0]
            head, _, body = data.partition(b"\r\n\r\n")
            assert f"Content-Length: {len(body)}".encode() in head
            if "json" in kind or kind in ("empty body", "not utf-8"):
                with pytest.raises(ValueError):
                    json.loads(body.decode())


def test_a_healthy_server_passes(toy, tmp_path, capsys):
    output = tmp_path / "results"
    bounds = limits.Limits(header_seconds=1, body_seconds=1, write_seconds=1)
    with serving_toy.served({"toy": toy}, limits=bounds) as server:
        status = abuse_server.main(
            [
                f"--url={server.url}", f"--output={output}", *FEW,
                "--num_requests=450", "--connections=8", "--slow=2",
            ]
        )  # fmt: skip
    report = json.loads((output / "report.json").read_text())
    assert report["problems"] == []
    assert status == 0
    assert report["good"] == 300
    assert report["good_wrong"] == report["good_unanswered"] == 0
    assert report["restarts"] == 0
    assert len(report["kinds"]) > 30
    assert "predict row" in capsys.readouterr().out
    assert (output / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_wrong_answers_are_reported(versions, toy):
    """Answers of another version are reported as wrong."""
    counts = tally.Tally()
    with serving_toy.served({"toy": toy}) as server:
        found = asyncio.run(
            world.look(server.host, server.port, 40, 1, ["size"])
        )
        serving_toy.add_version(versions / "2", toy / "2")
        while server.versions.get("toy").version == 1:
            threading.Event().wait(0.05)
        plan = mixed_load.Plan(requests=60, connections=4, slow=0)
        asyncio.run(run(plan, found, counts))
    assert counts.wrong > 20
    assert "answer.predictions" in " ".join(counts.problems)


def test_which_versions_may_have_answered():
    serving = world.Serving()
    assert serving.since(0.0) == {0}
    began = time.monotonic()
    serving.may(0, 1)
    assert serving.since(began) == {0, 1}
    serving.may(1)
    assert serving.since(began) == {0, 1}
    time.sleep(0.01)
    assert serving.since(time.monotonic()) == {1}
    good = world.Good("a", b"", {"x": 1.0}, others=({"x": 2.0},))

    def differs(value, since):
        body = json.dumps({"x": value}).encode()
        answer = wire.Answer(200, {}, body)
        return world.difference(good, answer, 1e-5, serving, since)

    assert not differs(1.0, began) and not differs(2.0, began)
    assert differs(3.0, began)
    assert differs(1.0, time.monotonic())


@pytest.mark.slow  # each version is loaded
def test_versions_that_change_under_requests_and_calls(versions, toy):
    pytest.importorskip("tensorflow_serving.apis")
    counts = tally.Tally()
    contents = [versions / "1", versions / "2"]

    async def scenario(server):
        found = await world.look(server.host, server.port, 60, 1, SIGNATURES)
        found.grpc = calls.Calls(found, server.grpc_port)
        await found.grpc.look()
        changing = changing_versions.Versions(toy, contents, found, counts)
        await changing.add()
        await world.look_again(found)
        await found.grpc.look()
        found.serving.changing = True
        churn = asyncio.ensure_future(changing.keep(0.1))
        # The five changes: added, broken, added, deleted, added.
        while changing.changes < 5 and not churn.done():
            plan = mixed_load.Plan(
                requests=300, connections=4, slow=0, seed=changing.changes
            )
            await mixed_load.run(plan, found, counts, Nowhere(), None)
        assert not churn.done()
        churn.cancel()
        await found.grpc.close()

    with serving_toy.served({"toy": toy}, grpc_port=0) as server:
        asyncio.run(scenario(server))
    assert counts.problems == []
    assert counts.wrong == counts.unanswered == 0
    sent = counts.kinds
    assert sent["gRPC predict"].sent > 20
    assert sum(name.startswith("gRPC ") for name in sent) >= 6


def test_a_dead_server_is_reported(toy):
    counts = tally.Tally()
    with serving_toy.served({"toy": toy}) as server:
        found = asyncio.run(
            world.look(server.host, server.port, 10, 1, ["size"])
        )
    plan = mixed_load.Plan(requests=30, connections=4, slow=0)
    asyncio.run(run(plan, found, counts))
    assert counts.unanswered == counts.good == 20
    assert len(counts.problems) == 30


class Nowhere:
    """A journal that discards its rows."""

    def add(self, *_, **__):
        pass


async def run(plan, found, counts):
    await mixed_load.run(plan, found, counts, Nowhere(), None)


def test_tally():
    counts = tally.Tally()
    counts.add("a", Outcome([200, 400]), True)
    counts.add("a", Outcome([0], ["bad"], 1, 0), True)
    counts.add("b", Outcome([400]), False)
    assert (counts.sent, counts.good, counts.malformed) == (3, 2, 1)
    assert counts.problems == ["a: bad"]
    assert "closed: 1  200: 1  400: 1" in counts.table()
    assert counts.as_json()["kinds"]["a"]["statuses"] == {
        "0": 1, "200": 1, "400": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model=/no/where"], "no such directory"),
        (["--url=ftp://x"], "expected http://HOST:PORT"),
        (["--url=http://127.0.0.1:1"], "cannot connect to http://127"),
        (["--url=http://127.0.0.1:1", "--mode=kill"], "needs --model"),
        (["--url=http://127.0.0.1:1", "--every=0"], "--every: at least 1"),
        (["--url=http://127.0.0.1:1", "--other=/x"], "--other needs --model"),
    ],
)
def test_mistakes(flags, message, tmp_path, capsys):
    assert abuse_server.main([*flags, f"--output={tmp_path / 'x'}"]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow  # starts the command several times
@pytest.mark.parametrize("mode", ["kill", "terminate", "reload"])
def test_upheavals(mode, toy, tmp_path):
    output = tmp_path / "results"
    status = abuse_server.main(
        [
            f"--model={toy}", f"--output={output}", f"--mode={mode}", *FEW,
            "--num_requests=400", "--every=150", "--connections=8",
        ]
    )  # fmt: skip
    report = json.loads((output / "report.json").read_text())
    assert report["problems"] == []
    assert status == 0
    assert report["good"] == 400
    assert report["good_wrong"] == report["good_unanswered"] == 0
    assert len(report["times"]) == 1
    assert report["starts"] == (1 if mode == "reload" else 2)
    if mode == "kill":
        assert report["lost_in_flight"] <= 8


def test_it_runs_as_its_description_says():
    script = pathlib.Path(abuse_server.__file__)
    root = script.parents[2]
    done = subprocess.run(
        [sys.executable, script, "--help"],
        capture_output=True, text=True, timeout=60, cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "--change_every" in done.stdout
