import gzip

import pytest

from electra_tf.cli import app
from electra_tf.text.vocab import SPECIALS, load_vocab


@pytest.fixture
def text(tmp_path):
    lines = "The cat sat on the mat.\nA catalogue of mats, matted cats.\n"
    (tmp_path / "one.txt").write_text(lines * 5, encoding="utf-8")
    with gzip.open(tmp_path / "two.txt.gz", "wt", encoding="utf-8") as handle:
        handle.write("中国人 cat\n" * 3)
    return tmp_path


def run(text, *flags):
    return app.run(["build-vocab", f"--output={text}/out/vocab.txt", *flags])


def test_trains_the_same_file_twice(text, capsys):
    flags = (f"--input={text}/one.txt,{text}/*.gz", "--vocab_size=50")
    assert run(text, *flags) == 0
    printed = capsys.readouterr().out
    assert " 50 tokens" in printed
    assert "0.0000% of the words are [UNK]" in printed
    first = (text / "out/vocab.txt").read_bytes()
    vocab = load_vocab(str(text / "out/vocab.txt"))
    assert vocab.tokens[:5] == SPECIALS
    assert {"中", "国", "cat"} <= vocab.ids.keys()
    assert run(text, *flags) == 0
    assert (text / "out/vocab.txt").read_bytes() == first


def test_flags_reach_the_training(text, capsys):
    flags = (f"--input={text}/one.txt", "--vocab_size=500")
    assert run(text, *flags, "--nolower_case", "--min_frequency=1") == 0
    vocab = load_vocab(str(text / "out/vocab.txt"))
    assert "T" in vocab.ids and "catalogue" in vocab.ids
    assert "500 were asked for" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--input={}/none*.txt"], "none*.txt"),
        (["--input={}/one.txt", "--vocab_size=20"], "vocab_size is 20"),
        (["--input={}/empty"], "no text"),
        (["--input={}/one.txt", "--output={}"], "is a directory"),
    ],
)
def test_mistakes_exit_2_and_leave_nothing(text, capsys, flags, message):
    (text / "empty").write_bytes(b"")
    assert run(text, *(flag.format(text) for flag in flags)) == 2
    assert message in capsys.readouterr().err
    assert not (text / "out").exists()
