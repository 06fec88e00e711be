"""Tests the words of a segmenter, and the tokens that begin them."""

import builtins
import pathlib

import numpy as np
import pytest

from electra_tf.errors import UserError
from electra_tf.text import segment
from electra_tf.text.tokenizer import Tokenizer
from electra_tf.text.vocab import SPECIALS, Vocab, load_vocab


class Given(segment.Segmenter):
    """Knows the words of a few lines, in which `|` stands between them."""

    def __init__(self, lines):
        self.known = {
            line.replace("|", "").encode(): line.encode().split(b"|")
            for line in lines
        }

    def words(self, line):
        return self.known[line]


def _starts(lines, pieces):
    vocab = Vocab((*SPECIALS, *pieces))
    given = Given(lines)
    found = Tokenizer(vocab).tokenize_with_offsets(list(given.known))
    starts = given.word_starts(
        list(given.known),
        found.ids.row_splits.numpy(),
        found.start_bytes.flat_values.numpy(),
    )
    tokens = [vocab.tokens[i] for i in found.ids.flat_values.numpy()]
    return [("|" if new else "") + t for t, new in zip(tokens, starts)]


def test_words_are_carried_over_to_tokens():
    pieces = ["中", "国", "人", "e", "cafe", "."]
    got = _starts(["中国|人|  É|, |café.", "", " |国|.|"], [*pieces, ","])
    assert " ".join(got) == "|中 国 |人 |e |, |cafe . |国 |."


def test_a_token_belongs_to_the_word_it_begins_in():
    got = _starts(["ab|c d|e", "a|bc", "a|b|c"], ["abc", "de", "ab", "##d"])
    assert got[:2] == ["|abc", "|de"]
    got = _starts(["a|bc a|b|c a"], ["ab", "##c", "a"])
    assert got == ["|ab", "|##c", "ab", "|##c", "a"]


def test_no_lines():
    empty = np.zeros(0, np.int64)
    assert Given([]).word_starts([], np.zeros(1, np.int64), empty).size == 0


def test_unknown_segmenter_is_named():
    with pytest.raises(UserError, match=r"--word_segmenter=spacy: .* jieba"):
        segment.check("spacy")


def test_absent_package_is_named(monkeypatch):
    real = builtins.__import__

    def no_jieba(name, *arguments, **named):
        if name == "jieba":
            raise ImportError(name)
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", no_jieba)
    with pytest.raises(UserError, match="pip install jieba"):
        segment.Segmenter("jieba")


def test_jieba_finds_words_and_loses_nothing(capfd):
    pytest.importorskip("jieba")
    capfd.readouterr()
    cut = segment.Segmenter("jieba")
    assert capfd.readouterr() == ("", "")  # jieba itself prints messages
    line = "我来到北京清华大学。  iPhone6很好用!\t中华人民共和国 é".encode()
    words = cut.words(line)
    assert b"".join(words) == line
    assert {"北京", "清华大学", "。", " "} <= {w.decode() for w in words}
    broken = b"\xff\xe4\xb8 \xe4\xb8\xad\xe5\x9b\xbd"
    assert b"".join(cut.words(broken)) == broken
    assert cut.words(b"") == []


def test_jieba_reads_no_cache_of_others(tmp_path, monkeypatch):
    pytest.importorskip("jieba")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "jieba.cache").write_bytes(b"not a cache")
    segment.Segmenter("jieba")
    assert [p.name for p in tmp_path.iterdir()] == ["jieba.cache"]
    assert (tmp_path / "jieba.cache").read_bytes() == b"not a cache"


def test_vocabularies_without_words_are_reported(
    caplog, shared_dir: pathlib.Path
):
    with pytest.raises(UserError, match=r"no pieces.*--word_segmenter=jieba"):
        segment.check_pieces(Vocab((*SPECIALS, "a", "b")), "data")
    folder = shared_dir / "data/vocab"
    segment.check_pieces(load_vocab(str(folder / "bert_uncased_en.txt")), "d")
    assert not caplog.records
    segment.check_pieces(load_vocab(str(folder / "bert_chinese.txt")), "mine")
    assert "build mine again with --word_segmenter" in caplog.text
