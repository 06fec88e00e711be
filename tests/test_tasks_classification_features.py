"""Tests how texts and pairs of texts become model inputs."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from text_rows import pair_features

from electra_tf.errors import UserError
from electra_tf.text.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def tokenizer(tiny_vocab_file):
    return Tokenizer(tiny_vocab_file)


def row(features, i, tokenizer):
    """Returns the tokens and segments of row `i` without its padding."""
    length = int(features["input_mask"][i].sum())
    ids = features["input_ids"][i]
    assert np.all(ids[length:] == tokenizer.vocab.pad_id)
    assert np.all(features["segment_ids"][i][length:] == 0)
    assert np.all(features["input_mask"][i][:length] == 1)
    tokens = [tokenizer.vocab.tokens[t] for t in ids[:length]]
    return tokens, features["segment_ids"][i][:length].tolist()


def test_text_alone(tokenizer):
    features = pair_features(tokenizer, ["the cat", "a dog ran on"], None, 5)
    assert row(features, 0, tokenizer) == (
        ["[CLS]", "the", "cat", "[SEP]"], [0] * 4,
    )  # fmt: skip
    assert row(features, 1, tokenizer)[0] == "[CLS] a dog ran [SEP]".split()
    assert all(value.dtype == "int32" for value in features.values())
    assert all(value.shape == (2, 5) for value in features.values())


def test_half_a_character_is_reported_however_often_texts_came(tiny_vocab_file):
    tokenizer = Tokenizer(tiny_vocab_file)
    for _ in range(20):  # after so many calls the tokenizer is traced
        pair_features(tokenizer, ["the cat"], None, 5)
        with pytest.raises(UserError, match="expected a list of str"):
            pair_features(tokenizer, ["the \ud800"], None, 5)


def test_pair(tokenizer):
    features = pair_features(tokenizer, ["the cat"], ["she sat"], 9)
    tokens, segments = row(features, 0, tokenizer)
    assert tokens == "[CLS] the cat [SEP] she sat [SEP]".split()
    assert segments == [0, 0, 0, 0, 1, 1, 1]


def test_second_text_without_tokens_is_none(tokenizer):
    features = pair_features(
        tokenizer, ["the cat sat on a mat", "the"], ["", "dog"], 6
    )
    tokens, segments = row(features, 0, tokenizer)
    assert tokens == "[CLS] the cat sat on [SEP]".split()
    assert set(segments) == {0}
    assert row(features, 1, tokenizer)[0] == "[CLS] the [SEP] dog [SEP]".split()


def test_no_texts(tokenizer):
    features = pair_features(tokenizer, [], None, 8)
    assert all(value.shape == (0, 8) for value in features.values())


def test_wrong_arguments(tokenizer):
    with pytest.raises(UserError, match="max_length is 2"):
        pair_features(tokenizer, ["a"], None, 2)
    with pytest.raises(ValueError, match="1 first texts, 2 second"):
        pair_features(tokenizer, ["a"], ["b", "c"], 8)


@hypothesis.given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=5
    ),
    st.integers(3, 14),
)
@hypothesis.settings(max_examples=40)
def test_truncation_takes_from_the_longer_text(tokenizer, lengths, width):
    features = pair_features(
        tokenizer,
        ["the " * a for a, _ in lengths],
        ["dog " * b for _, b in lengths],
        width,
    )
    for i, (a, b) in enumerate(lengths):
        paired = b > 0
        while a + b > width - 2 - paired:
            if a > b:
                a -= 1
            else:
                b -= 1
        expected = ["[CLS]", *["the"] * a, "[SEP]"]
        segments = [0] * len(expected)
        if paired:
            expected += [*["dog"] * b, "[SEP]"]
            segments += [1] * (b + 1)
        assert row(features, i, tokenizer) == (expected, segments)


def test_equals_the_encoder_of_exported_models(tokenizer):
    first = ["the cat sat", "a mat", "she ran on a mat with the dog"]
    second = ["on a mat", "which one of you", "he"]
    ours = pair_features(tokenizer, first, second, 10)
    for name, value in tokenizer.encode(first, second, 10).items():
        np.testing.assert_array_equal(ours[name], value)
