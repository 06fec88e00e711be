"""Tests the tables of parameters and operations, and the plans."""

import flops as tool
import pytest
from benchmarks import outputs, plan, report


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(
        "# electra-tf build-data --output=DATA --max_seq_length=64\n"
        "model:\n  num_layers: 2\ntrain:\n  num_train_steps: 1000\n"
    )
    return path


def test_one_config(config, capsys):
    assert tool.main([f"--config={config}"]) == 0
    out = capsys.readouterr().out
    assert "| model/attention | " in out and "| generator/softmax | " in out
    assert "FLOPs to train" in out


def test_length_and_settings(config):
    from_file = tool.costs_of(str(config), [], None)
    given = tool.costs_of(str(config), [], 64)
    assert from_file == given
    longer = tool.costs_of(str(config), ["train.num_train_steps=2000"], 64)
    assert longer.training_flops == 2 * given.training_flops


def test_every_config_of_the_repository(capsys):
    assert tool.main(["--all"]) == 0
    out = capsys.readouterr().out
    for path in tool.CONFIGS.glob("*.yaml"):
        assert f"| {path.stem} | " in out


def test_errors_are_one_line(config, capsys):
    config.write_text("model:\n  num_layers: 2\n")
    assert tool.main([f"--config={config}"]) == 2
    assert "--max_seq_length" in capsys.readouterr().err
    assert tool.main([f"--config={config}", "--set=model.nmu=3"]) == 2
    assert "nmu" in capsys.readouterr().err


def test_plan_by_hand():
    small, base, large, longer = plan.runs()
    assert [run.steps for run in (small, base, large, longer)] == [
        1_000_000, 766_000, 400_000, 1_750_000,
    ]  # fmt: skip
    assert [run.seq_length for run in (small, base, large)] == [128, 512, 512]
    assert longer.teraflop == pytest.approx(large.teraflop * 1750 / 400)
    # At 1 TFLOP/s a TFLOP takes a second.
    assert base.hours(1.0) == pytest.approx(base.teraflop / 3600)
    steps = base.sequences_per_second(2.0) / 256
    assert steps == pytest.approx(2.0 / (base.teraflop / base.steps))
    # The plan counts products once forward and twice backward. The paper counts
    # them once each, and a few other operations.
    counted = tool.costs_of(str(plan.CONFIGS / "base.yaml"), [], None)
    without_tables = sum(
        n for part, n in counted.training.items() if "embeddings" not in part
    )
    assert 1.4 < 1e12 * base.teraflop / without_tables < 1.5


def test_plan_is_printed_with_its_assumptions(capsys):
    assert tool.main(["--plan"]) == 0
    out = capsys.readouterr().out
    assert out.count("| TPU v4-32 |") == 4 and "45% to 30%" in out
    assert "assumed, prices of" in out and "4 days on 16 TPU v3" in out
    assert tool.main(["--plan", "--utilisation=0.5,0.5", "--gpu_price=1"]) == 0
    row = next(
        line
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("| base ") and "| 1 A100 |" in line
    )
    cells = [cell.strip() for cell in row.split("|")]
    assert cells[5] == cells[6]  # a dollar an hour
    hours = plan.runs()[1].hours(0.5 * 312)
    assert cells[5] == f"{hours:,.0f}"


def test_plan_of_predictions_by_hand(tmp_path, capsys):
    sides = {
        "electra_tf, an export": [100.0, 100.0, 130.0],
        "electra_tf, predict": [200.0],
        "torch": [50.0],
    }
    outputs.record(
        tmp_path,
        "inference",
        [
            report.Benchmark(
                "inference small",
                "",
                [
                    report.Side(name, "", {"sentences per CPU second": rates})
                    for name, rates in sides.items()
                ],
                parameters={"measure": "inference"},
            )
        ],
        ["inference"],
    )
    flags = ["--plan", f"--results={tmp_path}/results.json"]
    assert tool.main([*flags, "--core_price=0.5"]) == 0
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("| small, ")
    ]
    assert [row[2] for row in rows[:5]] == [
        "1,000,000", "10,000,000", "100,000,000", "1,000,000,000",
        "10,000,000,000",
    ]  # fmt: skip
    # 1e9 / 360,000 = 2778 hours of a core, 1.2 days of 100 cores.
    assert rows[3] == [
        "small, an export", "360,000", "1,000,000,000", "2,778", "1.2", "1,389",
    ]  # fmt: skip
    assert rows[5][:4] == ["small, predict", "720,000", "1,000,000", "1.4"]
    assert len(rows) == 10


@pytest.mark.parametrize("text", ["0.3", "0,0.5", "0.4,1.2", "a,b"])
def test_wrong_shares_are_reported(text, capsys):
    assert tool.main(["--plan", f"--utilisation={text}"]) == 2
    assert "expected two shares as in 0.3,0.45" in capsys.readouterr().err
