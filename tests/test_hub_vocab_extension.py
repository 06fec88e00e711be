"""Tests new tokens: their embeddings, and errors with their lines."""

import hub_random
import numpy as np
import pytest

from electra_tf.errors import UserError
from electra_tf.hub.checkpoint import check
from electra_tf.hub.config import DirectoryConfig
from electra_tf.hub.vocab_extension import extend, read_tokens
from electra_tf.models.config import ModelConfig
from electra_tf.text.tokenizer import Tokenizer

VOCAB = hub_random.VOCAB
MODEL = ModelConfig(
    vocab_size=len(VOCAB) + 2, embedding_size=6, hidden_size=8, num_layers=1,
    num_heads=2, intermediate_size=10, max_positions=7,
)  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(VOCAB)


def _ids(*tokens):
    return [VOCAB.ids[token] for token in tokens]


@pytest.mark.parametrize("untied", [False, True])
def test_rows_are_the_mean_of_the_pieces(tokenizer, untied):
    config = DirectoryConfig(
        MODEL, MODEL.generator(0.5), True, None, "",
        generator_embeddings="untied" if untied else "shared",
    )  # fmt: skip
    before = hub_random.checkpoint(config, slots=True)
    new = ("abba", "##ca", "xyz", "bad")
    after = extend(before, new, tokenizer)
    assert after.vocab.tokens == (*VOCAB.tokens, *new)
    size = len(VOCAB) + len(new)
    assert after.config.discriminator.vocab_size == size
    assert after.config.generator.vocab_size == size
    assert after.config.vocab_fingerprint == after.vocab.fingerprint()
    check(after.config, after.weights, "x")
    tables = ["embeddings/word_embeddings", "generator/head/output_bias"]
    if untied:
        tables.append("generator/embeddings/word_embeddings")
    for name in tables:
        old, rows = before.weights[name], after.weights[name]
        assert rows.dtype == old.dtype
        np.testing.assert_array_equal(rows[: len(VOCAB)], old[: len(VOCAB)])
        for row, pieces in zip(
            rows[len(VOCAB) :],
            (
                ("a", "##b", "##b", "##a"), ("c", "##a"), ("[UNK]",),
                ("b", "##a", "##d"),
            ),
        ):  # fmt: skip
            np.testing.assert_allclose(
                row, np.mean(old[_ids(*pieces)], axis=0), rtol=1e-5
            )
        for slot, was in zip(after.slots[name], before.slots[name]):
            np.testing.assert_array_equal(slot[: len(VOCAB)], was[: len(VOCAB)])
            assert not np.any(slot[len(VOCAB) :])
    for name in before.weights:
        if name not in tables:
            np.testing.assert_array_equal(
                after.weights[name], before.weights[name]
            )


def test_spare_rows_are_used_first(tokenizer):
    config = DirectoryConfig(MODEL, None, True, None, "")
    after = extend(hub_random.checkpoint(config), ("abba",), tokenizer)
    assert after.config.discriminator.vocab_size == len(VOCAB) + 2
    check(after.config, after.weights, "x")


def _file(tmp_path, text):
    path = tmp_path / "new.txt"
    path.write_text(text, encoding="utf-8", newline="")
    return str(path)


def test_a_good_file(tmp_path, tokenizer):
    path = _file(tmp_path, "abba\r\n##ca\nbad")
    assert read_tokens(path, tokenizer) == ("abba", "##ca", "bad")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("abba\n\nbad\n", "new.txt:2: no token"),
        ("abba\n##\n", "new.txt:2: no token"),
        ("abba\n##a\n", r"new.txt:2: '##a' is in the vocabulary .*line 16"),
        ("abba\nbad\nabba\n", "new.txt:3: 'abba' repeats line 1"),
        ("abba\nBad\n", "new.txt:2: no text gives the token 'Bad'"),
        ("a b\n", "new.txt:1: no text gives"),
        ("a-b\n", "new.txt:1: no text gives"),
        ("##Ca\n", "new.txt:1: no text gives"),
        (" bad\n", "new.txt:1"),
    ],
)
def test_mistakes_are_named(tmp_path, tokenizer, text, message):
    with pytest.raises(UserError, match=message) as caught:
        read_tokens(_file(tmp_path, text), tokenizer)
    assert "\n" not in str(caught.value)
