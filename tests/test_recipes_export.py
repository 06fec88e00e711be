"""Tests that `electra_tf.export` and the command write the same."""

import contextlib
import io
import json
import pathlib
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import serving_models
import tensorflow as tf
import tensorflow_text  # noqa: F401 - registers operations

import electra_tf
from electra_tf.cli import app
from electra_tf.recipes.export import Exported

TEXTS = ["the cat sat on the mat.", "", "中国人 the dog " * 30]


@pytest.fixture(scope="module")
def model(tmp_path_factory, tiny_vocab_file):
    return serving_models.fine_tuned(
        tmp_path_factory.mktemp("run") / "model", tiny_vocab_file, "glue"
    )


@pytest.fixture(scope="module")
def written(model, tmp_path_factory):
    """The directories and the outputs of the program and of the command.

    The program runs in a process of its own, which does not import TensorFlow
    before it exports.
    """
    folders = [tmp_path_factory.mktemp(who) / "pairs" for who in "pc"]
    program = f"""
        import sys
        import electra_tf
        assert "tensorflow" not in sys.modules
        done = electra_tf.export(
            {str(model)!r}, {str(folders[0])!r},
            signatures=["serving_default", "embed"],
            overrides={{"options.max_seq_length": 24}},
        )
        print(done)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    words = [
        "export", f"--model={model}", f"--output={folders[1]}",
        "--signatures=serving_default,embed", "--set=options.max_seq_length=24",
    ]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert app.run(words) == 0
    return folders, [done.stdout, printed.getvalue()]


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.slow
def test_the_same_files(written):
    (program, command), _ = written
    ours, theirs = contents(program), contents(command)
    assert ours.keys() == theirs.keys()
    # Functions of a graph are numbered, and protocol buffers keep maps in
    # another order in each process.
    loose = {"1/saved_model.pb", "1/fingerprint.pb"}
    different = {name for name in ours if ours[name] != theirs[name]}
    assert different <= loose
    assert ours.keys() - loose >= {
        "models.config", "batching_parameters.txt", "compose.yaml",
        "1/assets.extra/electra_tf.json",
        "1/assets.extra/tf_serving_warmup_requests",
        "1/variables/variables.data-00000-of-00001",
    }  # fmt: skip


def test_the_same_answers(written):
    def answers(folder, signature, texts):
        loaded = tf.saved_model.load(str(folder / "1"))
        assert set(loaded.signatures) == {"serving_default", "embed"}
        function = loaded.signatures[signature]
        _, inputs = function.structured_input_signature
        found = function(**dict.fromkeys(inputs, tf.constant(texts)))
        return inputs, {name: v.numpy() for name, v in found.items()}

    for signature in ("serving_default", "embed"):
        (inputs, one), (same, other) = (
            answers(folder, signature, TEXTS) for folder in written[0]
        )
        assert inputs == same
        assert one.keys() == other.keys()
        for name, values in one.items():
            np.testing.assert_array_equal(values, other[name])


def test_the_result_is_what_the_command_prints(written):
    folders, printed = written
    for folder, text in zip(folders, printed):
        about = (folder / "1/assets.extra/electra_tf.json").read_text("utf-8")
        found = Exported(str(folder / "1"), 1, json.loads(about))
        assert text == f"{found}\n"
    assert printed[0].splitlines()[1:] == printed[1].splitlines()[1:]
    assert "  embed: text -> embedding\n" in printed[0]


def test_mistakes_raise(model, tmp_path):
    output = str(tmp_path / "pairs")
    for message, arguments in (
        ("give one of them", {"float16": True, "optimize": True}),
        ("--version=0: expected at least 1", {"version": 0}),
        ("--part: is for pre-trained models", {"part": "generator"}),
        ("one of discriminator, generator", {"part": "both"}),
        ("the model has 40 positions",
         {"overrides": ["options.max_seq_length=99"]}),
        ("did you mean 'options.max_seq_length'",
         {"overrides": ["options.max_seq_lenght=9"]}),
    ):  # fmt: skip
        with pytest.raises(electra_tf.UserError, match=message):
            electra_tf.export(model, output, **arguments)
    assert not pathlib.Path(output).exists()


def test_one_model_is_required(capsys):
    assert app.run(["serve"]) == 2
    assert "--model: name a directory" in capsys.readouterr().err
