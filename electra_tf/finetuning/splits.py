"""The data of a fine-tuning run: examples, features, what identifies them."""

import copy
import dataclasses
import functools
import hashlib
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from electra_tf.errors import UserError
from electra_tf.tasks.features import (
    Features,
    check_lengths,
    check_options,
)
from electra_tf.tasks.task import Task
from electra_tf.text.tokenizer import Tokenizer
from electra_tf.text.unknown import UnknownShare, unknown_share

_log = logging.getLogger(__name__)


class Split:
    """Examples of one split; their features are made when asked for."""

    def __init__(
        self,
        name: str,
        examples: Sequence[Any],
        task: Task,
        tokenizer: Tokenizer,
        max_positions: int,
    ):
        self.name = name
        self.examples = examples
        self._task, self._tokenizer = task, tokenizer
        self._max_positions = max_positions

    @functools.cached_property
    def features(self) -> Features:
        """Inputs without targets."""
        found = self._task.features(
            self._tokenizer, self.examples, training=False
        )
        check_lengths(found, self._max_positions)
        return found


@dataclasses.dataclass(frozen=True)
class Splits:
    """What a task reads, ready for training.

    Attributes:
      task: fitted to the training examples.
      train: those examples.
      features: their inputs and targets.
      validation: in the task's order; the first one selects.
      test: the same.
      unknown: how many of the training tokens are [UNK].
    """

    task: Task
    train: Sequence[Any]
    features: Features
    validation: tuple[Split, ...]
    test: tuple[Split, ...]
    unknown: UnknownShare

    @functools.cached_property
    def fingerprint(self) -> str:
        """Of the training features; of the other splits, the sizes."""
        digest = hashlib.sha256()
        features = self.features
        for name, array in sorted(
            {
                "row_splits": features.row_splits,
                **features.tokens,
                **features.rows,
                **{n: s.tokens for n, s in features.sequences.items()},
            }.items()
        ):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(repr(sorted(self.sizes.items())).encode())
        return "sha256:" + digest.hexdigest()

    @property
    def sizes(self) -> dict[str, int]:
        """Examples of each split."""
        others = {s.name: len(s.examples) for s in self.validation + self.test}
        return {"train": len(self.train), **others}

    def fresh_task(self) -> Task:
        """Returns the task as fitted, with a state of its own to change."""
        task = self.task
        state = copy.deepcopy(task.state)
        return type(task)(task.name, task.options, task.data, state)

    def baseline(self) -> dict[str, dict[str, float]]:
        """Scores of the predictor that looks at training answers alone.

        Split -> metric -> value, of the splits that have answers; empty
        where the task has no such predictor.
        """
        found = {}
        for split in self.validation + self.test:
            predictions = self.task.constant(self.train, split.examples)
            if len(predictions):
                found[split.name] = self.task.scores(
                    split.examples, predictions
                )
        return {name: scores for name, scores in found.items() if scores}


def fold(
    whole: Splits,
    number: int,
    count: int,
    seed: int,
    tokenizer: Tokenizer,
    max_positions: int,
) -> Splits:
    """Returns the splits with one part of the examples held out.

    The parts are of all examples for training and of those that validate, and
    of like size; each label is spread over them evenly.

    Args:
      whole: what `read` gave.
      number: of the part, from 1.
      count: of the parts.
      seed: of their making.
      tokenizer: the model's.
      max_positions: the model's.

    Raises:
      UserError: fewer examples than parts, or several tasks at once.
    """
    task = whole.task
    if hasattr(task, "tasks"):
        raise UserError("--folds: takes one task, not several at once")
    examples = [*whole.train]
    name = task.validation_splits[0] if task.validation_splits else "validation"
    for split in whole.validation[:1]:
        name = split.name
        examples += split.examples
    if len(examples) < count:
        raise UserError(
            f"--folds={count}: there are {len(examples)} examples; expected "
            "one in each part at least"
        )
    order = np.random.default_rng(seed).permutation(len(examples))
    labels = [task.truth(examples[i]) or "" for i in order]
    order = order[np.argsort(np.array(labels), kind="stable")]
    part = np.empty(len(examples), np.int64)
    part[order] = np.arange(len(examples)) % count
    train = [e for e, p in zip(examples, part) if p != number - 1]
    held_out = [e for e, p in zip(examples, part) if p == number - 1]
    features = task.features(tokenizer, train, training=True)
    check_lengths(features, max_positions)
    if not features.units:
        raise UserError(
            f"task {task.name}, fold {number}: no training example can be used"
        )
    first = Split(name, held_out, task, tokenizer, max_positions)
    others = whole.validation[1:]
    return dataclasses.replace(
        whole, train=train, features=features, validation=(first, *others)
    )


def read(
    task: Task,
    tokenizer: Tokenizer,
    max_positions: int,
    max_train_examples: int | None,
    seed: int,
) -> Splits:
    """Reads all splits, fits the task and makes the training features.

    Args:
      task: not fitted yet.
      tokenizer: the model's.
      max_positions: the model's.
      max_train_examples: so many training examples, drawn at random and kept
        in order; None takes all.
      seed: of the draw.

    Raises:
      UserError: no training examples, or what the task finds wrong.
    """
    parts: dict[str, Task] = getattr(task, "tasks", {"": task})
    for name, part in parts.items():
        where = f"task {name}: " if name else ""
        check_options(part.options, max_positions, where)
    train = task.read("train")
    if train is None:
        where = f" in {task.data}" if task.data else ""
        cure = "name the training file" if task.data else "give --data"
        raise UserError(
            f"task {task.name}: found no training data{where}; {cure}"
        )
    if max_train_examples is not None and max_train_examples < len(train):
        train = task.draw(train, max_train_examples, seed)
    if not len(train):
        raise UserError(f"task {task.name}: the training data is empty")
    # Before the other splits are read: their answers can then be checked.
    task.fit(train)
    others = {}
    for name in (*task.validation_splits, *task.test_splits):
        examples = task.read(name)
        if examples is not None and len(examples):
            others[name] = examples
    features = task.features(tokenizer, train, training=True)
    check_lengths(features, max_positions)
    if not features.units:
        raise UserError(f"task {task.name}: no training example can be used")

    if not any(name in others for name in task.validation_splits):
        _tell_no_validation(task, len(train))

    def splits(names: Sequence[str]) -> tuple[Split, ...]:
        return tuple(
            Split(name, others[name], task, tokenizer, max_positions)
            for name in names
            if name in others
        )

    return Splits(
        task,
        train,
        features,
        splits(task.validation_splits),
        splits(task.test_splits),
        _unknown(task, tokenizer, train, features),
    )


def _tell_no_validation(task: Task, examples: int) -> None:
    """Warns that nothing is there to choose weights by, and why."""
    fraction = getattr(task.options, "validation_fraction", None)
    if fraction is None:
        why, cure = "", "give a validation split"
    elif fraction:
        why = (
            f": with options.validation_fraction={fraction:g} none of the "
            f"{examples:,} examples falls to it"
        )
        cure = "set a larger share, or give options.validation_file"
    else:
        why = " (options.validation_fraction is 0)"
        cure = "set a share, or give options.validation_file"
    _log.warning(
        "task %s: no validation data%s; nothing is scored, and the last "
        "weights are kept. To have scores, %s",
        task.name, why, cure,
    )  # fmt: skip


def _unknown(
    task: Task, tokenizer: Tokenizer, train: Sequence[Any], features: Features
) -> UnknownShare:
    """Returns the share of [UNK] in the training rows; warns of a notable
    one.
    """
    ids, vocab = features.tokens["input_ids"], tokenizer.vocab
    special = np.isin(ids, (vocab.cls_id, vocab.sep_id, vocab.pad_id))
    found = unknown_share(
        int((ids == vocab.unk_id).sum()),
        int((~special).sum()),
        vocab,
        tokenizer.lower_case,
        (text for example in train for text in task.texts(example)),
        tokenizer.strip_accents,
    )
    if found.notable:
        _log.warning("the training data: %s", found)
    return found
