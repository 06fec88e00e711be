"""The features of several tasks as those of one.

Rows stand task by task. A task's arrays are called "TASK/name"; they are zero
in the rows of other tasks, and `task_index` tells whose row it is.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from electra_tf.errors import UserError
from electra_tf.tasks import mixture
from electra_tf.tasks.features import Features

TASK_INDEX = "task_index"
# Token arrays that all tasks have, and share.
_SHARED = ("input_ids", "segment_ids")


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """What one of the tasks has of the features.

    Attributes:
      features: its own.
      examples: int64, the number of each of its examples among all.
      rows: where its rows are.
    """

    features: Features
    examples: np.ndarray
    rows: slice


def join(
    parts: Mapping[str, tuple[Features, np.ndarray]], power: float | None
) -> Features:
    """One features object of several.

    Args:
      parts: task -> its features, and the numbers of its examples among all.
      power: rows are drawn in proportion to their number to it; None draws
        nothing, for inference.

    Returns:
      Features whose `extra` is task -> `Part`.

    Raises:
      UserError: in training, groups of rows.
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
        mixture=None if power is None else mixture.by_size(sizes, power),
    )


def _among(values: np.ndarray, counts: list[int], number: int) -> np.ndarray:
    """`values` where they belong, zeros where the others' would be."""
    shape = values.shape[1:]
    return np.concatenate(
        [
            values if i == number else np.zeros([count, *shape], values.dtype)
            for i, count in enumerate(counts)
        ]
    )
