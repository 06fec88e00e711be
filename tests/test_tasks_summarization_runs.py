"""Tests training, scoring, using and exporting a summariser by command."""

import json

import numpy as np
import pytest
import tensorflow as tf
from finetune_command import SHAPE

import electra_tf
from electra_tf.cli import app

WORDS = "the of and to in was he she it his that not with for on as at".split()


def documents(count, seed=0):
    """Returns texts of random words; sentences with a cat are the summary."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        cats = rng.permutation(8) < 3
        texts = [
            " ".join(["cat" if cat else "dog", *rng.choice(WORDS, 5)])
            for cat in cats
        ]
        texts = [f"{text.capitalize()}." for text in texts]
        chosen = [text for text, cat in zip(texts, cats) if cat]
        rows.append({"document": " ".join(texts), "summary": " ".join(chosen)})
    return rows


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_vocab_file):
    folder = tmp_path_factory.mktemp("summaries")
    write(folder / "train.jsonl", documents(80))
    write(folder / "dev.jsonl", documents(6, seed=1))
    sections = {
        "model": SHAPE | {
            "max_positions": 40, "local_start": "true", "hidden_dropout": 0.0,
            "attention_dropout": 0.0,
        },
        "options": {
            "max_seq_length": 40, "num_sentences": 3,
            "trigram_blocking": "false",
        },
        "train": {
            "num_train_steps": 120, "batch_size": 16, "learning_rate": 0.004,
            "layerwise_lr_decay": 1.0, "bias_correction": "true",
            "eval_every_steps": 120,
        },
    }  # fmt: skip
    words = [
        f"--set={section}.{key}={value}"
        for section, values in sections.items()
        for key, value in values.items()
    ]
    status = app.run(
        ["finetune", "--task=extractive_summarization", f"--data={folder}",
         f"--vocab={tiny_vocab_file}", f"--output={folder / 'run'}", *words]
    )  # fmt: skip
    assert status == 0
    return folder / "run"


def test_it_finds_the_sentences(run):
    rows = documents(6, seed=2)  # none that it was trained on
    found = electra_tf.load(str(run)).predict([r["document"] for r in rows])
    assert [answer["summary"] for answer in found] == [
        row["summary"] for row in rows
    ]
    scores = json.loads((run / "report.json").read_text())["summary"]
    scores = scores["validation"]
    assert scores["rouge2"]["best"] == pytest.approx(100.0)
    for name in ("lead3", "lead", "random"):
        assert scores[f"{name}/rouge2"]["best"] < 80
    report = (run / "report.md").read_text()
    assert "| validation | lead3/rouge1 |" in report
    folder = run / "trial_1" / "predictions" / "validation"
    texts = (folder / "summaries.txt").read_text().splitlines()
    assert texts == [row["summary"] for row in documents(6, seed=1)]


def test_summaries_do_not_depend_on_other_rows(run):
    predictor = electra_tf.load(str(run))
    rows = [r["document"] for r in documents(5, seed=3)] + ["The cat."]
    together = predictor.predict(rows)
    for text, answer in zip(rows, together):
        alone = predictor.predict([text])[0]
        assert alone["summary"] == answer["summary"]
        assert [s["score"] for s in alone["sentences"]] == pytest.approx(
            [s["score"] for s in answer["sentences"]], abs=1e-5
        )


def test_predict_and_evaluate_by_command(run, tmp_path, capsys):
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    rows = documents(2, seed=4)
    write(source, [*rows, {"document": ""}, {"other": "x"}])
    words = [f"--model={run}", f"--input={source}", f"--output={target}"]
    # Two rows have no text.
    assert app.run(["predict", *words, "--set=options.num_sentences=1"]) == 3
    found = [json.loads(line) for line in target.read_text().splitlines()]
    for row, answer in zip(rows, found[:2]):
        assert answer["predicted_summary"] in row["summary"]
        assert len(answer["sentences"]) == 1
    assert "in.jsonl:3: the text in 'document' is empty" in found[2]["error"]
    assert "in.jsonl:4: no column 'document'" in found[3]["error"]
    table = tmp_path / "other.jsonl"
    write(table, rows)
    capsys.readouterr()
    assert app.run(["evaluate", f"--model={run}", f"--data={table}"]) == 0
    out = capsys.readouterr().out
    assert "random/rouge2" in out and "100.0" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["convert", "--to=huggingface"], "chooses sentences"),
        (["convert", "--to=tf1"], "chooses sentences"),
    ],
)
def test_unsupported_formats_are_refused(
    run, tmp_path, arguments, message, capsys
):
    command, *more = arguments
    flags = [f"--from={run}/model", f"--output={tmp_path / 'x'}", *more]
    assert app.run([command, *flags]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_exported(run, tmp_path, capsys):
    """The SavedModel needs TensorFlow alone and returns what `predict` does."""
    output = tmp_path / "served"
    words = [f"--model={run}", f"--output={output}"]
    assert app.run(["export", *words, "--set=options.num_sentences=1"]) == 0
    out = capsys.readouterr().out
    assert "serving_default: text -> summary, sentences, scores" in out
    about = json.loads(
        (output / "1" / "assets.extra" / "electra_tf.json").read_text()
    )
    assert about["task"] == "summarization"
    texts = [row["document"] for row in documents(3, seed=5)] + [""]
    served = tf.saved_model.load(str(output / "1"))
    found = served.signatures["serving_default"](text=tf.constant(texts))
    model = electra_tf.load(str(run), overrides={"options.num_sentences": 1})
    for answer, summary in zip(model.predict(texts), found["summary"].numpy()):
        assert answer["summary"].encode() == summary


def test_too_long_for_the_model(run, capsys):
    words = [f"--model={run}", f"--data={run.parent}"]
    more = "--set=options.max_seq_length=64"
    assert app.run(["evaluate", *words, more]) == 2
    err = capsys.readouterr().err
    assert "max_seq_length" in err and "40 positions" in err
