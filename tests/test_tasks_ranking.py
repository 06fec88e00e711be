"""Tests ranking: files, groups, rows, predictions."""

import collections
import json

import numpy as np
import pytest
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.models.task_networks import ClassifierOutput
from electra_tf.tasks.ranking import pairs as ranking_pairs
from electra_tf.tasks.ranking.pairs import Pair, read_pairs
from electra_tf.tasks.ranking.task import Ranking, RankingOptions
from electra_tf.tasks.registry import task_class
from electra_tf.text.tokenizer import Tokenizer

TRIPLES = "the cat\ta cat sat\ta dog sat\nthe cat\ta cat sat\tshe ran\n"
ROWS = (
    "query_id\tquery\tpassage_id\tpassage\trelevance\n"
    "q1\tthe cat\tp1\ta cat sat\t1\nq1\tthe cat\tp2\ta dog\t0\n"
    "q2\tthe dog\tp2\ta dog\t2\nq2\tthe dog\tp3\tshe ran\t0\n"
)


@pytest.fixture(scope="module")
def tokenizer(tiny_vocab_file):
    return Tokenizer(tiny_vocab_file)


def ranking(data=None, **options):
    return Ranking("ranking", RankingOptions(**options), data)


def write(folder, name, text):
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def read(folder, name, text, **options):
    return read_pairs(write(folder, name, text), RankingOptions(), **options)


# --- files -----------------------------------------------------------------


def test_triples(tmp_path):
    pairs = read(tmp_path, "train.tsv", TRIPLES)
    assert [p.passage for p in pairs[::2]] == ["a cat sat"] * 2
    assert [p.passage for p in pairs[1::2]] == ["a dog sat", "she ran"]
    assert [p.relevance for p in pairs] == [1, 0, 1, 0]
    assert {p.query_id for p in pairs} == {"the cat"}
    assert read(tmp_path, "h.tsv", "query\tpositive\tnegative\n" + TRIPLES) == (
        pairs
    )
    # Equal texts share one object, to save memory.
    assert pairs[0].passage is pairs[2].passage


def test_rows(tmp_path):
    pairs = read(tmp_path, "dev.tsv", ROWS)
    assert pairs[2] == Pair("the dog", "a dog", 2.0, "q2", "p2")
    lines = [
        json.dumps({"query": p.query, "passage": p.passage, "relevance": 1})
        for p in pairs
    ]
    found = read(tmp_path, "dev.jsonl", "\n".join(lines))
    assert [p.passage_id for p in found] == ["1", "2", "3", "4"]
    assert found[2].query_id == "the dog"
    csv = ROWS.replace("\t", ",").replace("a cat sat", '"a cat,\nsat"')
    assert read(tmp_path, "dev.csv", csv)[0].passage == "a cat,\nsat"


def test_lists(tmp_path):
    lines = [
        {"query": "q", "positives": ["a"], "negatives": ["b", {"text": "c"}]},
        {"query": "r", "pos": "d", "hard_negatives": ["e"]},
    ]
    text = "\n".join(map(json.dumps, lines))
    pairs = read(tmp_path, "train.jsonl", text)
    assert [(p.query, p.passage, p.relevance) for p in pairs] == [
        ("q", "a", 1), ("q", "b", 0), ("q", "c", 0), ("r", "d", 1),
        ("r", "e", 0),
    ]  # fmt: skip


def test_judgements_may_be_left_out(tmp_path):
    text = "query\tpassage\na\tb\n"
    (pair,) = read(tmp_path, "test.tsv", text, judged=False)
    assert pair.relevance is None


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.tsv", "a\tb\n", r":1: expected a header .*got 2 columns: 'a\tb'"),
        ("x.tsv", "a\tb\tc\na\t \tc\n", r":2: the text in 'positive' is empty"),
        ("x.tsv", "a\tb\tc\na\tb\n", r":2: 2 columns, expected 3"),
        ("x.tsv", "query\tpassage\trelevance\na\tb\tgood\n",
         r":2: relevance: expected a number.*'good'"),
        ("x.tsv", "query\tpassage\trelevance\na\tb\tnan\n", r":2: relevance"),
        ("x.tsv", "query\tpassage\trelevance\na\tb\t \n", r":2: relevance"),
        ("x.tsv", "query\tpassage\na\tb\n", r":2: no column 'relevance'"),
        ("x.tsv", "query\tpassage\trelevance\na\tb\t\n",
         r":2: no column 'relevance', or it is empty"),
        ("x.jsonl", f'{{"query": "q", "passage": "p", "relevance": {10**400}}}',
         r":1: relevance: expected a number"),
        ("x.tsv", ROWS + "q1\tthe cat\tp1\tx\t1\n",
         r":6: the query 'q1' has the passage 'p1' already"),
        ("x.tsv", ROWS + "q1\tthe dog\tp9\tx\t1\n",
         r":6: the query id 'q1' belongs to another query"),
        ("x.tsv", "query_id\tquery\tpassage\trelevance\n1\ta\tb\t1\n"
         "1\tc\td\t0\n", r":3: the query id '1' belongs to another query"),
        ("x.jsonl", '{"query": "q", "positives": 3}', r":1: positives: exp"),
        ("x.jsonl", '{"query": "q", "negatives": [""]}', r":1: negatives: exp"),
        ("x.jsonl", '{"negatives": ["a"]}', r":1: no column 'query'"),
        ("x.jsonl", '{"query": 3, "passage": "a"}', r":1: expected a text"),
    ],
)  # fmt: skip
def test_bad_files_are_named(tmp_path, name, text, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, name, text)


def test_run_file():
    pairs = [
        Pair("a", "x", 1.0, "q 1", "p1"), Pair("b", "y", 0.0, "q2", "p1"),
        Pair("a", "z", 0.0, "q 1", "p2"),
    ]  # fmt: skip
    assert ranking_pairs.run_text(pairs, [0.5, 1, 2], "me").splitlines() == [
        "q_1 Q0 p2 1 2.000000 me",
        "q_1 Q0 p1 2 0.500000 me",
        "q2 Q0 p1 1 1.000000 me",
    ]


# --- splits ----------------------------------------------------------------


def test_splits(tmp_path):
    write(tmp_path, "train.tsv", TRIPLES)
    write(tmp_path, "dev.tsv", ROWS)
    task = ranking(str(tmp_path))
    assert len(task.read("train")) == 4 and len(task.read("validation")) == 4
    assert task.read("test") is None
    task.fit(task.read("train"))


def test_queries_are_held_out_whole(tmp_path):
    lines = [f"q{i % 90}\tpos {i}\tneg {i}\n" for i in range(270)]
    write(tmp_path, "train.tsv", "".join(lines))
    task = ranking(str(tmp_path))
    train, held_out = task.read("train"), task.read("validation")
    assert len(train) + len(held_out) == 540 and held_out
    assert not {p.query for p in train} & {p.query for p in held_out}


def test_queries_are_sampled_whole():
    pairs = [Pair(f"q{i // 4}", f"p{i}", i % 4 == 0) for i in range(400)]
    drawn = ranking().draw(pairs, 42, seed=3)
    assert len(drawn) == 44 and drawn == ranking().draw(pairs, 42, seed=3)
    assert drawn == sorted(drawn, key=pairs.index)
    counts = collections.Counter(pair.query for pair in drawn)
    assert len(counts) == 11 and set(counts.values()) == {4}
    assert drawn != ranking().draw(pairs, 42, seed=4)


def test_hard_negatives_from_a_file(tmp_path):
    write(tmp_path, "train.tsv", TRIPLES)
    write(tmp_path, "dev.tsv", ROWS)
    more = [
        {"query": "the cat", "negatives": ["hard one", "she ran"]},
        {"query": "unknown", "negatives": ["x"]},
    ]
    text = "\n".join(map(json.dumps, more))
    write(tmp_path, "hard.jsonl", text)
    task = ranking(str(tmp_path), negatives_file="hard.jsonl")
    train = task.read("train")
    assert {p.query for p in train} == {"the cat"}
    groups = ranking_pairs.make_groups(train, 1.0, 7, None, 0)
    passages = [train[i].passage for i in groups.pairs[0]]
    assert passages[0] == "a cat sat"
    assert sorted(passages[1:]) == ["a dog sat", "hard one", "she ran"]
    write(tmp_path, "other.jsonl", json.dumps(more[1]))
    task = ranking(str(tmp_path), negatives_file="other.jsonl")
    with pytest.raises(UserError, match=r"other\.jsonl: none of its 1"):
        task.read("train")


def test_what_cannot_be_learned_or_scored_is_reported(tmp_path):
    task = ranking()
    with pytest.raises(UserError, match="nothing to learn"):
        task.fit([Pair("q", "a", 1.0), Pair("r", "b", 0.0)])
    write(tmp_path, "train.tsv", TRIPLES)
    write(tmp_path, "dev.tsv", ROWS.replace("\t1\n", "\t0\n"))
    task = ranking(str(tmp_path), relevant_from=3)
    with pytest.raises(UserError, match=r"dev\.tsv: no query .*relevant_from"):
        task.read("validation")
    with pytest.raises(UserError, match="--data: expected a directory"):
        ranking().read("train")
    with pytest.raises(UserError, match="ranking/msmarco"):
        task_class("ranking/msmarco")("ranking/msmarco")


# --- rows and groups -------------------------------------------------------


def judged(query, *grades):
    return [Pair(query, f"{query}{i}", g) for i, g in enumerate(grades)]


def test_groups_have_the_positive_first():
    pairs = judged("a", 0, 1, 0, 0) + judged("b", 2, 1, 0) + judged("c", 1)
    groups = ranking_pairs.make_groups(pairs, 1.0, 2, 1, 0)
    assert groups.size == 3 and groups.unused == 1
    assert groups.pairs[:, 0].tolist() == [1, 4, 5]
    for positive, *negatives in groups.pairs:
        grade = pairs[positive].relevance
        assert all(pairs[i].relevance < grade for i in negatives)
        assert all(pairs[i].query == pairs[positive].query for i in negatives)
    # b's lower positive has only one negative, which is repeated.
    assert groups.pairs[2].tolist() == [5, 6, 6]


def test_every_negative_is_used_once():
    pairs = judged("a", 1, *[0] * 6)
    groups = ranking_pairs.make_groups(pairs, 1.0, 2, None, 0)
    assert groups.pairs.shape == (3, 3)
    assert sorted(groups.pairs[:, 1:].ravel()) == [1, 2, 3, 4, 5, 6]
    other = ranking_pairs.make_groups(pairs, 1.0, 2, None, 1)
    assert other.pairs.tolist() != groups.pairs.tolist()
    # A group has no more negatives than there are.
    assert ranking_pairs.make_groups(pairs, 1.0, 50, None, 0).size == 7


def test_a_passage_counts_once_with_its_best_judgement():
    pairs = [Pair("a", "x", 0.0), Pair("a", "y", 0.0), Pair("a", "x", 1.0)]
    groups = ranking_pairs.make_groups(pairs, 1.0, 5, None, 0)
    assert groups.pairs.tolist() == [[2, 1]]


def test_rows_of_tokens(tokenizer):
    pairs = [
        Pair("the cat", "she sat on a mat"),
        Pair("the cat sat on", "she ran"),
        Pair("the", "\u200b"),
    ]
    features = ranking_pairs.pair_rows(tokenizer, pairs, 9, 3)
    batch = features.batch([0, 1, 2])
    tokens = [
        " ".join(tokenizer.vocab.tokens[i] for i in row)
        for row in batch["input_ids"]
    ]
    assert tokens == [
        "[CLS] the cat [SEP] she sat on a [SEP]",
        "[CLS] the cat sat [SEP] she ran [SEP] [PAD]",
        "[CLS] the [SEP] [SEP] [PAD] [PAD] [PAD] [PAD] [PAD]",
    ]
    assert batch["segment_ids"].tolist() == [
        [0, 0, 0, 0, 1, 1, 1, 1, 1],
        [0, 0, 0, 0, 0, 1, 1, 1, 0],
        [0, 0, 0, 1, 0, 0, 0, 0, 0],
    ]


@pytest.mark.parametrize("loss", ["pairwise", "listwise", "listnet"])
def test_training_batches_are_groups(tokenizer, loss):
    pairs = judged("a", 1, 0, 0) + judged("b", 0, 3, 0)
    task = ranking(loss=loss, num_negatives=2, max_seq_length=68)
    features = task.features(tokenizer, pairs, training=True)
    assert features.units == 2 and features.group == 3
    batch = features.batch([1, 0])
    assert batch["input_ids"].shape[:2] == (2, 3)
    assert batch["relevance"].tolist() == [[3, 0, 0], [1, 0, 0]]
    assert [pairs[i].query for i in features.examples] == ["a"] * 3 + ["b"] * 3
    logits = tf.constant([[5.0], [0], [0], [0], [5], [0]])
    losses = task.loss(ClassifierOutput(logits, None), batch).numpy()
    assert losses.shape == (2,) and losses[0] < losses[1]
    tokens = features.tokens["input_ids"]
    expected = tokenizer([pairs[i].passage for i in features.examples])
    for row in range(6):
        end = features.row_splits[row + 1] - 1
        there = expected[row].numpy()
        assert tokens[end - len(there) : end].tolist() == there.tolist()


def test_pointwise_rows_are_independent(tokenizer):
    pairs = judged("a", 1, 0, 0)
    task = ranking(loss="pointwise", num_negatives=2)
    features = task.features(tokenizer, pairs, training=True)
    assert features.group == 1 and len(features) == 3
    batch = features.batch([0, 1, 2])
    assert batch["relevance"].tolist() == [1, 0, 0]
    output = ClassifierOutput(tf.constant([[9.0], [-9.0], [9.0]]), None)
    losses = task.loss(output, batch).numpy()
    assert losses[2] > 8 and losses[:2].max() < 0.01


# --- answers ---------------------------------------------------------------


def test_scores_and_files(tmp_path):
    task = ranking()
    pairs = read(tmp_path, "dev.tsv", ROWS)
    right = [{"score": s} for s in (2.0, 1.0, 2.0, 1.0)]
    assert task.scores(pairs, right) == {
        "mrr@10": 100, "ndcg@10": 100, "map": 100
    }  # fmt: skip
    wrong = [{"score": -p["score"]} for p in right]
    assert task.scores(pairs, wrong)["mrr@10"] == 50
    assert task.files("dev", pairs, right)["dev_run.txt"].startswith(
        b"q1 Q0 p1 1 2.000000 "
    )
    blind = [pair._replace(relevance=None) for pair in pairs]
    assert task.scores(blind, right) == {}
    assert task.constant([], pairs) == task.constant(pairs, pairs)
    assert len({p["score"] for p in task.constant([], pairs)}) == 4


def test_predicts_pairs(tokenizer):
    task = ranking(query_column="q", passage_column="p")
    records = [task.record(("a", "b")), {"q": "c", "p": "d", "extra": 1}]
    examples = [task.example(r, "item 1") for r in records]
    assert [e[:2] for e in examples] == [("a", "b"), ("c", "d")]
    features = task.features(tokenizer, examples, training=False)
    outputs = task.outputs(ClassifierOutput(tf.constant([[1.0], [2]]), None))
    rows = [{"score": value} for value in outputs["score"].numpy()]
    found = task.predictions(examples, features, rows)
    assert found == [{"score": 1.0}, {"score": 2.0}]
    for wrong, message in (
        ("a", "expected a pair"),
        (("a", ""), "item 1: the text in 'p' is empty"),
        ({"q": "a"}, "item 1: no column 'p'"),
    ):
        with pytest.raises(UserError, match=message):
            task.example(task.record(wrong), "item 1")


@pytest.mark.parametrize(
    "options",
    [
        {"num_negatives": 0}, {"groups_per_positive": 0},
        {"max_query_length": 0}, {"validation_fraction": 1.0},
        {"max_seq_length": 60},
    ],
)  # fmt: skip
def test_impossible_options(options):
    with pytest.raises(UserError, match=next(iter(options))):
        RankingOptions(**options)


def test_metric_is_an_option():
    assert ranking().metric == "mrr@10"
    assert ranking(metric="map").metric == "map"
    assert np.isfinite(RankingOptions().relevant_from)
