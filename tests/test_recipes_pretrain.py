"""Tests of pretrain, evaluate-pretraining and demo as a user runs them."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from pretrain_command import SMALL, build_data, flags

import electra_tf
from electra_tf import config, tensors
from electra_tf.cli import app
from electra_tf.keras_api.settings import PretrainSettings
from electra_tf.models import kernels
from electra_tf.models.config import GENERATOR_FRACTIONS, SIZES, ModelConfig
from electra_tf.text.vocab import load_vocab

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def data(tmp_path_factory, sample_text_dir):
    """Examples of one shipped novel, with a vocabulary of their own."""
    text = (sample_text_dir / "persuasion.txt").read_text()
    folder = tmp_path_factory.mktemp("data")
    return build_data(folder, text[:200_000])


@pytest.fixture(scope="module")
def run(tmp_path_factory, data):
    output = tmp_path_factory.mktemp("run") / "run"
    steps = ("train.num_train_steps=6", "train.eval_every_steps=3")
    with kernels.use("plain"):  # compiling would take most of the time
        assert app.run(flags(data, output, *steps)) == 0
    return output


def test_a_run_writes_its_files(run):
    records = [json.loads(s) for s in open(run / "metrics.jsonl")]
    assert {r["split"] for r in records} == {"train", "validation"}
    assert records[-1]["step"] == 6
    assert len(list((run / "plots").glob("*.png"))) == 5
    assert list((run / "tensorboard" / "train").iterdir())
    description = json.loads((run / "model" / "config.json").read_text())
    assert description["step"] == 6
    assert description["pretraining"]["train"]["batch_size"] == 4


def test_the_model_loads(run):
    discriminator = electra_tf.Discriminator.from_pretrained(str(run))
    batch = discriminator.tokenizer.encode(["She was very happy."])
    logits = discriminator(**batch).logits
    assert logits.shape == batch["input_ids"].shape
    generator = electra_tf.Generator.from_pretrained(str(run))
    assert generator(**batch).logits.shape[-1] == 500


def test_starting_a_finished_run_again(run, data, capfd):
    steps = ("train.num_train_steps=6", "train.eval_every_steps=3")
    before = (run / "model" / "model.safetensors").read_bytes()
    assert app.run(flags(data, run, *steps)) == 0
    assert "all done" in capfd.readouterr().err
    assert (run / "model" / "model.safetensors").read_bytes() == before


def test_other_settings_are_refused(run, data, capfd):
    assert app.run(flags(data, run, "train.num_train_steps=7")) == 2
    message = capfd.readouterr().err
    assert "num_train_steps: 6 there, 7 now" in message


@pytest.mark.usefixtures("plain_kernels")
def test_evaluation_repeats(run, data, tmp_path):
    metrics = []
    for name in "ab":
        path = tmp_path / f"{name}.json"
        words = [f"--model={run}", f"--data={data}", f"--output={path}"]
        assert app.run(["evaluate-pretraining", *words]) == 0
        metrics.append(json.loads(path.read_text()))
    assert metrics[0] == metrics[1]
    assert 0 < metrics[0]["unigram_entropy"] < np.log(500)
    assert metrics[0]["always_original_accuracy"] == pytest.approx(
        1 - metrics[0]["replaced_share"]
    )
    # Other settings give other metrics, and mistakes in them are reported.
    words = [f"--model={run}", f"--data={data}", f"--output={tmp_path}/c"]
    change = "--set=objective.disallow_correct=true"
    assert app.run(["evaluate-pretraining", *words, change]) == 0
    other = json.loads((tmp_path / "c").read_text())
    assert other["sampled_accuracy"] == 0
    assert other["mlm_loss"] == metrics[0]["mlm_loss"]
    words.append("--set=objective.temprature=2")
    assert app.run(["evaluate-pretraining", *words]) == 2
    # A single batch of the training split.
    words = [f"--model={run}", f"--data={data}", f"--output={tmp_path}/d"]
    words += ["--split=train", "--max_batches=1", "--batch_size=4"]
    assert app.run(["evaluate-pretraining", *words]) == 0
    trained = json.loads((tmp_path / "d").read_text())
    assert trained["mlm_loss"] != metrics[0]["mlm_loss"]
    # The metrics equal the last ones of the run itself.
    records = [json.loads(s) for s in open(run / "metrics.jsonl")]
    last = [r for r in records if r["split"] == "validation"][-1]
    for name in ("mlm_loss", "disc_loss", "disc_accuracy"):
        assert metrics[0][name] == pytest.approx(last[name], rel=1e-5)


def test_other_vocabulary_is_refused(data, tmp_path, capfd):
    tokens = load_vocab(str(data / "vocab.txt")).tokens
    other = tmp_path / "other.txt"
    other.write_text("\n".join(tokens[:-1]) + "\n")
    words = flags(data, tmp_path / "run")
    assert app.run([*words, f"--vocab={other}"]) == 2
    message = capfd.readouterr().err
    assert message.count("sha256:") == 2
    assert "Traceback" not in message


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("train.learning_rat=1", "learning_rate"),
        ("model.num_heads=5", "num_heads"),
        ("model.vocab_size=77", "vocab_size"),
        ("model.max_positions=16", "max_positions"),
        ("objective.temperature=0", "temperature"),
        ("train.batch_size=many", "batch_size"),
        (
            "train.seed=-1",
            "train.seed: expected at least 0 and at most 4294967",
        ),
        ("train.seed=4294967296", "at most 4294967295, got 4294967296"),
        ("train.layerwise_lr_decay=0.8", "train.layerwise_lr_decay: is for fi"),
        ("generator.hidden_fraction=0.001", "generator.hidden_fraction: 0.001"),
    ],
)
def test_wrong_settings_are_named(data, tmp_path, capfd, change, expected):
    assert app.run(flags(data, tmp_path / "run", change)) == 2
    message = capfd.readouterr().err
    assert expected in message and "Traceback" not in message


def test_missing_data_is_named(tmp_path, capfd):
    assert app.run(flags(tmp_path / "nowhere", tmp_path / "run")) == 2
    assert "nowhere" in capfd.readouterr().err
    words = [f"--model={tmp_path}/none", f"--data={tmp_path}/none"]
    assert app.run(["evaluate-pretraining", *words]) == 2
    assert "none" in capfd.readouterr().err


@pytest.mark.usefixtures("plain_kernels")
def test_corrupt_records_are_named_or_left_out(data, tmp_path, capfd):
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(data, broken)
    shard = next(broken.glob("train-*"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 0xFF
    shard.write_bytes(content)
    words = flags(broken, tmp_path / "run", "train.num_train_steps=2")
    assert app.run(words) == 2
    message = capfd.readouterr().err
    assert shard.name in message and "record" in message
    assert app.run([*words, "--skip_corrupt"]) == 0


@pytest.mark.usefixtures("plain_kernels")
def test_too_high_a_learning_rate_stops_with_the_step(data, tmp_path, capfd):
    settings = ("train.learning_rate=1e38", "train.num_warmup_steps=0")
    assert app.run(flags(data, tmp_path / "run", *settings)) == 2
    message = capfd.readouterr().err
    assert "step" in message and "Traceback" not in message


@pytest.mark.parametrize("size", list(SIZES))
def test_shipped_configs_are_the_sizes(size):
    path = str(ROOT / "configs" / "pretrain" / f"{size}.yaml")
    settings = config.resolve(PretrainSettings, path)
    assert settings == PretrainSettings.of_size(size)
    shape = ModelConfig.of_size(size)
    for name in SIZES[size]:
        assert getattr(settings.model, name) == getattr(shape, name), name
    if size in ("small", "base", "large"):  # the paper's; the rest is ours
        assert settings.model == shape
        assert settings.objective.disc_weight == 50
        assert settings.objective.temperature == 1
    assert settings.generator.hidden_fraction == pytest.approx(
        GENERATOR_FRACTIONS[size]
    )
    with open(path) as handle:
        head = handle.read().split("\n\n")[0]
    assert "electra-tf pretrain" in head and "Expect" in head


def _start(data, output, *settings):
    return subprocess.Popen(
        [sys.executable, "-m", "electra_tf", *flags(data, output, *settings)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "TF_NUM_INTRAOP_THREADS": "2"},
        text=True,
    )


@pytest.mark.slow
def test_killed_three_times_ends_the_same(data, tmp_path):
    """A run killed at random moments ends as an uninterrupted one."""
    settings = (
        "train.num_train_steps=200", "train.checkpoint_every_steps=10",
        "train.eval_every_steps=100",
    )  # fmt: skip
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    process = _start(data, straight, *settings)
    assert process.wait() == 0, process.stderr.read()
    chance = random.Random(7)
    for _ in range(3):
        target = _last_step(broken) + 10 * chance.randint(1, 4)
        process = _start(data, broken, *settings)
        while process.poll() is None and _last_step(broken) < target:
            time.sleep(0.05)
        time.sleep(0.5 * chance.random())
        assert process.poll() is None, "it ended before it was killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
    process = _start(data, broken, *settings)
    assert process.wait() == 0, process.stderr.read()
    ours = tensors.load(str(broken / "model" / "model.safetensors"))
    theirs = tensors.load(str(straight / "model" / "model.safetensors"))
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def _last_step(run_dir):
    """Returns the step of the newest checkpoint, or 0."""
    names = [p.name[5:] for p in run_dir.glob("checkpoints/step-*")]
    # A checkpoint that is being written has a suffix.
    return max((int(n) for n in names if n.isdigit()), default=0)


@pytest.mark.slow
def test_sigterm_writes_a_checkpoint_and_exits_0(data, tmp_path):
    settings = ("train.num_train_steps=100000", "train.eval_every_steps=0")
    process = _start(data, tmp_path / "run", *settings)
    while not (tmp_path / "run" / "metrics.jsonl").exists() or not (
        (tmp_path / "run" / "metrics.jsonl").read_text()
    ):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert list((tmp_path / "run" / "checkpoints").glob("step-*"))
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.slow
def test_demo(tmp_path, capfd):
    words = [f"--output={tmp_path}/demo", "--num_train_steps=8"]
    words.append("--num_train_epochs=1")
    assert app.run(["demo", *words]) == 0
    out = capfd.readouterr().out
    for part in (
        "unigram entropy", "always original", "became", "plots:",
        "electra-tf fill --model=", "% correct", "$ electra-tf client --url",
        '"probabilities"', "The page for trying the model was at http://",
    ):  # fmt: skip
        assert part in out
    assert app.run(["demo", *words]) == 0  # resumes at the last step


PROGRAM = """
import sys
import electra_tf

data, out = sys.argv[1:]
print(electra_tf.pretrain(
    data, f"{out}/run", progress=False,
    model=dict(
        hidden_size=32, embedding_size=16, num_layers=1, num_heads=2,
        intermediate_size=64,
    ),
    generator={"hidden_fraction": 0.5},
    train=dict(batch_size=4, num_warmup_steps=2, log_every_steps=2),
    overrides={"train.num_train_steps": 6},
))
print(electra_tf.evaluate_pretraining(
    f"{out}/run", data, output=f"{out}/metrics.json",
))
"""


def _process(*words):
    done = subprocess.run(
        [sys.executable, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
def test_python_and_the_shell_make_the_same(data, tmp_path):
    python, shell = tmp_path / "python", tmp_path / "shell"
    (tmp_path / "program.py").write_text(PROGRAM)
    from_python = _process(str(tmp_path / "program.py"), str(data), str(python))
    assert "step" not in from_python.stderr
    command = ("-m", "electra_tf")
    words = flags(data, shell / "run", "train.num_train_steps=6")
    from_shell = _process(*command, *words)
    assert "held-out" in from_shell.stderr
    output = from_shell.stdout
    output += _process(
        *command, "evaluate-pretraining", f"--model={shell}/run",
        f"--data={data}", f"--output={shell}/metrics.json",
    ).stdout  # fmt: skip
    assert from_python.stdout.replace(str(python), str(shell)) == output
    for name in (
        "metrics.json", "run/config.json", "run/model/config.json",
        "run/model/vocab.txt", "run/model/model.safetensors",
        "run/checkpoints/step-00000006/model.safetensors",
        "run/checkpoints/step-00000006/optimizer.safetensors",
    ):  # fmt: skip
        ours, theirs = (folder / name for folder in (python, shell))
        assert ours.read_bytes() == theirs.read_bytes(), name


def test_a_result_describes_the_run(run, data):
    steps = {"train.num_train_steps": 6, "train.eval_every_steps": 3}
    small = dict(setting.split("=") for setting in SMALL)
    result = electra_tf.pretrain(
        str(data),
        str(run),
        overrides=[f"{k}={v}" for k, v in (small | steps).items()],
        progress=False,
    )
    assert str(result) == f"model: {run}/model"
    assert (result.step, result.stopped, result.start) == (6, False, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train": {"batch_siz": 3}}, "did you mean 'train.batch_size'"),
        ({"strategy": "two"}, "expected one of one_device"),
        ({"init_optimizer": True}, "needs --init_from"),
        ({"join_seconds": -1.0}, "join_seconds"),
    ],
)
def test_mistakes_of_a_program(data, tmp_path, arguments, message):
    with pytest.raises(electra_tf.UserError, match=message):
        electra_tf.pretrain(str(data), str(tmp_path / "run"), **arguments)
    assert not (tmp_path / "run").exists()


def test_settings_of_a_run_are_checked_before_anything(run, capfd):
    """--set changes the run's own settings; a wrong key is reported first."""
    words = [f"--model={run}", "--data=x", "--set=objective.temprature=2"]
    assert app.run(["evaluate-pretraining", *words]) == 2
    assert "did you mean 'objective.temperature'" in capfd.readouterr().err
    assert app.run(["evaluate-pretraining", "--help=settings"]) == 0
    assert "objective.temperature" in capfd.readouterr().out


def test_parts_that_do_not_divide_a_batch_are_refused_first(
    data, tmp_path, capfd
):
    output = tmp_path / "run"
    wrong = "train.gradient_accumulation=3"
    assert app.run(flags(data, output, wrong)) == 2
    message = capfd.readouterr().err
    assert "train.gradient_accumulation: a replica's 4 examples" in message
    assert "train.batch_size a multiple of 3" in message
    assert not output.exists()
