"""Tests that long texts give the same in slices and steps as at once."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from electra_tf.exporting.graphs import qa_signatures, slices, word_splitting
from electra_tf.serving.server import predict_json
from electra_tf.tasks.qa.words import CHARACTERS, WORDS
from electra_tf.text.tokenizer import Tokenizer
from electra_tf.text.vocab import AddedToken, Vocab, load_vocab

PIECES = [
    "the cat ", "sat", " ", " no. 5 ", "mr. ", "n't ", "can't", "U.S. ", "\n",
    "中国人", "国", "。", "“the” ", "caf\u0301e ", " \u0301x ", "ΑΣ Σ ",
    "\U0001f600", "3.5 a b c ", "x" * 30, "http://a.b/c ", "\u200b", "\t1 2 3",
]  # fmt: skip
BROKEN = [b"\xff\xfe", b"\xe5", b"\xe5\x80", b"\xf0\x9f", b"a b\xe4 c d"]


def random_texts(seed, count):
    """Returns texts of many lengths, some of which are not UTF-8."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        parts = rng.choice(PIECES, rng.integers(0, 40)).tolist()
        text = "".join(parts).encode()
        if rng.random() < 0.3:
            place = rng.integers(0, len(text) + 1)
            text = text[:place] + rng.choice(BROKEN) + text[place:]
        found.append(text)
    return [b"", *found, b""]


def same(found, expected):
    for one, other in zip(found, expected, strict=True):
        if isinstance(one, tf.RaggedTensor):
            np.testing.assert_array_equal(one.row_splits, other.row_splits)
            one, other = one.flat_values, other.flat_values
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("between_ideographs", [False, True])
def test_slices_are_the_texts_and_cut_where_nothing_reaches_across(
    monkeypatch, between_ideographs
):
    monkeypatch.setattr(slices, "BYTES", 24)
    texts = [*random_texts(0, 40), ("好中国人" * 99).encode(), b"x" * 99, b""]
    found = slices.cut(tf.constant(texts), between_ideographs)
    parts = [[] for _ in texts]
    for row, start, size in zip(*(value.numpy() for value in found)):
        assert start == len(b"".join(parts[row]))
        parts[row].append(texts[row][start : start + size])
    assert [b"".join(each) for each in parts] == texts
    ends, longest = set(), max(map(len, parts))
    for each in parts:
        for left, right in itertools.pairwise(each):
            ends.add(left[-1:])
            if left[-1:] in b" \n":
                assert (left[-2:-1] + right[:1]).isalnum()
            else:
                assert between_ideographs
                assert (left[-3:] + right[:3]).decode() in (
                    "中国", "国人", "人好", "好中",
                    "人中", "国中", "国国", "人国",
                )  # fmt: skip
    assert longest > 8
    assert bool(ends - {b" ", b"\n"}) == between_ideographs
    assert ends & {b" "}


@pytest.mark.parametrize("splitter", [WORDS, CHARACTERS], ids=["en", "zh"])
def test_pieces_and_words_are_the_same_in_slices(
    monkeypatch, tiny_vocab_file, splitter
):
    texts = tf.constant(random_texts(1, 8))
    tokenizer = Tokenizer(tiny_vocab_file)
    for bytes_at_once in (10**6, 60):
        monkeypatch.setattr(slices, "BYTES", bytes_at_once)
        pieces = qa_signatures.context_pieces(tokenizer, texts, splitter)
        words = slices.read(
            texts,
            lambda some: _read(word_splitting.split_words(some)),
            {"text": tf.string} | dict.fromkeys(
                word_splitting.PLACES, tf.int64
            ),
            between_ideographs=True,
        )  # fmt: skip
        if bytes_at_once > 60:
            whole = pieces, words
    same(pieces, whole[0])
    same(words.values(), whole[1].values())
    same(whole[1].values(), word_splitting.split_words(texts)[:-1])
    assert slices.cut(texts, True).row.shape[0] > 2 * texts.shape[0]


def _read(words):
    columns = words._asdict()
    return slices.Read(columns, columns.pop("num_chars"))


def test_added_tokens_stay_whole(monkeypatch, tiny_vocab_file):
    tokens = load_vocab(tiny_vocab_file).tokens
    vocab = Vocab((*tokens, "国人"), (AddedToken("国人"),))
    texts = tf.constant(["中国人国人" * 9])
    expected = qa_signatures.context_pieces(Tokenizer(vocab), texts, WORDS)
    assert len(tokens) in expected.ids.flat_values
    monkeypatch.setattr(slices, "BYTES", 24)
    same(qa_signatures.context_pieces(Tokenizer(vocab), texts, WORDS), expected)


@pytest.mark.parametrize("by_row", [True, False])
def test_large_answers_are_written_piece_by_piece(monkeypatch, by_row):
    texts = np.empty((2, 5), object)
    texts[:] = [[b"a", b"\xff", '"中"'.encode(), b"", b"x\n"]] * 2
    outputs = {
        "texts": texts, "raw_bytes": texts,
        "many": np.arange(40).reshape(2, 20),
        "shares": np.linspace(0, 1, 24, dtype=np.float32).reshape(2, 3, 4),
        "none": np.zeros((2, 0), np.int64), "flags": np.array([True, False]),
        "one_bytes": texts[:, 1],
    }  # fmt: skip
    for some in (outputs, {"many": outputs["many"]}):
        expected = predict_json.answer(some, by_row)
        with monkeypatch.context() as patched:
            patched.setattr(predict_json, "_BLOCK", 3)
            patched.setattr(predict_json, "_MANY", 3)
            assert predict_json.answer(some, by_row) == expected
    assert b"0.04347826" in predict_json.answer(outputs, by_row)
