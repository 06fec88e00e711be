"""Trains several tasks over one encoder, each with a head of its own.

Batches mix the rows of all tasks. Every head sees every row; a row's loss is
that of its task. Each task is saved as a model of its own.

The features have the rows task by task. A task's arrays are called "TASK/name";
they are zero in the rows of other tasks, and `task_index` is the number of a
row's task.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from electra_tf import config, files
from electra_tf.errors import UserError
from electra_tf.models.task_networks import MultiHeadConfig, MultitaskNetwork
from electra_tf.tasks.features import INPUTS, Features, mix_by_size
from electra_tf.tasks.multitask.options import (
    Member,
    MultitaskOptions,
)
from electra_tf.tasks.registry import task_class
from electra_tf.tasks.task import Prediction, Task
from electra_tf.text.tokenizer import Tokenizer

TASK_INDEX = "task_index"
# Token arrays that all tasks share.
_SHARED = ("input_ids", "segment_ids")


class MemberExample(NamedTuple):
    """An example, and the key of its task."""

    key: str
    example: Any


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """One task's part of the joined features.

    Attributes:
      features: the task's own features.
      examples: int64, the numbers of its examples among all.
      rows: the range of its rows.
    """

    features: Features
    examples: np.ndarray
    rows: slice


class Multitask(Task):
    """A task that combines tasks; see `tasks.task.Task`.

    A prediction is that of the example's task, with the task's key as `task`.
    Scores are called "KEY/metric"; `mean` is the mean of the tasks' selecting
    metrics.

    Attributes:
      tasks: key -> task.
    """

    Options = MultitaskOptions
    options: MultitaskOptions
    metric = "mean"

    def __init__(
        self,
        name: str = "multitask",
        options: MultitaskOptions | None = None,
        data: str | None = None,
        state: Mapping[str, Any] | None = None,
    ):
        options = MultitaskOptions() if options is None else options
        if not options.tasks:
            raise UserError(
                "multitask: options.tasks: name the tasks, each with `name` "
                "and, if need be, `options` and `data`"
            )
        state = state or {}
        self.tasks = {
            member.key: _make(member, data, state.get(member.key))
            for member in options.tasks
        }
        super().__init__(name, options, data, state)

    @property
    def state(self) -> dict[str, Any]:
        """Key -> state of each task."""
        return {key: task.state for key, task in self.tasks.items()}

    @state.setter
    def state(self, values: Mapping[str, Any]) -> None:
        for key, value in values.items():
            self.tasks[key].state = dict(value)

    # --- examples ----------------------------------------------------------

    @property
    def validation_splits(self) -> tuple[str, ...]:
        """The tasks' first splits joined in one, then the others,
        "KEY.split".
        """
        others = (
            f"{key}.{split}"
            for key, task in self.tasks.items()
            for split in task.validation_splits[1:]
        )
        return ("validation", *others)

    @property
    def test_splits(self) -> tuple[str, ...]:
        """The tasks' test splits, as "KEY.split"."""
        return tuple(
            f"{key}.{split}"
            for key, task in self.tasks.items()
            for split in task.test_splits
        )

    def read(self, split: str) -> Sequence[MemberExample] | None:
        """Returns the examples of all tasks, or of one; see `Task.read`."""
        key, _, own = split.rpartition(".")
        if key:
            examples = self.tasks[key].read(own)
            if examples is None:
                return None
            return [MemberExample(key, example) for example in examples]
        found = []
        for key, task in self.tasks.items():
            own = "train" if split == "train" else task.validation_splits[0]
            examples = task.read(own)
            if examples is None:
                if split == "train":
                    raise UserError(
                        f"multitask: {key} has no training data"
                        + (f" in {task.data}" if task.data else "")
                    )
                continue
            found += [MemberExample(key, example) for example in examples]
        return found or None

    def _by_task(
        self, examples: Sequence[MemberExample]
    ) -> Iterator[tuple[str, Task, np.ndarray, list[Any]]]:
        """Returns key -> numbers and examples, of each task that has any."""
        for key, task in self.tasks.items():
            numbers = [i for i, e in enumerate(examples) if e.key == key]
            if numbers:
                own = [examples[i].example for i in numbers]
                yield key, task, np.array(numbers), own

    def fit(self, examples: Sequence[MemberExample]) -> None:
        """Fits each task on its own examples."""
        fitted = set()
        for key, task, _, own in self._by_task(examples):
            task.fit(own)
            fitted.add(key)
        for key in self.tasks:
            if key not in fitted:
                raise UserError(
                    f"multitask: {key} has no training example; are there "
                    "any, and is train.max_train_examples large enough?"
                )

    def example(self, record: Mapping[str, Any], place: str) -> Any:
        """Refuses: there is no model of all tasks to predict with."""
        raise UserError(
            "a multi-task run has a model for each task: take "
            f"{' or '.join(f'RUN/model/{key}' for key in self.tasks)}"
        )

    # --- the model's side --------------------------------------------------

    def head(self) -> MultiHeadConfig:  # type: ignore[override]
        """Returns the heads of all tasks."""
        return MultiHeadConfig(
            {key: task.head() for key, task in self.tasks.items()}
        )

    def features(
        self,
        tokenizer: Tokenizer,
        examples: Sequence[MemberExample],
        training: bool,
    ) -> Features:
        """See `join_features`."""
        parts = {}
        for key, task, numbers, own in self._by_task(examples):
            features = task.features(tokenizer, own, training)
            if training and not len(features):
                raise UserError(
                    f"multitask: no training example of {key} can be used"
                )
            parts[key] = (features, numbers)
        power = self.options.power if training else None
        return join_features(parts, power)

    def loss(self, outputs: Any, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns the loss of each row, which is its task's, [B]."""
        index = batch[TASK_INDEX]
        total = tf.zeros(tf.shape(index), tf.float32)
        for number, (key, task) in enumerate(self.tasks.items()):
            loss = task.loss(outputs.heads[key], _own(batch, key))
            total += tf.where(index == number, loss, 0.0)
        return total

    def network_inputs(self, batch: Mapping[str, tf.Tensor]) -> dict[str, Any]:
        """Returns input -> task -> its tensor, for the heads that take one."""
        found: dict[str, Any] = {}
        for key, task in self.tasks.items():
            for name, value in task.network_inputs(_own(batch, key)).items():
                found.setdefault(name, {})[key] = value
        return found

    def outputs(self, outputs: Any) -> dict[str, tf.Tensor]:
        """Returns the outputs of all tasks, as "KEY/name"."""
        return {
            f"{key}/{name}": value
            for key, task in self.tasks.items()
            for name, value in task.outputs(outputs.heads[key]).items()
        }

    def models(self, network: MultitaskNetwork) -> dict[str, tuple[Task, Any]]:
        """Returns each task with a network of its own, by its key."""
        return {
            key: (task, network.part(key)) for key, task in self.tasks.items()
        }

    # --- answers -----------------------------------------------------------

    def predictions(
        self,
        examples: Sequence[MemberExample],
        features: Features,
        outputs: Sequence[Mapping[str, Any]],
    ) -> list[Prediction]:
        """Returns the predictions of each example's task, `task` added."""
        found: list[Prediction] = [{}] * len(examples)
        for key, part in features.extra.items():
            own = [
                {
                    name.removeprefix(f"{key}/"): value
                    for name, value in output.items()
                    if name.startswith(f"{key}/")
                }
                for output in outputs[part.rows]
            ]
            answers = self.tasks[key].predictions(
                [examples[i].example for i in part.examples],
                part.features,
                own,
            )
            for i, answer in zip(part.examples, answers):
                found[i] = {"task": key, **answer}
        return found

    def scores(
        self,
        examples: Sequence[MemberExample],
        predictions: Sequence[Prediction],
    ) -> dict[str, float]:
        """Returns the tasks' scores, and `mean` over their selecting
        metrics.
        """
        found: dict[str, float] = {}
        chosen: list[float] = []
        for key, task, numbers, own in self._by_task(examples):
            scores = task.scores(own, [predictions[i] for i in numbers])
            found |= {f"{key}/{name}": v for name, v in scores.items()}
            if task.metric in scores:
                chosen.append(scores[task.metric])
        return {"mean": float(np.mean(chosen)), **found} if chosen else found

    def tune(
        self,
        examples: Sequence[MemberExample],
        predictions: Sequence[Prediction],
    ) -> None:
        """Tunes each task on its own examples."""
        for _, task, numbers, own in self._by_task(examples):
            task.tune(own, [predictions[i] for i in numbers])

    def files(
        self,
        split: str,
        examples: Sequence[MemberExample],
        predictions: Sequence[Prediction],
    ) -> dict[str, bytes]:
        """Returns the tasks' files, each in a directory of its key."""
        split = split.rpartition(".")[2]
        return {
            f"{key}/{name}": content
            for key, task, numbers, own in self._by_task(examples)
            for name, content in task.files(
                split, own, [predictions[i] for i in numbers]
            ).items()
        }

    def constant(
        self,
        train: Sequence[MemberExample],
        held_out: Sequence[MemberExample],
    ) -> list[Prediction]:
        """Returns the tasks' constant predictions; none if one has none."""
        answers = {key: own for key, _, _, own in self._by_task(train)}
        found: list[Prediction] = [{}] * len(held_out)
        for key, task, numbers, own in self._by_task(held_out):
            constants = task.constant(answers[key], own)
            if not len(constants):
                return []
            for i, constant in zip(numbers, constants):
                found[i] = {"task": key, **constant}
        return found


def _make(
    member: Member, data: str | None, state: Mapping[str, Any] | None
) -> Task:
    cls = task_class(member.name)
    if issubclass(cls, Multitask):
        raise UserError(
            "multitask: options.tasks: multitask cannot be one of its own tasks"
        )
    where = f"options.tasks: {member.key}: options"
    options: Any = config.from_dict(cls.Options, member.options, where)
    if member.data is not None:
        inside = member.data if data is None else files.join(data, member.data)
        given = files.exists(member.data) and not files.exists(inside)
        data = member.data if given else inside
    return cls(member.name, options, data, state)


def _own(batch: Mapping[str, tf.Tensor], key: str) -> dict[str, tf.Tensor]:
    """Returns the inputs and a task's arrays, without the key's prefix."""
    found = {name: batch[name] for name in INPUTS}
    for name, value in batch.items():
        if name.startswith(f"{key}/"):
            found[name.removeprefix(f"{key}/")] = value
    return found


def join_features(
    parts: Mapping[str, tuple[Features, np.ndarray]], power: float | None
) -> Features:
    """Joins the features of several tasks in one object.

    Args:
      parts: task -> its features, and the numbers of its examples among all.
      power: tasks are sampled in proportion to their number of rows to this
        power; None takes every row, for inference.

    Returns:
      Features whose `extra` is task -> `Part`.

    Raises:
      UserError: a task has groups of rows, in training.
    """
    for key, (features, _) in parts.items():
        if features.group > 1 and power is not None:
            raise UserError(
                f"multitask: {key} trains on groups of {features.group} rows, "
                "and only single rows can be mixed; of ranking set "
                "options.loss to pointwise"
            )
    found: dict[str, Part] = {}
    start = 0
    for key, (features, numbers) in parts.items():
        found[key] = Part(
            features, numbers, slice(start, start + len(features))
        )
        start += len(features)
    each = [part.features for part in found.values()]
    sizes = [len(features) for features in each]
    index = np.repeat(np.arange(len(each)), sizes).astype("int32")
    tokens = {
        name: np.concatenate([features.tokens[name] for features in each])
        for name in _SHARED
    }
    rows = {TASK_INDEX: index}
    padding = {"input_ids": each[0].padding.get("input_ids", 0)}
    for number, (key, part) in enumerate(found.items()):
        features = part.features
        counts = [f.row_splits[-1] for f in each]
        for name, values in features.tokens.items():
            if name not in _SHARED:
                tokens[f"{key}/{name}"] = _among(values, counts, number)
        for name, values in features.rows.items():
            rows[f"{key}/{name}"] = _among(values, sizes, number)
        for name, value in features.padding.items():
            if name not in _SHARED:
                padding[f"{key}/{name}"] = value
    lengths = np.concatenate([features.lengths for features in each])
    examples = [
        part.examples
        if part.features.examples is None
        else part.examples[part.features.examples]
        for part in found.values()
    ]
    return Features(
        np.concatenate([[0], np.cumsum(lengths)]),
        tokens,
        rows,
        padding=padding,
        examples=np.concatenate(examples),
        extra=found,
        mixture=None if power is None else mix_by_size(sizes, power),
    )


def _among(values: np.ndarray, counts: list[int], number: int) -> np.ndarray:
    """Returns `values` in their task's rows, zeros in the others."""
    shape = values.shape[1:]
    return np.concatenate(
        [
            values if i == number else np.zeros([count, *shape], values.dtype)
            for i, count in enumerate(counts)
        ]
    )
