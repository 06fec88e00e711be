"""Compares beam search with the scores of all hypotheses of a toy model."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.generation.beam_search import search
from electra_tf.generation.settings import SearchConfig

START, END, VOCAB = 0, 1, 4


class Toy:
    """A decoder whose logits depend on the source and the last two tokens.

    The cache of a row has the source's number and the row's tokens, so that a
    wrong reordering of the cache changes the results.
    """

    def __init__(self, sources, seed=0, steady=False):
        rng = np.random.default_rng(seed)
        shape = [sources, 12, VOCAB, VOCAB, VOCAB]
        self.table = rng.normal(scale=2.0, size=shape).astype("float32")
        if steady:  # equal at every position, and slow to end: it repeats
            self.table[:] = self.table[:, :1]
            self.table[..., END] -= 8.0

    def cache(self, sources, beams):
        rows = np.repeat(np.array(sources, "int32"), beams)
        return tf.constant(rows), tf.zeros([len(rows), 0], tf.int32)

    def step(self, ids, position, cache):
        source, past = cache
        before = tf.concat([tf.zeros_like(past), ids[:, None]], axis=1)[:, :1]
        if_any = tf.shape(past)[1] > 0
        last = tf.cond(if_any, lambda: past[:, -1], lambda: before[:, 0])
        at = tf.stack(
            [source, tf.fill(tf.shape(ids), position), last, ids], axis=1
        )
        past = tf.concat([past, ids[:, None]], axis=1)
        return tf.gather_nd(self.table, at), (source, past)

    def log_probs(self, source, tokens):
        """Yields the log probability of each token, given those before it."""
        before, last = 0, START
        for t, token in enumerate(tokens):
            before = last if t == 0 else tokens[t - 2] if t > 1 else START
            row = self.table[source, t, START if t == 0 else before, last]
            row = row.astype("float64")
            yield (row - np.log(np.exp(row).sum()))[token]
            last = token


def run(toy, sources, banned=None, graph=False, **options):
    config = SearchConfig(**options)
    shapes = tf.TensorShape([None]), tf.TensorShape([None, None])

    def found():
        return search(
            toy.step, toy.cache(sources, config.beam_size), shapes,
            tf.constant(len(sources)), config, START, END, banned,
        )  # fmt: skip

    if graph:
        found = tf.function(found, autograph=False)
    return [value.numpy() for value in found()]


def hypotheses(toy, source, length, alpha, allowed=None):
    """Returns all hypotheses with their scores, the best first."""
    others = [t for t in range(VOCAB) if t != END]
    found = []
    for n in range(length + 1):
        for tokens in itertools.product(others, repeat=n):
            ended = n < length
            whole = [*tokens, END] if ended else list(tokens)
            if allowed and not allowed(whole):
                continue
            total = sum(toy.log_probs(source, whole))
            score = total / ((5 + len(whole)) / 6) ** alpha
            found.append((ended, score, list(tokens)))
    return sorted(found, reverse=True)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
def test_a_wide_beam_finds_the_best_of_all(alpha):
    toy = Toy(3)
    ids, lengths, scores = run(
        toy, [0, 1, 2], beam_size=120, max_length=4, length_penalty=alpha,
        graph=alpha == 0.6,
    )  # fmt: skip
    for source in range(3):
        expected = hypotheses(toy, source, 4, alpha)[:20]
        for k, (_, score, tokens) in enumerate(expected):
            found = ids[source, k, : lengths[source, k]].tolist()
            assert found == tokens
            assert scores[source, k] == pytest.approx(score, abs=1e-4)
            assert (ids[source, k, len(tokens) :] == END).all()


def greedy(toy, source, length):
    tokens = []
    for _ in range(length):
        scores = [
            list(toy.log_probs(source, [*tokens, token]))[-1]
            for token in range(VOCAB)
        ]
        if np.argmax(scores) == END:
            break
        tokens.append(int(np.argmax(scores)))
    return tokens


def test_one_beam_is_greedy():
    toy = Toy(8, seed=3)
    ids, lengths, _ = run(toy, range(8), beam_size=1, max_length=6)
    found = [row[0, : n[0]].tolist() for row, n in zip(ids, lengths)]
    assert found == [greedy(toy, source, 6) for source in range(8)]
    assert {len(row) for row in found} > {6}  # truncated ones, and others


def test_a_beam_scores_no_worse_than_greedy():
    toy = Toy(20, seed=1)
    _, _, one = run(toy, range(20), beam_size=1, max_length=4)
    _, _, four = run(toy, range(20), beam_size=4, max_length=4)
    assert (four[:, 0] > one[:, 0] + 1e-5).sum() >= 5


@pytest.mark.parametrize("beams", [1, 3])
def test_a_source_does_not_depend_on_the_others(beams):
    toy = Toy(6, seed=5)
    together = run(toy, range(6), beam_size=beams, max_length=7)
    for source in range(6):
        alone = run(toy, [source], beam_size=beams, max_length=7)
        for one, all_ in zip(alone, together):
            np.testing.assert_allclose(one[0], all_[source], atol=1e-5)


def test_length_penalty_lengthens():
    toy = Toy(10, seed=2)
    means = [
        run(toy, range(10), beam_size=4, max_length=8, length_penalty=a)[1][
            :, 0
        ].mean()
        for a in (0.0, 1.0, 3.0)
    ]
    assert means[0] <= means[1] <= means[2]
    assert means[0] < means[2]


def repeats(tokens, n):
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    return len(grams) > len(set(grams))


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("beams", [1, 4])
def test_no_ngram_comes_twice(n, beams):
    toy = Toy(12, seed=4, steady=True)
    options = {"beam_size": beams, "max_length": 12}
    # The end is banned, so that sequences are as long as possible.
    endless = tf.constant([False, True, False, False])
    free, lengths, _ = run(toy, range(12), endless, **options)
    ids, kept, scores = run(toy, range(12), no_repeat_ngram=n, **options)
    rows = [
        ids[b, k, : kept[b, k]].tolist()
        for b in range(12)
        for k in range(beams)
        if np.isfinite(scores[b, k])
    ]
    assert not any(repeats(row, n) for row in rows)
    before = [free[b, 0, : lengths[b, 0]].tolist() for b in range(12)]
    assert any(repeats(row, n) for row in before)


def test_the_best_without_repeats():
    toy = Toy(2, seed=7)
    ids, lengths, _ = run(
        toy, range(2), beam_size=120, max_length=4, no_repeat_ngram=2
    )
    for source in range(2):
        _, _, tokens = hypotheses(
            toy, source, 4, 0.6, lambda row: not repeats(row, 2)
        )[0]
        assert ids[source, 0, : lengths[source, 0]].tolist() == tokens


def test_banned_tokens_are_never_written():
    toy = Toy(5, seed=8)
    banned = tf.constant([False, False, True, False])
    ids, lengths, scores = run(toy, range(5), banned, beam_size=3, max_length=6)
    real = np.arange(6) < lengths[..., None]
    assert not (ids[real] == 2).any()
    assert np.isfinite(scores).all()


def test_no_source_at_all():
    ids, lengths, scores = run(
        Toy(1), [], beam_size=3, max_length=5, graph=True
    )
    assert ids.shape == (0, 3, 5)
    assert lengths.shape == scores.shape == (0, 3)


def test_fewer_hypotheses_than_beams():
    """With length 1 there are four hypotheses: the end and three tokens."""
    _, lengths, scores = run(Toy(1), [0], beam_size=6, max_length=1)
    assert np.isfinite(scores[0]).sum() == 4
    assert sorted(lengths[0, :4].tolist()) == [0, 1, 1, 1]
    assert lengths[0, 0] == 0  # the ended hypothesis comes first


@pytest.mark.parametrize(
    "wrong",
    [
        {"beam_size": 0},
        {"max_length": 0},
        {"length_penalty": -0.1},
        {"no_repeat_ngram": -1},
    ],
)
def test_wrong_settings(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        SearchConfig(**wrong)


def test_the_search_continues_while_a_better_hypothesis_is_unfinished():
    """Poor hypotheses that end early do not stop the search for the best."""
    toy = Toy(1)
    # Six times 2 and then the end is nearly certain; otherwise the end is the
    # most probable token.
    toy.table[:] = 0.0
    toy.table[..., END] = 3.0
    toy.table[:, :6, ..., 2] = 9.0
    toy.table[:, 6, ..., END] = 9.0
    for beams in (1, 2, 3):
        ids, lengths, _ = run(toy, [0], beam_size=beams, max_length=9)
        assert ids[0, 0, : lengths[0, 0]].tolist() == [2] * 6
