"""Tests `score` as a user runs it: files, n-best lists, clean-up, resuming."""

import gzip
import json

import generation_models as models
import pytest

from electra_tf.cli import app
from electra_tf.generation.scoring import Scorer
from electra_tf.prediction import resumable
from electra_tf.recipes import score as recipe

LINES = [
    "the cat sat on the mat.",
    "mat the on sat cat the.",
    "",
    "a good dog",
    "☃ Ж ☃",
    "今天天气很好\uff0c阳光明媚。",
]


@pytest.fixture(scope="module")
def model(tmp_path_factory, tiny_tokens):
    return models.save(tmp_path_factory.mktemp("m"), tiny_tokens)


@pytest.fixture(scope="module")
def scores(model):
    return {
        s.text: s for s in Scorer.from_pretrained(model, "pll").score(LINES)
    }


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes("\ufeff".encode() + "\r\n".join(LINES).encode())
    return path


def run(model, source, *words):
    return app.run(["score", f"--model={model}", f"--input={source}", *words])


def rows_of(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_a_row_for_each_line(model, scores, text, tmp_path, capsys):
    target = tmp_path / "out.jsonl"
    assert run(model, text, f"--output={target}", "--per_token") == 0
    found = rows_of(target)
    assert [row["text"] for row in found] == LINES
    for row in found:
        want = scores[row["text"]]
        assert (row["tokens"], row["unknown"]) == (
            len(want.tokens), want.unknown,
        )  # fmt: skip
        assert [t for t, _ in row["token_scores"]] == list(want.tokens)
        if want.score is None:
            assert row["score"] is None is row["mean"]
        else:
            assert row["score"] == pytest.approx(want.score, rel=1e-4)
            assert row["mean"] == pytest.approx(want.mean, rel=1e-4)
    captured = capsys.readouterr()
    assert "6 lines" in captured.err and "pll" in captured.err
    assert str(target) in captured.out
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


def test_shown_without_an_output(model, scores, text, capsys):
    assert run(model, text) == 0
    header, *shown = capsys.readouterr().out.splitlines()
    assert header.split("\t") == ["text", "score", "mean", "tokens", "unknown"]
    assert [line.split("\t")[0] for line in shown] == LINES
    assert float(shown[0].split("\t")[1]) == pytest.approx(
        scores[LINES[0]].score, rel=1e-4
    )


def test_rerank(model, scores, tmp_path, capsys):
    source = tmp_path / "lists.tsv"
    source.write_text(
        f"u1\t{LINES[0]}\nu1\t{LINES[1]}\nu1\t\nu2\t{LINES[3]}\n", "utf-8"
    )
    target, best = tmp_path / "out.tsv", tmp_path / "best.tsv"
    words = ["--rerank", f"--output={target}", f"--best={best}"]
    assert run(model, source, *words) == 0
    header, *found = [
        line.split("\t") for line in target.read_text("utf-8").splitlines()
    ]
    assert header == ["id", "rank", "text", "total", "score", "other"]
    ordered = sorted(LINES[:2], key=lambda t: -scores[t].score)
    assert [row[:3] for row in found] == [
        ["u1", "1", ordered[0]], ["u1", "2", ordered[1]], ["u1", "3", ""],
        ["u2", "1", LINES[3]],
    ]  # fmt: skip
    assert best.read_text("utf-8") == (
        f"id\ttext\nu1\t{ordered[0]}\nu2\t{LINES[3]}\n"
    )
    assert "4 candidates in 2 lists" in capsys.readouterr().err


@pytest.mark.slow
def test_rerank_beside_another_score(model, scores, tmp_path):
    source, target = tmp_path / "lists.tsv", tmp_path / "out.tsv"
    ordered = sorted(LINES[:2], key=lambda t: -scores[t].score)
    # The weight is so low that the other score decides.
    source.write_text(f"u1\t{ordered[0]}\t-2\nu1\t{ordered[1]}\t-1\n", "utf-8")
    words = [f"--output={target}", "--rerank", "--weight=1e-6"]
    assert run(model, source, *words) == 0
    first = target.read_text("utf-8").splitlines()[1].split("\t")
    assert first[2] == ordered[1] and float(first[3]) == pytest.approx(-1, 1e-3)


def test_clean_up_by_share(model, scores, text, tmp_path, capsys):
    target = tmp_path / "clean.txt"
    assert run(model, text, f"--output={target}", "--keep_share=0.4") == 0
    # Two of five lines with tokens; those with snowmen have unknown tokens.
    known = [t for t in LINES if t and "☃" not in t]
    best = sorted(known, key=lambda t: -scores[t].mean)[:2]
    want = [t for t in LINES if not t or t in best]
    assert target.read_text("utf-8").split("\n") == [*want, ""]
    err = capsys.readouterr().err
    assert "before: 5 lines" in err and "after:  2 lines (40.0 %)" in err
    assert "1 of tokens that the model does not know" in err
    assert "1 empty lines stay" in err


def test_clean_up_above_a_score(model, scores, text, tmp_path):
    target = tmp_path / "clean.txt.gz"
    limit = scores[LINES[3]].mean - 1e-3
    words = ["--max_unknown_share=1", f"--keep_above={limit}"]
    assert run(model, text, f"--output={target}", *words) == 0
    with gzip.open(target, "rt", encoding="utf-8") as handle:
        kept = handle.read().split("\n")[:-1]
    assert kept == [t for t in LINES if not t or scores[t].mean >= limit]


def test_it_resumes(model, scores, text, tmp_path, monkeypatch, capsys):
    """A resumed run does not score again what the interrupted one scored."""
    target = tmp_path / "out.jsonl"
    monkeypatch.setattr(resumable, "PART_SECONDS", -1.0)
    monkeypatch.setattr(recipe, "_CHUNK", 2)
    scored = []
    whole = Scorer.score

    def until_the_third(self, texts):
        if len(scored) == 2:
            raise KeyboardInterrupt
        scored.append(list(texts))
        return whole(self, texts)

    monkeypatch.setattr(Scorer, "score", until_the_third)
    assert run(model, text, f"--output={target}") == 130
    assert not target.exists()
    scored.clear()
    assert run(model, text, f"--output={target}") == 0
    assert scored == [LINES[4:]]
    assert "resuming after 4 lines" in capsys.readouterr().err
    found = rows_of(target)
    assert [row["text"] for row in found] == LINES
    assert found[5]["score"] == pytest.approx(scores[LINES[5]].score, rel=1e-4)


def test_partial_output_of_other_settings(model, text, tmp_path, capsys):
    target = tmp_path / "out.jsonl"
    run_ = resumable.ResumableRun(
        str(text), str(target), {"model": "other"}, print
    )
    run_.answer(lambda lines, _: [{}] * len(lines), 2, lambda rows, taken: None)
    assert run(model, text, f"--output={target}") == 0
    assert "was started with another model" in capsys.readouterr().err
    assert len(rows_of(target)) == len(LINES)


def test_an_empty_file(model, tmp_path, capsys):
    empty, target = tmp_path / "empty.txt", tmp_path / "out.jsonl"
    empty.touch()
    assert run(model, empty, f"--output={target}") == 0
    assert target.read_bytes() == b""
    assert "0 lines, 0 tokens" in capsys.readouterr().err
    target = tmp_path / "clean.txt"
    assert run(model, empty, f"--output={target}", "--keep_share=0.9") == 0
    assert target.read_bytes() == b""


def test_nothing_but_special_tokens(model, tmp_path, capsys):
    """Special tokens are read as text; a text without tokens has no score."""
    source, target = tmp_path / "in.txt", tmp_path / "out.jsonl"
    lines = ["[CLS] [SEP]", "[MASK]", "[PAD]", " \t", "\u200b", "\0\1"]
    source.write_text("\n".join(lines), "utf-8")
    assert run(model, source, f"--output={target}") == 0
    rows = rows_of(target)
    assert [row["text"] for row in rows] == lines
    assert [row["score"] is None for row in rows] == [False] * 3 + [True] * 3
    assert "6 lines" in capsys.readouterr().err
    clean = tmp_path / "clean.txt"
    source.write_text("\n\n", "utf-8")
    assert run(model, source, f"--output={clean}", "--keep_share=1") == 0
    assert clean.read_text() == "\n\n"


def test_lists_of_nothing(model, tmp_path, capsys):
    source, target = tmp_path / "lists.tsv", tmp_path / "out.tsv"
    source.touch()
    assert run(model, source, "--rerank", f"--output={target}") == 0
    assert len(target.read_text().splitlines()) == 1
    assert "0 candidates in 0 lists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input=/no/such"], "--input: /no/such: no such file"),
        (["--keep_above=1", "--keep_share=1"], "give one of them"),
        (["--keep_share=1.5"], "keep_share"),
        (["--rerank", "--keep_share=1"], "--keep_share: not with --rerank"),
        (["--rerank"], "text.txt:1: expected id, candidate"),
        (["--best=x.tsv"], "--best: only with --rerank"),
        (
            ["--keep_share=0.5", "--output=clean.txt.xz"],
            "--output: clean.txt.xz: is written as text, or text in .gz",
        ),
        (
            ["--keep_above=-9", "--output=clean.csv.gz"],
            "--output: clean.csv.gz: is written as text, or text in .gz",
        ),
        (["--output=scores.doc"], "--output: scores.doc: expected a name"),
        (["--method=electric"], "was not pre-trained with"),
        (["--method=best"], "--method"),
        (["--model=/no/such"], "/no/such: no such model"),
        (["--max_seq_length=2"], "--max_seq_length=2: expected 3 to 40"),
        (["--weight=nan"], "--weight=nan: expected a number"),
        (["--weight=inf"], "--weight=inf: expected a finite number"),
        (["--weight=2"], "--weight=2: only with --rerank"),
        (["--normalize"], "--normalize: only with --rerank"),
        (
            ["--max_unknown_share=0.1"],
            "--max_unknown_share=0.1: only with --keep_above or --keep_share",
        ),
    ],
)
def test_mistakes_are_reported_in_one_line(
    model, text, arguments, message, capfd
):
    assert run(model, text, *arguments) == 2
    assert message in capfd.readouterr().err.strip().splitlines()[-1]


def test_an_output_that_is_there(model, text, tmp_path, capfd):
    target = tmp_path / "out.jsonl"
    target.write_text("mine")
    assert run(model, text, f"--output={target}") == 2
    assert "give --overwrite" in capfd.readouterr().err
    assert target.read_text() == "mine"


def test_an_output_that_is_a_folder(model, text, tmp_path, capfd):
    lists, folder = tmp_path / "l.tsv", tmp_path / "there.jsonl"
    lists.write_text("1\ta cat\n")
    folder.mkdir()
    for words in ([f"--output={folder}"], ["--rerank", f"--best={folder}"]):
        source = lists if "--rerank" in words else text
        assert run(model, source, *words, "--overwrite") == 2
        line = capfd.readouterr().err.strip().splitlines()[-1]
        assert line.endswith(f"{folder} is a directory; name a file")
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("name", ["a.jsonl", "a.json.gz", "a.NDJSON.xz"])
def test_records_are_no_lines_of_text(model, tmp_path, name, capfd):
    (tmp_path / name).write_bytes(b'{"text": "a cat"}\n')
    flag = f"--input={tmp_path / name}"
    for command in ("score", "fill"):
        assert app.run([command, f"--model={model}", flag]) == 2
        line = capfd.readouterr().err.strip().splitlines()[-1]
        assert line.endswith(
            f"--input: {tmp_path / name}: expected a text file, with a text "
            "on each line"
        )
