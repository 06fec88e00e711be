"""Tests how sentences become rows of tokens."""

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from electra_tf.errors import UserError
from electra_tf.models.task_networks import ClassifierOutput
from electra_tf.tasks.features import unit_features
from electra_tf.tasks.tagging.task import Tagging, TaggingOptions
from electra_tf.tasks.tagging.words import Sentence
from electra_tf.text.tokenizer import Tokenizer

TRAIN = [
    Sentence(("The", "cat", "sat"), ("B-NP", "I-NP", "B-VP"), place="t:1"),
    Sentence(("she", "ran", "on"), ("B-NP", "O", "O"), place="t:5"),
]


@pytest.fixture(scope="module")
def tokenizer(tiny_vocab_file):
    return Tokenizer(tiny_vocab_file)


def fitted(examples=TRAIN):
    task = Tagging()
    task.fit(examples)
    return task


def test_rows(tokenizer):
    task = fitted()
    features = task.features(tokenizer, TRAIN, training=True)
    batch = features.batch([0, 1])
    tokens = [tokenizer.vocab.tokens[i] for i in batch["input_ids"][0]]
    assert tokens == "[CLS] the cat sat [SEP]".split()
    assert not batch["segment_ids"].any()
    names = task.state["labels"]
    assert names == ["O", "B-NP", "I-NP", "B-VP", "I-VP"]
    assert batch["labels"].tolist() == [[-1, 1, 2, 3, -1], [-1, 1, 0, 0, -1]]
    np.testing.assert_allclose(batch["scale"], [1 / 3, 1 / 3])


def test_first_pieces_are_tagged(tokenizer):
    # "zebra" has several pieces, "\u200b" has none.
    sentence = Sentence(
        ("zebra", "\u200b", "sat"), ("B-NP", "I-NP", "O"), place="t:1"
    )
    task = fitted([*TRAIN, sentence])
    features = task.features(tokenizer, [sentence], training=True)
    assert features.tokens["labels"].tolist() == [-1, 1, -1, -1, -1, -1, 0, -1]
    assert features.extra.row.tolist() == [0, -1, 0]
    assert features.extra.position.tolist() == [1, -1, 6]


WORDS = ("the", "cat", "zebra", "\u200b", "x" * 30, "", "人国")


@pytest.fixture(scope="module")
def pieces(tokenizer):
    return dict(zip(WORDS, tokenizer(list(WORDS)).to_list()))


@hypothesis.given(
    st.lists(
        st.lists(st.sampled_from(WORDS), max_size=30), min_size=1, max_size=4
    ),
    st.integers(3, 20),
)
def test_every_word_has_a_place(tokenizer, pieces, sentences, max_length):
    labels = np.arange(sum(map(len, sentences)))
    features = unit_features(tokenizer, sentences, max_length)
    places = features.extra
    assert features.lengths.max() <= max_length
    assert features.lengths.min() >= 2
    assert set(features.examples) == set(range(len(sentences)))
    word = 0
    for number, sentence in enumerate(sentences):
        for token in sentence:
            row, position = places.row[word], places.position[word]
            ids = pieces[token][: max_length - 2]
            assert (row >= 0) == bool(ids)
            if ids:
                assert features.examples[row] == number
                start = features.row_splits[row] + position
                there = features.tokens["input_ids"][start:][: len(ids)]
                assert there.tolist() == ids
                assert position + len(ids) < features.lengths[row]
            word += 1
    # In training, each of these words is labelled once.
    trained = unit_features(tokenizer, sentences, max_length, labels)
    learned = trained.tokens["labels"]
    assert (
        sorted(learned[learned >= 0]) == np.nonzero(places.row >= 0)[0].tolist()
    )


def test_words_of_a_long_sentence_see_both_sides(tokenizer):
    words = ["cat"] * 50
    features = unit_features(tokenizer, [words], 18)
    assert len(features) == 4 and features.lengths.tolist() == [18, 18, 18, 16]
    places = features.extra
    inside = places.row[2:-2]
    around = np.minimum(
        places.position[2:-2], features.lengths[inside] - places.position[2:-2]
    )
    assert around.min() >= 3


def test_no_room(tokenizer):
    with pytest.raises(UserError, match="max_seq_length: expected at least 3"):
        TaggingOptions(max_seq_length=2)


def test_loss_weighs_words_alike(tokenizer):
    task = fitted()
    long = Sentence(("the",) * 6, ("O",) * 6, place="t:1")
    features = task.features(tokenizer, [*TRAIN, long], training=True)
    batch = features.batch(np.arange(3))
    logits = np.random.default_rng(0).normal(
        size=[*batch["labels"].shape, 5]
    ).astype("float32")  # fmt: skip
    loss = task.loss(ClassifierOutput(tf.constant(logits), None), batch)
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    tagged = batch["labels"] >= 0
    picked = -log_probs[tagged, batch["labels"][tagged]]
    assert loss.shape == (3,) and len(picked) == 12
    # The mean over rows is the mean over words.
    np.testing.assert_allclose(loss.numpy().mean(), picked.mean(), rtol=1e-5)
    # The logits of other tokens do not matter.
    logits[~tagged] += 7 * logits[~tagged]
    again = task.loss(ClassifierOutput(tf.constant(logits), None), batch)
    np.testing.assert_allclose(loss, again)
