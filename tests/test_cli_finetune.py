"""Tests finetune, evaluate and predict as a user runs them."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
import word_task
from finetune_command import TASK, flags

import electra_tf
from electra_tf.cli import app
from electra_tf.finetuning import settings as finetune_settings

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return word_task.write_data(tmp_path_factory.mktemp("data") / "d")


@pytest.fixture(scope="module")
def run(tmp_path_factory, data, tiny_vocab_file):
    output = tmp_path_factory.mktemp("run") / "run"
    assert app.run(flags(data, tiny_vocab_file, output)) == 0
    return output


def error_of(words, capfd):
    assert app.run(words) == 2
    found = capfd.readouterr().err.strip().splitlines()
    return found[-1]


def test_from_the_command_to_predictions(run, data, tmp_path, capsys):
    scores = tmp_path / "scores.json"
    words = [f"--model={run}", f"--data={data}"]
    assert app.run(["evaluate", *words, f"--output={scores}"]) == 0
    shown = capsys.readouterr().out
    found = json.loads(scores.read_text())
    accuracy = found["scores"]["validation"]["accuracy"]
    assert f"{accuracy:.4f}" in shown
    report = json.loads((run / "report.json").read_text())
    ended = report["trials"][0]["scores"]["validation"]["accuracy"]
    assert accuracy == ended > 90

    target = tmp_path / "out.tsv"
    words = [f"--model={run}", f"--input={data}/test.tsv"]
    assert app.run(["predict", *words, f"--output={target}"]) == 0
    assert "20 rows" in capsys.readouterr().out
    header, *rows = [s.split("\t") for s in target.read_text().splitlines()]
    assert header == [
        "text", "label", "predicted_label", "probabilities", "error",
    ]  # fmt: skip
    right = [row[1] == row[2] for row in rows]
    assert (
        100 * sum(right) / len(right)
        == (report["trials"][0]["scores"]["test"]["accuracy"])
    )
    (answer,) = electra_tf.load(str(run)).predict([rows[0][0]])
    assert answer["label"] == rows[0][2]


@pytest.mark.slow
def test_a_fine_tuned_model_is_trained_further(run, data, tmp_path, capfd):
    """A fine-tuned model keeps its head, unless a flag asks for a new one."""
    for flag, note in (
        ((), "its weights are kept"),
        (("--new_head",), "with a new head (asked for)"),
        (("--random_weights",), "random weights (shape and vocabulary of"),
    ):
        output = tmp_path / f"run{len(flag) and flag[0]}"
        words = flags(
            data, None, output, f"--model={run}", *flag, num_train_epochs=0.1
        )
        assert app.run(words) == 0
        captured = capfd.readouterr()
        assert note in captured.err
        best = json.loads((output / "report.json").read_text())["summary"]
        accuracy = best["validation"]["accuracy"]["best"]
        # The accuracy of a new head may be high by chance.
        if note != "with a new head (asked for)":
            assert (accuracy > 90) == (not flag)


def test_convert_keeps_the_task_and_other_formats_the_head(run, tmp_path):
    source = f"--from={run}"
    ours, back = tmp_path / "ours", tmp_path / "back"
    words = ["convert", source, f"--output={ours}", "--to=electra_tf"]
    assert app.run(words) == 0
    config = json.loads((ours / "config.json").read_text())
    assert config["fine_tuning"]["task"] == TASK
    theirs = tmp_path / "theirs"
    words = ["convert", source, f"--output={theirs}", "--to=huggingface"]
    assert app.run([*words, "--overwrite"]) == 0
    # That class has a hidden layer, so this head gets one that changes nothing.
    there = json.loads((theirs / "config.json").read_text())
    assert there["architectures"] == ["ElectraForSequenceClassification"]
    assert list(there["id2label"].values()) == config["task"]["labels"]
    assert not config["task"]["hidden_layer"]
    words = ["convert", source, f"--output={back}", "--to=tf1"]
    assert app.run(words) == 0


def test_settings_from_a_file_and_flags_over_it(
    data, tiny_vocab_file, tmp_path
):
    path = tmp_path / "a.yaml"
    path.write_text(
        f"task: {TASK}\noptions:\n  max_seq_length: 10\ntrain:\n"
        "  num_trials: 3\n  num_train_epochs: 0.1\n  batch_size: 8\n"
        "model:\n  size: tiny\n  num_layers: 1\n"
    )
    output = tmp_path / "run"
    assert app.run([
        "finetune", f"--config={path}", f"--data={data}", "--num_trials=1",
        f"--vocab={tiny_vocab_file}", f"--output={output}",
        "--set=train.batch_size=16", "--set=options.max_seq_length=12",
        "--nolower_case",
    ]) == 0  # fmt: skip
    config = json.loads((output / "config.json").read_text())
    assert config["options"]["max_seq_length"] == 12
    assert config["train"]["batch_size"] == 16
    assert config["model"]["num_layers"] == 1
    assert config["start"]["lower_case"] is False
    report = json.loads((output / "report.json").read_text())
    assert len(report["trials"]) == 1
    # A length in steps replaces the file's length in epochs.
    steps = finetune_settings.load(str(path), ["train.num_train_steps=7"]).train
    assert (steps.num_train_steps, steps.num_train_epochs) == (7, None)
    found = json.loads((output / "model" / "config.json").read_text())
    assert found["lower_case"] is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task=glew/rte"], "task 'glew/rte' is not known; did you mean"),
        (["--task=sst2"], "'sst2' is not known; did you mean 'glue/sst2'?"),
        (["--task=STS-B"], "'STS-B' is not known; did you mean 'glue/stsb'?"),
        ([f"--task={TASK}", "--set=train.bach_size=1"],
         "unknown key 'train.bach_size'; did you mean 'train.batch_size'?"),
        ([f"--task={TASK}", "--set=options.max_seq_lenght=1"],
         "did you mean 'options.max_seq_length'?"),
        ([f"--task={TASK}", "--set=optins.max_seq_length=1"],
         "unknown key 'optins'; did you mean 'options'?"),
        ([f"--task={TASK}", "--model=nowhere/at/all"],
         "nowhere/at/all: no such model directory"),
        ([f"--task={TASK}"], "--model: name a checkpoint to start from"),
        ([f"--task={TASK}", "--new_head"], "--new_head: needs --model"),
        ([f"--task={TASK}", "--random_weights"], "needs --model"),
        ([f"--task={TASK}", "--num_trials=0"], "num_trials"),
        ([f"--task={TASK}", "--strategy=two"],
         "--strategy=two: value should be one of <one_device|mirrored|"),
        ([], "--task: name one, as --task=glue/rte"),
        (["--config=none.yaml"], "none.yaml: no such file"),
        (["--task=missing.py:Task"], "no such file as missing.py"),
        ([f"--task={TASK}er"], "has no class WordTasker"),
    ],
)  # fmt: skip
def test_mistakes_in_finetune(arguments, message, tmp_path, capfd):
    line = error_of(["finetune", f"--output={tmp_path}/run", *arguments], capfd)
    assert line.startswith("electra-tf finetune: ") and message in line
    assert not (tmp_path / "run").exists()


def test_mistakes_with_runs(run, data, tiny_vocab_file, tmp_path, capfd):
    line = error_of(flags(data, tiny_vocab_file, run, seed=7), capfd)
    assert "train.seed: 42 there, 7 now" in line
    line = error_of(
        flags(str(tmp_path), tiny_vocab_file, tmp_path / "r"), capfd
    )
    assert "train.tsv: no such file; give --data" in line
    # A run directory left behind would refuse the right data.
    assert not (tmp_path / "r").exists()
    line = error_of(flags(data, None, tmp_path / "q", f"--model={data}"), capfd)
    assert f"{data}: holds no model.safetensors" in line
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "config.json").write_text((run / "config.json").read_text())
    line = error_of(
        ["evaluate", f"--model={unfinished}", f"--data={data}"], capfd
    )
    assert "unfinished" in line and "expected a model directory" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input=none.tsv", "--output=o.tsv"], "none.tsv: no such file"),
        (["--input={in}", "--output=o.txt"], "--output: o.txt: expected a na"),
        (["--input={in}.txt", "--output=o.tsv"], "--input: "),
        (["--input={in}", "--output={in}"], "is there already"),
        (["--input={in}", "--output=o.tsv", "--keep=text,lable"],
         "--keep: {in} has no column 'lable'"),
        (["--input={in}", "--output=o.tsv", "--set=options.refuse=1"],
         "did you mean 'options.refused'"),
        (["--input={in}", "--output=o.tsv", "--task=tagging"],
         "with which tagging cannot answer"),
    ],
)  # fmt: skip
def test_mistakes_in_predict(
    arguments, message, run, data, tmp_path, capfd, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    source = f"{data}/test.tsv"
    arguments = [word.replace("{in}", source) for word in arguments]
    line = error_of(["predict", f"--model={run}", *arguments], capfd)
    assert message.replace("{in}", source) in line
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / "configs" / "finetune").glob("*.yaml")),
    ids=lambda path: path.stem,
)
def test_the_shipped_configs(path):
    found = finetune_settings.load(str(path), ["train.seed=7"], num_trials=3)
    assert found.train.num_trials == 3 and found.train.seed == 7
    first = path.read_text().splitlines()[:12]
    assert any("electra-tf finetune" in line for line in first)


def test_help_needs_no_tensorflow():
    code = (
        "import sys; from electra_tf.cli import app\n"
        "for name in ('finetune', 'evaluate', 'predict'):\n"
        "    assert app.run([name, '--help']) == 0\n"
        "assert 'tensorflow' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert "--num_trials" in done.stdout and "--keep" in done.stdout


def start_process(words):
    environment = os.environ | {
        "CUDA_VISIBLE_DEVICES": "-1",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",  # for the task's file
    }
    return subprocess.Popen(
        [sys.executable, "-m", "electra_tf", *words], cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment,
    )  # fmt: skip


def wait_for(process, path, seconds=240):
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, f"no {path}"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "where"),
    [(signal.SIGKILL, "trial_1/checkpoints/step-00000020"),
     (signal.SIGINT, "trial_2/metrics.jsonl")],
    ids=["kill", "interrupt"],
)  # fmt: skip
def test_a_stopped_process_resumes(
    number, where, data, tiny_vocab_file, tmp_path
):
    """A run that was killed and resumed has the same results as a whole one."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    words = ("--num_trials=2",)
    # In its own process, as the tests' process has other devices.
    process = start_process(flags(data, tiny_vocab_file, whole, *words))
    assert process.wait() == 0
    process = start_process(flags(data, tiny_vocab_file, cut, *words))
    wait_for(process, cut / where)
    process.send_signal(number)
    process.communicate()
    assert process.returncode == (0 if number == signal.SIGINT else -number)
    assert not (cut / "report.json").exists()
    process = start_process(flags(data, tiny_vocab_file, cut, *words))
    _, err = process.communicate()
    assert process.returncode == 0 and "resuming from step" in err
    a, b = (
        json.loads((path / "report.json").read_text())["summary"]
        for path in (whole, cut)
    )
    assert a == b
    assert (whole / "model/model.safetensors").read_bytes() == (
        (cut / "model/model.safetensors").read_bytes()
    )


@pytest.mark.slow
def test_a_killed_prediction_resumes(run, tmp_path):
    source, target = tmp_path / "in.tsv", tmp_path / "out.csv"
    lines = [f"{i}\tthe {'cat' if i % 3 else 'house'} {i}\n" for i in range(
        60_000)]  # fmt: skip
    source.write_text("id\ttext\n" + "".join(lines))
    words = ["predict", f"--model={run}", f"--input={source}"]
    process = start_process([*words, f"--output={target}"])
    wait_for(process, tmp_path / "out.csv.partial" / "part-000001.jsonl")
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL and not target.exists()
    process = start_process([*words, f"--output={target}"])
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "resuming after 32,768 rows" in err and "60,000 rows" in out
    process = start_process([*words, f"--output={tmp_path}/whole.csv"])
    process.communicate()
    assert target.read_bytes() == (tmp_path / "whole.csv").read_bytes()
