"""Tests that jobs on models do the same from Python and from the shell."""

import os
import pathlib
import subprocess
import sys
import typing

import generation_models
import hub_random
import pytest
import span_models

from electra_tf.cli import app
from electra_tf.errors import UserError
from electra_tf.hub import loading
from electra_tf.hub.config import DirectoryConfig
from electra_tf.models.config import ModelConfig
from electra_tf.recipes.ask import ask
from electra_tf.recipes.convert import Format, convert
from electra_tf.recipes.fill import fill
from electra_tf.recipes.generate import generate
from electra_tf.recipes.score import score

ROOT = pathlib.Path(__file__).resolve().parent.parent
FORMATS = typing.get_args(Format)
# A program as a user writes it; it prints what the commands print.
PROGRAM = """
import sys
import electra_tf
from electra_tf.recipes.ask import ask
from electra_tf.recipes.fill import fill
from electra_tf.recipes.generate import generate
from electra_tf.recipes.score import score

source, model, reader, texts, out = sys.argv[1:]
for name in ("huggingface", "tf1", "keras_hub", "electra_tf"):
    print(electra_tf.convert(
        source, name, f"{out}/{name}", lower_case=False,
        overrides={"model.hidden_dropout": 0.2},
    ))
print(score(model, texts, f"{out}/scores.jsonl", per_token=True))
print(score(model, texts, f"{out}/kept.txt.gz", keep_share=0.5))
print(score(model, texts, method="replaced", progress=False))
print(fill(model, input=texts, output=f"{out}/filled.tsv", top_k=2))
print(fill(model, text=["the [MASK] sat", "a [MASK]"], joint=True))
print(generate(
    model, prompt=["the cat"], length=6, num_samples=2, seed=3,
    num_iterations=2, output=f"{out}/texts.jsonl",
))
print(ask(reader, texts, question="who ran?", output=f"{out}/answer.jsonl"))
print(ask(reader, texts, questions=texts, output=f"{out}/answers.jsonl"))
print(ask(reader, texts, "who ran?"))
"""


@pytest.fixture(scope="module")
def given(tmp_path_factory, tiny_tokens, tiny_vocab_file):
    """A TF1 checkpoint, a pre-trained model, a reader, and texts."""
    folder = tmp_path_factory.mktemp("given")
    shape = ModelConfig(
        vocab_size=len(hub_random.VOCAB), embedding_size=8, hidden_size=8,
        num_layers=2, num_heads=2, intermediate_size=16, max_positions=8,
    )  # fmt: skip
    config = DirectoryConfig(shape, shape, True, None, "", step=5)
    loading.format_module("tf1").write(
        str(folder / "tf1"), hub_random.checkpoint(config, slots=True)
    )
    model = generation_models.save(folder / "model", tiny_tokens)
    span_models.make(
        folder / "reader", tiny_vocab_file, "squad/v1.1",
        {"max_seq_length": 32, "doc_stride": 8, "max_query_length": 8},
        {"unanswerable": False},
    )  # fmt: skip
    texts = folder / "texts.txt"
    texts.write_text("the [MASK] sat on the mat.\n\nthe dog ran, the cat sat\n")
    return str(folder / "tf1"), model, str(folder / "reader"), str(texts)


def _commands(given, out):
    source, model, reader, texts = given
    for name in FORMATS:
        yield (
            "convert", f"--from={source}", f"--to={name}",
            f"--output={out}/{name}", "--nolower_case",
            "--set=model.hidden_dropout=0.2",
        )  # fmt: skip
    score_ = ("score", f"--model={model}", f"--input={texts}")
    yield (*score_, f"--output={out}/scores.jsonl", "--per_token")
    yield (*score_, f"--output={out}/kept.txt.gz", "--keep_share=0.5")
    yield (*score_, "--method=replaced")
    yield (
        "fill", f"--model={model}", f"--input={texts}", "--top_k=2",
        f"--output={out}/filled.tsv",
    )  # fmt: skip
    yield (
        "fill", f"--model={model}", "--text=the [MASK] sat",
        "--text=a [MASK]", "--joint",
    )  # fmt: skip
    yield (
        "generate", f"--model={model}", "--prompt=the cat", "--length=6",
        "--num_samples=2", "--seed=3", "--num_iterations=2",
        f"--output={out}/texts.jsonl",
    )  # fmt: skip
    ask_ = ("ask", f"--model={reader}", f"--documents={texts}")
    yield (*ask_, "who ran?", f"--output={out}/answer.jsonl")
    yield (*ask_, f"--questions={texts}", f"--output={out}/answers.jsonl")
    yield (*ask_, "who ran?")


@pytest.mark.slow
def test_python_and_the_shell_give_the_same(given, tmp_path, capfd):
    python, shell = tmp_path / "python", tmp_path / "shell"
    python.mkdir()
    shell.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *given, str(python)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    capfd.readouterr()
    for words in _commands(given, shell):
        assert app.run(words) == 0, words
    printed = capfd.readouterr().out
    assert printed.replace(str(shell), "OUT") == done.stdout.replace(
        str(python), "OUT"
    )
    for path in shell.rglob("*"):
        twin = python / path.relative_to(shell)
        # Archives and presets of Keras contain times.
        if path.is_file() and "keras_hub" not in path.parts:
            assert path.read_bytes() == twin.read_bytes(), path
    for name in FORMATS:
        ours = loading.open_checkpoint(str(shell / name))
        hub_random.same(ours, loading.open_checkpoint(str(python / name)))


def test_arguments_are_checked_in_python_too(given):
    source, model, reader, texts = given
    for call, message in (
        (lambda: convert(source, "pytorch", "x"), "--to=pytorch: expected one"),
        (lambda: convert(source, "tf1", source), "is not empty"),
        (lambda: score(model, texts, keep_share=2), "at least 0 and at most 1"),
        (lambda: score(model, texts, method="best"), "--method=best: expected"),
        (lambda: fill(model, text="[MASK]", top_k=0), "--top_k=0: expected at"),
        (lambda: fill(model), "give --text"),
        (lambda: generate(model, top_p=0), "--top_p=0: expected above 0"),
        (lambda: ask(reader, texts, "who?", top_k=0), "--top_k=0: expected"),
    ):
        with pytest.raises(UserError, match=message):
            call()


def test_results_in_python(given, tmp_path, capsys):
    source, model, reader, texts = given
    found = convert(source, "huggingface", str(tmp_path / "hf"))
    assert found.slots_lost and found.report.leftover
    scores = score(model, texts, progress=False)
    assert scores.count == 3 and [row["tokens"] for row in scores.rows][1] == 0
    assert scores.mean < 0 and scores.output is None
    (row,) = fill(model, text="the [MASK]", top_k=3).rows
    assert len(row["blanks"][0]) == 3
    made = generate(model, length=3, method="one_shot", num_samples=2)
    assert [row["sample"] for row in made.rows] == [0, 1]
    (row,) = ask(reader, texts, "who ran?", progress=False).rows
    assert row["answers"][0]["file"] == texts
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err == ""
