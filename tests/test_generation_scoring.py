"""Tests that scores equal their definition, in any batches and windows."""

import generation_models as models
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from score_electric import NormalizedScorer

from electra_tf.errors import UserError
from electra_tf.generation import loading, rows
from electra_tf.generation.scoring import Scorer

TEXTS = [
    "the cat sat on the mat.",
    "a dog",
    "",
    "very good sisters loved the house, and they ran from the dogs",
    "今天天气很好\uff0c阳光明媚。",
    "héllo Ж ☃",
]


@pytest.fixture(scope="module")
def model(tmp_path_factory, tiny_tokens):
    return models.save(tmp_path_factory.mktemp("m"), tiny_tokens)


@pytest.fixture(scope="module")
def electric_model(tmp_path_factory, tiny_tokens):
    return models.electric(tmp_path_factory.mktemp("e"), tiny_tokens)


@pytest.fixture(scope="module")
def pll(model):
    return Scorer.from_pretrained(model, "pll")


def framed(scorer, ids):
    vocab = scorer.tokenizer.vocab
    return [vocab.cls_id, *ids, vocab.sep_id]


def by_hand(scorer, ids, whole_words=False):
    """Returns each token's log probability, masked in a row of its own."""
    vocab, row, masked = scorer.tokenizer.vocab, framed(scorer, ids), []
    if not ids:
        return []
    for i in range(1, len(row) - 1):
        one = list(row)
        one[i] = vocab.mask_id
        if whole_words:
            for k in range(i + 1, len(row)):
                if not vocab.continues[row[k]]:
                    break
                one[k] = vocab.mask_id
        masked.append(one)
    logits = scorer.network(tf.constant(masked), training=False).logits
    log_probs = tf.nn.log_softmax(logits).numpy()
    return [log_probs[i, i + 1, token] for i, token in enumerate(ids)]


@given(st.integers(0, 300), st.integers(1, 40))
def test_each_token_is_scored_once(length, room):
    seen = []
    for start, end, first, last in rows.windows(length, room):
        assert 0 <= start <= first < last <= end <= length
        assert end - start <= room
        for token in range(first, last):
            quarter = room // 4
            assert token - start >= min(quarter, token)
            assert end - 1 - token >= min(quarter, length - 1 - token) - 1
        seen += range(first, last)
    assert seen == list(range(length))


@given(st.data())
def test_a_window_has_its_tokens_in_the_middle(data):
    length = data.draw(st.integers(1, 60))
    room = data.draw(st.integers(1, 40))
    first = data.draw(st.integers(0, length - 1))
    last = data.draw(st.integers(first + 1, min(length, first + room)))
    start, end = rows.around(first, last, length, room)
    assert 0 <= start <= first < last <= end <= length
    assert end - start == min(room, length)


@given(st.lists(st.integers(0, 9), max_size=12), st.integers(1, 30))
def test_batches_have_each_row_once(lengths, max_tokens):
    texts = [list(range(1, n + 1)) for n in lengths]
    which = [i for i in range(len(texts)) for _ in range(2)]
    seen = []
    for batch in rows.batches(texts, which, max_tokens, 9, max_rows=3):
        count, length = batch.input_ids.shape
        assert count == 1 or (count <= 3 and count * length <= max_tokens)
        for row, ids, mask in zip(*batch):
            text = texts[which[row]]
            assert (
                ids[: len(text)].tolist() == text and not ids[len(text) :].any()
            )
            assert mask.sum() == len(text) == mask[: len(text)].sum()
        seen += batch.rows.tolist()
    assert sorted(seen) == list(range(len(which)))


def test_pseudo_likelihood_is_a_pass_for_each_token(pll):
    for found in pll.score(TEXTS):
        ids = [pll.tokenizer.vocab.ids[t] for t in found.tokens]
        np.testing.assert_allclose(
            found.log_probs, by_hand(pll, ids), rtol=1e-4, atol=1e-5
        )
        if ids:
            assert found.score == pytest.approx(sum(by_hand(pll, ids)), 1e-4)
            assert found.mean == pytest.approx(found.score / len(ids))


def test_the_rest_of_a_word_is_masked_too(model):
    scorer = Scorer.from_pretrained(model, "pll_word")
    (found,) = scorer.score(["sisterly dogs"])
    assert found.tokens == ("sister", "##ly", "dog", "##s")
    ids = [scorer.tokenizer.vocab.ids[t] for t in found.tokens]
    want = by_hand(scorer, ids, whole_words=True)
    np.testing.assert_allclose(found.log_probs, want, rtol=1e-4)
    assert abs(want[0] - by_hand(scorer, ids)[0]) > 1e-3


def test_scores_do_not_depend_on_the_batch(model, pll):
    tight = Scorer.from_pretrained(model, "pll", batch_tokens=1)
    for alone, among in zip(tight.score(TEXTS), pll.score(TEXTS[::-1])[::-1]):
        assert alone.tokens == among.tokens
        np.testing.assert_allclose(
            alone.log_probs, among.log_probs, rtol=1e-4, atol=1e-5
        )


@pytest.mark.slow
@pytest.mark.parametrize("method", ["pll", "replaced"])
def test_rounded_products_change_a_little(model, method):
    exact, rounded = (
        Scorer.from_pretrained(model, method, bfloat16=wanted).score(TEXTS[:1])
        for wanted in (False, True)
    )
    assert rounded[0].score == pytest.approx(exact[0].score, rel=0.02)
    assert rounded[0].score != exact[0].score


def test_texts_without_tokens_have_no_score(pll):
    for found in pll.score(["", "  \t", "\u200b"]):
        assert (found.tokens, found.score, found.mean) == ((), None, None)
    assert pll.score([]) == []


def test_unknown_and_special_texts(pll):
    unknown, special = pll.score(["☃ ☃", "[CLS] [MASK]"])
    assert unknown.tokens == ("[UNK]",) * 2 and unknown.unknown == 2
    assert np.isfinite(unknown.score)
    # Special tokens in a text are read as plain text.
    assert special.tokens[:2] == ("[UNK]", "c") and special.unknown == 4


def test_long_texts_are_read_in_windows(pll):
    """A token's score is that of the window to which the token belongs."""
    ids = [5 + i % 90 for i in range(70)]
    ((same, found),) = pll.score_ids([ids])
    assert same == ids and len(found) == 70 and np.all(found < 0)
    room = models.LENGTH - loading.SPECIALS
    for window in rows.windows(70, room):
        part = by_hand(pll, ids[window.start : window.end])
        first = window.first - window.start
        np.testing.assert_allclose(
            found[window.first : window.last],
            part[first : first + window.last - window.first],
            rtol=1e-4, atol=1e-5,
        )  # fmt: skip


def test_max_length_is_limited_by_the_positions(model):
    wide = Scorer.from_pretrained(model, "pll", max_seq_length=40)
    assert wide.max_length == 40
    for wrong in (2, 41):
        with pytest.raises(UserError, match="3 to 40"):
            Scorer.from_pretrained(model, "pll", max_seq_length=wrong)


def test_replaced_is_one_pass(model):
    scorer = Scorer.from_pretrained(model, "replaced")
    (found,) = scorer.score(TEXTS[:1])
    ids = [scorer.tokenizer.vocab.ids[t] for t in found.tokens]
    logits = scorer.network(tf.constant([framed(scorer, ids)])).logits
    probability = 1 / (1 + np.exp(logits[0, 1:-1]))  # of an original token
    np.testing.assert_allclose(found.log_probs, np.log(probability), rtol=1e-4)


def test_electric_is_one_pass_of_energies(electric_model):
    scorer = Scorer.from_pretrained(electric_model)
    assert scorer.method == "electric"
    (found,) = scorer.score(TEXTS[:1])
    ids = [scorer.tokenizer.vocab.ids[t] for t in found.tokens]
    logits = scorer.network(tf.constant([framed(scorer, ids)])).logits
    np.testing.assert_allclose(found.log_probs, -logits[0, 1:-1], rtol=1e-4)


def test_a_two_tower_generator_needs_one_pass(electric_model):
    scorer = Scorer.from_pretrained(electric_model, "pll")
    (found,) = scorer.score(TEXTS[3:4])
    ids = [scorer.tokenizer.vocab.ids[t] for t in found.tokens]
    row = framed(scorer, ids)
    # The token at a place does not change the prediction for that place.
    others = np.repeat([row], len(ids), 0)
    others[np.arange(len(ids)), 1 + np.arange(len(ids))] = 7
    logits = scorer.network(tf.constant(others, tf.int32)).logits
    log_probs = tf.nn.log_softmax(logits).numpy()
    np.testing.assert_allclose(
        found.log_probs,
        [log_probs[i, i + 1, token] for i, token in enumerate(ids)],
        rtol=1e-3,
    )


def test_the_sum_that_electric_leaves_out(tmp_path, tiny_tokens):
    """With many candidates the estimate is near the sum over all tokens."""
    mild = models.electric(tmp_path, tiny_tokens, scale=1)
    many = NormalizedScorer(mild, num_candidates=300)
    (found,) = many.score(["the cat"])
    scorer = Scorer.from_pretrained(mild)
    (once,) = scorer.score(["the cat"])
    assert np.abs(once.log_probs - found).min() > 1  # the sum matters
    vocab = scorer.tokenizer.vocab
    row = framed(scorer, [vocab.ids["the"], vocab.ids["cat"]])
    size = scorer.network.config.vocab_size
    for place in (1, 2):
        others = np.repeat([row], size, 0)
        others[:, place] = np.arange(size)
        energy = scorer.network(tf.constant(others, tf.int32)).logits[:, place]
        exact = tf.nn.log_softmax(-energy)[row[place]].numpy()
        assert found[place - 1] == pytest.approx(exact, abs=0.1)
    with pytest.raises(UserError, match="text 2: 30 tokens"):
        many.score(["the", "the " * 30])


@pytest.mark.parametrize(
    ("kind", "method", "message"),
    [
        ({}, "electric", "was not pre-trained with objective.kind=electric"),
        ({"no_generator": True}, "pll", "holds no generator"),
        ({"discriminator": False}, "replaced", "holds no discriminator"),
        ({"objective": "electric"}, "replaced", "use --method=electric"),
        ({"replaced_token_head": False}, "replaced", "lacks its discriminator"),
        ({"token_lm_head": False}, "pll", "lacks its generator's head"),
        ({"generator_kind": "two_tower"}, "pll_word", "use --method=pll"),
    ],
)
def test_a_model_that_lacks_what_is_needed(
    tmp_path, tiny_tokens, kind, method, message
):
    path = models.save(tmp_path, tiny_tokens, **kind)
    with pytest.raises(UserError, match=message) as error:
        Scorer.from_pretrained(path, method)
    assert str(tmp_path) in str(error.value)


def test_auto_chooses_an_available_method(tmp_path, tiny_tokens):
    path = models.save(tmp_path, tiny_tokens, no_generator=True)
    assert Scorer.from_pretrained(path).method == "replaced"
