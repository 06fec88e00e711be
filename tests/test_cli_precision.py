"""Tests that training in 16-bit precision learns as in float32."""

import json

import pretrain_command
import pytest

from electra_tf.cli import app
from electra_tf.training.reporting import read_records

CONFIG = "configs/pretrain/tiny.yaml"
STEPS = 120


@pytest.fixture(scope="module")
def data(tmp_path_factory, sample_text_dir):
    text = sorted(sample_text_dir.glob("*.txt"))[0].read_text()[:200_000]
    return pretrain_command.build_data(tmp_path_factory.mktemp("data"), text)


@pytest.fixture(scope="module")
def held_out(tmp_path_factory, data, pytestconfig):
    """A function: precision -> held-out metrics of `tiny` after some steps."""
    folder = tmp_path_factory.mktemp("runs")

    def train(precision):
        words = pretrain_command.flags(
            data, folder / precision, f"train.precision={precision}",
            f"train.num_train_steps={STEPS}", "train.num_warmup_steps=20",
            small=False,
        )  # fmt: skip
        words.append(f"--config={pytestconfig.rootpath / CONFIG}")
        assert app.run(words) == 0
        path = folder / precision / "metrics.jsonl"
        records = read_records(str(path))
        (found,) = [r for r in records if r["split"] == "validation"]
        about = json.loads((folder / precision / "config.json").read_text())
        assert about["train"]["precision"] == precision
        return found

    return train


@pytest.mark.slow
def test_held_out_losses(held_out):
    expected = held_out("float32")
    assert expected["mlm_loss"] < 6.0  # 500 tokens; it has learned something
    for precision in ("bfloat16_products", "mixed_bfloat16", "mixed_float16"):
        found = held_out(precision)
        print(precision, found, expected)
        for name in ("loss", "mlm_loss", "disc_loss"):
            assert found[name] == pytest.approx(expected[name], rel=0.02), name
            assert found[name] != expected[name]
