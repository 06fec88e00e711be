"""Tests the candidates of blanks, jointly filled blanks, and their texts."""

import generation_models as models
import numpy as np
import pytest
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.generation.filling import Filler


@pytest.fixture(scope="module")
def filler(tmp_path_factory, tiny_tokens):
    path = models.save(tmp_path_factory.mktemp("m"), tiny_tokens)
    return Filler.from_pretrained(path)


def log_probs(filler, ids, place):
    """Returns the log probabilities [V] at a place of `ids`, masked there."""
    vocab = filler.tokenizer.vocab
    row = [vocab.cls_id, *ids, vocab.sep_id]
    row[place + 1] = vocab.mask_id
    logits = filler.generator(tf.constant([row]), training=False).logits
    return tf.nn.log_softmax(logits[0, place + 1]).numpy()


def test_candidates_are_the_generators(filler):
    vocab = filler.tokenizer.vocab
    (found,) = filler.fill(["the cat, [MASK] sat."], top_k=400)
    ids = [vocab.ids[t] for t in ("the", "cat", ",", "[MASK]", "sat", ".")]
    want = np.exp(log_probs(filler, ids, 3))
    (blank,) = found.blanks
    for token, probability, text in blank:
        assert probability == pytest.approx(want[vocab.ids[token]], rel=1e-3)
        assert text == f"the cat, {token} sat."
    chances = [c.probability for c in blank]
    assert chances == sorted(chances, reverse=True)
    tokens = {c.token for c in blank}
    # All but special tokens, and pieces: no word continues after a comma.
    allowed = set(vocab.tokens) - {*vocab.tokens[:5], "[unused1]"}
    assert tokens == {t for t in allowed if not t.startswith("##") or t == "##"}
    assert found.text == blank[0].text
    assert found.log_prob == pytest.approx(np.log(chances[0]))


def test_continuing_pieces_are_filled(filler):
    (found,) = filler.fill(["the cat [MASK]."], top_k=400)
    texts = {c.token: c.text for c in found.blanks[0]}
    assert texts["##s"] == "the cats." and texts["dog"] == "the cat dog."
    assert "##国" not in texts


def test_chinese_has_no_spaces(filler):
    (found,) = filler.fill(["今天天气很[MASK]\uff0c阳光明媚。"], top_k=400)
    texts = {c.token: c.text for c in found.blanks[0]}
    assert texts["好"] == "今天天气很好\uff0c阳光明媚。"
    assert not any(t.startswith("##") for t in texts)


def test_a_blank_within_a_word_is_a_word(filler):
    (found,) = filler.fill(["Un[MASK]able"], top_k=400)
    texts = {c.token: c.text for c in found.blanks[0]}
    assert texts["cat"] == "Un cat able" and texts["##s"] == "Uns able"


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("count", [1, 2, 11])
def test_several_blanks_give_whole_words(filler, joint, count):
    texts = [" ".join(["[MASK]"] * count), "." + "[MASK] of " * count]
    for text, found in zip(texts, filler.fill(texts, 3, joint)):
        assert len(found.blanks) == count and "##" not in found.text
        assert "[" not in found.text and found.log_prob < 0
        assert all(1 <= len(blank) <= 3 for blank in found.blanks)
        chosen = [c.text for blank in found.blanks for c in blank]
        assert joint or found.text in chosen
        assert text.count(" of ") == found.text.count(" of ") or count > 9


def test_joint_candidates_fit_the_other_blanks(filler):
    vocab = filler.tokenizer.vocab
    (found,) = filler.fill([". [MASK] [MASK] cat"], top_k=400, joint=True)
    ids = filler.tokenizer([found.text]).to_list()[0]
    first = found.blanks[0]
    want = np.exp(log_probs(filler, ids, 1))
    for candidate in first[:5]:
        assert candidate.probability == pytest.approx(
            want[vocab.ids[candidate.token]], rel=1e-3
        )


def test_long_texts(filler):
    """The text near a blank is read; jointly filled blanks must be near."""
    far = "the cat. " * 20
    (found,) = filler.fill([f"{far}[MASK] dog {far}"])
    assert found.text.startswith(far) and found.text.endswith(far)
    ids = filler.tokenizer([far, "dog", far]).to_list()
    room = models.LENGTH - 2
    around = [*ids[0], 4, *ids[1], *ids[2]]
    start = len(ids[0]) - (room - 1) // 2
    want = log_probs(filler, around[start : start + room], len(ids[0]) - start)
    best = found.blanks[0][0]
    assert best.probability == pytest.approx(
        np.exp(want[filler.tokenizer.vocab.ids[best.token]]), rel=1e-3
    )
    apart = f"[MASK] {far} [MASK]"
    assert len(filler.fill([apart])[0].blanks) == 2
    with pytest.raises(UserError, match="text 2: its blanks are 62 tokens"):
        filler.fill(["[MASK]", apart], joint=True)


def test_only_blanks_and_none(filler):
    assert filler.fill([]) == []
    (found,) = filler.fill(["[MASK]"], top_k=1)
    assert found.text and found.text == found.blanks[0][0].token
    (unknown,) = filler.fill(["☃ Ж [MASK]"])
    assert unknown.text.startswith("☃ Ж")
    with pytest.raises(UserError, match="text 2: has no"):
        filler.fill(["[MASK]", "the cat"])
    with pytest.raises(UserError, match="--top_k=0"):
        filler.fill(["[MASK]"], top_k=0)


def test_a_generator_that_reads_no_masks(tmp_path, tiny_tokens):
    path = models.electric(tmp_path, tiny_tokens)
    with pytest.raises(UserError, match="two-tower"):
        Filler.from_pretrained(path)
