"""Tests that Python and shell fine-tune, evaluate and predict the same."""

import json
import os
import pathlib
import subprocess
import sys
import textwrap

import pytest
import word_task
from finetune_command import SHAPE, TASK, TRAIN, flags

import electra_tf
from electra_tf import config
from electra_tf.cli import app
from electra_tf.errors import UserError
from electra_tf.finetuning import settings
from electra_tf.models.config import ModelConfig
from electra_tf.training import precision
from electra_tf.training.settings import check_run

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHORT = TRAIN | {"num_train_epochs": 1}


def process(code, *words):
    """Runs Python code in a process of its own; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, words)],
        cwd=ROOT,
        text=True,
        capture_output=True,
        env=os.environ
        | {
            "CUDA_VISIBLE_DEVICES": "-1",
            "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",  # to import the task
        },
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def command(words):
    code = "import sys; from electra_tf.cli import app; app.run(sys.argv[1:])"
    return process(code, *words)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return word_task.write_data(tmp_path_factory.mktemp("data"), 48, 16, 8)


@pytest.fixture(scope="module")
def run(data, tiny_vocab_file, tmp_path_factory):
    """The run directory of a command, and its output."""
    output = tmp_path_factory.mktemp("command") / "run"
    words = flags(data, tiny_vocab_file, output, num_train_epochs=1)
    return output, command([*words, "--set=options.max_seq_length=12"])


def test_finetune_is_the_command(run, data, tiny_vocab_file, tmp_path):
    """`finetune` with keywords equals the command, to the last bit."""
    output, printed = run
    arguments = {
        "output": str(tmp_path / "run"),
        "task": TASK,
        "data": str(data),
        "vocab": str(tiny_vocab_file),
        "options": {"max_seq_length": 12},
        "train": SHORT,
        "overrides": {f"model.{name}": size for name, size in SHAPE.items()},
    }
    found = process(
        """
        import json, sys
        import electra_tf
        result = electra_tf.finetune(**json.loads(sys.argv[1]))
        assert result.finished
        assert result.report["summary"]["validation"]["accuracy"][
            "best"] == result.metrics["validation"]["accuracy"]
        print(result)
        """,
        json.dumps(arguments),
    )
    assert found == printed.replace(str(output), str(tmp_path / "run"))
    for name in ("model/model.safetensors", "model/vocab.txt", "config.json"):
        ours = (tmp_path / "run" / name).read_bytes()
        assert ours == (output / name).read_bytes(), name


def test_every_form_of_settings(data, tiny_vocab_file, tmp_path):
    """A settings object, nested dicts and a YAML file give the same run."""
    sections = {
        "options": {"max_seq_length": 12},
        "train": SHORT,
        "model": SHAPE,
    }
    path = tmp_path / "settings.yaml"
    path.write_text(json.dumps({"task": TASK} | sections))
    made = settings.settings_class(TASK)
    arguments = {
        "data": str(data),
        "vocab": str(tiny_vocab_file),
        "output": str(tmp_path / "run"),
        "progress": False,
    }
    first = electra_tf.finetune(config=str(path), **arguments)
    for given in (
        {"config": {"task": TASK} | sections},
        {"config": made(
            options=type(made().options)(max_seq_length=12),
            train=settings.FinetuneTrainConfig(**SHORT),
            model=settings.ModelSettings(**SHAPE),
        )},
        {"config": settings.FinetuneSettings(
            TASK, model=settings.ModelSettings(**SHAPE)
        ), "train": settings.FinetuneTrainConfig(**SHORT),
         "options": word_task.WordOptions(max_seq_length=12)},
    ):  # fmt: skip
        # The run directory is the same: other settings would be refused.
        assert electra_tf.finetune(**given, **arguments) == first
    with pytest.raises(UserError, match=r"train\.batch_size: 16 there, 8 now"):
        electra_tf.finetune(
            config=str(path), train={"batch_size": 8}, **arguments
        )


def test_no_progress_is_reported_unless_wanted(
    data, tiny_vocab_file, tmp_path, capfd
):
    electra_tf.finetune(
        str(tmp_path / "run"), task=TASK, data=str(data), train=SHORT,
        vocab=str(tiny_vocab_file), progress=False,
        overrides=[f"model.{name}={size}" for name, size in SHAPE.items()],
    )  # fmt: skip
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "step" not in printed.err and "examples" not in printed.err


@pytest.mark.slow
def test_evaluate_is_the_command(run, data, tmp_path):
    model = run[0]
    words = [
        "evaluate", f"--model={model}", f"--data={data}", "--split=test",
        "--split=train", "--set=options.max_seq_length=9",
        f"--output={tmp_path}/a.json", f"--predictions={tmp_path}/a",
    ]  # fmt: skip
    printed = command(words)
    found = process(
        """
        import sys
        import electra_tf
        model, data, folder = sys.argv[1:]
        result = electra_tf.evaluate(
            model, data=data, split=["test", "train"],
            options={"max_seq_length": 9}, output=folder + "/b.json",
            predictions=folder + "/b")
        assert result.metrics["test"]["accuracy"] <= 100
        print(result)
        """,
        model, data, tmp_path,
    )  # fmt: skip
    assert found == printed and "test" in printed
    assert (tmp_path / "a.json").read_bytes() == (
        tmp_path / "b.json"
    ).read_bytes()
    for split in ("test", "train"):
        name = f"{split}/predictions.jsonl"
        assert (tmp_path / "a" / name).read_bytes() == (
            tmp_path / "b" / name
        ).read_bytes()


@pytest.mark.slow
def test_predict_is_the_command(run, data, tmp_path):
    model, source = run[0], f"{data}/test.tsv"
    printed = command([
        "predict", f"--model={model}", f"--input={source}",
        f"--output={tmp_path}/a.tsv", "--keep=text",
        "--set=options.max_seq_length=9",
    ])  # fmt: skip
    found = process(
        """
        import sys
        import electra_tf
        model, source, output = sys.argv[1:]
        result = electra_tf.predict(
            model, source, output, keep=["text"],
            overrides={"options.max_seq_length": 9}, progress=False)
        assert (result.rows, result.errors) == (8, 0)
        print(result)
        """,
        model, source, tmp_path / "b.tsv",
    )  # fmt: skip
    assert found == printed.replace("a.tsv", "b.tsv")
    assert (tmp_path / "a.tsv").read_bytes() == (
        tmp_path / "b.tsv"
    ).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["finetune", "--set=learning_rate=1"],
         "unknown key 'learning_rate'; did you mean 'train.learning_rate'?"),
        (["finetune", "--set=train.epochs=3"],
         "unknown key 'train.epochs'; did you mean 'train.num_train_epochs'?"),
        (["finetune", "--set=hidden_layer=true"],
         "did you mean 'options.hidden_layer'?"),
        (["finetune", "--set=train.batch_size=0"],
         "train.batch_size: expected at least 1, got 0"),
        (["finetune", "--set=options.hidden_layer=3"],
         "options.hidden_layer: expected true or false"),
        (["evaluate", "--set=hidden_layers=2"],
         "did you mean 'options.hidden_layer'?"),
        (["predict", "--input=x", "--output=y", "--set=options.lenght=2"],
         "unknown key 'options.lenght'"),
    ],
)  # fmt: skip
def test_wrong_keys_are_reported_before_tensorflow(
    arguments, message, tmp_path
):
    """Wrong keys are reported early, with those of the model's task."""
    model = tmp_path / "run" / "model"
    model.mkdir(parents=True)
    about = {"task": "classification", "options": {}, "state": {}}
    content = {"format": "electra_tf model", "fine_tuning": about}
    (model / "config.json").write_text(json.dumps(content))
    if arguments[0] == "finetune":
        arguments = [*arguments, "--task=classification", "--output=z"]
    else:
        arguments = [*arguments, f"--model={tmp_path}/run"]
    found = process(
        """
        import contextlib, io, sys
        from electra_tf.cli import app
        text = io.StringIO()
        with contextlib.redirect_stderr(text):
            assert app.run(sys.argv[1:]) == 2
        print(text.getvalue())
        assert not {"tensorflow", "keras", "numpy"} & set(sys.modules)
        """,
        *arguments,
    )
    assert message in found


def test_settings_of_the_commands_are_shown(run, capsys):
    for words in (
        ["finetune", f"--task={TASK}"],
        ["evaluate", f"--model={run[0]}"],
        ["predict", f"--model={run[0]}"],
    ):
        assert app.run([*words, "--help=settings"]) == 0
        shown = capsys.readouterr().out
        assert "options.hidden_layer: true or false (default: false)" in shown
        assert ("train.num_trials" in shown) == (words[0] == "finetune")


def test_a_run_with_older_names_of_keys_is_resumed(tmp_path, monkeypatch):
    """Old names are translated; keys added since have their defaults."""
    monkeypatch.setenv(precision.VARIABLE, "bfloat16_products")  # of new runs
    path = tmp_path / "config.json"
    before = {
        "task": "classification",
        "options": {"validation_share": 0.25},
        "train": {"batch_size": 8},
        "model": {},
        "data": None,
    }
    path.write_text(json.dumps(before))
    chosen = settings.load(
        {"task": "classification", "options": {"validation_fraction": 0.25}},
        train={
            "batch_size": 8,
            "precision": precision.resolved("auto", str(tmp_path)),
        },
    )
    assert chosen.train.precision == "float32"
    now = config.to_dict(chosen) | {
        "data": None,
        "model": config.to_dict(ModelConfig()),
    }
    for key in settings.FREE:
        del now["train"][key]
    cls = settings.run_class("classification")
    check_run(str(tmp_path), now, cls=cls)
    now["options"]["validation_fraction"] = 0.3
    with pytest.raises(UserError, match=r"validation_fraction: 0.25 there"):
        check_run(str(tmp_path), now, cls=cls)


def test_parts_that_do_not_divide_a_batch_are_refused_first(
    data, tiny_vocab_file, tmp_path
):
    with pytest.raises(
        UserError, match="gradient_accumulation: a replica's 8 examples"
    ):
        electra_tf.finetune(
            output=str(tmp_path / "run"),
            task=TASK,
            data=str(data),
            vocab=str(tiny_vocab_file),
            train=SHORT | {"batch_size": 8, "gradient_accumulation": 3},
            model=None,
            overrides={f"model.{name}": size for name, size in SHAPE.items()},
        )
    assert not (tmp_path / "run").exists()
