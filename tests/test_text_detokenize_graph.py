"""Tests that text of token ids is the same in the graph as in Python."""

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from electra_tf.text import detokenize
from electra_tf.text.detokenize import Detokenizer, Spacing
from electra_tf.text.vocab import SPECIALS, Vocab

PIECES = (
    *SPECIALS, *".,:;!?-'\"()[]$%/“”„’‘«»…", "##-", "##.", "a", "##a",  # noqa: RUF001
    "don", "t", "##t", "ll", "l", "##l", "s", "##s", "re", "3", "##4", "14",
    "²", "Häuser", "é", "中", "##国", "国", "カ", "。", "##", "a1", "ß",
)  # fmt: skip
VOCAB = Vocab(PIECES)
SPACINGS = [
    detokenize.USUAL,
    Spacing(frozenset("-/.”“"), frozenset("-/„")),
    Spacing(frozenset(), frozenset()),
]


def in_python(rows, spacing):
    skipped = set(VOCAB.special_ids) - {VOCAB.unk_id}
    return [
        detokenize.join([PIECES[i] for i in row if i not in skipped], spacing)
        for row in rows
    ]


GRAPHS = [
    tf.function(
        Detokenizer(VOCAB, spacing).__call__,
        input_signature=[tf.RaggedTensorSpec([None, None], tf.int32, 1)],
        autograph=False,
    )
    for spacing in SPACINGS
]


def in_the_graph(rows, number):
    ragged = tf.ragged.constant(rows, tf.int32, ragged_rank=1)
    return [text.decode() for text in GRAPHS[number](ragged).numpy()]


@pytest.mark.parametrize("number", range(len(SPACINGS)))
@given(
    rows=st.lists(
        st.lists(st.integers(0, len(PIECES) - 1), max_size=12), max_size=6
    )
)
@settings(max_examples=150)
def test_the_same_bytes(number, rows):
    assert in_the_graph(rows, number) == in_python(rows, SPACINGS[number])


def test_example_texts():
    tokens = 'don \' t , " a ##a " 3 . 14 ( s - a ) 中 国 。 Häuser'.split()
    row = [PIECES.index(token) for token in tokens]
    expected = 'don\'t, "aa" 3.14 (s - a) 中国。 Häuser'
    assert in_the_graph([row, [], [2, 3]], 0) == [expected, "", ""]
    assert "( s-a )" in in_the_graph([row], 1)[0]


def test_spacing_is_learned():
    texts = [
        "Ein T-Shirt, rot/blau und „alt“ - so.",
        'Das E-Bike (neu) ist "gut". Ja',
    ] * 10
    found = detokenize.learn(texts)
    assert {"/", "“", ",", ".", ")"} <= found.before
    assert {"/", "„", "("} <= found.after
    assert "-" in found.before and "-" in found.after  # in two of three places
    assert "“" not in found.after  # unlike the default
    tokens = "ein t - shirt , rot / blau und „ alt “".split()
    text = detokenize.join(tokens, found)
    assert text == "ein t-shirt, rot/blau und „alt“"
    assert detokenize.learn(texts[:2]) == detokenize.USUAL
