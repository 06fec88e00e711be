"""Tests that exported summaries equal the predictor's."""

# ruff: noqa: RUF001

import dataclasses

import numpy as np
import pytest
import span_models
import tensorflow as tf

from electra_tf.exporting import servable
from electra_tf.exporting.graphs import summary_signatures
from electra_tf.tasks.summarization import articles, selection
from electra_tf.tasks.summarization.options import SummaryOptions

NAME = "extractive_summarization"
STATE = {"ratio": 0.4}
TEXTS = [
    "The cat sat. A dog ran off! Was it the house? They said so.",
    "He said: “We stay. They go.” It was good. " * 9,
    "The house. The house of the cat is good. The house of the cat is very "
    "good. A dog ran. Dr. Smith had it. She had not.",
    "A title\n\nOne line\nof text. Next one! And more of that.",
    "中国人在家。国人很好！the cat 在吗？是的。人中之国。" * 3,
    "no end", "x. " * 40, "the " * 90 + "end. Then love.", "", " \n ", "... !",
    "İstanbul ẞ. ΣΑΣ. É é. 😀 cat. \ufeff dog.",
]  # fmt: skip


@pytest.fixture(scope="module")
def predictor(tmp_path_factory, tiny_vocab_file):
    return span_models.make(
        tmp_path_factory.mktemp("summaries") / "model", tiny_vocab_file,
        NAME, {"max_seq_length": 32}, STATE,
    )  # fmt: skip


@pytest.fixture(scope="module")
def exported(predictor):
    """The signature before it is saved; a slow test elsewhere saves it."""
    function = servable.of_predictor(predictor).signatures(["serving_default"])

    def call(text):
        found = function["serving_default"](tf.constant(text, tf.string))
        return {name: value.numpy() for name, value in found.items()}

    return call


def check(found, wanted, text, row):
    assert found["summary"][row].decode() == wanted["summary"]
    count = found["num_sentences"][row]
    assert count == len(wanted["sentences"])
    for i, one in enumerate(wanted["sentences"]):
        assert found["sentences"][row, i].decode() == one["text"]
        assert found["start_chars"][row, i] == one["start"]
        assert found["end_chars"][row, i] == one["end"]
        assert found["scores"][row, i] == pytest.approx(one["score"], abs=1e-5)
        start, end = (found[n][row, i] for n in ("start_bytes", "end_bytes"))
        assert text.encode()[start:end].decode() == one["text"]
    assert (found["start_bytes"][row, count:] == -1).all()


def test_the_same_summaries(predictor, exported):
    found = exported(text=TEXTS)
    for row, wanted in enumerate(predictor.predict(TEXTS)):
        check(found, wanted, TEXTS[row], row)
    assert found["summary"][0] != b"" and found["summary"][8] == b""
    alone = exported(text=TEXTS[4:5])
    assert alone["summary"][0] == found["summary"][4]
    assert exported(text=[])["summary"].shape == (0,)
    odd = exported(text=[b"\xff\xfe the cat. \x80 dog", b"\xe4\xb8"])
    assert odd["summary"].shape == (2,)


@pytest.mark.parametrize(
    "options",
    [
        {"num_sentences": 2}, {"num_words": 12, "title_line": True},
        {"ratio": 0.9}, {"ratio": 0.9, "trigram_blocking": False},
    ],
    ids=str,
)  # fmt: skip
def test_other_lengths(predictor, options):
    """For other lengths, the same sentences are chosen by given scores."""
    task_options = dataclasses.replace(predictor.task.options, **options)
    length = task_options.length(STATE["ratio"])
    rng = np.random.default_rng(0)
    made = [
        articles.article({"document": t}, "", SummaryOptions(), True)
        for t in [*TEXTS[:4], "", TEXTS[4][:80]]
    ]
    made = [
        dataclasses.replace(a, titled=task_options.title_line) for a in made
    ]
    rows = [rng.integers(0, 4, len(a.spans)).astype("float32") for a in made]
    texts = tf.ragged.constant(
        [a.texts for a in made], dtype=tf.string
    )  # some scores are equal
    taken = summary_signatures.take(
        texts, tf.constant(np.concatenate(rows)), length,
        task_options.title_line, task_options.trigram_blocking,
    )  # fmt: skip
    found = texts.with_flat_values(taken).to_list()
    for article, scores, chosen in zip(made, rows, found):
        order = sorted(article.candidates, key=lambda i: -scores[i])
        wanted = selection.take(
            order, article.words, length, task_options.trigram_blocking
        )
        assert [i for i, one in enumerate(chosen) if one] == wanted
