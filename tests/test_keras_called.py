"""Tests that calling a task on strings gives what its `predict` gives."""

import numpy as np
import pytest
import serving_models
import span_models
import tensorflow as tf

import electra_tf

LONG = "the good sister said that she had a very good dog " * 5
PAIRS = (
    ["the cat", "the cat", LONG, "the dog ran", LONG, LONG],
    ["a dog ran", "", " \x01", LONG, "the cat sat", LONG],
)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("TextClassifier", "pair"), ("CrossEncoder", "ranking")],
)
def test_calling_a_model_of_pairs_is_predict(
    name, kind, tmp_path, tiny_vocab_file
):
    """Second texts without tokens, and long ones, are read in the same way."""
    path = serving_models.fine_tuned(tmp_path / "m", tiny_vocab_file, kind)
    model = getattr(electra_tf, name).from_pretrained(path)
    found = model(tuple(map(tf.constant, PAIRS))).numpy()
    expected = model.predict(PAIRS, verbose=0)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    for i in range(len(PAIRS[0])):
        alone = model(tuple([texts[i]] for texts in PAIRS)).numpy()
        np.testing.assert_allclose(alone, expected[i : i + 1], atol=1e-6)


def test_calling_a_reader_reads_the_first_window(tmp_path, tiny_vocab_file):
    options = {"max_seq_length": 24, "doc_stride": 7, "max_query_length": 6}
    path = str(tmp_path / "m")
    span_models.make(
        path, tiny_vocab_file, "squad/v2.0", options, {"unanswerable": True}
    )
    model = electra_tf.QuestionAnswerer.from_pretrained(path)
    rows = model.preprocessor((["he ran", LONG], [LONG, "the cat sat"]))
    tokens, vocab = model.tokenizer.tokenize, model.tokenizer.vocab
    long, ran, cat = tokens([LONG, "he ran", "the cat sat"]).to_list()
    cls, sep = vocab.cls_id, vocab.sep_id
    padding = [vocab.pad_id] * (24 - 12)
    assert rows["input_ids"].numpy().tolist() == [
        [cls, *ran, sep, *long[:19], sep],
        [cls, *long[:6], sep, *cat, sep, *padding],
    ]
    assert rows["input_mask"].numpy().sum(axis=1).tolist() == [24, 12]
    assert rows["segment_ids"].numpy().sum(axis=1).tolist() == [20, 4]


def test_masked_lm_reads_other_special_tokens_as_text(
    tmp_path, tiny_vocab_file
):
    """Predicting, calling the model and `fill` see the same tokens."""
    path = serving_models.pretrained(tmp_path / "m", tiny_vocab_file)
    model = electra_tf.MaskedLM.from_pretrained(path)
    texts = ["the [SEP] cat [MASK]", "[CLS] [MASK] [PAD] sat", "[UNK][MASK]."]
    predicted = model.predict(texts, verbose=0)
    called = model(tf.constant(texts)).numpy()
    ids = model.preprocessor(tf.constant(texts))["input_ids"].numpy()
    names = model.tokenizer.get_vocabulary()
    for i, filled in enumerate(model.fill(texts, top_k=9)):
        (place,) = np.flatnonzero(ids[i] == model.tokenizer.vocab.mask_id)
        (found,) = predicted[i]
        np.testing.assert_allclose(called[i, place], found, atol=1e-6)
        for one in filled.blanks[0]:
            expected = pytest.approx(one.probability, abs=1e-6)
            assert found[names.index(one.token)] == expected
