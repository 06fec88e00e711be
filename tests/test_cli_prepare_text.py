"""prepare-text as a user runs it."""

import gzip
import json

import pytest

from electra_tf.cli import app

ENGLISH = "The caf\u00c3\u00a9 was closed, and the cat sat in the sun."
CHINESE = "今天的天气很好\uff0c我们在公园里散步。"


def run(source, *words):
    return app.run(["prepare-text", f"--input={source}", *words])


def numbers(told, name):
    line = next(row for row in told.splitlines() if row.startswith(name))
    return [int(cell.replace(",", "")) for cell in line.split()[1:3]]


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(f"{ENGLISH}\n\n{ENGLISH}\n\n{CHINESE}\nshort\n", "utf-8")
    return path


def test_all_of_it(text, tmp_path, capsys):
    pytest.importorskip("jieba")
    target = tmp_path / "out.txt.gz"
    words = [
        "--stop_words=english,chinese", "--word_segmenter=jieba",
        "--divide_words", "--repair_unicode", "--drop_duplicates",
        "--min_line_length=6", f"--output={target}",
    ]  # fmt: skip
    assert run(text, *words) == 0
    with gzip.open(target, "rt", encoding="utf-8") as handle:
        text = handle.read()
    # The comma of Chinese is as it was.
    assert text == (
        "café closed, cat sat sun.\n\n今天天气 好 \uff0c 公园 散步 。\n"
    )
    told = capsys.readouterr().out
    assert numbers(told, "documents") == [3, 2]
    assert numbers(told, "lines") == [4, 2]
    before, after = numbers(told, "words")
    assert before > 2 * after
    for line in (
        "duplicate documents dropped: 1", "short lines dropped: 1",
        "lines repaired: 2",
    ):  # fmt: skip
        assert line in told.splitlines()
    assert told.splitlines()[-1] == str(target)


def test_counts_alone(text, capsys):
    assert run(text) == 0
    told = capsys.readouterr().out
    for name in ("documents", "lines", "words", "characters"):
        before, after = numbers(told, name)
        assert before == after > 0


def test_json_lines(tmp_path, capsys):
    source, target = tmp_path / "a.jsonl", tmp_path / "out.txt"
    rows = [json.dumps({"body": "one two"}), json.dumps({"x": 1}), "no JSON"]
    source.write_text("\n".join(rows))
    assert run(source, "--text_field=body", f"--output={target}") == 0
    assert target.read_text() == "one two\n"
    assert "bad records: 2" in capsys.readouterr().out


def test_an_empty_file(tmp_path, capsys):
    source, target = tmp_path / "a.txt", tmp_path / "out.txt"
    source.touch()
    assert run(source, f"--output={target}") == 0
    assert target.read_bytes() == b""
    told = capsys.readouterr().out
    assert numbers(told, "lines") == [0, 0] and "empty files: 1" in told


def test_what_build_data_reads(text, tmp_path, tiny_vocab_file):
    """The same flags, the same text."""
    flags = ["--drop_duplicates", "--stop_words=english", "--min_line_length=6"]
    clean = tmp_path / "clean.txt"
    assert run(text, *flags, f"--output={clean}") == 0
    for source, more, name in ((text, flags, "a"), (clean, [], "b")):
        words = [
            f"--input={source}", f"--vocab={tiny_vocab_file}",
            f"--output={tmp_path / name}", "--num_workers=1",
            "--validation_fraction=0",
        ]  # fmt: skip
        assert app.run(["build-data", *words, *more]) == 0
    shards = sorted((tmp_path / "a").glob("*.tfrecord"))
    assert shards
    for shard in shards:
        again = tmp_path / "b" / shard.name
        assert shard.read_bytes() == again.read_bytes()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--input=/no/such"], "--input: no file matches '/no/such'"),
        (["--stop_words=klingon"], "--stop_words: klingon: no such file"),
        (["--word_segmenter=best"], "--word_segmenter=best: unknown"),
        (["--divide_words"], "--divide_words: by what?"),
        (["--min_line_length=-1"], "min_line_length"),
        (["--output=a.jsonl"], "--output: a.jsonl: is written as text"),
    ],
)
def test_mistakes_are_told_in_one_line(text, words, told, capfd):
    assert run(text, *words) == 2
    assert told in capfd.readouterr().err.strip().splitlines()[-1]


def test_nothing_is_left_of_a_failure(text, tmp_path, capfd):
    text.write_bytes(b"good line\nbad \xff line\n")
    target = tmp_path / "out.txt"
    assert run(text, "--strict", f"--output={target}") == 2
    assert "text.txt:2: byte 0xff" in capfd.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["text.txt"]
    target.write_text("mine")
    assert run(text, f"--output={target}") == 2
    assert target.read_text() == "mine"
