"""Tests regression, options, records, and learning with a small network."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from classification_tables import fitted, losses, predicted, table

from electra_tf.config import from_dict, resolve
from electra_tf.errors import UserError
from electra_tf.finetuning.fine_tuner import FineTuner
from electra_tf.models.config import ModelConfig
from electra_tf.models.task_networks import task_network
from electra_tf.prediction.predictor import Inference
from electra_tf.tasks import registry
from electra_tf.tasks.texts.classification import (
    Classification,
    ClassificationOptions,
    Regression,
    RegressionOptions,
)
from electra_tf.text.tokenizer import Tokenizer
from electra_tf.training.optimizer import OptimizerConfig, make_optimizer

ROWS = [("the cat", "b"), ("a dog", "a"), ("cat", "b"), ("she", "c")]


@pytest.fixture(scope="module")
def tokenizer(tiny_vocab_file):
    return Tokenizer(tiny_vocab_file)


def test_regression(tmp_path, tokenizer):
    rows = [("cat", "1.5"), ("dog", "-2"), ("mat", "5e0"), ("he", "3")]
    path = table(tmp_path / "a.tsv", rows)
    task, examples = fitted(path, Regression)
    gold = np.array([1.5, -2, 5, 3])
    assert task.head().num_labels == 1 and task.head().labels is None
    logits = np.array([[0.1], [-0.4], [1.0], [0.7]])
    scaled = (gold - gold.mean()) / gold.std()
    np.testing.assert_allclose(
        losses(task, tokenizer, examples, logits),
        (logits[:, 0] - scaled) ** 2, rtol=1e-4, atol=1e-6,
    )  # fmt: skip
    found = predicted(task, examples, logits)
    pred = logits[:, 0] * gold.std() + gold.mean()
    assert [p["score"] for p in found] == pytest.approx(list(pred), rel=1e-5)
    scores = task.scores(examples, found)
    assert scores["pearson"] == pytest.approx(
        100 * np.corrcoef(gold, pred)[0, 1], rel=1e-5
    )
    assert scores["mse"] == pytest.approx(np.mean((gold - pred) ** 2), rel=1e-4)
    assert scores["loss"] == pytest.approx(scores["mse"] / gold.var())
    assert task.metric == "pearson"
    fifth, _ = fitted(path, Regression, scale=5.0, metric="r2")
    np.testing.assert_allclose(
        losses(fifth, tokenizer, examples, logits),
        (logits[:, 0] - gold / 5) ** 2, rtol=1e-4, atol=1e-6,
    )  # fmt: skip
    again = Regression("regression", task.options, None, task.state)
    assert predicted(again, examples, logits) == found


def test_a_number_too_large(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"text": "a", "label": 1{"0" * 400}}}\n')
    message = r"a\.jsonl:1: expected a number in 'label', got 1000"
    with pytest.raises(UserError, match=message):
        fitted(str(path), Regression)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("labels: [a, a]", "labels: one of them is given twice"),
        ("labels: [a]", "labels: expected at least 2, got 1"),
        ("threshold: 1.5", "threshold: expected above 0 and below 1"),
        ("class_weights: some", "class_weights: expected none, balanced or"),
        ("class_weights: {a: -1}", "class_weights: expected weights of at"),
        ("class_weights: {a: .inf}", "class_weights: expected weights of at"),
        ("metric: acuracy", "'acuracy' is not known; did you mean 'accuracy'"),
        (
            "{multi_label: true, metric: f1}",
            "known: micro_f1, macro_f1",
        ),
        ("separator: ''", "separator: expected a text"),
    ],
)
def test_wrong_options(tmp_path, options, message):
    path = tmp_path / "a.yaml"
    path.write_text(options)
    with pytest.raises(UserError) as error:
        resolve(ClassificationOptions, str(path))
    assert message in str(error.value)


def test_options_of_regression():
    with pytest.raises(UserError, match="scale: expected above 0"):
        RegressionOptions(scale=0.0)
    with pytest.raises(UserError, match="metric: 'accuracy' is not known"):
        RegressionOptions(metric="accuracy")
    loaded = from_dict(
        ClassificationOptions, {"class_weights": {"a": 2, "b": 1}}
    )
    assert loaded.class_weights == {"a": 2.0, "b": 1.0}


def test_records_to_predict_for(tmp_path):
    task, _ = fitted(
        table(tmp_path / "a.tsv", ROWS, "review\tlabel"), text_column="review"
    )
    assert task.example(task.record("a cat"), "item 1").text == "a cat"
    example = task.example({"review": "dog", "x": "1"}, "f.tsv:2")
    assert (example.text, example.text_pair, example.answer) == (
        "dog", None, None,
    )  # fmt: skip
    with pytest.raises(UserError, match=r"f.tsv:2: no column 'review'"):
        task.example({"text": "dog"}, "f.tsv:2")
    with pytest.raises(UserError, match=r"f.tsv:3: the text in 'review' is em"):
        task.example({"review": " "}, "f.tsv:3")
    with pytest.raises(UserError, match="expected a text alone"):
        task.record(("a", "b"))
    with pytest.raises(UserError, match="labels are not known"):
        Classification().head()


@pytest.mark.parametrize("name", ["classification", "regression"])
def test_a_small_network_learns_it(tmp_path, tokenizer, tiny_tokens, name):
    """A task of the registry is learned where one word decides the label."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(64):
        word = rng.choice(["cat", "dog"])
        rest = " ".join(rng.choice(["the", "a", "on", "she"], 3))
        number = {"cat": 4.0, "dog": 1.0}[word]
        label = number if name == "regression" else word
        rows.append((f"{rest} {word}", label))
    cls = registry.task_class(name)
    task, examples = fitted(table(tmp_path / "a.tsv", rows), cls)
    keras.utils.set_random_seed(0)
    model = task_network(
        ModelConfig.of_size(
            "tiny", vocab_size=len(tiny_tokens), embedding_size=16,
            hidden_size=32, num_heads=2, intermediate_size=64,
            max_positions=16,
        ),
        task.head(),
    )  # fmt: skip
    model.build()
    features = task.features(tokenizer, examples, training=True)
    tuner = FineTuner(model, task)
    config = OptimizerConfig(learning_rate=5e-3, num_warmup_steps=4)
    tuner.compile(make_optimizer(config, 40))
    batch = features.batch(np.arange(64)) | {"example_id": np.arange(64)}
    batch = {key: tf.constant(value) for key, value in batch.items()}
    step = tf.function(tuner.train_step)
    for _ in range(40):
        step(batch)
    inputs = task.features(tokenizer, examples, training=False)
    found = task.predictions(
        examples, inputs, Inference(model, task).run(inputs)
    )
    assert task.scores(examples, found)[task.metric] > 95
    assert math.isfinite(task.scores(examples, found)["loss"])
