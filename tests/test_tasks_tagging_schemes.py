"""Tests tag schemes: conversion to spans and back."""

import itertools
import json

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from electra_tf.tasks.tagging import answers as tagging_answers
from electra_tf.tasks.tagging import schemes as tagging_schemes
from electra_tf.tasks.tagging.schemes import SCHEMES, Span

SPELLING = [scheme for scheme in SCHEMES if scheme != "none"]


@st.composite
def sentences(draw):
    """Returns spans that do not overlap, and a length that holds them."""
    found, end = [], 0
    for _ in range(draw(st.integers(0, 4))):
        start = end + draw(st.integers(0, 2))
        end = start + draw(st.integers(1, 3))
        kind = draw(st.sampled_from(["PER", "LOC", "B-C"]))
        found.append(Span(start, end, kind))
    return found, end + draw(st.integers(0, 2))


TAGS = st.lists(
    st.sampled_from(["O", "B-X", "I-X", "E-X", "S-X", "I-Y", "B-Y", "E-Y"]),
    max_size=8,
)


@pytest.mark.parametrize("scheme", SPELLING)
@hypothesis.given(sentences())
def test_spans_survive(scheme, sentence):
    found, length = sentence
    tags = tagging_schemes.write(found, length, scheme)
    assert len(tags) == length
    assert tagging_schemes.spans(tags) == found
    assert tagging_schemes.is_valid(tags, scheme)
    assert all(tagging_schemes.belongs(tag, scheme) for tag in tags)


@hypothesis.given(sentences(), st.permutations(SPELLING))
def test_conversions_are_reversible(sentence, order):
    found, length = sentence
    first = tagging_schemes.write(found, length, order[0])
    tags = first
    for scheme in (*order[1:], order[0]):
        tags = tagging_schemes.convert(tags, scheme)
    assert tags == first


@hypothesis.given(sentences())
def test_valid_tags_are_read_alike(sentence):
    found, length = sentence
    for scheme in ("bio", "bioes"):
        tags = tagging_schemes.write(found, length, scheme)
        assert tagging_schemes.joined_spans(tags) == found


@hypothesis.given(TAGS)
def test_any_tags_are_read_as_seqeval_reads_them(tags):
    theirs = [(a, b + 1, kind) for kind, a, b in get_entities(tags)]
    assert tagging_schemes.spans(tags) == theirs


@hypothesis.given(TAGS, st.sampled_from(SPELLING))
def test_conversion_gives_valid_tags_of_the_same_spans(tags, scheme):
    converted = tagging_schemes.convert(tags, scheme)
    assert tagging_schemes.is_valid(converted, scheme)
    assert tagging_schemes.spans(converted) == tagging_schemes.spans(tags)


def test_spellings():
    found = [Span(0, 1, "A"), Span(1, 4, "A"), Span(5, 7, "B")]
    expected = {
        "bio": "B-A B-A I-A I-A O B-B I-B",
        "iob1": "I-A B-A I-A I-A O I-B I-B",
        "bioes": "S-A B-A I-A E-A O B-B E-B",
        "bilou": "U-A B-A I-A L-A O B-B L-B",
        "bmes": "S-A B-A M-A E-A O B-B E-B",
        "ioe1": "E-A I-A I-A I-A O I-B I-B",
        "ioe2": "E-A I-A I-A E-A O I-B E-B",
    }
    for scheme, tags in expected.items():
        assert tagging_schemes.write(found, 7, scheme) == tags.split()
        assert tagging_schemes.detect([tags.split()]) == scheme


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        ("NN VB O", "none"),
        ("O O", "none"),
        ("B-X I-X", "bio"),
        ("I-X I-X", "iob1"),
        ("I-X O B-Y", "bio"),  # invalid in both: as in conlleval
        ("B-X E-X L-X", "none"),
        ("B I O", "bio"),
    ],
)
def test_detects(tags, scheme):
    assert tagging_schemes.detect([tags.split()]) == scheme


@pytest.mark.parametrize(
    ("labels", "scheme"),
    [
        ("O B-X I-X", "bio"),
        ("O B-X", "bio"),
        ("O I-X", "iob1"),
        ("O B-X I-X I-Y", "iob1"),  # CoNLL-2003's lack B-PER
        ("O I-X E-X", "ioe2"),
        ("O I-X E-X I-Y", "ioe1"),
        ("O S-X B-X E-X", "bioes"),
        ("O U-X B-X L-X", "bilou"),
        ("O S-X B-X M-X E-X", "bmes"),
        ("O NN VB", "none"),
        ("B-X L-X E-X", "none"),
        ("O B-X I-Y", "bio"),  # no scheme is of both
    ],
)
def test_the_scheme_of_labels(labels, scheme):
    names = labels.split()
    assert tagging_schemes.of_labels(names) == scheme
    found = tagging_schemes.impossible(names, scheme)
    assert found == (["Y"] if labels == "O B-X I-Y" else [])


@pytest.mark.parametrize("scheme", SPELLING)
def test_all_labels_can_tell_spans(scheme):
    names = tagging_schemes.labels(["X", "Y"], scheme)
    assert tagging_schemes.impossible(names, scheme) == []


@pytest.mark.parametrize("scheme", SPELLING)
def test_grammar_is_what_is_valid(scheme):
    names = tagging_schemes.labels(["X", "Y"], scheme)
    rules = tagging_schemes.grammar(names, scheme)
    for length in (1, 2, 3):
        for row in itertools.product(range(len(names)), repeat=length):
            ok = bool(rules.first[row[0]] and rules.last[row[-1]]) and all(
                rules.next[a, b] for a, b in itertools.pairwise(row)
            )
            tags = [names[i] for i in row]
            assert ok == tagging_schemes.is_valid(tags, scheme)
            # Valid tags are those that their own spans are written as.
            assert ok == (tagging_schemes.convert(tags, scheme) == tags)


def brute_force(scores, rules):
    def value(row):
        steps = itertools.pairwise(row)
        if not (rules.first[row[0]] and rules.last[row[-1]]):
            return -np.inf
        if not all(rules.next[a, b] for a, b in steps):
            return -np.inf
        return sum(scores[t, label] for t, label in enumerate(row))

    rows = itertools.product(range(scores.shape[1]), repeat=len(scores))
    return max(rows, key=value)


@pytest.mark.parametrize("scheme", SPELLING)
def test_search_finds_the_best_valid_tags(scheme):
    rng = np.random.default_rng(5)
    names = tagging_schemes.labels(["X"], scheme)
    rules = tagging_schemes.grammar(names, scheme)
    lengths = [4, 1, 0, 3, 5, 2, 1]
    splits = np.concatenate([[0], np.cumsum(lengths)])
    for _ in range(10):
        scores = rng.normal(size=[splits[-1], len(names)]).astype("float32")
        found = tagging_answers.best_labels(scores, splits, rules)
        for a, b in itertools.pairwise(splits):
            if b > a:
                expected = brute_force(scores[a:b], rules)
                assert tuple(found[a:b]) == expected


def test_search_leaves_valid_ones_and_anything_where_all_is_valid():
    scores = np.array([[0, 1, 2], [3, 1, 0]], "float32")
    splits = np.array([0, 2])
    free = tagging_answers.best_labels(scores, splits, None)
    assert free.tolist() == [2, 0]
    names = ("O", "B-X", "I-X")
    rules = tagging_schemes.grammar(names, "bio")
    best = tagging_answers.best_labels(scores, splits, rules)
    assert best.tolist() == [1, 0]
    empty = np.zeros([0, 3], "float32")
    none = tagging_answers.best_labels(empty, np.array([0, 0]), rules)
    assert none.shape == (0,)


def test_the_originals_reading(shared_dir):
    recorded = json.loads((shared_dir / "golden/metrics.json").read_text())
    for case in recorded["tag_spans"]:
        found = tagging_schemes.joined_spans(case["tags"])
        assert [[a, b - 1, kind] for a, b, kind in found] == case["spans"]
        written = tagging_schemes.write(found, len(case["tags"]), "bioes")
        assert written == case["bioes"]


def test_scores_where_nothing_is_a_span():
    outside = [["O", "O"], ["O"]]
    report = tagging_answers.type_report(outside, outside)
    assert report == "no spans, neither true nor predicted\n"
    found = tagging_answers.entity_scores(outside, outside, "bio")
    assert found == {"f1": 0.0, "precision": 0.0, "recall": 0.0}
    report = tagging_answers.type_report(outside, [["B-X", "O"], ["O"]])
    assert report.split()[4] == "X"
