"""Tests that integrated gradients add up, and how they are shown."""

import logging

import fine_tuned_models
import keras
import numpy as np
import pytest

import electra_tf
from electra_tf.errors import UserError
from electra_tf.models.config import ModelConfig, TaskHeadConfig
from electra_tf.models.task_networks import SequenceClassifier, task_network
from electra_tf.text.tokenizer import Tokenizer
from electra_tf.text.vocab import load_vocab


@pytest.fixture(scope="module")
def model(tiny_vocab_file, tiny_tokens):
    return network(tiny_vocab_file, tiny_tokens, ("bad", "good"))


def network(tiny_vocab_file, tiny_tokens, labels):
    keras.utils.set_random_seed(1)
    config = ModelConfig(
        vocab_size=len(tiny_tokens), embedding_size=8, hidden_size=16,
        num_layers=2, num_heads=2, intermediate_size=24, max_positions=16,
        initializer_range=0.3,
    )  # fmt: skip
    head = TaskHeadConfig(
        kind="sequence", num_labels=len(labels) or 1, labels=labels or None
    )
    made = SequenceClassifier(config, head)
    made.build()
    made.tokenizer = Tokenizer(tiny_vocab_file)
    return made


def test_scores_add_up_to_the_difference(model):
    found = electra_tf.explain(model, "the good cat sat", target="good")
    assert found.tokens == ("[CLS]", "the", "good", "cat", "sat", "[SEP]")
    assert found.spans == ((0, 0), (0, 3), (4, 8), (9, 12), (13, 16), (0, 0))
    rows = model.tokenizer.encode(["the good cat sat"])
    output = model(**rows).logits[0, 1]
    empty = rows["input_ids"].numpy().copy()
    empty[0, 1:-1] = model.tokenizer.vocab.pad_id
    baseline = model(**{**rows, "input_ids": empty}).logits[0, 1]
    np.testing.assert_allclose(found.output, output, atol=1e-5)
    np.testing.assert_allclose(found.baseline, baseline, atol=1e-5)
    assert abs(found.output - found.baseline) > 0.05
    assert found.error < 0.01
    np.testing.assert_allclose(found.scores.sum(), output - baseline, atol=0.01)
    assert found.scores[0] == found.scores[-1] == 0  # same in the baseline
    assert found.complete
    assert 0 < found.probability < 1


def test_of_a_sum_of_embeddings_they_are_the_terms(
    tiny_vocab_file, tiny_tokens
):
    """Integrated gradients of a linear function are its terms."""
    made = network(tiny_vocab_file, tiny_tokens, ("bad", "good"))
    weights = np.random.default_rng(0).normal(size=8).astype("float32")

    class Linear(SequenceClassifier):
        def call(self, rows, training=False):
            vectors = rows.inputs_embeds
            sums = keras.ops.sum(vectors @ weights[:, None], axis=(1, 2))
            logits = keras.ops.stack([-sums, sums], axis=1)
            return type("Output", (), {"logits": logits})

    linear = Linear(made.config, made.head_config)
    linear.build()
    linear.tokenizer = made.tokenizer
    found = electra_tf.explain(linear, "the cat ran", target=1, steps=1)
    table = np.asarray(linear.encoder.embeddings.word_embeddings)
    vocab = linear.tokenizer.vocab
    expected = [
        (table[vocab.ids[token]] - table[vocab.pad_id]) @ weights
        for token in ("the", "cat", "ran")
    ]
    np.testing.assert_allclose(found.scores[1:-1], expected, rtol=1e-4)


def test_several_texts_and_pairs_and_too_long_ones(model):
    found = electra_tf.explain(
        model, ["the cat", "a dog " * 20], ["sat", "ran on the mat"]
    )
    assert [len(one.tokens) for one in found] == [6, 16]
    assert found[0].tokens[3:] == ("[SEP]", "sat", "[SEP]")
    assert all(one.label in ("bad", "good") for one in found)
    assert all(one.error < 0.02 for one in found)
    assert repr(found) == "<2 explanations>"
    with pytest.raises(UserError, match="pairs: 1 for 2 texts"):
        electra_tf.explain(model, ["a", "b"], ["c"])


def test_shown_as_html_and_text(model, tmp_path):
    found = electra_tf.explain(model, 'the cats "sat" ran')
    shown = found._repr_html_()
    assert shown.count(">&quot;</span>") == 2
    assert shown.count("title=") == len(found.tokens)
    strongest = int(np.argmax(np.abs(found.scores)))
    side = "31,119,230" if found.scores[strongest] > 0 else "240,130,20"
    assert f"rgba({side},0.60)" in shown
    for word in ("against", "no part", "for", "error"):
        assert word in shown
    path = tmp_path / "page.html"
    page = found.to_html(str(path))
    assert path.read_text(encoding="utf-8") == page
    assert shown in page
    assert "\n[CLS] +0.000\n" in str(found)
    assert len(repr(found)) < 80


def test_numbers_have_no_label(tiny_vocab_file, tiny_tokens):
    found = electra_tf.explain(
        network(tiny_vocab_file, tiny_tokens, ()), "the cat"
    )
    assert (found.label, found.probability) == (None, None)


def test_an_inexact_sum_is_reported(model, caplog):
    with caplog.at_level(logging.WARNING):
        found = electra_tf.explain(model, "the cat", steps=1, tolerance=1e-9)
    assert not found.complete
    assert "take more than 1 steps" in caplog.text


def test_models_that_cannot_be_explained_are_reported(model):
    with pytest.raises(UserError, match="target: 'fine' is none of bad, good"):
        electra_tf.explain(model, "the", target="fine")
    with pytest.raises(UserError, match="target: 2; expected 0 to 1"):
        electra_tf.explain(model, "the", target=2)
    with pytest.raises(UserError, match="ElectraEncoder is not a classifier"):
        electra_tf.explain(model.encoder, "the")


def test_what_the_task_does_not_read_is_refused(tiny_vocab_file, tmp_path):
    vocab = load_vocab(tiny_vocab_file)
    shape = dict(
        embedding_size=8, hidden_size=8, num_layers=1, num_heads=2,
        intermediate_size=8, max_positions=16,
    )  # fmt: skip
    made = task_network(
        ModelConfig(vocab_size=len(vocab), **shape),
        TaskHeadConfig("sequence", 2, ("a", "b")),
    )
    made.build()
    models = {}
    for name, options in (
        ("one", {}), ("two", {"text_pair_column": "second"}),
    ):  # fmt: skip
        about = fine_tuned_models.about(
            "classification", options | {"max_seq_length": 16},
            {"labels": ["a", "b"]},
        )  # fmt: skip
        path = fine_tuned_models.save(tmp_path / name, made, vocab, about)
        models[name] = electra_tf.load(path)
    assert electra_tf.explain(models["one"], "a cat").tokens[1] == "a"
    assert len(electra_tf.explain(models["two"], "a", "cat").tokens) == 5
    for name, texts, pairs, message in (
        ("one", "a cat", "a dog", "expected a text alone"),
        ("two", "a cat", None, "expected a pair of texts"),
        ("one", [], None, "texts: expected at least one"),
        ("one", None, None, "texts: expected a text or a list"),
        ("two", ["a"], [None], "pairs: expected a text or a list"),
    ):
        with pytest.raises(UserError, match=message):
            electra_tf.explain(models[name], texts, pairs)
    with pytest.raises(UserError, match=r"target: 0\.5; expected 0 to 1"):
        electra_tf.explain(models["one"], "a cat", target=0.5)
