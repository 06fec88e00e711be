"""Tests that two workers train as one process does, also after a kill."""

import json
import pathlib

import finetune_command
import numpy as np
import pretrain_command
import pytest
import two_workers
import word_task

from electra_tf import tensors
from electra_tf.training.reporting import read_records

pytestmark = pytest.mark.slow
MULTI = "--strategy=multi_worker"


def _losses(path: pathlib.Path, key: str = "loss") -> list[float]:
    records = read_records(str(path / "metrics.jsonl"))
    return [r[key] for r in records if key in r]


def _same_weights(a: pathlib.Path, b: pathlib.Path) -> None:
    left, right = (
        tensors.load(str(folder / "model.safetensors")) for folder in (a, b)
    )
    assert left.keys() == right.keys() and len(left) > 10
    for name, array in left.items():
        np.testing.assert_array_equal(array, right[name], err_msg=name)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, small_text_file):
    text = pathlib.Path(small_text_file).read_text()[:40_000]
    return pretrain_command.build_data(tmp_path_factory.mktemp("data"), text)


def test_pretraining(corpus, tmp_path):
    """50 random steps equal those of one process, also after a kill."""
    settings = (
        "train.num_train_steps=50",
        "train.log_every_steps=1",
        "train.checkpoint_every_steps=10",
        "train.eval_every_steps=25",
        "train.keep_checkpoints=9",
    )
    one, two, killed = (tmp_path / name for name in ("one", "two", "killed"))
    words = pretrain_command.flags(corpus, one, *settings)
    two_workers.succeed(words, tmp_path / "a", count=1)
    words = pretrain_command.flags(corpus, two, *settings)
    job = two_workers.succeed([*words, MULTI], tmp_path / "b")
    assert "Traceback" not in job.output(1)
    expected, found = _losses(one), _losses(two)
    assert len(expected) == 52
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)

    words = [*pretrain_command.flags(corpus, killed, *settings), MULTI]
    reached = (killed / "checkpoints" / "step-00000010").exists
    with two_workers.Job(words, tmp_path / "c") as job:
        job.kill_at(1, reached)
        assert job.wait(400)[0] == 2
        last = job.output(0).strip().splitlines()[-1]
    assert last.startswith("electra-tf pretrain: lost worker 1 (127.0.0.1:")
    assert f"to resume from {killed}/checkpoints/step-000000" in last
    job = two_workers.succeed(words, tmp_path / "d")
    assert "resuming from step " in job.output(0)
    _same_weights(killed / "model", two / "model")

    figures = []
    for name, flags, count in (("x", (), 1), ("y", (MULTI,), 2)):
        words = [f"--model={two}", f"--data={corpus}", "--batch_size=6"]
        words += [f"--output={tmp_path}/{name}.json", *flags]
        two_workers.succeed(
            ["evaluate-pretraining", *words], tmp_path / name, count
        )
        figures.append(json.loads((tmp_path / f"{name}.json").read_text()))
    assert figures[1] == pytest.approx(figures[0], rel=1e-5)


def test_fine_tuning(tmp_path, tiny_vocab_file):
    data = word_task.write_data(tmp_path / "data")
    one, two, killed = (tmp_path / name for name in ("one", "two", "killed"))

    def words(output):
        return finetune_command.flags(
            data, tiny_vocab_file, output, "--num_trials=2",
            log_every_steps=1, num_train_epochs=2,
        )  # fmt: skip

    two_workers.succeed(words(one), tmp_path / "a", count=1)
    two_workers.succeed([*words(two), MULTI], tmp_path / "b")
    for trial in ("trial_1", "trial_2"):
        np.testing.assert_allclose(
            _losses(two / trial), _losses(one / trial), rtol=0, atol=1e-5
        )
    reports = [
        json.loads((run / "report.json").read_text())["summary"]
        for run in (one, two)
    ]
    assert reports[0] == reports[1]

    reached = (killed / "trial_2" / "checkpoints" / "step-00000005").exists
    with two_workers.Job([*words(killed), MULTI], tmp_path / "c") as job:
        job.kill_at(0, reached)
        assert job.wait(400)[1] == 2
        last = job.output(1).strip().splitlines()[-1]
    assert last.startswith("electra-tf finetune: lost worker 0 (127.0.0.1:")
    assert f"to resume from {killed}/trial_2/checkpoints/step-000000" in last
    two_workers.succeed([*words(killed), MULTI], tmp_path / "d")
    for trial in ("trial_1", "trial_2"):
        _same_weights(killed / trial / "model", two / trial / "model")

    found = []
    for name, flags, count in (("x", (), 1), ("y", (MULTI,), 2)):
        output, folder = tmp_path / f"{name}.json", tmp_path / f"{name}.d"
        flags = [f"--output={output}", f"--predictions={folder}", *flags]
        flags = [f"--model={two}", f"--data={data}", "--batch_size=3", *flags]
        two_workers.succeed(["evaluate", *flags], tmp_path / name, count)
        lines = (folder / "validation" / "predictions.jsonl").read_text()
        found.append((json.loads(output.read_text())["scores"], lines))
    assert found[0] == found[1]


def test_packed_rows(tmp_path, small_text_file):
    """Packing works when each worker packs its share of a batch."""
    text = pathlib.Path(small_text_file).read_text()[:20_000]
    sentences = [" ".join(s.split()) for s in text.split(".")]
    lines = [f"{s}.\n\n" for s in sentences if 2 < len(s.split()) < 12]
    data = pretrain_command.build_data(tmp_path / "data", "".join(lines))
    settings = (
        "train.num_train_steps=5", "train.log_every_steps=1",
        "train.batch_size=16", "model.hidden_dropout=0",
        "model.attention_dropout=0",
    )  # fmt: skip
    found = []
    for name, flags, packed, count in (
        ("rows", (), "false", 1),
        ("one", (), "true", 1),
        ("two", (MULTI,), "true", 2),
    ):
        words = pretrain_command.flags(
            data, tmp_path / name, *settings, f"data.pack_examples={packed}"
        )
        two_workers.succeed([*words, *flags], tmp_path / f"{name}.job", count)
        found.append(_losses(tmp_path / name))
    assert len(found[0]) >= 5
    for packed in found[1:]:
        np.testing.assert_allclose(packed, found[0], rtol=0, atol=1e-4)
