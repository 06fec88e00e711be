"""Tests that tagging, ranking and both at once overfit a few examples."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from electra_tf.finetuning.fine_tuner import FineTuner
from electra_tf.models.config import ModelConfig
from electra_tf.models.task_networks import task_network
from electra_tf.prediction.predictor import Inference
from electra_tf.tasks.batches import training_dataset
from electra_tf.tasks.registry import task_class
from electra_tf.text.tokenizer import Tokenizer
from electra_tf.training.optimizer import OptimizerConfig, make_optimizer

WORDS = "the cat sat she ran dog house love very good sister mat".split()

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Writes thirty sentences with random chunks, and eight queries."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    lines = []
    for _ in range(30):
        tag = "O"
        for word in rng.choice(WORDS, rng.integers(3, 9)):
            choices = ["O", "B-X", "B-Y"]
            if tag != "O":
                choices.append("I" + tag[1:])
            tag = str(rng.choice(choices))
            lines.append(f"{word} {tag}")
        lines.append("")
    rows = ["query\tpassage\trelevance"]
    rows += [
        f"she and {a}\tthe {b} was\t{int(a == b)}"
        for a, b in itertools.product(WORDS[:8], repeat=2)
    ]
    for split in ("train", "dev"):
        (folder / f"{split}.txt").write_text("\n".join(lines))
        (folder / f"{split}.tsv").write_text("\n".join(rows))
    return folder


def learn(task, vocab_file, steps, batch_size):
    """Returns the scores on the training examples after some updates."""
    tf.keras.utils.set_random_seed(1)
    tokenizer = Tokenizer(vocab_file)
    train = task.read("train")
    task.fit(train)
    features = task.features(tokenizer, train, training=True)
    config = ModelConfig.of_size(
        "tiny", vocab_size=len(tokenizer.vocab), embedding_size=64,
        hidden_size=64, num_layers=2, num_heads=2, intermediate_size=128,
        max_positions=64, hidden_dropout=0.0, attention_dropout=0.0,
        initializer_range=0.1,
    )  # fmt: skip
    network = task_network(config, task.head())
    network.build()
    tuner = FineTuner(network, task)
    settings = OptimizerConfig(
        learning_rate=1e-3, num_warmup_steps=10, bias_correction=True
    )
    tuner.compile(make_optimizer(settings, steps))
    batches = training_dataset(features, batch_size, seed=0)
    step = tf.function(
        tuner.train_step,
        autograph=False,
        input_signature=[batches.element_spec],
    )
    for batch in batches.take(steps):
        step(batch)
    examples = task.read("validation")
    features = task.features(tokenizer, examples, training=False)
    outputs = Inference(network, task).run(features)
    return task.scores(examples, task.predictions(examples, features, outputs))


def make(name, data, **options):
    cls = task_class(name)
    return cls(name, cls.Options(**options), str(data))


def test_tagging(data, tiny_vocab_file):
    files = {"train_file": "train.txt", "validation_file": "dev.txt"}
    task = make("tagging", data, convert_to="bioes", **files)
    assert learn(task, tiny_vocab_file, 150, 15)["f1"] > 98


@pytest.mark.parametrize("loss", ["listwise", "pairwise"])
def test_ranking(data, tiny_vocab_file, loss):
    files = {"train_file": "train.tsv", "validation_file": "dev.tsv"}
    task = make("ranking", data, loss=loss, **files)
    assert learn(task, tiny_vocab_file, 200, 4)["mrr@10"] == 100


def test_both(data, tiny_vocab_file):
    from electra_tf.tasks.multitask.options import Member

    members = tuple(
        Member(
            name,
            {"train_file": f"train.{end}", "validation_file": f"dev.{end}"}
            | options,
        )
        for name, end, options in (
            ("tagging", "txt", {}),
            ("ranking", "tsv", {"loss": "pointwise"}),
        )
    )
    task = make("multitask", data, tasks=members, power=0.5)
    scores = learn(task, tiny_vocab_file, 600, 16)
    assert scores["tagging/f1"] > 95 and scores["ranking/mrr@10"] > 90
