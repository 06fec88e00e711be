"""Defines targets of texts: one class, several labels, or a number.

A target defines the head's outputs, their loss, and how they become predictions
and scores. The tasks read the texts.
"""

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from electra_tf.tasks import metrics
from electra_tf.tasks.task import Prediction

# Below it a probability is only rounding.
_LEAST = 1e-12


class Target(abc.ABC):
    """A kind of answer.

    Attributes:
      num_outputs: number of the head's outputs.
      labels: names of the labels; empty for a number.
      offset, scale: a prediction is output * `scale` + `offset`.
    """

    num_outputs: int
    labels: tuple[str, ...] = ()
    offset: float = 0.0
    scale: float = 1.0

    @abc.abstractmethod
    def rows(self, answers: Sequence[Any]) -> dict[str, np.ndarray]:
        """Answers of N examples as targets of training, [N, ...]."""

    @abc.abstractmethod
    def loss(
        self, logits: tf.Tensor, batch: Mapping[str, tf.Tensor]
    ) -> tf.Tensor:
        """Returns the loss [B] of logits [B, outputs] float32 and targets."""

    @abc.abstractmethod
    def outputs(self, logits: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns what `prediction` needs of logits [B, outputs] float32."""

    @abc.abstractmethod
    def prediction(self, outputs: Mapping[str, Any]) -> Prediction:
        """Makes a prediction from one row's outputs."""

    @abc.abstractmethod
    def scores(
        self, answers: Sequence[Any], predictions: Sequence[Prediction]
    ) -> dict[str, float]:
        """Returns all metrics of this kind of answer, for at least one
        example.
        """

    @abc.abstractmethod
    def constant(self, answers: Sequence[Any]) -> Prediction:
        """Returns a constant prediction from the training answers."""


class Classes(Target):
    """One class out of several.

    Args:
      labels: names of the labels.
      weights: weight of each class in the loss; None is 1 for all.
      positive: the class that precision, recall and F1 are about; None is the
        second of two, or the average of more, weighted by their examples.
    """

    def __init__(
        self,
        labels: Sequence[str],
        weights: Sequence[float] | None = None,
        positive: str | None = None,
    ):
        self.labels = tuple(labels)
        self.num_outputs = len(self.labels)
        self.weights = weights
        self.positive = positive
        if positive is None and len(self.labels) == 2:
            self.positive = self.labels[-1]
        self.numbers = {label: i for i, label in enumerate(self.labels)}

    def rows(self, answers: Sequence[str]) -> dict[str, np.ndarray]:
        """Returns `label_ids` int32 [N]."""
        numbers = [self.numbers[answer] for answer in answers]
        return {"label_ids": np.asarray(numbers, "int32")}

    def loss(
        self, logits: tf.Tensor, batch: Mapping[str, tf.Tensor]
    ) -> tf.Tensor:
        """Returns the cross-entropy, times the weight of the class."""
        labels = batch["label_ids"]
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        if self.weights is not None:
            loss *= tf.gather(tf.constant(self.weights, tf.float32), labels)
        return loss

    def outputs(self, logits: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns probabilities, [B, classes]."""
        return {"probabilities": tf.nn.softmax(logits)}

    def prediction(self, outputs: Mapping[str, Any]) -> Prediction:
        """Returns the most probable class; the first of equals."""
        probabilities = np.asarray(outputs["probabilities"])
        return {
            "label": self.labels[int(probabilities.argmax())],
            "probabilities": dict(zip(self.labels, probabilities.tolist())),
        }

    def scores(
        self, answers: Sequence[str], predictions: Sequence[Prediction]
    ) -> dict[str, float]:
        """Returns accuracy, macro F1, Matthews, F1, precision, recall, loss."""
        said = [prediction["label"] for prediction in predictions]
        found = {
            "accuracy": metrics.accuracy(answers, said),
            "macro_f1": metrics.macro_f1(answers, said),
            "mcc": metrics.matthews(answers, said),
        }
        if self.positive is None:
            weighted = metrics.weighted_precision_recall_f1(answers, said)
            found |= dict(zip(("precision", "recall", "f1"), weighted))
        else:
            precision, recall, f1 = metrics.precision_recall_f1(
                answers, said, self.positive
            )
            found |= {
                "f1": f1,
                "accuracy_f1": (found["accuracy"] + f1) / 2,
                "precision": precision,
                "recall": recall,
            }
        right = [
            prediction["probabilities"][answer]
            for answer, prediction in zip(answers, predictions)
        ]
        found["loss"] = float(-np.mean(np.log(np.maximum(right, _LEAST))))
        return found

    def constant(self, answers: Sequence[str]) -> Prediction:
        """Returns the most frequent class, with all classes' shares."""
        counts = np.bincount(
            [self.numbers[answer] for answer in answers],
            minlength=len(self.labels),
        )
        return self.prediction({"probabilities": counts / counts.sum()})


class LabelSets(Target):
    """Any number of labels, each predicted independently.

    Args:
      labels: names of the labels.
      weights: weight of each label's presence in the loss; absence has 1.
      threshold: the probability from which a label is predicted.
    """

    def __init__(
        self,
        labels: Sequence[str],
        weights: Sequence[float] | None = None,
        threshold: float = 0.5,
    ):
        self.labels = tuple(labels)
        self.num_outputs = len(self.labels)
        self.weights = weights
        self.threshold = threshold
        self.numbers = {label: i for i, label in enumerate(self.labels)}

    def rows(self, answers: Sequence[Sequence[str]]) -> dict[str, np.ndarray]:
        """Returns `label_set` float32 [N, labels], 0 and 1."""
        found = np.zeros([len(answers), len(self.labels)], "float32")
        for row, answer in zip(found, answers):
            row[[self.numbers[label] for label in answer]] = 1.0
        return {"label_set": found}

    def loss(
        self, logits: tf.Tensor, batch: Mapping[str, tf.Tensor]
    ) -> tf.Tensor:
        """Returns the mean binary cross-entropy over the labels."""
        weights = self.weights or [1.0] * len(self.labels)
        each = tf.nn.weighted_cross_entropy_with_logits(
            batch["label_set"], logits, tf.constant(weights, tf.float32)
        )
        return tf.reduce_mean(each, axis=-1)

    def outputs(self, logits: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns probabilities, [B, labels]."""
        return {"probabilities": tf.sigmoid(logits)}

    def prediction(self, outputs: Mapping[str, Any]) -> Prediction:
        """Returns the labels that reach the threshold, in order."""
        probabilities = np.asarray(outputs["probabilities"]).tolist()
        return {
            "labels": [
                label
                for label, probability in zip(self.labels, probabilities)
                if probability >= self.threshold
            ],
            "probabilities": dict(zip(self.labels, probabilities)),
        }

    def scores(
        self,
        answers: Sequence[Sequence[str]],
        predictions: Sequence[Prediction],
    ) -> dict[str, float]:
        """Returns micro and macro F1, the share of right sets, and the loss."""
        gold = self.rows(answers)["label_set"]
        said = self.rows([p["labels"] for p in predictions])["label_set"]
        micro, macro = metrics.multi_label_f1(gold, said)
        probabilities = np.asarray(
            [[p["probabilities"][n] for n in self.labels] for p in predictions]
        )
        right = np.where(gold > 0, probabilities, 1.0 - probabilities)
        return {
            "micro_f1": micro,
            "macro_f1": macro,
            "exact_match": 100.0 * float(np.mean((gold == said).all(axis=1))),
            "loss": float(-np.mean(np.log(np.maximum(right, _LEAST)))),
        }

    def constant(self, answers: Sequence[Sequence[str]]) -> Prediction:
        """Returns labels that most examples have; else the most frequent
        one.
        """
        shares = self.rows(answers)["label_set"].mean(axis=0)
        found = self.prediction({"probabilities": shares})
        found["labels"] = [
            label
            for label, share in zip(self.labels, shares)
            if share > 0.5 or (share == shares.max() and shares.max() <= 0.5)
        ]
        return found


class Number(Target):
    """A number; the head is trained on (number - offset) / scale."""

    num_outputs = 1

    def __init__(self, offset: float = 0.0, scale: float = 1.0):
        self.offset = offset
        self.scale = scale

    def rows(self, answers: Sequence[float]) -> dict[str, np.ndarray]:
        """Returns `targets` float32 [N], scaled."""
        values = (np.asarray(answers, float) - self.offset) / self.scale
        return {"targets": values.astype("float32")}

    def loss(
        self, logits: tf.Tensor, batch: Mapping[str, tf.Tensor]
    ) -> tf.Tensor:
        """Returns the squared error of scaled numbers."""
        return tf.square(tf.squeeze(logits, axis=-1) - batch["targets"])

    def outputs(self, logits: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns `score` [B], scaled."""
        return {"score": tf.squeeze(logits, axis=-1)}

    def prediction(self, outputs: Mapping[str, Any]) -> Prediction:
        """Returns the number, on the data's scale."""
        return {"score": float(outputs["score"]) * self.scale + self.offset}

    def scores(
        self, answers: Sequence[float], predictions: Sequence[Prediction]
    ) -> dict[str, float]:
        """Returns Pearson, Spearman, their mean, R squared, squared error,
        loss.
        """
        said = [prediction["score"] for prediction in predictions]
        pearson = metrics.pearson(answers, said)
        spearman = metrics.spearman(answers, said)
        error = metrics.mean_squared_error(answers, said)
        return {
            "pearson": pearson,
            "spearman": spearman,
            "pearson_spearman": (pearson + spearman) / 2,
            "r2": metrics.determination(answers, said),
            "mse": error,
            "loss": error / self.scale**2,
        }

    def constant(self, answers: Sequence[float]) -> Prediction:
        """Returns the mean of the answers."""
        return {"score": float(np.mean(answers))}
