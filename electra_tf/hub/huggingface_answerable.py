"""Stores the answerability head, which Hugging Face's class lacks.

It is stored in a file of ours beside the class's weights, which transformers
ignores. A copy of the class's own head shows whether both still belong
together: after further training elsewhere they do not.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from electra_tf import files, tensors
from electra_tf.errors import UserError
from electra_tf.hub.checkpoint import Checkpoint, Lazy, shapes_of
from electra_tf.hub.config import OURS, DirectoryConfig
from electra_tf.models.config import TaskHeadConfig

FILE = f"{OURS}.safetensors"
_HIDDEN = "task/answerable_hidden/bias"
NAMES = (
    "task/answerable_hidden/kernel", _HIDDEN,
    "task/answerable/kernel", "task/answerable/bias",
)  # fmt: skip
_WITNESS = "task/output/kernel"
# Key in config.json: transformers' scripts use this name for the margin by
# which the first token's score must exceed the best answer's.
THRESHOLD = "null_score_diff_threshold"


def threshold(about: Mapping[str, Any]) -> float | None:
    """Returns the odds above which there is no answer.

    Args:
      about: see `DirectoryConfig.fine_tuning`.

    Returns:
      The chosen odds; None where none were chosen.
    """
    options, state = about.get("options") or {}, about.get("state") or {}
    chosen = options.get("null_threshold")
    found = state.get("null_threshold") if chosen is None else chosen
    return None if found is None else float(found)


def write(directory: str, checkpoint: Checkpoint) -> str:
    """Writes the head to a file of its own.

    Args:
      directory: directory of the class's weights.
      checkpoint: a checkpoint with such a head.

    Returns:
      A sentence on what transformers does with it.
    """
    weights = checkpoint.weights
    kept = {name: weights[name] for name in (*NAMES, _WITNESS)}
    tensors.save(files.join(directory, FILE), kept)
    odds = threshold(checkpoint.config.fine_tuning or {}) or 0.0
    return (
        "the head that predicts whether a question has an answer, and its "
        f"threshold {odds:.4g}: the class of transformers decides by the score "
        f"of the first token alone ({THRESHOLD}, 0 unless chosen); {FILE} "
        "stores both for electra_tf"
    )


def joined(
    directory: str,
    config: DirectoryConfig,
    weights: Mapping[str, np.ndarray],
    notes: list[str],
) -> tuple[DirectoryConfig, Mapping[str, np.ndarray]]:
    """Adds the head from its file to a model, if there is one.

    Args:
      directory: directory of config.json.
      config: config of the model.
      weights: our names -> arrays.
      notes: a list that gets a sentence if the file is another model's.

    Returns:
      Config and weights with the head.

    Raises:
      UserError: the file is damaged.
    """
    path, task = files.join(directory, FILE), config.task
    if (
        not isinstance(task, TaskHeadConfig)
        or task.kind != "span"
        or not files.exists(path)
    ):
        return config, weights
    beside = tensors.TensorFile(path)
    shapes = {name: tuple(beside.shapes[name]) for name in beside}
    size = shapes_of(weights)[_WITNESS][0]
    joint = shapes.get(_HIDDEN, (0,))[0]
    expected = dict(zip(NAMES, ((2 * size, joint), (joint,), (joint, 1), (1,))))
    if {n: s for n, s in shapes.items() if n != _WITNESS} != expected:
        raise UserError(
            f"cannot read {path}: expected the head of a model whose hidden "
            f"size is {size}"
        )
    if not np.array_equal(beside[_WITNESS], weights[_WITNESS]):
        notes.append(
            f"ignored: {FILE}, which says whether a question has an answer, "
            "belongs to other weights; the model was trained further elsewhere"
        )
        return config, weights
    found = dict(shapes_of(weights)) | expected
    task = dataclasses.replace(task, answerable=True, joint_size=joint)
    return dataclasses.replace(config, task=task), Lazy(
        lambda name: beside[name] if name in expected else weights[name], found
    )


def without_head(about: dict[str, Any]) -> dict[str, Any]:
    """Makes a task use the first token's score, where the head is missing.

    Args:
      about: see `DirectoryConfig.fine_tuning`; its threshold applies to the
        head's odds, so it is removed.
    """
    options, state = (
        {k: v for k, v in about[part].items() if k != "null_threshold"}
        for part in ("options", "state")
    )
    options["answerability"] = "first_token"
    return {**about, "options": options, "state": state}
