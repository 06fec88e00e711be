"""Tests training, scoring, using and fine-tuning a translator by command."""

import json

import pytest
import seq2seq_runs

import electra_tf
from electra_tf.cli import app

PAIRS = seq2seq_runs.pairs()


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_vocab_file):
    return seq2seq_runs.train(tmp_path_factory.mktemp("mt"), tiny_vocab_file)


@pytest.fixture(scope="module")
def predictor(run):
    return electra_tf.load(str(run))


def test_twenty_pairs_are_learned_by_heart(predictor):
    found = predictor.predict([source for source, _ in PAIRS])
    assert [answer["text"] for answer in found] == [t for _, t in PAIRS]
    for answer in found:
        assert answer["text"] == answer["n_best"][0]["text"]
        assert answer["score"] == answer["n_best"][0]["score"] < 0
        scores = [hypothesis["score"] for hypothesis in answer["n_best"]]
        assert len(scores) == 2 and scores[0] >= scores[1]


def test_one_beam_knows_them_too(run):
    options = electra_tf.load(str(run)).task.quick().options
    quick = electra_tf.load(str(run), options=options)
    assert options.beam_size == 1
    found = quick.predict([source for source, _ in PAIRS])
    assert [answer["text"] for answer in found] == [t for _, t in PAIRS]
    assert "n_best" not in found[0]


def test_answers_do_not_depend_on_the_batch(predictor):
    texts = [s for s, _ in PAIRS] + ["the the the cat", "a", "zzz zzz"]
    together = predictor.predict(texts)
    for text, answer in list(zip(texts, together))[::4]:
        alone = predictor.predict([text])[0]
        assert alone["text"] == answer["text"]
        assert alone["score"] == pytest.approx(answer["score"], abs=1e-4)


def test_empty_and_long_sources(predictor):
    empty = {"text": "", "score": 0.0}
    expected = empty | {"n_best": [empty]}
    assert predictor.predict(["", "   ", "\u200b"]) == [expected] * 3
    # Special tokens in a text are plain letters.
    special = predictor.predict(["[CLS] [SEP]", "[PAD]", "\u0436\u2603"])
    assert all(isinstance(answer["text"], str) for answer in special)
    long = "cat sat " * 30
    assert predictor.predict([long]) == predictor.predict(["cat sat " * 7])


def test_the_run_has_its_scores(run):
    result = json.loads((run / "trial_1" / "result.json").read_text())
    assert result["scores"]["validation"]["bleu"] == pytest.approx(100.0)
    assert result["averaged_steps"] in ([], [140, 150])
    folder = run / "trial_1" / "predictions" / "validation"
    texts = (folder / "texts.txt").read_text().splitlines()
    assert texts == [target for _, target in PAIRS]
    scores = json.loads((folder / "scores.json").read_text())
    assert scores["bleu"]["signature"].startswith("nrefs:1|case:mixed")
    assert scores["chrf"]["value"] == pytest.approx(100.0)
    records = (run / "trial_1" / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in records]
    scored = [r for r in records if r["split"] == "validation"]
    assert [r["step"] for r in scored] == [75, 150]
    assert "bleu" in scored[0]


def test_predict_and_evaluate_by_command(run, tmp_path, capsys):
    source, target = tmp_path / "in.tsv", tmp_path / "out.jsonl"
    rows = ["id\ttext", *(f"{i}\t{s}" for i, (s, _) in enumerate(PAIRS)), "9\t"]
    source.write_text("\n".join(rows) + "\n")
    words = [f"--model={run}", f"--input={source}", f"--output={target}"]
    assert app.run(["predict", *words, "--set=options.n_best=1"]) == 0
    found = [json.loads(line) for line in target.read_text().splitlines()]
    assert [row["predicted_text"] for row in found] == [
        *(target for _, target in PAIRS), "",
    ]  # fmt: skip
    table = tmp_path / "other.tsv"
    table.write_text("".join(f"{s}\t{t}\n" for s, t in PAIRS[:7]))
    capsys.readouterr()
    assert app.run(["evaluate", f"--model={run}", f"--data={table}"]) == 0
    assert "bleu" in (out := capsys.readouterr().out) and "100.0" in out


@pytest.mark.slow
def test_it_continues_from_a_translator(run, tmp_path, capsys):
    """A run starts from the translator, or from its encoder with a new head."""
    data = run.parent / "data"
    options = [
        "options.source_language=en", "options.target_language=de",
        "options.max_seq_length=16", "options.max_target_length=24",
        "options.decoder_layers=1", "train.num_train_steps=1",
        "train.batch_size=4", "train.eval_every=0",
    ]  # fmt: skip
    for number, (more, message) in enumerate(
        (
            ([], "its weights are kept"),
            (["--new_head"], "new head"),
            (["--set=options.decoder_layers=2"], "new head"),
        )
    ):
        output = tmp_path / str(number)
        words = [f"--set={option}" for option in options]
        status = app.run(
            ["finetune", "--task=translation", f"--model={run}",
             f"--data={data}", f"--output={output}", *words, *more]
        )  # fmt: skip
        assert status == 0
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("options.max_target_length=600", "max_target_length"),
        ("options.n_best=9", "n_best"),
        ("options.beam_size=0", "beam_size"),
        ("options.label_smoothing=1", "label_smoothing"),
        ("options.target_language=en", "target_language"),
        ("options.target_language=tlh", "tlh"),
        ("options.bleu_tokenizer=klingon", "bleu_tokenizer"),
    ],
)
def test_wrong_options(run, word, message, capsys):
    words = [f"--model={run}", f"--data={run.parent / 'data'}", f"--set={word}"]
    assert app.run(["evaluate", *words]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.strip().splitlines()) == 1
