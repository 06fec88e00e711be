"""A task on made-up features, and small networks for it, for several tests."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf
from text_rows import from_rows

from electra_tf.models.config import ModelConfig
from electra_tf.models.task_heads import TaskHeadConfig
from electra_tf.models.task_networks import task_network
from electra_tf.tasks.features import Features
from electra_tf.tasks.task import Task

VOCAB, LONGEST = 60, 30


@dataclasses.dataclass(frozen=True)
class ToyOptions:
    """The task has no options."""


class ToyTask(Task):
    """Predicts whether a row has a token below 20, or a label for each token.

    In a group of rows it predicts which one has such a token.
    """

    Options = ToyOptions
    metric = "accuracy"

    def __init__(self, kind="sequence"):
        super().__init__("toy")
        self.kind = kind

    def read(self, split):
        return None

    def example(self, record, place):
        return record

    def head(self):
        return TaskHeadConfig(self.kind, num_labels=2)

    def features(self, tokenizer, examples, training):
        return examples

    def loss(self, outputs, batch):
        logits = outputs.logits
        if self.kind == "token":
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                tf.maximum(batch["tags"], 0), logits
            )
            weights = tf.cast(batch["tags"] >= 0, tf.float32)
            return tf.reduce_sum(losses * weights, -1) / tf.reduce_sum(
                weights, -1
            )
        labels = batch["labels"]
        if batch["input_ids"].shape.rank == 3:  # a label is a row of the group
            group = tf.shape(batch["input_ids"])[1]
            logits = tf.reshape(logits[:, 1], [-1, group])
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)

    def outputs(self, outputs):
        return {"logits": outputs.logits}

    def predictions(self, examples, features, outputs):
        return [{"label": int(np.argmax(o["logits"]))} for o in outputs]

    def scores(self, examples, predictions):
        return {}


def features(rows=50, group=1, tags=False, seed=0, longest=LONGEST) -> Features:
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(rows * group):
        ids = rng.integers(10, VOCAB, rng.integers(3, longest + 1))
        one = {"input_ids": ids, "segment_ids": (np.arange(len(ids)) > 4) * 1}
        if tags:
            one["tags"] = np.where(np.arange(len(ids)) > 0, ids % 2, -1)
        found.append(one)
    labels = np.array([int((r["input_ids"] < 20).any()) for r in found])
    if group > 1:
        labels = labels.reshape(-1, group).argmax(1)
    return from_rows(
        found,
        tuple(found[0]),
        rows={"labels": labels.astype("int32")},
        padding={"tags": -1} if tags else {},
        group=group,
    )


def network(kind="sequence", dropout=0.1, seed=1):
    keras.utils.set_random_seed(seed)
    config = ModelConfig.of_size(
        "tiny", vocab_size=VOCAB, embedding_size=16, hidden_size=32,
        num_layers=2, num_heads=2, intermediate_size=64, max_positions=40,
        hidden_dropout=dropout, attention_dropout=dropout,
    )  # fmt: skip
    head = TaskHeadConfig(kind, num_labels=2, dropout=dropout)
    model = task_network(config, head)
    model.build()
    return model
