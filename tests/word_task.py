"""Provides a small task for tests of fine-tuning: which word is in a text?

Data: a directory with `train.tsv`, and `validation.tsv` and `test.tsv` if
wanted, each with columns `text` and `label`.
"""

import collections
import dataclasses
import pathlib

import numpy as np
import tensorflow as tf
from text_rows import from_rows, pair_features

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.models.task_heads import TaskHeadConfig
from electra_tf.tasks.records import read_records
from electra_tf.tasks.task import Task

WORDS = {"cat": "animal", "dog": "animal", "house": "thing", "mat": "thing"}


@dataclasses.dataclass(frozen=True)
class Example:
    text: str
    label: str | None
    place: str


@dataclasses.dataclass(frozen=True)
class WordOptions:
    max_seq_length: int = 24
    hidden_layer: bool = False
    extra_metric: bool = False
    # `features` raises an error for texts with this; for none where empty.
    refused: str = ""


class WordTask(Task):
    Options = WordOptions
    metric = "accuracy"

    def read(self, split):
        path = files.join(self.data or "", f"{split}.tsv")
        if not files.exists(path):
            if split == "train":
                raise UserError(f"{path}: no such file; give --data")
            return None
        return [self._example(r, p, True) for r, p in read_records(path)]

    def fit(self, examples):
        labels = sorted({example.label for example in examples})
        if len(labels) < 2:
            raise UserError(f"{examples[0].place}: all have one label")
        self.state["labels"] = labels

    def example(self, record, place):
        return self._example(record, place, False)

    def _example(self, record, place, labelled):
        for column in ("text", "label")[: 1 + labelled]:
            if column not in record:
                raise UserError(f"{place}: no column '{column}'")
        if not record["text"]:
            raise UserError(f"{place}: the text is empty")
        label = record.get("label") or None
        known = self.state.get("labels")
        if labelled and known and label is not None and label not in known:
            raise UserError(f"{place}: unknown label '{label}'")
        return Example(record["text"], label, place)

    def head(self):
        labels = tuple(self.state["labels"])
        return TaskHeadConfig(
            "sequence", len(labels), labels, self.options.hidden_layer
        )

    def features(self, tokenizer, examples, training):
        for example in examples:
            if self.options.refused and self.options.refused in example.text:
                raise UserError(f"{example.place}: refused")
        found = pair_features(
            tokenizer,
            [example.text for example in examples],
            None,
            self.options.max_seq_length,
        )
        lengths = found["input_mask"].sum(axis=1)
        rows = [
            {
                "input_ids": found["input_ids"][i, :n],
                "segment_ids": found["segment_ids"][i, :n],
            }
            for i, n in enumerate(lengths)
        ]
        targets = {}
        if training:
            numbers = {n: i for i, n in enumerate(self.state["labels"])}
            labels = [numbers[example.label] for example in examples]
            targets = {"labels": np.array(labels, "int32")}
        return from_rows(rows, rows=targets)

    def loss(self, outputs, batch):
        return tf.nn.sparse_softmax_cross_entropy_with_logits(
            batch["labels"], outputs.logits
        )

    def outputs(self, outputs):
        return {"probabilities": tf.nn.softmax(outputs.logits)}

    def predictions(self, examples, features, outputs):
        labels, found = self.state["labels"], []
        for output in outputs:
            shares = output["probabilities"]
            found.append(
                {
                    "label": labels[int(shares.argmax())],
                    "probabilities": dict(zip(labels, shares.tolist())),
                }
            )
        return found

    def scores(self, examples, predictions):
        if any(example.label is None for example in examples):
            return {}
        right = [
            example.label == prediction["label"]
            for example, prediction in zip(examples, predictions)
        ]
        found = {"accuracy": 100.0 * float(np.mean(right))}
        if self.options.extra_metric:
            found["errors"] = float(len(right) - sum(right))
        return found

    def tune(self, examples, predictions):
        self.state["tuned_on"] = len(examples)

    def files(self, split, examples, predictions):
        return {f"{split}.txt": "".join(
            p["label"] + "\n" for p in predictions
        ).encode()}  # fmt: skip

    def constant(self, train, held_out):
        counts = collections.Counter(example.label for example in train)
        return [{"label": counts.most_common(1)[0][0]}] * len(held_out)


def write_data(folder, train=240, validation=40, test=20, seed=0):
    """Writes files of made-up sentences; returns the folder's path."""
    rng = np.random.default_rng(seed)
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    filler = "the of and to in was he it that not with for on as at".split()
    for split, count in (
        ("train", train), ("validation", validation), ("test", test),
    ):  # fmt: skip
        lines = ["text\tlabel"]
        for _ in range(count):
            word = str(rng.choice(list(WORDS)))
            words = list(rng.choice(filler, rng.integers(2, 9)))
            words.insert(int(rng.integers(len(words) + 1)), word)
            lines.append(f"{' '.join(words)}\t{WORDS[word]}")
        if count:
            path = folder / f"{split}.tsv"
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(folder)
