"""Tests trials: learning, repeating, stopping, resuming, reporting."""

import json
import os
import pathlib
import shutil
import signal

import numpy as np
import pytest
import word_task
from finetune_command import SHAPE, TASK, TRAIN

from electra_tf import tensors
from electra_tf.errors import UserError
from electra_tf.finetuning import (
    report,
    settings,
    splits,
    start,
    trial,
    trials,
)
from electra_tf.hub import directory
from electra_tf.tasks import registry
from electra_tf.tasks.registry import options_class, task_class
from electra_tf.text.tokenizer import Tokenizer
from electra_tf.training import strategy


def make(**train):
    cls = settings.settings_class(TASK)
    return cls(
        task=TASK,
        train=settings.FinetuneTrainConfig(**(TRAIN | train)),
        model=settings.ModelSettings(**SHAPE),
    )


def run(chosen, data, vocab, output, begin=None):
    begin = begin or start.from_random(chosen.model, vocab)
    return trials.run_trials(
        chosen, begin, data, str(output), strategy.make_strategy()
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return word_task.write_data(tmp_path_factory.mktemp("data") / "d")


@pytest.fixture(scope="module")
def chosen():
    return make(num_trials=2)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, data, chosen, tiny_vocab_file):
    output = tmp_path_factory.mktemp("run") / "run"
    return output, run(chosen, data, tiny_vocab_file, output)


def weights(folder):
    return tensors.load(str(folder / "model" / "model.safetensors"))


def assert_same_weights(a, b):
    left, right = weights(a), weights(b)
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def test_it_learns_and_reports(finished):
    output, summary = finished
    scores = summary["summary"]["validation"]["accuracy"]
    assert scores["median"] > 95
    assert summary["baseline"]["validation"]["accuracy"] < 65
    assert summary["summary"]["test"]["accuracy"]["median"] > 90
    assert summary["data"]["examples"] == {
        "train": 240, "validation": 40, "test": 20,
    }  # fmt: skip
    assert [t["seed"] for t in summary["trials"]] == [42, 43]
    values = [t["scores"]["validation"]["accuracy"] for t in summary["trials"]]
    assert scores["median"] == pytest.approx(np.median(values))
    assert scores["std"] == pytest.approx(np.std(values, ddof=1))
    assert scores["best"] == scores["max"] == max(values)
    assert (scores["min"], scores["mean"]) == (min(values), np.mean(values))
    assert json.loads((output / "report.json").read_text()) == summary
    text = (output / "report.md").read_text()
    assert "constant" in text and "| 2 | 43 |" in text
    assert "confusion_matrix.png" in text and "learning_curves.png" in text


def test_what_a_run_leaves(finished):
    output, summary = finished
    for name in ("learning_curves.png", "confusion_matrix.png"):
        assert (output / "plots" / name).read_bytes()[:4] == b"\x89PNG"
    for number in (1, 2):
        trial = output / f"trial_{number}"
        for name in ("loss", "scores", "confusion_matrix"):
            assert (trial / "plots" / f"{name}.png").exists()
        lines = (trial / "predictions/test/predictions.jsonl").read_text()
        assert len(lines.splitlines()) == 20
        assert json.loads(lines.splitlines()[0])["label"] in ("animal", "thing")
        texts = (trial / "predictions/validation/validation.txt").read_text()
        assert len(texts.splitlines()) == 40
        assert not (trial / "checkpoints").exists()
        assert (trial / "metrics.jsonl").exists()
    assert_same_weights(output, output / f"trial_{summary['best_trial']}")
    config = directory.load_config(str(output / "model"))
    about = config.fine_tuning
    assert about["task"] == TASK
    assert about["unknown_percent"] == summary["data"]["unknown_percent"]
    assert about["state"] == {"labels": ["animal", "thing"], "tuned_on": 40}
    assert about["metrics"]["validation"]["accuracy"] > 90
    assert config.task.labels == ("animal", "thing")
    assert config.discriminator.hidden_dropout == 0.1
    assert not config.replaced_token_head


def test_trials_have_seeds_of_their_own(finished):
    output, _ = finished
    first, second = weights(output / "trial_1"), weights(output / "trial_2")
    name = "discriminator/encoder/layer_0/intermediate/kernel"
    assert np.abs(first[name] - second[name]).max() > 1e-3


def test_all_done_is_reported_at_once(finished, data, chosen, tiny_vocab_file,
                                  capfd, monkeypatch):  # fmt: skip
    output, summary = finished
    monkeypatch.setattr(trials.finetune, "run_trial", None)  # not needed
    assert run(chosen, data, tiny_vocab_file, output) == summary
    assert "all 2 trials are done" in capfd.readouterr().err


def test_a_finished_run_refuses_other_data(
    finished, data, chosen, tiny_vocab_file
):
    output, _ = finished
    path = pathlib.Path(data) / "train.tsv"
    before = path.read_text()
    path.write_text(before + "a new cat\tanimal\n")
    try:
        with pytest.raises(UserError, match="trial_1 was trained on other da"):
            run(chosen, data, tiny_vocab_file, output)
    finally:
        path.write_text(before)


def test_the_same_seed_gives_the_same_run(
    finished, data, tiny_vocab_file, tmp_path
):
    # A trial does not depend on the trials that ran before it.
    output, _ = finished
    run(make(seed=43), data, tiny_vocab_file, tmp_path / "again")
    assert_same_weights(output / "trial_2", tmp_path / "again" / "trial_1")
    ours = (output / "trial_2/predictions/test/predictions.jsonl").read_bytes()
    theirs = tmp_path / "again/trial_1/predictions/test/predictions.jsonl"
    assert ours == theirs.read_bytes()


@pytest.mark.slow
def test_more_trials_later(finished, data, tiny_vocab_file, tmp_path):
    output = tmp_path / "more"
    shutil.copytree(finished[0], output)
    summary = run(make(num_trials=3), data, tiny_vocab_file, output)
    assert [t["seed"] for t in summary["trials"]] == [42, 43, 44]
    assert summary["trials"][:2] == finished[1]["trials"]
    # With fewer trials, only these are reported.
    summary = run(make(num_trials=2), data, tiny_vocab_file, output)
    assert summary["trials"] == finished[1]["trials"]


def stop_at_evaluation(monkeypatch, number):
    """Sends SIGTERM to this process in the middle of evaluation `number`."""
    task = registry.task_class(TASK)
    seen = []

    def scores(self, examples, predictions, original=task.scores):
        seen.append(1)
        if len(seen) == number:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, examples, predictions)

    monkeypatch.setattr(task, "scores", scores)
    # The registry would import the file anew, and find another class.
    monkeypatch.setattr(trials, "task_class", lambda name: task)
    return seen


# A trial has 4 evaluations while it trains, then one of its validation and one
# of its test split; the second trial has the same.
@pytest.mark.parametrize(
    "evaluation",
    [
        pytest.param(1, marks=pytest.mark.slow),
        pytest.param(3, marks=pytest.mark.slow),
        pytest.param(5, marks=pytest.mark.slow),
        8,
    ],
)
def test_a_stopped_run_goes_on_to_the_same_end(
    finished, data, tiny_vocab_file, tmp_path, monkeypatch, evaluation
):
    output, count = tmp_path / "run", 1 + (evaluation > 6)
    chosen = make(num_trials=count)
    with monkeypatch.context() as patch:
        stop_at_evaluation(patch, evaluation)
        assert run(chosen, data, tiny_vocab_file, output) is None
    assert not (output / "report.json").exists()
    assert (output / "trial_1" / "result.json").exists() == (evaluation > 6)
    summary = run(chosen, data, tiny_vocab_file, output)
    for number in range(1, count + 1):
        trial = f"trial_{number}"
        assert_same_weights(finished[0] / trial, output / trial)
        ours, theirs = summary["trials"][number - 1], finished[1]["trials"]
        assert ours["scores"] == theirs[number - 1]["scores"]


def test_other_settings_or_data_are_refused(
    finished, data, chosen, tiny_vocab_file, tmp_path
):
    output = tmp_path / "run"
    shutil.copytree(finished[0], output)
    with pytest.raises(UserError, match=r"train.batch_size: 16 there, 8 now"):
        run(make(batch_size=8), data, tiny_vocab_file, output)
    other = word_task.write_data(tmp_path / "other", seed=5)
    with pytest.raises(UserError, match=r"data: .* there, .* now"):
        run(chosen, other, tiny_vocab_file, output)
    # The data files have changed, and a trial is added.
    changed = tmp_path / "changed"
    shutil.copytree(data, changed)
    once = make(num_trials=1, num_train_epochs=1)
    run(once, str(changed), tiny_vocab_file, tmp_path / "second")
    word_task.write_data(changed, seed=6)
    with pytest.raises(UserError, match="trial_1 was trained on other data"):
        run(
            make(num_trials=2, num_train_epochs=1),
            str(changed), tiny_vocab_file, tmp_path / "second",
        )  # fmt: skip


def test_a_damaged_result_is_named(
    finished, data, chosen, tiny_vocab_file, tmp_path
):
    output = tmp_path / "run"
    shutil.copytree(finished[0], output)
    (output / "trial_2" / "result.json").write_text("{")
    with pytest.raises(UserError, match=r"trial_2/result.json: is damaged"):
        run(chosen, data, tiny_vocab_file, output)


def test_some_training_examples(data, tiny_vocab_file, tmp_path):
    few = make(max_train_examples=20, num_train_epochs=1, eval_every=0)
    summary = run(few, data, tiny_vocab_file, tmp_path / "run")
    assert summary["data"]["examples"]["train"] == 20
    assert summary["trials"][0]["steps"] == 1


def test_without_validation_data(tiny_vocab_file, tmp_path):
    data = word_task.write_data(tmp_path / "d", validation=0, test=0)
    short = make(num_train_epochs=1, keep_checkpoints=2)
    summary = run(short, data, tiny_vocab_file, tmp_path / "run")
    assert summary["summary"] == {} and summary["selected_on"] is None
    assert summary["trials"][0]["chosen_step"] == 15
    assert (tmp_path / "run" / "model" / "config.json").exists()
    kept = sorted(os.listdir(tmp_path / "run" / "trial_1" / "checkpoints"))
    assert kept == ["step-00000010", "step-00000015"]
    assert "no validation data" in (tmp_path / "run/report.md").read_text()


def test_too_few_rows_for_validation_are_reported_before_training(
    tiny_vocab_file, tmp_path, caplog
):
    path = tmp_path / "two.csv"
    path.write_text("text,label\nthe cat,x\nthe dog,y\n")
    cls = options_class("classification")
    task = task_class("classification")("classification", cls(), str(path))
    found = splits.read(task, Tokenizer(tiny_vocab_file), 128, None, 0)
    assert not found.validation and len(found.train) == 2
    (text,) = [m for m in caplog.messages if "no validation data" in m]
    assert (
        "validation_fraction=0.1 none of the 2 examples is in that split"
        in text
    )
    assert "give options.validation_file" in text
    caplog.clear()
    cls = cls(validation_fraction=0.0)
    task = task_class("classification")("classification", cls, str(path))
    splits.read(task, Tokenizer(tiny_vocab_file), 128, None, 0)
    (text,) = [m for m in caplog.messages if "no validation data" in m]
    assert "(options.validation_fraction is 0)" in text


def test_early_stopping(data, tiny_vocab_file, tmp_path):
    patient = make(num_train_epochs=40, early_stopping_patience=2, eval_every=1)
    summary = run(patient, data, tiny_vocab_file, tmp_path / "run")
    (trial,) = summary["trials"]
    assert trial["stopped_early"] and trial["steps"] < 600
    assert trial["chosen_step"] == trial["steps"] - 2 * 15
    assert "(early)" in (tmp_path / "run/report.md").read_text()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (lambda d: (d / "train.tsv").unlink(), "train.tsv: no such file"),
        (lambda d: (d / "train.tsv").write_text(""), "train.tsv: holds no row"),
        (lambda d: (d / "train.tsv").write_text("text\tlabel\n"), "no rows"),
        (lambda d: (d / "train.tsv").write_text("txt\tlabel\na\tb\n"),
         "train.tsv:2: no column 'text'"),
        (lambda d: (d / "train.tsv").write_text("text\tlabel\na\tb\n\tc\n"),
         "train.tsv:3: the text is empty"),
        (lambda d: (d / "train.tsv").write_text("text\tlabel\na\tb\nc\tb\n"),
         "train.tsv:2: all have one label"),
        (lambda d: (d / "validation.tsv").write_text("text\tlabel\na\tbird\n"),
         "validation.tsv:2: unknown label 'bird'"),
        (lambda d: (d / "test.tsv").write_text("text\tlabel\na\n"),
         "test.tsv:2: 1 columns, expected 2: text, label"),
    ],
)  # fmt: skip
def test_bad_data_is_reported(changes, told, tiny_vocab_file, tmp_path):
    data = tmp_path / "d"
    word_task.write_data(data, train=20, validation=4, test=4)
    changes(data)
    with pytest.raises(UserError) as error:
        run(make(), str(data), tiny_vocab_file, tmp_path / "run")
    assert told in str(error.value)


@pytest.mark.slow
def test_trials_leave_no_memory_behind(
    data, tiny_vocab_file, tmp_path, monkeypatch
):
    import gc
    import weakref

    networks = []
    build = start.Start.build

    def watched(self, head):
        gc.collect()
        alive = [ref for ref in networks if ref() is not None]
        assert not alive, "the network of the trial before is still there"
        network, report = build(self, head)
        networks.append(weakref.ref(network))
        return network, report

    monkeypatch.setattr(start.Start, "build", watched)
    run(
        make(num_trials=2, num_train_epochs=1), data, tiny_vocab_file,
        tmp_path / "run",
    )  # fmt: skip
    assert len(networks) == 2


@pytest.mark.slow
def test_under_replicas_the_scores_are_alike(
    finished, data, tiny_vocab_file, tmp_path
):
    chosen = make(num_trials=1)
    begin = start.from_random(chosen.model, tiny_vocab_file)
    summary = trials.run_trials(
        chosen, begin, data, str(tmp_path / "run"),
        strategy.make_strategy("mirrored"),
    )  # fmt: skip
    assert summary["summary"]["validation"]["accuracy"]["median"] > 95


def test_an_unfinished_directory_of_something_else(
    data, chosen, tiny_vocab_file, tmp_path
):
    (tmp_path / "config.json").write_text('{"model_type": "electra"}')
    with pytest.raises(UserError, match="holds a run with other settings"):
        run(chosen, data, tiny_vocab_file, tmp_path)


def test_a_start_that_failed_is_in_nobodys_way(
    data, tiny_vocab_file, tmp_path, monkeypatch
):
    """A run that failed in its data or before a checkpoint can be restarted."""
    output = tmp_path / "run"
    with pytest.raises(UserError):
        run(make(num_trials=1), str(tmp_path / "no"), tiny_vocab_file, output)
    assert not output.exists()

    def fails(*given, **named):
        raise UserError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(trial.loop, "train", fails)
        with pytest.raises(UserError, match="no memory"):
            run(make(num_trials=1, seed=7), data, tiny_vocab_file, output)
    assert (output / "config.json").exists()
    corrected = make(num_trials=1, seed=8, num_train_epochs=1)
    summary = run(corrected, data, tiny_vocab_file, output)
    assert (
        json.loads((output / "config.json").read_text())["train"]["seed"] == 8
    )
    spread = summary["summary"]["validation"]["accuracy"]
    assert spread["std"] is None
    text = (output / "report.md").read_text()
    assert "| split | metric | constant | score |" in text
    assert "Std:" not in text and "## By class, validation" not in text
    assert summary["data"]["unknown_percent"] >= 0
    # Now it has results: other settings are refused until it is cleared.
    with pytest.raises(UserError, match="holds a run with other settings"):
        run(make(num_trials=1, seed=9), data, tiny_vocab_file, output)
    (output / "mine.txt").write_text("")
    with pytest.raises(UserError, match=r"--overwrite: .*holds mine\.txt"):
        trials.clear(str(output))
    (output / "mine.txt").unlink()
    trials.clear(str(output))
    trials.clear(str(output))
    assert not output.exists()


def test_a_run_is_overwritten_only_once_the_data_are_read(
    data, tiny_vocab_file, tmp_path, monkeypatch, tiny_model
):
    """A mistake in the arguments costs no finished run, nor its own start."""
    output = tmp_path / "run"
    model = output / "model"
    shutil.copytree(tiny_model, model)
    (output / "report.json").write_text("{}")
    chosen = make(num_trials=1)

    def again(data, begin):
        trials.run_trials(
            chosen, begin, str(data), str(output), strategy.make_strategy(),
            overwrite=True,
        )  # fmt: skip

    begin = start.from_random(chosen.model, tiny_vocab_file)
    with pytest.raises(UserError):
        again(tmp_path / "no", begin)
    inside = start.from_checkpoint(str(model), settings.ModelSettings())
    with pytest.raises(UserError, match=r"--overwrite: --model=.*/model is in"):
        again(data, inside)
    assert model.exists() and (output / "report.json").exists()

    def fails(*given, **named):
        raise UserError("no memory")

    monkeypatch.setattr(trial.loop, "train", fails)
    with pytest.raises(UserError, match="no memory"):
        again(data, begin)
    assert not model.exists() and (output / "config.json").exists()


def test_tables_of_reports_leave_empty_columns_out():
    rows = [
        {"a": "1", "b": "", "c": "x"}, {"a": "2", "b": "", "c": ""},
    ]  # fmt: skip
    assert report._table(rows, left=("c",)) == (
        "| a | c |\n| ---: | --- |\n| 1 | x |\n| 2 |  |"
    )


def test_the_baseline_of_a_cross_validation_is_that_of_all_folds():
    folds = [{"validation": {"f1": 40.0}}, {"validation": {"f1": 60.0}}, {}]
    assert report.mean_of(folds) == {"validation": {"f1": 50.0}}


def test_what_reports_say_of_the_data_and_of_collapse():
    data = {
        "classes": {"a": 3, "b": 1}, "truncated": 2, "training_rows": 4,
        "unknown": "0.00 % of the tokens are [UNK] (0 of 9)",
    }  # fmt: skip
    assert report._about_rows(data) == [
        "- classes: a 3 (75.0 %), b 1 (25.0 %)",
        "- truncated: 2 training rows (50.0 %)",
        "- unknown: 0.00 % of the tokens are [UNK] (0 of 9)",
    ]
    found = [{"trial": 1, "collapsed": "a"}, {"trial": 2, "collapsed": None}]
    (line,) = report._collapsed({"trials": found})
    assert line.startswith("trial 1: predicts 'a'") and "learning_rate" in line
    assert "too short or has collapsed; take more epochs" in line
    assert report._collapsed({"trials": found[1:]}) == []
