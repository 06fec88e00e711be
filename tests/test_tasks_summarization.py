"""Tests extractive summaries: sentences, labels, windows, selection, files."""

import dataclasses
import json
import math

import numpy as np
import pytest
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.models.config import ModelConfig, SentenceHeadConfig
from electra_tf.models.task_heads import sentence_means, waves
from electra_tf.models.task_networks import task_network
from electra_tf.tasks import features as task_features
from electra_tf.tasks.registry import task_class
from electra_tf.tasks.summarization import articles, selection
from electra_tf.tasks.summarization.options import Length, SummaryOptions
from electra_tf.tasks.summarization.task import ExtractiveSummarization
from electra_tf.text.tokenizer import Tokenizer

TEXT = "The cat sat. A dog ran off! Was it the house? They said so."


def task(data=None, state=None, **options):
    return ExtractiveSummarization(
        options=SummaryOptions(**options),
        data=data and str(data),
        state=state,
    )


def split(text, language="en"):
    return [text[a:b] for a, b in articles.split_all([text], language)[0]]


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row(document=TEXT, summary="A dog ran off!"):
    return {"document": document, "summary": summary}


# --- sentences ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TEXT, ["The cat sat.", "A dog ran off!", "Was it the house?",
                "They said so."]),
        ("Dr. Smith paid $1.5m. He left.", ["Dr. Smith paid $1.5m.",
                                            "He left."]),
        ("A title\n\nOne line\nof text.  Next. ", ["A title",
                                                  "One line\nof text.",
                                                  "Next."]),
        # Inside quotations; the marks stay with their sentences.
        ('He said: "I go. You stay." Then he went. "So?" she said.',
         ['He said: "I go.', 'You stay."', "Then he went.",
          '"So?" she said.']),
        ("He left. “We stay,” she said.", ["He left.", "“We stay,” she said."]),
        ("今天很好。“我们走。”他说。真的",
         ["今天很好。", "“我们走。”", "他说。", "真的"]),
        ("", []),
        (" \n\n\t ", []),
        ("... !!! --", []),
        ("no end", ["no end"]),
    ],
)  # fmt: skip
def test_sentences(text, expected):
    assert split(text) == expected


def test_words_and_joined_texts():
    assert articles.words("It's 今天ok好, 3.5 A_b") == [
        "it", "s", "今", "天", "ok", "好", "3", "5", "a", "b",
    ]  # fmt: skip
    assert articles.join(["A b.", "C."]) == "A b. C."
    assert articles.join(["今天。", "很好。"]) == "今天。很好。"
    assert articles.join([]) == ""


# --- labels ------------------------------------------------------------------


def test_sentences_that_the_summary_contains_are_the_labels():
    texts = split(TEXT)
    # In another order, and without spaces between them.
    assert selection.labels(texts, "They said so.The  cat sat.") == [
        True, False, False, True,
    ]  # fmt: skip
    # A sentence that occurs only inside another one is no label.
    texts = ["They said so.", "said so."]
    assert selection.labels(texts, "They said so.") == [True, False]


def rouge_sum(texts, reference):
    """Returns ROUGE-1 F + ROUGE-2 F, computed step by step."""
    total = 0.0
    for n in (1, 2):

        def grams(text, n=n):
            found = articles.words(text)
            return [tuple(found[i : i + n]) for i in range(len(found) - n + 1)]

        have = [gram for text in texts for gram in grams(text)]
        want = grams(reference)
        hits = sum(min(have.count(g), want.count(g)) for g in set(want))
        total += 2 * hits / max(1, len(have) + len(want))
    return total


def test_otherwise_the_sentences_with_the_most_gain_are_the_labels():
    rng = np.random.default_rng(0)
    vocabulary = "the cat sat dog ran house love good".split()
    for _ in range(20):
        texts = [
            " ".join(rng.choice(vocabulary, rng.integers(1, 7)))
            for _ in range(6)
        ]
        summary = " ".join(rng.choice(vocabulary, 8))
        expected, best = [], 0.0
        while True:
            gains = {
                i: rouge_sum([texts[j] for j in [*expected, i]], summary)
                for i in range(6)
                if i not in expected
            }
            top = max(gains, key=gains.get, default=None)
            if top is None or gains[top] <= best + 1e-12:
                break
            best = gains[top]
            expected.append(top)
        found = selection.greedy(texts, summary)
        assert [i for i in range(6) if found[i]] == sorted(expected)


def test_nothing_in_common():
    assert selection.labels(split(TEXT), "Nothing here") == [False] * 4
    assert selection.labels(split(TEXT), "?!") == [False] * 4


# --- selection ---------------------------------------------------------------

WORDS = [["a"] * 4, ["b"] * 2, ["c"] * 6, ["d"] * 3]


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (Length(sentences=2), [2, 3]),
        (Length(sentences=9), [0, 1, 2, 3]),
        (Length(words=1), [3]),  # at least one
        (Length(words=9), [2, 3]),
        (Length(words=10), [2, 3]),  # 9 is nearer than 13
        (Length(words=12), [0, 2, 3]),
        (Length(ratio=1.0), [0, 1, 2, 3]),
        (Length(ratio=0.6), [2, 3]),
    ],
)
def test_length(length, expected):
    assert selection.take([3, 2, 0, 1], WORDS, length) == expected


def test_trigrams_are_not_repeated():
    words = ["x y z", "a x y z", "x y a", "b c d"]
    words = [text.split() for text in words]
    length = Length(sentences=3)
    assert selection.take([0, 1, 2, 3], words, length) == [0, 1, 2]
    assert selection.take([0, 1, 2, 3], words, length, True) == [0, 2, 3]


def test_random_sentences_are_reproducible():
    first = selection.shuffled(range(2, 30), TEXT)
    assert first == selection.shuffled(range(2, 30), TEXT)
    assert sorted(first) == list(range(2, 30)) != first
    assert first != selection.shuffled(range(2, 30), f"{TEXT} ")


# --- windows -----------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer(tiny_vocab_file):
    return Tokenizer(tiny_vocab_file)


def test_rows(tokenizer):
    documents = [["the cat", "zz"], ["sat", "the the", "dog"], ["good"]]
    found = task_features.unit_features(
        tokenizer, documents, 12, np.array([1, 0, -1, 1, 0, 1]), framed=True
    )
    tokens = [
        [tokenizer.vocab.tokens[i] for i in found.tokens["input_ids"][a:b]]
        for a, b in zip(found.row_splits, found.row_splits[1:])
    ]
    cls, sep = "[CLS]", "[SEP]"
    assert tokens == [
        [cls, "the", "cat", sep, cls, "z", "##z", sep],
        [cls, "sat", sep, cls, "the", "the", sep, cls, "dog", sep],
        [cls, "good", sep],
    ]
    numbers = found.tokens["segment_ids"]
    assert list(numbers) == [0] * 4 + [1] * 4 + [0] * 3 + [1] * 4 + [2] * 3 + (
        [0] * 3
    )
    labels = found.tokens["labels"]
    at = np.flatnonzero(labels >= 0)
    assert list(labels[at]) == [1, 0, 1, 0, 1]
    assert (found.tokens["input_ids"][at] == tokenizer.vocab.cls_id).all()
    assert found.rows["scale"] == pytest.approx([3 / 5] * 3)


def test_every_sentence_is_scored_once_with_others_around_it(tokenizer):
    rng = np.random.default_rng(0)
    documents = [
        [
            " ".join(rng.choice(["cat", "dog", "sat"], rng.integers(0, 9)))
            for _ in range(rng.integers(1, 60))
        ]
        for _ in range(30)
    ] + [["cat " * 99, "dog", "sat " * 99, "cat"]]
    room = 40
    found = task_features.unit_features(tokenizer, documents, room, framed=True)
    assert found.lengths.max() <= room
    places = found.extra
    vocab = tokenizer.vocab
    seen = set()
    for document, texts in enumerate(documents):
        for number, text in enumerate(texts):
            at = places.splits[document] + number
            window, position = places.row[at], places.position[at]
            assert found.examples[window] == document
            start = found.row_splits[window] + position
            assert found.tokens["segment_ids"][start] == number
            own = text.split()[: room - 2]
            ids = found.tokens["input_ids"][start : start + len(own) + 2]
            assert [vocab.tokens[i] for i in ids] == ["[CLS]", *own, "[SEP]"]
            seen.add((window, position))
    assert len(seen) == sum(map(len, documents))
    # Within a long document, sentences from both sides are seen.
    long = max(range(30), key=lambda i: len(documents[i]))
    rows = np.flatnonzero(found.examples == long)
    assert len(rows) > 2
    inner = places.row[places.splits[long] : places.splits[long + 1]]
    first = [found.tokens["segment_ids"][found.row_splits[row]] for row in rows]
    owned = [np.flatnonzero(inner == row)[0] for row in rows]
    assert all(a < b for a, b in zip(first[1:], owned[1:]))


def test_windows_of_nothing():
    found = task_features.cut_windows(np.array([0]), np.array([], "int64"), 8)
    assert [len(column) for column in found] == [0] * 5


# --- the network -------------------------------------------------------------


@pytest.fixture(scope="module")
def network():
    tf.keras.utils.set_random_seed(0)
    config = ModelConfig.of_size(
        "tiny", vocab_size=50, embedding_size=16, hidden_size=32, num_layers=1,
        num_heads=2, intermediate_size=64, max_positions=40,
    )  # fmt: skip
    model = task_network(config, SentenceHeadConfig())
    model.build()
    return model


def test_a_window_knows_where_in_the_text_it_is(network):
    ids = tf.constant([[5, 6, 7, 5, 8, 9]])
    mask = tf.ones_like(ids)
    numbers = tf.constant([[0, 0, 0, 1, 1, 1]])
    first = network(ids, mask, numbers).logits
    assert first.shape == [1, 6] and first.dtype == tf.float32
    later = network(ids, mask, numbers + 2).logits
    assert np.abs(first - later).max() > 1e-3
    # The encoder itself gets alternating segments: the same for both.
    same = network(ids, mask, numbers + 2).encoder.sequence_output
    np.testing.assert_allclose(
        network(ids, mask, numbers).encoder.sequence_output, same, atol=1e-6
    )


def test_means_of_sentences():
    hidden = tf.reshape(tf.range(16, dtype=tf.float32), [2, 4, 2])
    numbers = tf.constant([[3, 3, 4, 0], [0, 1, 1, 1]])
    mask = tf.constant([[1, 1, 1, 0], [1, 1, 1, 1]])
    found = sentence_means(hidden, mask, numbers)
    np.testing.assert_allclose(
        found,
        [
            [[1, 2], [1, 2], [4, 5], [0, 0]],
            [[8, 9], [12, 13], [12, 13], [12, 13]],
        ],
    )


def test_waves():
    found = waves(tf.constant([[0, 7]]), 6)
    assert found.shape == [1, 2, 6]
    np.testing.assert_allclose(found[0, 0], [0, 0, 0, 1, 1, 1])
    rates = [10_000 ** (-i / 3) for i in range(3)]
    expected = [math.sin(7 * r) for r in rates] + [
        math.cos(7 * r) for r in rates
    ]
    np.testing.assert_allclose(found[0, 1], expected, rtol=1e-5)
    assert waves(tf.constant([3]), 5).shape == [1, 5]


# --- the task ----------------------------------------------------------------


def test_files(tmp_path):
    write(tmp_path / "train.jsonl", [row(), row(summary="The cat sat.")])
    write(tmp_path / "dev.jsonl", [row()])
    write(tmp_path / "test.jsonl", [{"document": TEXT}])
    made = task(tmp_path)
    train = made.read("train")
    assert [a.summary for a in train] == ["A dog ran off!", "The cat sat."]
    assert train[1].texts == split(TEXT)
    assert train[1].place == f"{tmp_path}/train.jsonl:2"
    assert len(made.read("validation")) == 1
    assert made.read("test")[0].summary is None
    made.fit(train)
    assert made.state == {"ratio": pytest.approx((4 + 3) / 2 / 14)}


def test_a_file_by_itself_is_divided(tmp_path):
    rows = [row(f"The cat sat {i}. A dog.", "A dog.") for i in range(60)]
    path = write(tmp_path / "all.jsonl", rows)
    made = task(path, validation_fraction=0.3)
    train, held_out = made.read("train"), made.read("validation")
    assert len(train) + len(held_out) == 60 and 5 < len(held_out) < 35
    assert not {a.text for a in train} & {a.text for a in held_out}
    made.fit(train)
    later = task(path, made.state, validation_fraction=0.3)
    assert [a.text for a in later.read("validation")] == [
        a.text for a in held_out
    ]
    other = write(tmp_path / "other.jsonl", rows[:7])
    assert len(task(other, made.state).read("validation")) == 7


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"document": TEXT}, "no column 'summary'; there are 'document'"),
        ({"text": TEXT, "summary": "A"}, "no column 'document'"),
        (row(document=""), "the text in 'document' is empty"),
        (row(document=" \n "), "the text in 'document' is empty"),
        (row(document="... !"), "expected a text with a sentence"),
        (row(document=7), "expected a text in 'document', got 7"),
        (row(summary=None), "expected a text in 'summary', got None"),
        (row(summary=" "), "the text in 'summary' is empty"),
    ],
)
def test_bad_rows_are_named(tmp_path, bad, message):
    write(tmp_path / "train.jsonl", [row(), bad])
    with pytest.raises(UserError) as error:
        task(tmp_path).read("train")
    assert str(error.value).startswith(f"{tmp_path}/train.jsonl:2: ")
    assert message in str(error.value)


def test_summaries_of_other_texts_are_left_out(tmp_path, tokenizer, caplog):
    rows = [row(), row(summary="Nothing here"), row()]
    write(tmp_path / "train.jsonl", rows)
    made = task(tmp_path, validation_fraction=0.0)
    found = made.features(tokenizer, made.read("train"), training=True)
    assert len(found) == 2
    assert "1 of 3 documents are not trained on" in caplog.text
    assert "train.jsonl:2" in caplog.text


def test_predictions(tokenizer):
    made = task(state={"ratio": 0.4}, num_sentences=2, title_line=True)
    examples = [made.example({"text": TEXT}, "here")]
    found = made.features(tokenizer, examples, training=False)
    probabilities = np.zeros(found.lengths[0], "float32")
    # The title scores best, but is not selected.
    probabilities[found.extra.position] = [0.9, 0.2, 0.3, 0.8]
    answer = made.predictions(
        examples, found, [{"probabilities": probabilities}]
    )[0]
    assert answer["summary"] == "Was it the house? They said so."
    assert [s["number"] for s in answer["sentences"]] == [2, 3]
    for sentence in answer["sentences"]:
        assert TEXT[sentence["start"] : sentence["end"]] == sentence["text"]
    assert answer["sentences"][1]["score"] == pytest.approx(0.8)
    # A text of one sentence has no title.
    one = made.example({"text": "The cat."}, "here")
    found = made.features(tokenizer, [one], training=False)
    answer = made.predictions(
        [one], found, [{"probabilities": np.ones(9, "float32")}]
    )
    assert answer[0]["summary"] == "The cat."


def test_scores_and_baselines():
    made = task(state={"ratio": 0.25})
    text = "A good dog. It ran. We sat. They had a cat, very good."
    article = dataclasses.replace(
        made.example({"text": text}, ""), summary="They had a cat, very good."
    )
    best = {"summary": "They had a cat, very good.", "sentences": []}
    found = made.scores([article], [best])
    assert found["rouge1"] == found["rouge2"] == pytest.approx(100.0)
    assert set(found) == {
        f"{name}rouge{n}"
        for name in ("", "lead3/", "lead/", "random/")
        for n in ("1", "2", "L")
    }
    assert found["lead3/rouge1"] == pytest.approx(100 * 2 * 2 / 13)
    assert made.constant([], [article]) == [{"summary": "A good dog."}]
    assert found["lead/rouge1"] == pytest.approx(100 * 2 * 2 / 9)
    assert set(made.quick().scores([article], [best])) == {
        "rouge1", "rouge2", "rougeL",
    }  # fmt: skip
    unknown = dataclasses.replace(article, summary=None)
    assert made.scores([article, unknown], [best, best]) == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 0.0}, "ratio"),
        ({"ratio": 1.5}, "ratio"),
        ({"num_words": 0}, "num_words"),
        ({"num_sentences": 2, "ratio": 0.5}, "num_sentences and ratio"),
        ({"max_seq_length": 2}, "max_seq_length"),
        ({"validation_fraction": 1.0}, "validation_fraction"),
        ({"summary_column": "document"}, "summary_column"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(UserError, match=message):
        SummaryOptions(**options)


def test_its_name():
    assert task_class("extractive_summarization") is ExtractiveSummarization
