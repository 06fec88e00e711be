"""Tests build-vocab, build-data and prepare-text as a user runs them."""

import gzip
import signal
import subprocess
import sys
import time

import pytest

from electra_tf.cli import app
from electra_tf.data import manifest
from electra_tf.text import corpus
from electra_tf.text.vocab import SPECIALS, load_vocab


@pytest.fixture
def flags(tmp_path, tiny_vocab_file, small_text_file):
    return [
        "build-data",
        f"--input={small_text_file}",
        f"--vocab={tiny_vocab_file}",
        f"--output={tmp_path / 'out'}",
    ]


def test_builds_and_reports(flags, tmp_path, capsys):
    more = ["--max_seq_length=64", "--nolower_case", "--num_shards=2"]
    assert app.run([*flags, *more, "--validation_fraction=0.1"]) == 0
    made = manifest.load_manifest(str(tmp_path / "out"))
    assert made.max_seq_length == 64 and not made.lower_case
    assert made.strip_accents is None
    shown = capsys.readouterr().out
    assert f"train: {made.splits['train'].examples} examples" in shown
    assert "0.1 MB in" in shown


def test_second_build_is_refused(flags, capsys):
    assert app.run(flags) == 0
    assert app.run(flags) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert app.run([*flags, "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--input=/nowhere/*.txt", "/nowhere/*.txt"),
        ("--vocab=/nowhere/vocab.txt", "/nowhere/vocab.txt"),
        ("--max_seq_length=2", "--max_seq_length=2"),
        ("--legacy", "--validation_fraction=0"),
    ],
)
def test_mistakes_exit_with_2(flags, capsys, flag, message):
    assert app.run([*flags, flag]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_missing_flag_is_named(flags, capsys):
    assert app.run(flags[:-1]) == 2
    assert "output" in capsys.readouterr().err


def test_nothing_held_out_is_reported(flags, capsys):
    more = ["--noblank_lines_separate_documents", "--validation_fraction=1e-9"]
    assert app.run([*flags, *more]) == 0
    assert "no document fell into the held-out" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_the_build_cleanly(
    flags, tmp_path, tiny_vocab_file, number
):
    large = tmp_path / "large.txt"
    large.write_bytes(b"the cat sat on the mat. " * 20 + b"\n")
    with open(large, "ab") as handle:
        for _ in range(100):
            handle.write(b"the cat sat on the mat. \n" * (1 << 16))
    assert large.stat().st_size > 50 * corpus.PART_BYTES
    out = tmp_path / "out"
    child = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "electra_tf",
            *flags,
            f"--input={large}",
            "--num_workers=2",
        ],
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background processes ignore SIGINT, and so do their
        # children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    building = out / manifest.BUILDING
    for _ in range(600):
        sizes = [p.stat().st_size for p in building.glob("train-*")]
        if any(sizes):
            break
        time.sleep(0.1)
    child.send_signal(number)
    _, error = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "interrupted" in error and "Traceback" not in error
    assert not out.exists()


@pytest.fixture
def text(tmp_path):
    lines = "The cat sat on the mat.\nA catalogue of mats, matted cats.\n"
    (tmp_path / "one.txt").write_text(lines * 5, encoding="utf-8")
    with gzip.open(tmp_path / "two.txt.gz", "wt", encoding="utf-8") as handle:
        handle.write("中国人 cat\n" * 3)
    return tmp_path


def train(text, *flags):
    return app.run(["build-vocab", f"--output={text}/out/vocab.txt", *flags])


def test_trains_the_same_file_twice(text, capsys):
    flags = (f"--input={text}/one.txt,{text}/*.gz", "--vocab_size=50")
    assert train(text, *flags) == 0
    printed = capsys.readouterr().out
    assert " 50 tokens" in printed
    assert "0.0000% of the words are [UNK]" in printed
    first = (text / "out/vocab.txt").read_bytes()
    vocab = load_vocab(str(text / "out/vocab.txt"))
    assert vocab.tokens[:5] == SPECIALS
    assert {"中", "国", "cat"} <= vocab.ids.keys()
    assert train(text, *flags) == 0
    assert (text / "out/vocab.txt").read_bytes() == first


def test_flags_reach_the_training(text, capsys):
    flags = (f"--input={text}/one.txt", "--vocab_size=500")
    assert train(text, *flags, "--nolower_case", "--min_frequency=1") == 0
    vocab = load_vocab(str(text / "out/vocab.txt"))
    assert "T" in vocab.ids and "catalogue" in vocab.ids
    assert "500 were requested" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--input={}/none*.txt"], "none*.txt"),
        (["--input={}/one.txt", "--vocab_size=20"], "vocab_size is 20"),
        (["--input={}/empty"], "no text"),
        (["--input={}/one.txt", "--output={}"], "is a directory"),
        (["--input={}/one.txt", "--output={}/v.txt.GZ"], "ends in .txt"),
        (["--input={}/one.txt", "--output={}/v.xz"], "ends in .txt"),
    ],
)
def test_no_vocabulary_is_left_of_mistakes(text, capsys, flags, message):
    (text / "empty").write_bytes(b"")
    assert train(text, *(flag.format(text) for flag in flags)) == 2
    assert message in capsys.readouterr().err
    assert not (text / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input=/no/such"], "--input: no file matches '/no/such'"),
        (["--stop_words=klingon"], "--stop_words: klingon: no such file"),
        (["--word_segmenter=best"], "--word_segmenter=best: unknown"),
        (["--divide_words"], "--divide_words: needs --word_segmenter=jieba"),
        (["--min_line_length=-1"], "min_line_length"),
        (["--output=a.jsonl"], "--output: a.jsonl: is written as text"),
    ],
)
def test_mistakes_of_prepare_text(flags, arguments, message, capfd):
    assert app.run(["prepare-text", flags[1], *arguments]) == 2
    assert message in capfd.readouterr().err.strip().splitlines()[-1]
