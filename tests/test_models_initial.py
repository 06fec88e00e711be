"""Tests of how variables are initialised."""

import numpy as np
import pytest
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.models.config import ModelConfig
from electra_tf.models.encoder import ElectraEncoder


def _probabilities(
    config: ModelConfig, twice: tuple[int, int] | None = None
) -> np.ndarray:
    """Returns the first block's initial attention, [A, L, L], over rows.

    It is the mean over rows of random tokens. At the two positions `twice`
    the tokens are equal.
    """
    tf.keras.utils.set_random_seed(3)
    encoder = ElectraEncoder(config)
    encoder.build()
    ids = tf.random.uniform([8, 40], 5, config.vocab_size, tf.int32)
    if twice:
        ids = tf.concat(
            [
                ids[:, : twice[1]],
                ids[:, twice[0], None],
                ids[:, twice[1] + 1 :],
            ],
            axis=1,
        )
    x = encoder(ids).embedding_output
    heads = config.num_heads
    qkv = encoder.blocks[0].attention.qkv(x)
    qkv = tf.reshape(qkv, [8, 40, 3, heads, config.hidden_size // heads])
    query, key, _ = tf.unstack(tf.transpose(qkv, [2, 0, 3, 1, 4]))
    scores = tf.matmul(query, key, transpose_b=True)
    scores *= (config.hidden_size // heads) ** -0.5
    return tf.nn.softmax(scores).numpy().mean(axis=0)


@pytest.mark.parametrize("num_heads", [2, 4])
def test_heads_start_on_neighbours(num_heads):
    config = ModelConfig(
        vocab_size=300,
        embedding_size=128,
        hidden_size=128,
        num_layers=1,
        num_heads=num_heads,
        initializer_range=0.05,
        local_start=True,
    )
    attention = _probabilities(config)
    for head, offset in enumerate((-1, 1, -2, 2)[:num_heads]):
        shares = {
            o: np.diagonal(attention[head], o).mean() for o in range(-4, 5)
        }
        assert max(shares, key=shares.get) == offset
        assert shares[offset] > 0.3


@pytest.mark.parametrize("hidden", [64, 32])
def test_narrow_heads_start_on_neighbours_too(hidden):
    config = ModelConfig(
        vocab_size=300,
        embedding_size=128,
        hidden_size=128,
        num_layers=1,
        num_heads=4,
        initializer_range=0.05,
        local_start=True,
        match_heads=2,
    ).generator(hidden / 128)
    assert config.hidden_size == hidden and config.local_start
    attention = _probabilities(config)
    assert len(attention) == 1
    shares = {o: np.diagonal(attention[0], o).mean() for o in range(-4, 5)}
    assert max(shares, key=shares.get) == -1
    assert shares[-1] > 0.4


def test_last_heads_start_on_equal_words():
    config = ModelConfig(
        vocab_size=300,
        embedding_size=128,
        hidden_size=128,
        num_layers=1,
        num_heads=4,
        initializer_range=0.05,
        local_start=True,
        match_heads=2,
    )
    attention = _probabilities(config, twice=(7, 24))
    for head, offset in enumerate((-1, 1)):
        assert np.diagonal(attention[head], offset).mean() > 0.5
    for head in (2, 3):
        assert attention[head][7, 24] > 0.1
        assert attention[head][24, 7] > 0.1
        others = attention[head][7, [3, 11, 19, 28]]
        assert others.max() < 0.05


def test_match_heads_reach_the_generator():
    config = ModelConfig.of_size("mini", local_start=True, match_heads=2)
    same = config.generator(1.0)
    assert (same.num_heads, same.match_heads) == (4, 2)
    narrow = config.generator(0.5)
    assert (narrow.num_heads, narrow.match_heads) == (1, 0)
    assert narrow.local_start and narrow.words_apart
    assert not same.words_apart  # match_heads implies it
    odd = config.generator(0.75)  # 96 does not divide 128
    assert (odd.num_heads, odd.match_heads, odd.local_start) == (1, 0, False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"match_heads": 2},
        {"match_heads": 4, "local_start": True},
        {"match_heads": -1, "local_start": True},
        {"words_apart": True},
    ],
)
def test_match_heads_need_a_local_start_and_neighbours(wrong):
    with pytest.raises(UserError, match=r"match_heads|words_apart"):
        ModelConfig.of_size("mini", num_heads=4, **wrong)


def test_the_original_start_has_no_preference():
    config = ModelConfig(
        vocab_size=300, hidden_size=128, num_layers=1, num_heads=2
    )
    assert _probabilities(config).max() < 0.1


def test_local_start_needs_positions_of_the_hidden_size():
    with pytest.raises(UserError, match="local_start"):
        ModelConfig(local_start=True)  # embeddings of 128, hidden size 256
