"""The table of parameters and operations."""

import flops as tool
import pytest


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
