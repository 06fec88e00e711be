"""Tests the benchmark: turns of sides, ratios, tables, matrix products."""

import json
import subprocess
import sys
import textwrap

import benchmark
import pytest
from benchmarks import flops, report, workers

from electra_tf.models.config import GENERATOR_FRACTIONS, ModelConfig


@pytest.fixture
def peers(tmp_path, monkeypatch):
    """Returns a function that writes the program of a side."""
    serve = workers.PEERS / "serve.py"
    (tmp_path / "serve.py").write_text(serve.read_text(encoding="utf-8"))
    monkeypatch.setattr(workers, "PEERS", tmp_path)

    def write(name: str, body: str) -> None:
        (tmp_path / name).write_text(
            "import sys, time\nfrom serve import serve\n"
            "def prepare(settings):\n"
            f"{textwrap.indent(textwrap.dedent(body), '    ')}\n"
            "serve(prepare)\n"
        )

    return write


def test_sides_take_turns_and_are_timed(peers):
    peers(
        "a.py",
        """
        print("chatter of a library")
        def handle(request):
            time.sleep(settings["seconds"])
            return {"twice": 2 * request["n"], "at": time.time()}
        return {"version": "1"}, handle
        """,
    )
    sides = {
        "slow": ("a.py", {"seconds": 0.05}, sys.executable),
        "quick": ("a.py", {"seconds": 0.0}, sys.executable),
    }
    with workers.started(sides) as running:
        assert running["slow"].facts["version"] == "1"
        replies = workers.interleave(running, [{"n": 1}, {"n": 2}], 3)
    assert [r["twice"] for r in replies["slow"]] == [2, 2, 2]
    assert [r["twice"] for r in replies["quick"]] == [4, 4, 4]
    order = sorted(
        (reply["at"], name) for name in sides for reply in replies[name]
    )
    assert [name for _, name in order] == ["slow", "quick"] * 3
    assert all(r["seconds"] >= 0.05 for r in replies["slow"])
    assert all(r["cpu_seconds"] < 0.05 for r in replies["slow"])


def test_a_side_that_dies_is_reported_with_its_last_words(peers):
    peers("bad.py", "raise ValueError('no such size')")
    with pytest.raises(workers.SideError, match="no such size"):
        workers.Worker("bad.py", {})
    peers(
        "late.py",
        """
        def handle(request):
            sys.exit("gone")
        return {}, handle
        """,
    )
    worker = workers.Worker("late.py", {})
    with pytest.raises(workers.SideError, match="status 1\ngone"):
        worker.ask({})
    with pytest.raises(workers.SideError, match="cannot run /no/python"):
        workers.Worker("late.py", {}, python="/no/python")
    peers(
        "large.py",
        """
        import os, signal
        return {}, lambda request: os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    worker = workers.Worker("large.py", {})
    with pytest.raises(workers.SideError, match=r"-9\nkilled.*--peers=few"):
        worker.ask({})


@pytest.fixture
def finding():
    return report.Benchmark(
        "toy",
        "what was done",
        [
            report.Side("a", "1.0", {"MB/s": [4.0, 8.0, 6.0]}),
            report.Side("b", "2.0", {"MB/s": [2.0, 2.0, 2.0], "x": [1.0]}),
        ],
        [("a", "b")],
        {"same ids": "yes", "share": 0.123456},
    )


def test_ratios_are_of_medians_with_their_range(finding):
    assert finding.ratios() == [
        {
            "ours": "a",
            "peer": "b",
            "unit": "MB/s",
            "ratio": 3.0,
            "lowest": 2.0,
            "highest": 4.0,
        }
    ]


def test_the_best_peer_is_quoted_and_the_best_of_the_same_precision():
    def side(name, precision, *values):
        return report.Side(name, "1", {"ms": list(values)}, None, precision)

    found = report.Benchmark(
        "toy", "what was done",
        [
            side("ours", "float32", 4.0, 4.0),
            side("slow", "float32", 8.0, 12.0),
            side("slower", "float32", 20.0, 20.0),
            side("quick", "int8", 2.0, 2.0),
        ],
        [("ours", name) for name in ("slow", "slower", "quick")],
        times=("ms",),
    )  # fmt: skip
    quoted = [(r["peer"], r["ratio"], r["lowest"]) for r in found.leading()]
    assert quoted == [("quick", 0.5, 0.5), ("slow", 2.5, 2.0)]
    assert [r["ratio"] for r in found.ratios()] == [2.5, 5.0, 0.5]
    text = report.to_markdown([found], {})
    assert "- ours / quick, ms, times as fast: **0.50**" in text
    assert "- ours / slower" not in text


def test_a_peer_that_cannot_start_is_left_out(peers):
    peers("ours_a.py", "return {}, lambda request: {}")
    peers("other.py", "import no_such_package")
    sides = {
        "a": ("ours_a.py", {}, sys.executable),
        "b": ("other.py", {}, sys.executable),
    }
    missing = {}
    with workers.started(sides, None, missing) as running:
        assert list(running) == ["a"]
    assert missing == {
        "b": "ModuleNotFoundError: No module named 'no_such_package'"
    }
    with pytest.raises(workers.SideError), workers.started(sides):
        pass
    peers("ours_a.py", "import no_such_package")
    with pytest.raises(workers.SideError), workers.started(sides, None, {}):
        pass
    sides["b"] = ("other.py", {}, "/no/python")
    del sides["a"]
    with (
        pytest.raises(workers.SideError, match="cannot run"),
        workers.started(sides, None, {}),
    ):
        pass


def test_markdown_and_json_hold_everything(finding):
    text = report.to_markdown([finding], {"cores": "2"})
    assert "| a | 6 (4 to 8) |  |  | 1.0 |" in text
    assert "- a / b, MB/s: **3.00** (2.00 to 4.00 by round)" in text
    assert "- share: 0.1235" in text
    plain = json.loads(json.dumps(report.to_json([finding], {})))
    assert plain["benchmarks"][0]["medians"]["a"]["MB/s"] == 6.0
    assert plain["benchmarks"][0]["sides"][1]["rates"]["x"] == [1.0]


def test_machine_names_what_it_ran_on():
    found = report.machine()
    assert found["processor"]
    assert int(found["cores"]) >= 1
    assert found["tensorflow"].startswith("2.")


def test_matrix_products_of_a_small_step():
    model = ModelConfig.of_size("small", vocab_size=30522)
    generator = model.generator(GENERATOR_FRACTIONS["small"])
    shapes = flops.step_shapes(model, generator, 32, 128, 19)
    # By hand: discriminator blocks and heads, generator, tied output layer.
    tokens = 32 * 128
    disc = 12 * (12 * tokens * 256**2 + 2 * tokens * 128 * 256)
    disc += tokens * (128 * 256 + 256 * 256 + 256)
    gen = 12 * (12 * tokens * 64**2 + 2 * tokens * 128 * 64)
    gen += tokens * 128 * 64 + 32 * 19 * (64 * 128 + 128 * 30522)
    assert flops.step_gflop(shapes) == pytest.approx(6e-9 * (disc + gen))


def test_attainable_speed_is_the_harmonic_mean_over_work():
    shapes = [(1, 100, 100, 100, 1), (3, 100, 100, 100, 1)]
    assert flops.attainable(shapes, [50.0, 50.0]) == pytest.approx(50.0)
    assert flops.attainable(shapes, [10.0, 30.0]) == pytest.approx(20.0)


def test_help_and_wrong_words(capsys):
    with pytest.raises(SystemExit, match="0"):
        benchmark.main(["--help"])
    assert "tools/benchmark.py pretrain" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        benchmark.main(["tokenise"])
    with pytest.raises(SystemExit, match="no file matches '/no/such'"):
        benchmark.main(["tokenize", "--input=/no/such"])


def test_the_plain_builder_makes_padded_examples():
    code = """
        import random, sys
        sys.path.insert(0, sys.argv[1])
        import bert_python

        def encode(line):
            return [10 + len(word) for word in line.split()]

        lines = ["a bb ccc dddd"] * 40 + [""] + ["a bb"] * 9
        rng = random.Random(0)
        made = list(bert_python.build(lines, encode, (1, 2), 16, rng))
        assert len(made) > 10
        for one in made:
            assert {len(value) for value in one.values()} == {16}
            used = sum(one["input_mask"])
            assert one["input_ids"][0] == 1 and one["input_ids"][used - 1] == 2
            assert set(one["input_ids"][used:]) <= {0}
        assert any(1 in one["segment_ids"] for one in made)
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(workers.PEERS)],
        check=True,
        timeout=60,
    )


@pytest.mark.slow
def test_tokenizers_are_compared(tmp_path, capsys):
    out = tmp_path / "found.json"
    argv = ["tokenize", "--rounds=1", "--megabytes=0.3", f"--json={out}"]
    assert benchmark.main(argv) == 0
    found = json.loads(out.read_text(encoding="utf-8"))["benchmarks"]
    assert [b["facts"]["same ids"] for b in found] == ["yes", "yes"]
    assert "### tokenize, one core" in capsys.readouterr().out


@pytest.mark.slow
def test_our_step_is_measured_alone(capsys):
    argv = ["pretrain", "--size=tiny", "--rounds=1", "--steps=1"]
    argv += ["--batch_size=2", "--seq_length=32", "--vocab_size=2000"]
    assert benchmark.main(argv) == 0
    out = capsys.readouterr().out
    assert "### pretrain tiny" in out
    assert "no --peer_python" in out


@pytest.mark.slow
def test_our_fine_tuning_is_measured_alone(tmp_path, capsys):
    lines = [f"a good film number {i}\t{i % 2}" for i in range(9)]
    text = "\n".join(["sentence\tlabel", *lines]) + "\n"
    (tmp_path / "train.tsv").write_text(text, encoding="utf-8")
    argv = ["finetune", "--size=tiny", "--rounds=1", "--steps=2"]
    argv += ["--batch_size=4", f"--data={tmp_path}"]
    assert benchmark.main(argv) == 0
    out = capsys.readouterr().out
    assert "### finetune tiny" in out and "SST-2's training" in out
    assert "no --peer_python" in out
    with pytest.raises(SystemExit, match="9 rows are too few"):
        benchmark.main([*argv, "--steps=3"])
    (tmp_path / "train.tsv").write_text("sentence\tlabel\nx y\n")
    with pytest.raises(SystemExit, match="is not train"):
        benchmark.main(argv)
