"""Tests of pre-training on packed rows, as a user runs it."""

import json

import pytest
from pretrain_command import build_data, flags

from electra_tf.cli import app


@pytest.fixture(scope="module")
def data(tmp_path_factory, sample_text_dir):
    """Examples of documents of one sentence."""
    text = (sample_text_dir / "persuasion.txt").read_text()[:30_000]
    sentences = [" ".join(s.split()) for s in text.split(".")]
    lines = [f"{s}.\n\n" for s in sentences if 2 < len(s.split()) < 12]
    return build_data(tmp_path_factory.mktemp("data"), "".join(lines))


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one(data, tmp_path, capfd):
    common = (
        "data.pack_examples=true", "train.batch_size=16",
        "train.checkpoint_every_steps=3", "train.num_train_steps=6",
    )  # fmt: skip
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    assert app.run(flags(data, whole, *common)) == 0
    shown = capfd.readouterr().err
    assert "packing: 16 examples in " in shown and "% of their pos" in shown
    # A copy of the run directory as it was after step 3.
    parted.mkdir()
    (parted / "config.json").write_bytes((whole / "config.json").read_bytes())
    (parted / "checkpoints").symlink_to(_only_the_third(whole, tmp_path))
    assert app.run(flags(data, parted, *common)) == 0
    assert "resuming from step 3" in capfd.readouterr().err
    weights = "model/model.safetensors"
    assert (whole / weights).read_bytes() == (parted / weights).read_bytes()
    metrics = tmp_path / "metrics.json"
    words = [f"--model={whole}", f"--data={data}", f"--output={metrics}"]
    assert app.run(["evaluate-pretraining", *words]) == 0
    assert json.loads(metrics.read_text())["mlm_loss"] > 0


def _only_the_third(run, folder):
    found = folder / "checkpoints"
    found.mkdir()
    for path in (run / "checkpoints").iterdir():
        if path.name.endswith("3"):
            (found / path.name).symlink_to(path)
    assert len(list(found.iterdir())) == 1
    return found


def test_impossible_settings_are_refused(data, tmp_path, capfd):
    for settings, message in (
        (
            ("data.pack_examples=true", "generator.kind=two_tower",
             "generator.wrap_around=true"),
            "data.pack_examples, generator.wrap_around",
        ),
        (("train.attention=fused",), "model.attention_dropout"),
        (
            ("train.attention=flash", "model.attention_dropout=0"),
            "no flash attention with tensorflow",
        ),
    ):  # fmt: skip
        assert app.run(flags(data, tmp_path / "run", *settings)) == 2
        assert message in capfd.readouterr().err
