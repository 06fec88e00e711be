"""Tests the share of [UNK] and its reported causes."""

import pytest

from electra_tf.text import unknown
from electra_tf.text.vocab import SPECIALS, Vocab

ENGLISH = ("the", "cat", "sat", "##s", *"abcdefghijklmnopqrstuvwxyz.,")


def vocab(*tokens):
    return Vocab((*SPECIALS, *tokens))


def test_share_and_when_it_is_worth_a_warning():
    few = unknown.unknown_share(1, 100, vocab(*ENGLISH), True, iter(()))
    assert (few.percent, few.notable, few.cause) == (1.0, False, None)
    many = unknown.unknown_share(3, 200, vocab(*ENGLISH), True, ["猫 坐 下"])
    assert many.percent == 1.5 and many.notable
    assert str(many).startswith("1.50 % of the tokens are [UNK] (3 of 200): ")
    assert unknown.UnknownShare(0, 0).percent == 0.0


@pytest.mark.parametrize(
    ("tokens", "lower_case", "text", "message"),
    [
        (("The", "Cat", "Sat", *"abc"), True, "the cat", "--nolower_case"),
        (("▁the", "▁cat", "s"), True, "the cat", "SentencePiece"),
        (ENGLISH, False, "The CAT Sat", "--lower_case"),
        (ENGLISH, True, "这家店很好", "(CJK)"),
        (ENGLISH, True, "это кошка", "(CYRILLIC)"),
        (ENGLISH, True, "नमस्ते दुनिया", "(DEVANAGARI)"),
        (ENGLISH, True, "the “ cat ” sat “ 猫", "these signs of the text: “ ”"),
        (ENGLISH, True, "a" * 201 + " cat", "longer than 200"),
    ],
)
def test_causes(tokens, lower_case, text, message):
    cause = unknown.likely_cause(vocab(*tokens), lower_case, [text])
    assert cause is not None and message in cause


def test_text_that_fits_has_no_cause():
    assert unknown.likely_cause(vocab(*ENGLISH), True, ["Thé Cat sat."]) is None
    assert unknown.vocabulary_problem(vocab(*ENGLISH), True) is None
    cased = vocab("The", "Cat", "sat")
    assert unknown.vocabulary_problem(cased, False) is None


def test_no_more_text_is_read_than_is_needed():
    def texts():
        yield "猫" * unknown._SAMPLE
        raise AssertionError("the second text was asked for")

    assert unknown.likely_cause(vocab(*ENGLISH), True, texts())
