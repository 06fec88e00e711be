"""Tests splitting a text into words."""

import hypothesis
import pytest
from hypothesis import strategies as st

from electra_tf.tasks.tagging.words import split_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "Mr. Smith didn't go to the U.S. in 1,000.5 days... (really?)",
            "Mr. Smith did n't go to the U.S. in 1,000.5 days ... ( really ? )",
        ),
        ("John's e-mail is a@b.com.", "John 's e-mail is a@b.com ."),
        ("It\u2019s 5% of AT&T, $3.50", "It \u2019s 5 % of AT&T , $ 3.50"),
        ("we'll see O'Brien -- 'quoted'", "we 'll see O'Brien -- ' quoted '"),
        ("No. 5, the no.", "No. 5 , the no ."),
        ("see https://x.org/a?b=1. end", "see https://x.org/a?b=1 . end"),
        ("我爱北京\uff0c2008年 OK", "我 爱 北 京 \uff0c 2008 年 OK"),
        ("नमस्ते दुनिया cafe\u0301", "नमस्ते दुनिया cafe\u0301"),
        ("ПРИВЕТ,мир", "ПРИВЕТ , мир"),
        ("a\tb\u3000c\u2028d", "a b c d"),
        ("", ""),
        (" \x00\n", ""),
    ],
)
def test_words(text, words):
    assert split_words(text)[0] == tuple(words.split())


@hypothesis.given(st.text(max_size=40))
def test_words_have_their_places(text):
    words, starts = split_words(text)
    end, between = 0, ""
    for word, start in zip(words, starts):
        assert word and text[start : start + len(word)] == word
        between += text[end:start]
        end = start + len(word)
    between += text[end:]
    # What is in no word is white space or a control character.
    assert not any(c.isprintable() and not c.isspace() for c in between)
