"""Tests `fill` as a user runs it."""

import json

import generation_models as models
import pytest

from electra_tf.cli import app
from electra_tf.prediction import resumable
from electra_tf.recipes import fill as recipe


@pytest.fixture(scope="module")
def model(tmp_path_factory, tiny_tokens):
    return models.save(tmp_path_factory.mktemp("m"), tiny_tokens)


def run(model, *words):
    return app.run(["fill", f"--model={model}", *words])


def test_shown(model, capsys):
    words = ["--text=The cat [MASK] on the [MASK].", "--top_k=3"]
    assert run(model, *words) == 0
    text, *shown = capsys.readouterr().out.splitlines()
    assert text.startswith("The cat") and "[MASK]" not in text
    assert [line.split()[0] for line in shown] == list("111222")
    assert run(model, *words, "--joint") == 0


def test_a_file(model, tmp_path, capsys):
    source, target = tmp_path / "in.txt", tmp_path / "out.jsonl"
    far = "the cat. " * 20
    lines = ["今天[MASK]", "nothing here", "", f"[MASK] {far} [MASK]", "[MASK]"]
    source.write_text("\n".join(lines), "utf-8")
    words = [f"--input={source}", f"--output={target}", "--joint"]
    assert run(model, *words) == 0
    assert "5 lines" in capsys.readouterr().out
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert [row["text"] for row in rows] == lines
    assert rows[0]["filled"].startswith("今天")
    assert rows[0]["blanks"][0][0]["text"] == rows[0]["filled"]
    assert rows[1]["filled"] == "nothing here" and rows[1]["blanks"] == []
    assert rows[2]["filled"] == "" and "62 tokens" in rows[3]["error"]
    assert rows[3]["error"].startswith("its blanks are 62 tokens apart")
    assert rows[4]["error"] is None and len(rows[4]["blanks"][0]) == 5
    shown = tmp_path / "out.tsv"
    assert run(model, f"--input={source}", f"--output={shown}") == 0
    header, *table = shown.read_text("utf-8").splitlines()
    assert header.split("\t")[:2] == ["text", "filled"] and len(table) == 5


def test_another_vocabulary_starts_again(
    model, tiny_tokens, tmp_path, monkeypatch, capsys
):
    source, target = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_text("[MASK]\nthe [MASK]\n[MASK] cat\n", "utf-8")
    tokens = models.vocab(tiny_tokens).tokens
    files = []
    for name, some in (("a", tokens), ("b", (*tokens[:-2], *tokens[:-3:-1]))):
        files.append(tmp_path / f"{name}.txt")
        files[-1].write_text("\n".join(some) + "\n", "utf-8")
    words = [f"--input={source}", f"--output={target}"]
    monkeypatch.setattr(resumable, "PART_SECONDS", -1.0)
    monkeypatch.setattr(recipe, "_CHUNK", 1)
    rows, done = recipe._rows, []

    def interrupted(*arguments):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(arguments)
        return rows(*arguments)

    for file in files:
        done.clear()
        monkeypatch.setattr(recipe, "_rows", interrupted)
        assert run(model, *words, f"--vocab={file}") == 130
    assert "another vocabulary; starting again" in capsys.readouterr().err
    monkeypatch.setattr(recipe, "_rows", rows)
    assert run(model, *words, f"--vocab={files[1]}") == 0
    assert "resuming after 2 lines" in capsys.readouterr().err


def test_nothing_but_special_tokens(model, tmp_path, capsys):
    words = ["--text=[CLS] [MASK] [SEP]", "--text=[MASK]", "--top_k=100000"]
    assert run(model, *words) == 0
    shown = capsys.readouterr().out.splitlines()
    texts = [line for line in shown if not line.startswith("  ")]
    assert texts[0].startswith("[CLS] ") and texts[0].endswith(" [SEP]")
    assert len(texts) == 2 and "[MASK]" not in "".join(shown)
    source = tmp_path / "in.txt"
    source.write_text("\n[CLS]\n\u200b\n", "utf-8")
    assert run(model, f"--input={source}") == 0
    assert capsys.readouterr().out == "\n[CLS]\n\u200b\n"
    source.write_text("")
    target = tmp_path / "out.jsonl"
    assert run(model, f"--input={source}", f"--output={target}") == 0
    assert target.read_bytes() == b""


def test_a_blank_in_a_text_too_long(model, capsys):
    words = ["--text=" + "the " * 300 + "[MASK]" + " cat" * 300]
    assert run(model, *words, "--top_k=1") == 0
    text, _ = capsys.readouterr().out.splitlines()
    assert text.startswith("the the") and text.endswith("cat cat")
    assert "[MASK]" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --text"),
        (["--text=[MASK]", "--input=x"], "give --text"),
        (["--text=the cat"], "--text: 'the cat' has no [MASK]"),
        (["--text="], "--text: '' has no [MASK]"),
        (["--input=/no/such"], "--input: /no/such: no such file"),
        (["--text=[MASK]", "--top_k=0"], "--top_k"),
        (["--text=[MASK]", "--output=a.doc"], "--output: a.doc"),
        (
            ["--joint", "--text=[MASK]" + " the" * 40 + "[MASK]"],
            "its blanks are 42 tokens apart",
        ),
        (
            [
                "--joint", "--text=a [MASK]",
                "--text=[MASK]" + " cat" * 40 + "[MASK]",
            ],
            "--text: '[MASK] cat cat",
        ),
    ],
)  # fmt: skip
def test_mistakes_are_reported_in_one_line(model, arguments, message, capfd):
    assert run(model, *arguments) == 2
    assert message in capfd.readouterr().err.strip().splitlines()[-1]
