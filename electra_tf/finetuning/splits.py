"""Reads the data of a fine-tuning run: examples, features, fingerprint."""

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
    """The examples of one split; their features are made on demand."""

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
    """The splits of a task, ready for training.

    Attributes:
      task: the task, fitted to the training examples.
      train: the training examples.
      features: their inputs and targets.
      validation: validation splits in the task's order; the first selects.
      test: test splits, likewise.
      unknown: share of [UNK] among the training tokens.
    """

    task: Task
    train: Sequence[Any]
    features: Features
    validation: tuple[Split, ...]
    test: tuple[Split, ...]
    unknown: UnknownShare

    @functools.cached_property
    def fingerprint(self) -> str:
        """The fingerprint of the training features and of the splits' sizes."""
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
        """The number of examples of each split."""
        others = {s.name: len(s.examples) for s in self.validation + self.test}
        return {"train": len(self.train), **others}

    def fresh_task(self) -> Task:
        """Returns a copy of the fitted task, with its own state."""
        task = self.task
        state = copy.deepcopy(task.state)
        return type(task)(task.name, task.options, task.data, state)

    def baseline(self) -> dict[str, dict[str, float]]:
        """Returns scores of the baseline that knows only the training answers.

        They are split -> metric -> value, of the splits with answers; empty
        where the task has no such baseline.
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
    """Makes splits for one fold, with one part of the examples held out.

    The parts divide all training and validation examples, with similar sizes;
    each label is distributed over them evenly. Examples that belong together
    (see `Task.identity`), as the passages of a query, are in one part.

    Args:
      whole: result of `read`.
      number: number of the fold, from 1.
      count: number of folds.
      seed: seed of the division.
      tokenizer: the model's tokenizer.
      max_positions: the model's number of positions.

    Raises:
      UserError: there are fewer examples than folds, of those that may be
        divided; or a part cannot be scored; or there are several tasks.
    """
    task = whole.task
    if hasattr(task, "tasks"):
        raise UserError("--folds: takes one task, not several at once")
    examples = [*whole.train]
    name = task.validation_splits[0] if task.validation_splits else "validation"
    for split in whole.validation[:1]:
        name = split.name
        examples += split.examples
    part = _parts(task, examples, count, seed)
    train = [e for e, p in zip(examples, part) if p != number - 1]
    held_out = [e for e, p in zip(examples, part) if p == number - 1]
    task.check_held_out(held_out, f"--folds={count}: part {number}")
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


def _parts(
    task: Task, examples: Sequence[Any], count: int, seed: int
) -> np.ndarray:
    """Returns the number of each example's part, from 0."""
    together: dict[Any, list[int]] = {}
    for i, example in enumerate(examples):
        key = task.identity(example)
        together.setdefault(i if key is None else key, []).append(i)
    groups = list(together.values())
    if len(groups) < count:
        what = f"{len(examples)} examples"
        if len(groups) < len(examples):
            what += f" in {len(groups)} groups that stay together"
        raise UserError(
            f"--folds={count}: there are {what}; expected one in each part at "
            "least; take fewer folds"
        )
    order = np.random.default_rng(seed).permutation(len(groups))
    labels = [task.stratum([examples[i] for i in groups[g]]) for g in order]
    sizes = [len(groups[g]) for g in order]
    # By label, then the largest first.
    order = order[np.lexsort((-np.array(sizes), np.array(labels)))]
    part = np.empty(len(examples), np.int64)
    for place, group in enumerate(order):
        part[groups[group]] = place % count
    return part


def read(
    task: Task,
    tokenizer: Tokenizer,
    max_positions: int,
    max_train_examples: int | None,
    seed: int,
) -> Splits:
    """Reads all splits, fits the task and makes the training features.

    Args:
      task: the task, not yet fitted.
      tokenizer: the model's tokenizer.
      max_positions: the model's number of positions.
      max_train_examples: number of training examples, sampled and kept in
        order; None takes all.
      seed: seed of the sampling.

    Raises:
      UserError: there are no training examples, or the task refuses the data.
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
    # Before the other splits are read, so that their answers can be checked.
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
        _warn_no_validation(task, len(train))

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


def _warn_no_validation(task: Task, examples: int) -> None:
    """Warns that there is no data to choose weights by, and why."""
    fraction = getattr(task.options, "validation_fraction", None)
    if fraction is None:
        why, cure = "", "give a validation split"
    elif fraction:
        why = (
            f": with options.validation_fraction={fraction:g} none of the "
            f"{examples:,} examples is in that split"
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
    """Returns the share of [UNK] in the training rows, and warns if it is
    high.
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
