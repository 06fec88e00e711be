"""Tests that a small network learns question answering from files."""

import keras
import numpy as np
import pytest
import qa_toys
import tensorflow as tf

from electra_tf.finetuning.fine_tuner import FineTuner
from electra_tf.models.config import ModelConfig
from electra_tf.models.task_networks import task_network
from electra_tf.prediction.predictor import Inference
from electra_tf.tasks.batches import training_dataset
from electra_tf.tasks.registry import task_class
from electra_tf.text.tokenizer import Tokenizer
from electra_tf.training.optimizer import OptimizerConfig, make_optimizer

STEPS = 160
WORDS = "the cat sat on mat she ran with dog to his house and was good".split()


def questions(rng, count):
    """Returns questions "who?", answered by the word after "ran", if any."""
    paragraphs = []
    for i in range(count):
        words = [w for w in rng.permutation(WORDS) if w != "ran"]
        answer = None
        if i % 3:
            place = int(rng.integers(0, len(words) - 1))
            words.insert(place, "ran")
            answer = words[place + 1]
        context = " ".join(words)
        qa = qa_toys.question(str(i), None)
        if answer is not None:
            start = context.index(f"ran {answer}") + 4
            place = {"text": answer, "answer_start": start}
            qa = {"id": str(i), "answers": [place]}
        qa["question"] = "who?"
        paragraphs.append({"context": context, "qas": [qa]})
    return {"data": [{"paragraphs": paragraphs}]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("head", "answerability"),
    [("joint", "head"), ("independent", "head"), ("joint", "first_token")],
)
def test_questions_are_learned(head, answerability, tmp_path, tiny_vocab_file):
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(1)
    for name, count in (("train", 150), ("dev", 40)):
        qa_toys.write(tmp_path / f"{name}.json", questions(rng, count))
    found = task_class("squad")
    options = found.Options(
        head=head, answerability=answerability, max_seq_length=20,
        doc_stride=8, max_query_length=5,
    )  # fmt: skip
    task = found("squad", options, str(tmp_path))
    tokenizer = Tokenizer(tiny_vocab_file)
    train, held_out = task.read("train"), task.read("validation")
    task.fit(train)
    features = task.features(tokenizer, train, training=True)
    network = task_network(
        ModelConfig(
            vocab_size=len(tokenizer.vocab), embedding_size=32,
            hidden_size=32, num_layers=2, num_heads=2, intermediate_size=64,
            max_positions=32, hidden_dropout=0.0, attention_dropout=0.0,
            initializer_range=0.2,
        ),
        task.head(),
    )  # fmt: skip
    network.build()
    model = FineTuner(network, task)
    model.compile(
        make_optimizer(
            OptimizerConfig(
                learning_rate=4e-3, num_warmup_steps=10, bias_correction=True
            ),
            STEPS,
        )
    )
    step = tf.function(model.train_step, autograph=False)
    for batch in training_dataset(features, 32, seed=1).take(STEPS):
        step(batch)
    features = task.features(tokenizer, train, training=False)
    inference = Inference(network, task)
    predictions = task.predictions(train, features, inference.run(features))
    scores = task.scores(train, predictions)
    assert scores["best_exact"] > 95
    task.tune(train, predictions)
    assert task.scores(train, predictions)["exact"] == scores["best_exact"]
    # The constant prediction, no answer, is right for a third.
    features = task.features(tokenizer, held_out, training=False)
    predictions = task.predictions(held_out, features, inference.run(features))
    constant = task.constant(train, held_out)
    better = task.scores(held_out, predictions)["f1"]
    assert better > task.scores(held_out, constant)["f1"] + 20
    for example, prediction in zip(held_out, predictions):
        if prediction["start"] is not None:
            own = slice(prediction["start"], prediction["end"])
            assert example.context[own] == prediction["answer"]
