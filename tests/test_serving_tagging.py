"""Tests that exported taggers predict as the Python ones."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import span_models
import tensorflow as tf

from electra_tf.exporting.graphs import (
    tagging_signatures,
    word_splitting,
)
from electra_tf.tasks.features import unit_features
from electra_tf.tasks.qa import words as qa_words
from electra_tf.tasks.tagging import answers, schemes
from electra_tf.tasks.tagging.words import split_words
from electra_tf.text.tokenizer import Tokenizer

TEXTS = [
    "The cat sat on a mat, and she didn't like U.S. dogs (Mr. O'Brien's).",
    "the house",
    "中国人 love the dog's house, no. 7!",
    "\u200b a \u200b \u200b cat \u200b",  # some words are invisible
    "she ran with all the dogs of the house and was very good " * 6,
    "all of the antidisestablishmentarianisms " * 3,
    "",
    " \t\n ",
    "\0",
]


# --- words -------------------------------------------------------------------

split = tf.function(
    word_splitting.split_words,
    input_signature=[tf.TensorSpec([None], tf.string)],
    autograph=False,
)


def found_words(words, texts):
    """Returns (words, starts) of each text; checks the four offsets."""
    columns = [column.to_list() for column in words[:-1]]
    for text, cut, b0, b1, c0, c1 in zip(texts, *columns):
        assert [text.encode()[a:b] for a, b in zip(b0, b1)] == cut
        assert [text[a:b].encode() for a, b in zip(c0, c1)] == cut
    return [
        (tuple(word.decode() for word in cut), tuple(starts))
        for cut, starts in zip(columns[0], columns[3])
    ]


PARTS = st.sampled_from(
    [
        *"abdonstmx0579.,:/-@#_&!'~^]\\[|$ \t\n\x00",
        *"中あ…—\u2019é\u02bc٣²“",
        "n't", "'s", "'ll", "'re", "no.", "mr.", "dec.", "www.", "http://",
        "https://", "U.S.", "\u200d", "\ufeff", "\U0001f600", "\ufdd0", "\xa0",
        "\u0301", "\ufffd", "\U0010ffff", "İ",
    ]
)  # fmt: skip
ANY = st.lists(
    st.lists(PARTS, max_size=14).map("".join)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    max_size=8,
)


@hypothesis.settings(max_examples=300)
@hypothesis.given(ANY)
def test_words_are_those_of_python(texts):
    found = split(tf.constant(texts, tf.string))
    assert found_words(found, texts) == [split_words(text) for text in texts]


@pytest.mark.parametrize("splitter", [qa_words.WORDS, qa_words.CHARACTERS])
@hypothesis.settings(max_examples=60)
@hypothesis.given(ANY)
def test_runs_are_those_of_python(splitter, texts):
    found = word_splitting.split_runs(tf.constant(texts, tf.string), splitter)
    expected = [qa_words.split_words(text, splitter) for text in texts]
    assert found_words(found, texts) == [
        (words, tuple(starts)) for words, starts in expected
    ]


def test_words_of_real_text(sample_text_dir):
    for path in sorted(sample_text_dir.glob("*.txt")):
        text = path.read_text(encoding="utf-8")
        texts = [*text.split("\n")[:2000], text[:100_000]]
        found = split(tf.constant(texts))
        assert found_words(found, texts) == [split_words(t) for t in texts]


def test_words_of_bytes_that_are_no_text():
    texts = [b"\xff\xfe ab\xe4\xb8 c\x00d", b"", b"\xf0\x9f"]
    found = split(tf.constant(texts))
    assert found.text.to_list() == [
        [b"\xff\xfe", b"ab", b"\xe4\xb8", b"c", b"d"], [], [b"\xf0\x9f"],
    ]  # fmt: skip


# --- rows and labels ---------------------------------------------------------


@pytest.mark.parametrize("max_length", [3, 5, 12, 31])
def test_rows_are_those_of_python(tiny_vocab_file, max_length):
    tokenizer = Tokenizer(tiny_vocab_file)
    rng = np.random.default_rng(max_length)
    known = ["cat", "the", "lovely", "xyzzyxy", "\u200b", "good", "中"]
    sentences = [
        list(rng.choice(known, size)) for size in (0, 3, 40, 0, 1, 7, 25, 0)
    ]
    sentences.append(["\u200b"] * 9)
    expected = unit_features(tokenizer, sentences, max_length)
    pieces = tagging_signatures.word_pieces(
        tokenizer, tf.ragged.constant(sentences, dtype=tf.string), max_length
    )
    found = tagging_signatures.make_rows(tokenizer, pieces, max_length)
    np.testing.assert_array_equal(found.row, expected.extra.row)
    seen = expected.extra.row >= 0
    np.testing.assert_array_equal(
        found.position.numpy()[seen], expected.extra.position[seen]
    )
    np.testing.assert_array_equal(found.rows.lengths, expected.lengths)
    padded = expected.batch(np.arange(len(expected)))
    np.testing.assert_array_equal(found.rows.input_ids, padded["input_ids"])


@pytest.mark.parametrize("scheme", ["bio", "bioes", "none"])
@pytest.mark.parametrize("step", [0.0, 0.5])
def test_labels_are_those_of_python(scheme, step):
    names = ("O", "B", "I")
    grammar = None
    if scheme != "none":
        names = schemes.labels(["PER", "LOC"], scheme)
        grammar = schemes.grammar(names, scheme)
    rng = np.random.default_rng(3)
    lengths = np.array([0, 1, 1, 5, 0, 30, 2, 2, 9, 0])
    splits = np.concatenate([[0], np.cumsum(lengths)])
    scores = rng.normal(size=[splits[-1], len(names)]).astype("float32")
    if step:  # many scores are equal
        scores = np.round(scores / step).astype("float32")
    search = tf.function(
        lambda s, p: tagging_signatures.best_labels(s, p, grammar),
        autograph=False,
    )
    expected = answers.best_labels(scores, splits, grammar)
    np.testing.assert_array_equal(search(scores, splits), expected)
    assert search(scores[:0], splits[:1]).shape == [0]


@pytest.mark.parametrize("learned_scheme", ["bio", "bioes"])
@pytest.mark.parametrize("scheme", ["bio", "iob1", "bioes", "bilou"])
@hypothesis.settings(max_examples=60)
@hypothesis.given(st.data())
def test_tags_are_converted_as_in_python(learned_scheme, scheme, data):
    names = schemes.labels(["", "A", "B-C"], learned_scheme)
    number = st.integers(0, len(names) - 1)
    sentences = data.draw(st.lists(st.lists(number, max_size=8), max_size=5))
    spelling = tagging_signatures.TagSpelling(names, learned_scheme, scheme)
    ragged = tf.ragged.constant(
        [*sentences, []],
        dtype=tf.int32,
        ragged_rank=1,
        row_splits_dtype="int64",
    )
    found = ragged.with_flat_values(
        spelling(ragged.flat_values, ragged.row_splits)
    )
    expected = [[names[i] for i in sentence] for sentence in sentences]
    if learned_scheme != scheme:
        expected = [schemes.convert(tags, scheme) for tags in expected]
    assert [[t.decode() for t in row] for row in found.to_list()][:-1] == (
        expected
    )


# --- the whole ---------------------------------------------------------------

KINDS = {
    "plain": ("bio", {}, "bio"),
    "converted": ("iob1", {"convert_to": "bioes"}, "bioes"),
    "free": ("bio", {"constrained": False}, "bio"),
    "pos": ("none", {}, "none"),
}


@pytest.fixture(scope="module", params=KINDS)
def pair(request, tmp_path_factory, tiny_vocab_file):
    """A predictor and its export."""
    scheme, options, learned = KINDS[request.param]
    labels = ["NOUN", "VERB", "X"]
    if scheme != "none":
        labels = list(schemes.labels(["PER", "LOC"], learned))
    state = {
        "scheme": scheme, "learned": learned, "labels": labels,
        "default": labels[0],
    }  # fmt: skip
    path = tmp_path_factory.mktemp(request.param)
    predictor = span_models.make(
        path / "model", tiny_vocab_file, "tagging",
        {"max_seq_length": 24, **options}, state,
    )  # fmt: skip
    signatures = tagging_signatures.signatures(predictor)
    export = span_models.exported(
        predictor, signatures["serving_default"], path / "export"
    )
    export.signatures = signatures
    return predictor, export


def test_tags_are_those_of_python(pair):
    predictor, export = pair
    found = export(text=TEXTS)
    expected = predictor.predict(TEXTS)
    assert len({tag for answer in expected for tag in answer["tags"]}) > 1
    for i, (text, answer) in enumerate(zip(TEXTS, expected)):
        size = found["num_tokens"][i]
        column = {name: value[i][:size] for name, value in found.items()
                  if name != "num_tokens"}  # fmt: skip
        assert [t.decode() for t in column["tokens"]] == answer["tokens"]
        assert [t.decode() for t in column["tags"]] == answer["tags"]
        for kind, cut in (("chars", text), ("bytes", text.encode())):
            places = zip(column[f"start_{kind}"], column[f"end_{kind}"])
            words = [cut[a:b] for a, b in places]
            words = [w if kind == "chars" else w.decode() for w in words]
            assert words == answer["tokens"]
        starts = column["start_chars"].tolist()
        for entity in answer["entities"]:
            inside = [i for i, s in enumerate(starts)
                      if entity["start"] <= s < entity["end"]]  # fmt: skip
            assert np.prod(column["probabilities"][inside]) == pytest.approx(
                entity["probability"], abs=1e-5
            )
        assert (found["tags"][i][size:] == b"").all()
        assert (found["start_bytes"][i][size:] == -1).all()


@pytest.mark.parametrize("text", ["", " \t\n ", "\0", "\u200b"])
def test_a_text_without_a_word_has_no_tags(pair, text):
    """Alone, a text without words gives no row for the network."""
    predictor, export = pair
    (answer,) = predictor.predict([text])
    found = export(text=[text])
    assert len(answer["tags"]) == found["num_tokens"][0]
    assert [t.decode() for t in found["tokens"][0]] == answer["tokens"]
    assert answer["entities"] == []


def test_no_words_have_no_tags(pair):
    predictor, _ = pair
    none, some = predictor.predict([[], ["the", "cat"]])
    assert none["tags"] == none["tokens"] == [] and len(some["tags"]) == 2


def test_any_bytes_are_answered(pair):
    _, export = pair
    empty = export(text=[])
    assert empty["tags"].shape[0] == 0 == empty["num_tokens"].shape[0]
    odd = [b"", b"\xff", b"\x00", b"   ", b"cat\xffdog", "\u0301".encode()]
    assert export(text=odd)["num_tokens"].tolist() == [0, 1, 0, 0, 3, 1]
    assert export(text=[b""])["tags"].shape == (1, 0)
    # A text gives the same alone and beside others.
    together, alone = export(text=TEXTS), export(text=TEXTS[4:5])
    np.testing.assert_array_equal(
        together["tags"][4][: alone["num_tokens"][0]], alone["tags"][0]
    )
    long = export(text=["the cat sat. " * 2000])
    assert long["num_tokens"][0] == 8000 and (long["tags"] != b"").all()


def test_steps_give_what_the_whole_gives(pair):
    """Steps equal the whole to the last digit, however they are grouped."""
    predictor, export = pair
    state = predictor.task.state
    if state["learned"] == state["scheme"]:
        pytest.skip("a single kind is enough")
    texts = tf.constant([*TEXTS * 3, "", "the cat 中国 sat. " * 300])
    span_models.check_steps(export.signatures, [texts], 3)
