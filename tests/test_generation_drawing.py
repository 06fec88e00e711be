"""Tests the sampling of tokens, and which tokens may be generated."""

import numpy as np
import pytest

from electra_tf.errors import UserError
from electra_tf.generation.settings import Draw
from electra_tf.generation.writing import BANNED, Pieces, draw
from electra_tf.text.vocab import SPECIALS, Vocab

STEPS = 4000
LOGITS = np.log(np.array([0.05, 0.4, 0.3, 0.2, 0.05], "float32"))


def shares(how, logits=LOGITS):
    """Returns how often each token is sampled, for evenly spaced numbers."""
    uniform = (np.arange(STEPS, dtype="float32") + 0.5) / STEPS
    tokens = draw(np.repeat([logits], STEPS, 0), uniform, how).numpy()
    return np.bincount(tokens, minlength=len(logits)) / STEPS


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (Draw(), [0.05, 0.4, 0.3, 0.2, 0.05]),
        (Draw(temperature=0.5), np.square([0.05, 0.4, 0.3, 0.2, 0.05]) / 0.295),
        (Draw(temperature=0), [0, 1, 0, 0, 0]),
        (Draw(top_k=1), [0, 1, 0, 0, 0]),
        (Draw(top_k=2), [0, 4 / 7, 3 / 7, 0, 0]),
        (Draw(top_k=99), [0.05, 0.4, 0.3, 0.2, 0.05]),
        # The first two have 0.7, so the third is needed to reach 0.75.
        (Draw(top_p=0.75), [0, 4 / 9, 3 / 9, 2 / 9, 0]),
        (Draw(top_p=0.3), [0, 1, 0, 0, 0]),
        (Draw(top_k=3, top_p=0.7), [0, 4 / 7, 3 / 7, 0, 0]),
    ],
)
def test_shares(how, expected):
    np.testing.assert_allclose(shares(how), expected, atol=2e-3)


@pytest.mark.parametrize("how", [Draw(), Draw(top_k=4), Draw(top_p=0.999)])
def test_banned_tokens_are_never_sampled(how):
    logits = np.where([True, False, True, True, True], BANNED, LOGITS)
    assert shares(how, logits.astype("float32")).tolist() == [0, 1, 0, 0, 0]


@pytest.mark.parametrize("temperature", [1e9, 1e38])
@pytest.mark.parametrize("more", [{}, {"top_k": 4}, {"top_p": 0.9999}])
def test_banned_tokens_are_never_sampled_at_high_temperature(temperature, more):
    logits = np.where([True, False, True, False, True], BANNED, LOGITS)
    how = Draw(temperature=temperature, **more)
    found = shares(how, logits.astype("float32"))
    np.testing.assert_allclose(found, [0, 0.5, 0, 0.5, 0], atol=2e-3)


@pytest.mark.parametrize("temperature", [1e-45, 1e-38, 1e-29])
def test_the_lowest_temperatures_take_the_most_probable(temperature):
    logits = np.where([True, False, False, False, True], BANNED, LOGITS)
    found = shares(Draw(temperature=temperature), logits.astype("float32"))
    assert found.tolist() == [0, 1, 0, 0, 0]


def test_sampling_at_the_smallest_and_largest_random_numbers():
    logits = np.where([True, False, False, False, True], BANNED, LOGITS)
    ends = np.array([0, np.nextafter(np.float32(1), np.float32(0))], "float32")
    found = draw(np.float32([logits, logits]), ends, Draw()).numpy()
    assert found.tolist() == [1, 3]


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1}, {"temperature": float("nan")},
        {"temperature": float("inf")}, {"top_k": -1}, {"top_p": 0},
        {"top_p": 1.1},
    ],
)  # fmt: skip
def test_wrong_settings(wrong):
    (name,) = wrong
    with pytest.raises(UserError, match=f"{name}: .* got {wrong[name]}"):
        Draw(**wrong)


WORDS = (
    *SPECIALS, "[unused1]", "cat", "##s", "##国", "国", ",", "[", "##", "é",
    "\u200b", "##ing", "3",
)  # fmt: skip


def test_tokens_that_may_be_written():
    pieces = Pieces(Vocab(WORDS), len(WORDS) + 2)
    allowed = [t for t, no in zip(WORDS, pieces.banned) if not no]
    assert allowed == ["cat", "##s", "国", ",", "[", "##", "é", "##ing", "3"]
    assert pieces.banned[len(WORDS) :].all()
    carries = [t for t, yes in zip(WORDS, pieces.carries) if yes]
    assert carries == ["cat", "##s", "é", "##ing", "3"]


def test_broken_pieces():
    vocab = Vocab(WORDS)
    pieces = Pieces(vocab, len(WORDS))
    ids = np.array(
        [
            [vocab.ids[t] for t in row.split()]
            for row in ("##s cat ##s ##ing", ", ##s ##s 国", "##s 国 ##s cat")
        ]
    )
    found = pieces.broken(ids, np.array([False, False, True]))
    assert found.tolist() == [
        [True, False, False, False],
        [False, True, False, False],
        [False, False, True, False],
    ]
