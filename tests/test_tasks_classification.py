"""Tests classification: labels, features, losses, predictions, scores."""

import warnings

import numpy as np
import pytest
import sklearn.metrics
from classification_tables import fitted, losses, predicted, table
from text_rows import pair_features

from electra_tf.errors import UserError
from electra_tf.tasks.texts.classification import Classification, Regression
from electra_tf.text.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def tokenizer(tiny_vocab_file):
    return Tokenizer(tiny_vocab_file)


ROWS = [("the cat", "b"), ("a dog", "a"), ("cat", "b"), ("she", "c")]


def test_labels_are_found_and_sorted(tmp_path):
    task, _ = fitted(table(tmp_path / "a.tsv", ROWS))
    head = task.head()
    assert head.kind == "sequence" and head.labels == ("a", "b", "c")
    assert head.num_labels == 3 and not head.hidden_layer
    assert task.state["labels"] == ["a", "b", "c"]
    numbers = [("cat", n) for n in ("10", "9", "2")]
    task, _ = fitted(table(tmp_path / "b.tsv", numbers))
    assert task.head().labels == ("2", "9", "10")


def test_scalars_of_json_are_labels(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"text": "a", "label": true}\n{"text": "b", "label": 3}\n'
        '{"text": "c", "label": " x "}\n'
    )
    task, _ = fitted(str(path))
    assert task.head().labels == ("3", "true", "x")
    path.write_text('{"text": "a", "label": {"x": 1}}\n')
    with pytest.raises(UserError, match=r"a.jsonl:1: expected a label"):
        fitted(str(path))


def test_given_labels_keep_their_order(tmp_path):
    path = table(tmp_path / "a.tsv", ROWS)
    task, _ = fitted(path, labels=("c", "b", "a", "d"))
    assert task.head().labels == ("c", "b", "a", "d")


def test_state_and_options_make_the_task_again(tmp_path):
    task, examples = fitted(
        table(tmp_path / "a.tsv", ROWS), class_weights="balanced"
    )
    again = Classification("classification", task.options, None, task.state)
    assert again.head() == task.head()
    assert again.target.weights == task.target.weights
    assert again.metric == "accuracy"
    logits = np.eye(3)[[0, 1, 2, 0]]
    assert predicted(again, examples, logits) == predicted(
        task, examples, logits
    )


def test_labels_that_are_in_no_sampled_example(tmp_path):
    path = table(tmp_path / "a.tsv", ROWS)
    task = Classification("classification", None, path)
    task.read("train")
    task.fit(Classification("classification", None, path).read("train")[:2])
    assert task.head().labels == ("a", "b", "c")


def test_features_are_the_original_ones_without_padding(tmp_path, tokenizer):
    rows = [("the cat sat on a mat", "she ran", "x"), ("dog", "cat", "y")]
    task, examples = fitted(
        table(tmp_path / "a.tsv", rows, "text\tother\tlabel"),
        text_pair_column="other", max_seq_length=8,
    )  # fmt: skip
    features = task.features(tokenizer, examples, training=True)
    expected = pair_features(
        tokenizer, [r[0] for r in rows], [r[1] for r in rows], 8
    )
    batch = features.batch([0, 1])
    for name, value in expected.items():
        np.testing.assert_array_equal(batch[name], value)
    assert batch["label_ids"].tolist() == [0, 1]
    assert features.lengths.tolist() == [8, 5]
    assert features.examples is None
    inference = task.features(tokenizer, examples, training=False)
    assert not inference.rows


def test_both_orders_of_a_pair_in_training_alone(tmp_path, tokenizer):
    rows = [("the cat", "she ran on", "x"), ("dog", "cat", "y")]
    path = table(tmp_path / "a.tsv", rows, "text\tother\tlabel")
    task, examples = fitted(
        path, text_pair_column="other", double_unordered=True
    )
    features = task.features(tokenizer, examples, training=True)
    turned, _ = fitted(
        table(tmp_path / "b.tsv", rows, "other\ttext\tlabel"),
        text_pair_column="other",
    )
    other = turned.features(tokenizer, turned.read("train"), training=True)
    assert len(features) == 4 and features.examples.tolist() == [0, 1, 0, 1]
    both, reverse = features.batch([2, 3]), other.batch([0, 1])
    for name in ("input_ids", "segment_ids", "label_ids"):
        np.testing.assert_array_equal(both[name], reverse[name])
    assert len(task.features(tokenizer, examples, training=False)) == 2


def test_loss_is_weighted_cross_entropy(tmp_path, tokenizer):
    path = table(tmp_path / "a.tsv", ROWS)
    logits = np.array([[1.0, -1, 0], [0, 2, 1], [0, 0, 0], [-1, 3, 1]])
    plain, examples = fitted(path)
    each = losses(plain, tokenizer, examples, logits)
    gold = [1, 0, 1, 2]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(
        each, -np.log(probabilities[range(4), gold]), rtol=1e-5
    )
    given, _ = fitted(path, class_weights={"b": 0.5, "c": 3})
    np.testing.assert_allclose(
        losses(given, tokenizer, examples, logits),
        each * [0.5, 1, 0.5, 3], rtol=1e-5,
    )  # fmt: skip
    balanced, _ = fitted(path, class_weights="balanced")
    weights = losses(balanced, tokenizer, examples, logits) / each
    # Each class has the same total weight, and the mean weight is 1.
    np.testing.assert_allclose(weights, [2 / 3, 4 / 3, 2 / 3, 4 / 3], rtol=1e-5)
    none, _ = fitted(path, class_weights="none")
    assert none.target.weights is None


def test_predictions_and_scores(tmp_path):
    task, examples = fitted(table(tmp_path / "a.tsv", ROWS))
    logits = np.log([[0.2, 0.7, 0.1], [0.3, 0.6, 0.1], [0.1, 0.8, 0.1],
                     [0.2, 0.2, 0.6]])  # fmt: skip
    found = predicted(task, examples, logits)
    assert [p["label"] for p in found] == ["b", "b", "b", "c"]
    assert found[0]["probabilities"] == pytest.approx(
        {"a": 0.2, "b": 0.7, "c": 0.1}
    )
    scores = task.scores(examples, found)
    gold, pred = [1, 0, 1, 2], [1, 1, 1, 2]
    assert scores == pytest.approx(
        {
            "accuracy": 75.0,
            "macro_f1": 100
            * sklearn.metrics.f1_score(gold, pred, average="macro"),
            "mcc": 100 * sklearn.metrics.matthews_corrcoef(gold, pred),
            # Weighted by the size of each class; b is predicted 3 times.
            "precision": (25 * 0 + 50 * 2 / 3 + 25),
            "recall": 75.0,
            "f1": 100
            * sklearn.metrics.f1_score(gold, pred, average="weighted"),
            "loss": -np.mean(np.log([0.7, 0.3, 0.8, 0.6])),
        },
        rel=1e-5,
    )
    unlabelled = [task.example({"text": "cat"}, "x:1")]
    assert task.scores(unlabelled, found[:1]) == {}
    assert [task.truth(e) for e in examples] == ["b", "a", "b", "c"]
    assert task.truth(unlabelled[0]) is None


def test_f1_of_one_of_several_classes(tmp_path):
    path = table(tmp_path / "a.tsv", ROWS)
    task, examples = fitted(path, metric="f1", positive_label="b")
    logits = [[0, 1, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]]
    scores = task.scores(examples, predicted(task, examples, logits))
    assert scores["precision"] == pytest.approx(200 / 3)
    assert scores["recall"] == 100.0
    assert task.metric == "f1" and scores["f1"] == pytest.approx(80.0)


def test_two_classes_have_f1(tmp_path):
    rows = [("cat", "no"), ("dog", "yes"), ("a", "yes"), ("b", "no")]
    logits = [[0, 1], [0, 1], [1, 0], [1, 0]]
    path = table(tmp_path / "a.tsv", rows)
    for positive, f1 in ((None, 50.0), ("no", 50.0)):
        task, examples = fitted(path, metric="f1", positive_label=positive)
        scores = task.scores(examples, predicted(task, examples, logits))
        assert scores["f1"] == pytest.approx(f1)
        assert scores["accuracy_f1"] == pytest.approx(50.0)
        assert task.metric == "f1"
    with pytest.raises(UserError, match="f1 is for two classes, and there are"):
        fitted(table(tmp_path / "b.tsv", ROWS), metric="f1")
    with pytest.raises(UserError, match="positive_label: 'x' is not a label"):
        fitted(path, positive_label="x")


def test_constant_answers(tmp_path):
    task, examples = fitted(table(tmp_path / "a.tsv", ROWS))
    found = task.constant(examples, examples[:2])
    assert [p["label"] for p in found] == ["b", "b"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = task.scores(examples, task.constant(examples, examples))
    assert scores["accuracy"] == 50.0 and scores["mcc"] == 0.0
    task, examples = fitted(
        table(tmp_path / "b.tsv", [("a", 1), ("b", 4)]), Regression
    )
    assert task.constant(examples, examples) == [{"score": 2.5}] * 2


def test_any_number_of_labels(tmp_path, tokenizer):
    path = tmp_path / "a.tsv"
    table(path, [("cat", "b;a"), ("dog", ""), ("mat", "a; "), ("he", "c")])
    task, examples = fitted(str(path), multi_label=True, separator=";")
    assert [e.answer for e in examples] == [("b", "a"), (), ("a",), ("c",)]
    assert task.head().labels == ("a", "b", "c")
    assert task.metric == "micro_f1"
    logits = np.array([[2.0, 1, -1], [-1, -2, -3], [1, 1, -1], [0, -1, -2]])
    features = task.features(tokenizer, examples, training=True)
    gold = np.array([[1, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 1]])
    np.testing.assert_array_equal(features.rows["label_set"], gold)
    p = 1 / (1 + np.exp(-logits))
    expected = -np.mean(gold * np.log(p) + (1 - gold) * np.log(1 - p), axis=1)
    np.testing.assert_allclose(
        losses(task, tokenizer, examples, logits), expected, rtol=1e-5
    )
    found = predicted(task, examples, logits)
    assert [p["labels"] for p in found] == [["a", "b"], [], ["a", "b"], ["a"]]
    assert found[3]["probabilities"]["a"] == pytest.approx(0.5)
    scores = task.scores(examples, found)
    pred = np.array([[1, 1, 0], [0, 0, 0], [1, 1, 0], [1, 0, 0]])
    assert scores["micro_f1"] == pytest.approx(
        100 * sklearn.metrics.f1_score(gold, pred, average="micro")
    )
    assert scores["exact_match"] == 50.0
    assert scores["loss"] == pytest.approx(np.mean(expected), rel=1e-5)
    weighted, _ = fitted(
        str(path), multi_label=True, separator=";", class_weights="balanced"
    )
    # Of the four rows, two have label a, one has b, and one has c.
    assert weighted.state["class_weights"] == [1.0, 3.0, 3.0]
    constant = task.constant(examples, examples)
    assert constant[0]["labels"] == ["a"]
    strict, _ = fitted(
        str(path), multi_label=True, separator=";", threshold=0.8
    )
    assert predicted(strict, examples, logits)[0]["labels"] == ["a"]


def test_lists_of_json_are_label_sets(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"text": "a", "label": ["x", "y"]}\n{"text": "b", "label": []}\n'
    )
    _, examples = fitted(str(path), multi_label=True)
    assert [e.answer for e in examples] == [("x", "y"), ()]
    path.write_text('{"text": "a", "label": 3}\n')
    with pytest.raises(UserError, match=r"a.jsonl:1: expected a list of label"):
        fitted(str(path), multi_label=True)


@pytest.mark.parametrize(
    ("cls", "rows", "options", "message"),
    [
        (Classification, [("a", "x"), ("b", "x")], {},
         "a.tsv: every row's 'label' is 'x'; expected at least two classes"),
        (Classification, [("a", "neg"), ("b", "positiv")],
         {"labels": ("negative", "positive")},
         "a.tsv:2: unknown label 'neg'; did you mean 'negative'? known: "),
        (Classification, [("a", "x"), ("b", "y")],
         {"threshold": 0.3},
         "options.threshold: is used with multi_label alone"),
        (Classification, [("a", "x"), ("b", "y")],
         {"separator": ";"},
         "options.separator: is used with multi_label alone"),
        (Classification, [("a", "x"), ("b", "y")],
         {"multi_label": True, "positive_label": "x"},
         "options.positive_label: is used without multi_label alone"),
        (Classification, [("a", "x"), ("b", "y")],
         {"class_weights": {"z": 2.0}},
         "options.class_weights: unknown label 'z'"),
        (Classification, [("a", ""), ("b", "")], {"multi_label": True},
         "no row has a label in 'label'"),
        (Regression, [("a", "1"), ("b", "many")], {},
         "a.tsv:3: expected a number in 'label', got 'many'"),
        (Regression, [("a", "1"), ("b", "nan")], {},
         "a.tsv:3: expected a number in 'label', got 'nan'"),
        (Regression, [("a", "1"), ("b", "1_000")], {},
         "a.tsv:3: expected a number in 'label', got '1_000'"),
        (Regression, [("a", "2"), ("b", "2.0")], {},
         "a.tsv: every row's 'label' is 2; there is nothing to learn"),
    ],
)  # fmt: skip
def test_wrong_answers(tmp_path, cls, rows, options, message):
    path = table(tmp_path / "a.tsv", rows)
    with pytest.raises(UserError) as error:
        fitted(path, cls, **options)
    assert message in str(error.value)


def test_a_label_that_is_not_in_the_training_data(tmp_path):
    table(tmp_path / "train.tsv", ROWS)
    table(tmp_path / "dev.tsv", [("cat", "a"), ("dog", "bb")])
    task = Classification("classification", None, str(tmp_path))
    task.read("train")
    with pytest.raises(
        UserError,
        match=r"dev.tsv:3: unknown label 'bb'; did you mean 'b'\? known in the "
        "training data: a, b, c",
    ):
        task.read("validation")


def test_a_program_may_ask_of_an_empty_text(tmp_path):
    task, _ = fitted(table(tmp_path / "a.tsv", ROWS))
    assert task.asked(task.record(""), "item 1").text == ""
    with pytest.raises(UserError, match="x:2: the text in 'text' is empty"):
        task.example({"text": ""}, "x:2")  # a row of a file
