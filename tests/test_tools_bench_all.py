"""Tests `benchmark.py all`: its measurements, tables, plots and document."""

import json
import struct

import benchmark
import pytest
from benchmarks import (
    outputs,
    plots,
    pretraining,
    report,
    sections,
    suite,
    summary,
    workers,
)
from benchmarks.report import Benchmark, Side
from documents import tables


def step(size, rows, length, rate, peer=None):
    """Returns a result of `pretrain` in which 16 bits are twice as fast."""

    def rates(value):
        return {
            "steps/s": [value, 1.1 * value],
            "examples/s": [rows * value] * 2,
            "GFLOP/s": [100 * value] * 2,
        }

    ours = tuple(map(pretraining.named, pretraining.PRECISIONS[:2]))
    peers = ("torch", "torch, bf16, compiled") if peer else ()
    sides = []
    for names, version, value, memory in (
        (ours, "tensorflow 2", rate, 800.0),
        (peers, "transformers 5, torch 2", peer, 1600.0),
    ):
        for i, name in enumerate(names):
            precision = (
                "float32",
                ("bfloat16_products", "bf16")[names != ours],
            )
            sides.append(
                Side(
                    name, version, rates((i + 1) * value),
                    memory / (i + 1), precision[i],
                )
            )  # fmt: skip
    return Benchmark(
        f"pretrain {size}, {rows} x {length}",
        "a step",
        sides,
        [(own, other) for own in ours for other in peers],
        {
            pretraining.share_of(name, which): value
            for name in ours
            for which, value in (("first", 0.6), ("second", 0.7))
        },
        ("steps/s",),
        {
            "measure": "pretrain", "size": size, "batch_size": rows,
            "seq_length": length,
            "parameters": {"tiny": 1e6, "small": 1.4e7}[size],
        },
    )  # fmt: skip


@pytest.fixture
def steps():
    return [
        step("tiny", 8, 128, 20.0, 9.0),
        step("tiny", 32, 128, 8.0, 3.0),
        step("tiny", 8, 512, 6.0, 2.0),
        step("small", 32, 128, 1.0, 0.3),
        step("small", 8, 512, 0.8),
    ]


@pytest.fixture
def data():
    """Returns results of the measures of data."""
    names = ("electra_tf, 1 worker", "electra_tf, 2 workers", "plain Python")
    build = Benchmark(
        "build", "text",
        [Side(n, "1", {"MB/s": [v]}) for n, v in zip(names, (10.0, 19.0, 0.5))],
        [(names[0], names[2])], parameters={"measure": "build"},
    )  # fmt: skip
    memory = Benchmark(
        "build-memory", "much text",
        [Side("electra_tf", "1", {"MB/s": [19.0]}, 1234.0)],
        parameters={
            "measure": "build-memory", "workers": 2, "megabytes": 1000.0,
        },
        series={"seconds": [1.0, 2.0, 3.0], "MB": [900.0, 1234.0, 1200.0]},
    )  # fmt: skip
    reading = Benchmark(
        "input small", "batches",
        [Side(n, "1", {"batches/s": [v]}) for n, v in
         (("read", 900.0), ("masked", 600.0), ("step", 1.0))],
        [("read", "step")],
        parameters={
            "measure": "input", "size": "small", "batch_size": 32,
            "seq_length": 128,
        },
    )  # fmt: skip
    return [build, memory, reading]


def picture_size(path):
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    return struct.unpack(">II", content[16:24])


def test_results_come_back_from_json(steps, data):
    every = [*steps, *data]
    plain = json.loads(json.dumps(report.to_json(every, {"cores": "2"})))
    assert report.from_json(plain) == (every, {"cores": "2"})


def test_memory_is_reported_and_compared(steps):
    assert steps[0].memory_ratio("electra_tf", "torch") == 0.5
    text = report.to_markdown(steps[:1], {})
    assert "| 800 | float32 | tensorflow 2 |" in text
    assert "- electra_tf / torch, peak memory: **0.50**" in text
    replies = [{"peak_bytes": 3_000_000}, {"peak_bytes": 5_000_000}]
    assert report.peak_memory(replies) == 5.0
    assert report.peak_memory([{"peak_bytes": 0}]) is None


def test_older_results_have_no_precision(steps):
    plain = report.to_json(steps[:1], {})
    (one,) = plain["benchmarks"]
    del one["times"]
    for side in one["sides"]:
        del side["precision"]
    (found,), _ = report.from_json(json.loads(json.dumps(plain)))
    assert [(r["ours"], r["peer"]) for r in found.leading()] == [
        (ours, "torch, bf16, compiled")
        for ours in map(pretraining.named, pretraining.PRECISIONS[:2])
    ]
    assert "| 21 steps/s | 18.9 (torch, bf16, compiled" in summary.table(
        [found]
    )


def test_the_short_table_has_the_best_of_both_and_of_float32(tmp_path, steps):
    def side(name, precision, milliseconds):
        rates = {"ms": [milliseconds] * 2, "sentences/s": [1e3 / milliseconds]}
        return Side(name, "lib 1", rates, None, precision)

    sides = [
        side("electra_tf, an export", "float32", 8.0),
        side("electra_tf, LiteRT, int8", "int8", 1.0),
        side("slow", "float32", 16.0),
        side("quick", "int8", 1.5),
    ]
    pairs = [(a.name, b.name) for a in sides[:2] for b in sides[2:]]
    found = [
        *steps,
        Benchmark("inference small", "", sides, pairs,
                  compared=("sentences/s",)),
        Benchmark("inference small, one text", "", sides, pairs,
                  compared=("ms",), times=("ms",)),
    ]  # fmt: skip
    for one in found:
        one.parameters["measured"] = "2026-01-02"
    path = tmp_path / outputs.RESULTS
    on = {"processor": "P", "cores": "2", "tensorflow": "2"}
    path.write_text(json.dumps(report.to_json(found, on)))
    text = tables.speeds(path)
    for row in (
        "pre-training step, `small`, 32 x 128 | 2.1 steps/s (bfloat16_products)"
        " | 0.63 (torch, bf16, compiled; transformers 5, torch 2) | **3.33**",
        "texts in batches of 32 | 1,000 sentences/s (LiteRT, int8)"
        " | 667 (quick, int8; lib 1) | **1.50**",
        "the same in float32 | 125 sentences/s (an export, float32)"
        " | 62.5 (slow, float32; lib 1) | **2.00**",
        "one short text | 1 ms (LiteRT, int8)"
        " | 1.5 (quick, int8; lib 1) | **1.50**",
    ):
        assert row in text, text


def test_a_peer_that_did_not_start_is_named_below_the_table(data):
    data[0].facts |= report.left_out({"openvino": "No module named 'openvino'"})
    table = summary.table(data)
    assert table.endswith(
        "\n\nDid not start: build, openvino (No module named 'openvino')."
    )


def test_a_repeated_measure_replaces_the_old_one(tmp_path, steps, data):
    order = ["build", "pretrain", "input"]
    outputs.record(tmp_path, "pretrain", steps, order)
    outputs.record(tmp_path, "build", data[:1], order)
    outputs.record(tmp_path, "pretrain", steps[:2], order)
    found, on = outputs.load(tmp_path / outputs.RESULTS)
    assert [b.name for b in found] == [
        "build", "pretrain tiny, 8 x 128", "pretrain tiny, 32 x 128",
    ]  # fmt: skip
    assert "measured" in found[0].parameters and on["processor"]


def test_tables_plots_and_document(tmp_path, steps, data):
    order = list(benchmark.MEASURES)
    outputs.record(tmp_path, "pretrain", steps, order)
    for one in data:
        outputs.record(tmp_path, one.parameters["measure"], [one], order)
    document = tmp_path / "performance.md"
    marks = "<!-- {0}: begin -->\nold\n<!-- {0}: end -->\n"
    document.write_text(
        f"Before.\n{marks.format('benchmark')}Between.\n"
        f"{marks.format('plan')}After.\n"
    )
    argv = ["render", f"--output={tmp_path}", f"--docs={document}"]
    assert benchmark.main(argv) == 0
    text = document.read_text()
    assert "old" not in text
    for part in ("Before.\n", "\nBetween.\n", "\nAfter.\n"):
        assert part in text
    on = "transformers 5, torch 2"
    named = "| pretrain small, 32 x 128"
    for row in (
        f"{named} | 1.05 steps/s, float32 "
        f"| 0.63 (torch, bf16, compiled; {on}) "
        "| **1.67** (1.67 to 1.67) | 1.00 | 60 %, 70 % |",
        f"{named} | 1.05 steps/s, float32 "
        f"| 0.315 (torch, float32; {on}) "
        "| **3.33** (3.33 to 3.33) | 0.50 | 60 %, 70 % |",
        f"{named}: electra_tf, bfloat16_products "
        "| 2.1 steps/s, bfloat16_products "
        f"| 0.63 (torch, bf16, compiled; {on}) "
        "| **3.33** (3.33 to 3.33) | 0.50 | 60 %, 70 % |",
    ):
        assert row in text
    assert "| build: electra_tf, 2 workers | 19 MB/s |" in text
    assert "peers: plain" not in text and "torch 2" in text
    assert "| small | 200 GFLOP/s (32 x 128)" in text
    for name in ("pretrain.png", "growth.png", "data.png"):
        assert f"](performance/{name})" in text
        width, height = picture_size(tmp_path / "performance" / name)
        assert width > 600 and height > 200
    assert "http.png" not in text
    again = (tmp_path / "performance" / outputs.RESULTS).parent
    assert benchmark.main(["render", f"--output={again}"]) == 0
    assert benchmark.main([*argv]) == 0 and document.read_text() == text


def test_plots_need_no_peer_and_no_more_than_one_measure(tmp_path, data):
    alone = [step("tiny", 8, 128, 20.0)]
    assert plots.draw(alone, tmp_path) == ["pretrain.png", "growth.png"]
    assert plots.draw(data[:1], tmp_path) == ["data.png"]
    assert plots.draw([], tmp_path) == []


def test_sections_are_marked_once():
    text = "a\n<!-- x: begin -->\n<!-- x: end -->\nb\n"
    assert sections.replaced(text, "x", "new") == (
        "a\n<!-- x: begin -->\nnew\n<!-- x: end -->\nb\n"
    )
    for wrong in ("", "<!-- x: end --><!-- x: begin -->", text + text):
        with pytest.raises(SystemExit, match="<!-- x: begin -->"):
            sections.replaced(wrong, "x", "new")


def test_the_suite_holds_all_measures_and_shapes(tmp_path):
    assert set(suite.FULL) == set(suite.QUICK) == set(benchmark.MEASURES)
    shapes = {(size, length) for size, _, length, *_ in suite.STEPS}
    assert shapes >= {
        (s, n) for s in ("tiny", "small", "base") for n in (128, 512)
    }
    given = ["all", f"--output={tmp_path}", "--gigabytes=10"]
    args = benchmark.parser().parse_args(given)
    (large,) = suite.settings("build-memory", args)
    assert large.gigabytes == 10 and large.rounds is None
    first, *_ = suite.settings("pretrain", args)
    assert (first.size, first.seq_length, first.rounds) == ("tiny", 128, 3)
    args = benchmark.parser().parse_args([*given, "--rounds=7", "--quick"])
    assert [a.rounds for a in suite.settings("pretrain", args)] == [7, 7, 7]
    (served,) = suite.settings("inference", args)
    assert served.plot == str(tmp_path / "http.png")


def test_one_failure_does_not_lose_the_rest(
    tmp_path, monkeypatch, capsys, data
):
    def fail(args):
        raise workers.SideError("no torch")

    measures = {"build": lambda args: data[:1], "input": fail}
    monkeypatch.setattr(benchmark, "MEASURES", measures)
    argv = ["all", f"--output={tmp_path / 'new'}", "--quick"]
    assert benchmark.main(argv) == 1
    captured = capsys.readouterr()
    assert "benchmark input: no torch" in captured.err
    assert "repeat with --only=input" in captured.err
    assert "| build: electra_tf, 1 worker | 10 MB/s" in captured.out
    measures["input"] = lambda args: data[2:]
    assert benchmark.main([*argv, "--only=input"]) == 0
    out = capsys.readouterr().out
    assert "| build: " in out and "| input small: read | 900 batches/s" in out


def test_wrong_flags_are_reported(tmp_path, capsys):
    for argv, message in (
        (["all"], "all: needs --output"),
        (["render"], "render: needs --output"),
        (["all", f"--output={tmp_path}", "--only=trian"], "no 'trian'; known"),
        (["render", f"--output={tmp_path}"], "no results.json"),
    ):
        with pytest.raises(SystemExit, match="2"):
            benchmark.main(argv)
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_all_that_needs_no_peer(tmp_path, capsys):
    argv = ["all", "--quick", f"--output={tmp_path}"]
    argv.append("--only=startup,build,build-memory,input")
    assert benchmark.main(argv) == 0
    out = capsys.readouterr().out
    for row in (
        "| startup, imports: import tensorflow | ",
        "| startup, first step of tiny: electra_tf | ",
        "| build: electra_tf, 2 workers | ",
        "| build-memory: electra_tf | ",
        "| input tiny: batches read and masked | ",
    ):
        assert row in out
    assert (tmp_path / "data.png").exists()
    found, _ = outputs.load(tmp_path / outputs.RESULTS)
    memory = next(b for b in found if b.name == "build-memory")
    assert memory.facts["text, MB"] >= 60
