"""Tests of replaced tokens and filled masks from a SavedModel."""

import numpy as np
import pytest
import serving_models
import tensorflow as tf
from serving_models import BAD_BYTES, ODD_TEXTS

from electra_tf.errors import UserError
from electra_tf.exporting import servable
from electra_tf.exporting import writer as export
from electra_tf.text import masks

TEXTS = [text.encode() for text in ODD_TEXTS] + list(BAD_BYTES)
MASKED = [
    b"the cat sat [MASK] the [MASK].",
    b"[MASK]",
    b"[MASK][MASK]",
    "中国 [MASK]cat É 😀".encode(),
    b"x [MASK] " * 100,
    b"[MASK \xff mask] [MASK]",
    *(b"cat " * n + b"[MASK]" for n in range(36, 40)),
    *TEXTS,
]
ROOM = serving_models.SHAPE["max_positions"] - 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_vocab_file):
    folder = tmp_path_factory.mktemp("pretrained")
    serving_models.pretrained(folder / "run", tiny_vocab_file)
    return folder


def test_replaced_tokens(folder):
    opened = servable.open_pretrained(str(folder / "run"))
    path = export.export(opened, str(folder / "discriminator")).path
    loaded = tf.saved_model.load(path)
    function = loaded.signatures["serving_default"]
    found = {k: v.numpy() for k, v in function(text=TEXTS).items()}
    vocab = opened.tokenizer.vocab
    offsets = opened.tokenizer.tokenize_with_offsets(TEXTS)
    for i, text in enumerate(TEXTS):
        ids, *places = (x[i].numpy()[:ROOM] for x in offsets)
        count = len(ids)
        assert found["num_tokens"][i] == count
        for name, place in zip(offsets._fields[1:], places):
            assert found[name][i, :count].tolist() == place.tolist()
            assert (found[name][i, count:] == -1).all()
        start, end = places[:2]
        tokens = [text[a:b] for a, b in zip(start, end)]
        assert found["tokens"][i, :count].tolist() == tokens
        assert (found["tokens"][i, count:] == b"").all()
        if i % 3 == 0:
            row = tf.constant([[vocab.cls_id, *ids, vocab.sep_id]])
            shares = tf.sigmoid(opened.network(row).logits)[0, 1:-1]
            np.testing.assert_allclose(
                found["replaced_probability"][i, :count], shares, atol=1e-5
            )
        assert (found["replaced_probability"][i, count:] == 0).all()
    for none in ([], [""], ["\0"]):
        rows = function(text=tf.constant(none, tf.string))
        assert {len(value) for value in rows.values()} == {len(none)}
        assert rows["tokens"].shape[1] == 0
    assert loaded.signatures["embed"](text=TEXTS)["embedding"].shape == (
        len(TEXTS), 32,
    )  # fmt: skip


def test_filled_masks(folder):
    opened = servable.open_pretrained(str(folder / "run"), "generator")
    written = export.export(opened, str(folder / "generator"))
    assert written.description["task"] == "generator"
    loaded = tf.saved_model.load(written.path)
    function = loaded.signatures["serving_default"]
    found = {k: v.numpy() for k, v in function(text=MASKED).items()}
    tokenizer, vocab = opened.tokenizer, opened.tokenizer.vocab
    for i, text in enumerate(MASKED):
        ids = []
        for number, piece in enumerate(text.split(b"[MASK]")):
            ids += [vocab.mask_id] if number else []
            ids += tokenizer([piece])[0].numpy().tolist()
        written = ids.count(vocab.mask_id)
        ids = [vocab.cls_id, *ids[:ROOM], vocab.sep_id]
        masks = [k for k, x in enumerate(ids) if x == vocab.mask_id]
        assert found["num_masks"][i] == len(masks)
        assert found["unread_masks"][i] == written - len(masks)
        assert (found["tokens"][i, len(masks) :] == b"").all()
        assert (found["probabilities"][i, len(masks) :] == 0).all()
        if not masks:
            continue
        logits = opened.network(tf.constant([ids])).logits
        probabilities = tf.nn.softmax(logits)[0].numpy()[masks]
        best = np.argsort(-probabilities, kind="stable")[:, :5]
        np.testing.assert_allclose(
            found["probabilities"][i, : len(masks)],
            np.take_along_axis(probabilities, best, axis=1),
            atol=1e-5,
        )
        tokens = np.vectorize(bytes.decode)(found["tokens"][i, : len(masks)])
        assert tokens.tolist() == np.array(vocab.tokens)[best].tolist()
    assert found["unread_masks"].max() > 60  # of b"x [MASK] " * 100
    for none in ([], [""], ["no mask"]):
        rows = function(text=tf.constant(none, tf.string))
        assert {len(value) for value in rows.values()} == {len(none)}
        assert rows["tokens"].shape[1:] == (0, 5)


def test_what_a_generator_reads_of_texts_with_special_tokens(folder):
    """Only [MASK] is a token; [SEP] and others are read as plain text."""
    opened = servable.open_pretrained(str(folder / "run"), "generator")
    tokenizer, room = opened.tokenizer, opened.max_seq_length - 2
    texts = [
        "[SEP] [CLS] the [MASK] cat. " * 6, "É [SEP][MASK]中 [PAD] " * 9,
        "[MASK]", "", "[MASK] [UNK]", "[SEP] " * 40, "the cat [SEP] sat",
    ]  # fmt: skip
    function = opened.signatures(["truncation"])["truncation"]
    found = function(text=tf.constant(texts))
    ids = masks.masked_tokens(tokenizer, tf.constant(texts))
    for i, (text, row) in enumerate(zip(texts, ids.to_list())):
        read = min(len(row), room)
        assert found["text_tokens"][i] == len(row)
        assert found["text_tokens_read"][i] == read
        until = int(found["text_chars_read"][i])
        if read == len(row):
            assert until == len(text)
            continue

        # The text up to there gives these tokens; a shorter one does not.
        parts = tf.constant([text[:until], text[: until - 1]])
        whole, less = masks.masked_tokens(tokenizer, parts)
        assert whole.numpy().tolist() == row[:read] != less.numpy().tolist()
    assert int(found["text_tokens"][6]) > 4


def test_models_without_predictions_are_refused(folder, tiny_vocab_file):
    path = serving_models.fine_tuned(
        folder / "tuned", tiny_vocab_file, "regression"
    )
    with pytest.raises(UserError, match="its discriminator has no pre-train"):
        servable.open_pretrained(path)
    with pytest.raises(UserError, match="no such model directory"):
        servable.open_pretrained(str(folder / "none"))
