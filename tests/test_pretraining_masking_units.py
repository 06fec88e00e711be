"""Tests of masking whole words and spans."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from electra_tf.errors import UserError
from electra_tf.models import randomness
from electra_tf.pretraining import masking
from electra_tf.pretraining.masking import MaskingConfig, SpecialIds

CLS, SEP, MASK = 2, 3, 4
PIECES = 500  # ids from here on continue a word
SPECIAL = SpecialIds(CLS, SEP, MASK, tuple(i >= PIECES for i in range(1000)))
LENGTH = 32
UNITS = ("whole_word", "span")


def _row(words, length=LENGTH):
    """Returns [CLS] and ids for lengths of words (0 for [SEP]), padded."""
    ids = [CLS]
    for n, size in enumerate(words):
        ids += [10 + n, *[PIECES + n] * (size - 1)] if size else [SEP]
    ids = [*ids, SEP][:length]
    return ids + [0] * (length - len(ids))


def _batch(rows):
    ids = np.array(rows, "int32")
    return {
        "input_ids": tf.constant(ids),
        "input_mask": tf.constant((ids > 0).astype("int32")),
        "segment_ids": tf.zeros_like(ids),
    }


def _keys(rows, seed=0):
    return randomness.example_keys(tf.range(rows, dtype=tf.int64), seed)


def _mask(batch, unit, seed=0, **options):
    rows = batch["input_ids"].shape[0]
    config = MaskingConfig(unit=unit, **options)
    return masking.mask(batch, config, SPECIAL, _keys(rows, seed))


def _words(row):
    """Returns the positions of each word's tokens."""
    words, inside = [], False
    for i, token in enumerate(row):
        if token in (0, CLS, SEP):
            inside = False
        elif inside and token >= PIECES:
            words[-1].append(i)
        else:
            words.append([i])
            inside = True
    return words


_rows = st.lists(
    st.lists(st.integers(0, 6), max_size=16), min_size=4, max_size=4
)


@given(_rows, st.integers(0, 99), st.sampled_from(UNITS))
def test_words_are_masked_whole_or_not_at_all(rows, seed, unit):
    batch = _batch([_row(words) for words in rows])
    masked = _mask(batch, unit, seed)
    slots = MaskingConfig().slots(LENGTH)
    ids = batch["input_ids"].numpy()
    for row in range(len(rows)):
        used = masked.masked_lm_weights.numpy()[row] > 0
        positions = masked.masked_lm_positions.numpy()[row]
        assert used.shape == (slots,) and not positions[~used].any()
        chosen = set(positions[used])
        assert len(chosen) == used.sum()
        words = _words(ids[row])
        total = int((ids[row] > 0).sum())
        budget = np.clip(np.round(np.float32(0.15) * total), 1, slots)
        taken = [set(word) <= chosen for word in words]
        # No word is split, and only tokens of words are chosen.
        assert chosen == {i for word, t in zip(words, taken) if t for i in word}
        assert len(chosen) <= budget
        rest = [len(word) for word, t in zip(words, taken) if not t]
        if unit == "whole_word":
            assert all(n > budget - len(chosen) for n in rest)
        elif rest and not chosen:
            assert min(rest) > budget
        np.testing.assert_array_equal(
            masked.masked_lm_ids.numpy()[row],
            np.where(used, ids[row][positions], 0),
        )
        # [MASK] replaces all tokens of a word or none.
        now = masked.masked_input_ids.numpy()[row]
        at = set(np.flatnonzero(now == MASK))
        assert at <= chosen
        assert all(set(w) <= at or not set(w) & at for w in words)
        assert (now == ids[row])[
            [i for i in range(LENGTH) if i not in at]
        ].all()


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=20),
    st.integers(0, 30),
    st.integers(0, 99),
)
def test_words_are_taken_one_by_one(sizes, budget, seed):
    length = 200
    starts = np.zeros([1, length], bool)
    starts[0, np.cumsum([0, *sizes[:-1]])] = True
    members = np.arange(length)[None] < sum(sizes)
    draw = np.random.default_rng(seed).random([1, length], np.float32)
    chosen = masking.choose_words(
        tf.constant(members),
        tf.constant(starts),
        tf.constant([budget]),
        tf.constant(draw),
    )
    number = np.repeat(np.arange(len(sizes)), sizes)
    want = set()
    for word in np.argsort(-draw[0, : len(sizes)]):
        if sizes[word] <= budget:
            budget -= sizes[word]
            want.add(int(word))
    got = chosen.tokens.numpy()[0]
    np.testing.assert_array_equal(
        got, np.isin(number, list(want)).tolist() + [False] * (~members).sum()
    )
    np.testing.assert_array_equal(chosen.unit[0, : len(number)], number)


def _shares(unit, words, length, rows=20_000, **options):
    """Returns how often each position of a row is chosen, over many keys."""
    row = _row(words, length)
    masked = _mask(_batch([row] * rows), unit, **options)
    used = masked.masked_lm_weights.numpy() > 0
    counts = np.bincount(
        masked.masked_lm_positions.numpy()[used], minlength=length
    )
    at = np.take_along_axis(
        masked.masked_input_ids.numpy(), masked.masked_lm_positions.numpy(), 1
    )
    assert (at == MASK)[used].mean() == pytest.approx(0.85, abs=0.01)
    return counts / rows, row


# In English text about one piece in five continues a word.
ORDINARY = [1, 1, 2, 1, 1, 1, 3, 1, 1, 1, 1, 2, 1, 1, 1] * 6


@pytest.mark.parametrize("unit", UNITS)
def test_tokens_of_an_ordinary_row_are_chosen_about_equally_often(unit):
    words = [*ORDINARY[:45], 0, *ORDINARY[45:]]
    shares, row = _shares(unit, words, 128)
    places = [i for i, token in enumerate(row) if token not in (0, CLS, SEP)]
    assert not np.delete(shares, places).any()
    assert shares[places].sum() == pytest.approx(
        round(0.15 * np.count_nonzero(row)),
        rel=0.02 if unit == "span" else 1e-3,
    )
    # Longer words are a little rarer, since they fit in less often.
    mean = shares[places].mean()
    assert abs(shares[places] / mean - 1).max() < 0.15
    words = [w for w in _words(row) if len(w) == 1]
    single = np.array([shares[w[0]] for w in words])
    assert abs(single / single.mean() - 1).max() < 0.1
    # Neither end of the row is favoured.
    thirds = [part.mean() for part in np.array_split(shares[places], 3)]
    assert np.ptp(thirds) < 0.03 * mean


def test_long_words_are_masked_in_short_rows_too():
    shares, row = _shares("whole_word", [1, 3] * 15, 64, max_predictions=9)
    one = np.mean([shares[w[0]] for w in _words(row) if len(w) == 1])
    three = np.mean([shares[w[0]] for w in _words(row) if len(w) == 3])
    assert 0.6 < three / one < 1


def test_span_lengths_are_spanberts():
    uniform = tf.constant(np.random.default_rng(0).random(200_000, np.float32))
    got = masking.span_lengths(uniform, 0.2, 10).numpy()
    shares = 0.2 * 0.8 ** np.arange(10)
    shares /= shares.sum()
    counts = np.bincount(got, minlength=11)
    assert len(counts) == 11 and counts[0] == 0
    np.testing.assert_allclose(counts[1:] / 200_000, shares, atol=0.004)
    assert got.mean() == pytest.approx(3.8, abs=0.02)  # as the paper says
    assert (masking.span_lengths(uniform, 0.2, 1).numpy() == 1).all()
    assert (masking.span_lengths(uniform, 1.0, 9).numpy() == 1).all()


def test_masked_spans_have_the_sampled_lengths():
    rows, length = 4000, 512
    row = _row([1, 2] * 170, length)
    masked = _mask(_batch([row] * rows), "span")
    word = np.cumsum([token < PIECES for token in row])
    lengths = []
    for weights, positions in zip(
        masked.masked_lm_weights.numpy(), masked.masked_lm_positions.numpy()
    ):
        chosen = np.unique(word[positions[weights > 0]])
        runs = np.split(chosen, np.flatnonzero(np.diff(chosen) > 1) + 1)
        lengths += [len(run) for run in runs]
    lengths = np.array(lengths)
    # Adjacent spans look like one, and the last of a row is truncated.
    assert lengths.mean() == pytest.approx(3.8, rel=0.12)
    assert (lengths > 10).mean() < 0.05
    assert (lengths == 1).mean() == pytest.approx(0.224, abs=0.04)


def test_spans_stay_within_segments_and_are_kept_or_masked_whole():
    rows = 3000
    row = _row([1] * 14 + [0] + [1] * 15)
    masked = _mask(
        _batch([row] * rows), "span", mask_token_rate=0.5, max_predictions=4
    )
    used = masked.masked_lm_weights.numpy() > 0
    positions = masked.masked_lm_positions.numpy()
    at = np.take_along_axis(masked.masked_input_ids.numpy(), positions, 1)
    hidden = at == MASK
    assert (used.sum(1) == 4).all() and not (positions == 15).any()
    # Four neighbours are mostly one span, rarely two adjacent ones.
    one = positions[:, 3] - positions[:, 0] == 3
    assert one.mean() > 0.3
    mixed = hidden[one].any(1) & ~hidden[one].all(1)
    assert mixed.mean() < 0.2
    assert hidden[one].all(1).mean() > 0.35


@pytest.mark.parametrize("unit", UNITS)
def test_rows_without_words_that_fit_stay_as_they_are(unit):
    batch = _batch([_row([]), _row([0, 0]), [0] * LENGTH, _row([5, 4])])
    masked = _mask(batch, unit)
    assert not masked.masked_lm_weights.numpy().any()
    np.testing.assert_array_equal(masked.masked_input_ids, batch["input_ids"])
    full = _mask(_batch([_row([2, 1])]), unit, mask_prob=1.0)
    assert full.masked_lm_weights.numpy().sum() == 3


@pytest.mark.parametrize("unit", UNITS)
def test_a_row_is_masked_the_same_in_any_batch_and_width(unit):
    rows = [_row(ORDINARY[i : i + 20]) for i in range(6)]
    options = {"max_predictions": 5}
    whole = _mask(_batch(rows), unit, **options)
    config = MaskingConfig(unit=unit, **options)
    for i in (0, 3, 5):
        wide = _batch([rows[i] + [0] * 40])
        alone = masking.mask(wide, config, SPECIAL, _keys(6)[i : i + 1])
        for name in ("masked_lm_positions", "masked_lm_weights"):
            np.testing.assert_array_equal(
                getattr(alone, name)[0], getattr(whole, name)[i]
            )
        np.testing.assert_array_equal(
            alone.masked_input_ids[0, :LENGTH], whole.masked_input_ids[i]
        )
    again, other = (
        _mask(_batch(rows), unit, **options),
        _mask(_batch(rows), unit, 1, **options),
    )
    np.testing.assert_array_equal(
        whole.masked_input_ids, again.masked_input_ids
    )
    assert (whole.masked_input_ids != other.masked_input_ids).numpy().any()


@pytest.mark.parametrize("unit", UNITS)
def test_compiled_and_eager_agree(unit):
    batch = _batch([_row(ORDINARY[i : i + 20]) for i in range(8)])
    config = MaskingConfig(unit=unit)

    def run(keys):
        return masking.mask(batch, config, SPECIAL, keys)

    plain = run(_keys(8))
    for jit in (False, True):
        compiled = tf.function(run, jit_compile=jit)(_keys(8))
        assert plain.packed is compiled.packed is None
        for a, b in zip(plain[:-1], compiled[:-1]):
            assert a.shape == b.shape
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("unit", UNITS)
def test_batches_of_any_size(unit):
    config = MaskingConfig(unit=unit)
    spec = tf.TensorSpec([None, LENGTH], tf.int32)

    @tf.function(input_signature=[dict.fromkeys(
        ("input_ids", "input_mask", "segment_ids"), spec
    ), tf.TensorSpec([None], tf.uint32)])  # fmt: skip
    def run(batch, keys):
        return masking.mask(batch, config, SPECIAL, keys)

    for rows in (3, 1):
        batch = _batch([_row(ORDINARY[:20])] * rows)
        got, want = run(batch, _keys(rows)), _mask(batch, unit)
        np.testing.assert_array_equal(
            got.masked_input_ids, want.masked_input_ids
        )
        assert got.masked_lm_positions.shape[1] == 4


def test_word_starts_of_the_batch_are_used():
    """The batch's word_starts define words, here of two tokens each."""
    row = _row([1] * 28)
    starts = np.zeros([1, LENGTH], "int32")
    starts[0, 1:29:2] = 1
    batch = {**_batch([row] * 50), "word_starts": np.repeat(starts, 50, 0)}
    plain = SpecialIds(CLS, SEP, MASK)
    for special in (plain, SPECIAL):
        masked = masking.mask(
            batch, MaskingConfig(unit="whole_word"), special, _keys(50)
        )
        positions = masked.masked_lm_positions.numpy()
        assert (masked.masked_lm_weights.numpy().sum(1) == 4).all()
        assert (positions[:, ::2] % 2 == 1).all()
        assert (positions[:, 1::2] == positions[:, ::2] + 1).all()
    # A continuation piece never begins a word, whatever the batch holds.
    batch["input_ids"] = tf.constant([_row([28])] * 50)
    batch["word_starts"] = tf.ones_like(batch["input_ids"])
    masked = masking.mask(
        batch, MaskingConfig(unit="whole_word"), SPECIAL, _keys(50)
    )
    assert not masked.masked_lm_weights.numpy().any()


@pytest.mark.parametrize("unit", UNITS)
def test_words_need_to_be_known(unit):
    batch = _batch([_row([1, 2])])
    with pytest.raises(UserError, match="word_starts"):
        masking.mask(
            batch,
            MaskingConfig(unit=unit),
            SpecialIds(CLS, SEP, MASK),
            _keys(1),
        )


@pytest.mark.parametrize(
    "wrong",
    [
        {"unit": "sentence"},
        {"max_span_length": 0},
        {"span_geometric": 0.0},
        {"span_geometric": 1.5},
    ],
)
def test_impossible_settings(wrong):
    with pytest.raises(UserError, match=f"^{next(iter(wrong))}: expected"):
        MaskingConfig(**wrong)
