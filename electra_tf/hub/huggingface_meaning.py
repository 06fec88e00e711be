"""Translates the meaning of a fine-tuned head's outputs to Hugging Face's.

`problem_type` distinguishes numbers, one label and sets of labels;
sentence-transformers adds the function on the score of a pair. Anything else is
stored under a key of ours, which both ignore.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.hub import huggingface_answerable as answerable
from electra_tf.hub.checkpoint import Checkpoint, Lazy, shapes_of
from electra_tf.hub.config import OURS, DirectoryConfig, window_options
from electra_tf.hub.huggingface_heads import is_narrow, unnamed
from electra_tf.hub.huggingface_tokenizer import SETTINGS, read_json
from electra_tf.models.config import TaskHeadConfig

_NUMBER, _ONE, _SET = (
    "regression", "single_label_classification", "multi_label_classification",
)  # fmt: skip
# sentence-transformers' file, and its keys in config.json, new and old.
_BESIDE = "config_sentence_transformers.json"
FILES = (_BESIDE,)
_PAIRS, _OLD_ACTIVATION = (
    "sentence_transformers", "sbert_ce_default_activation_function",
)  # fmt: skip
_IDENTITY, _SIGMOID = (
    "torch.nn.modules.linear.Identity", "torch.nn.modules.activation.Sigmoid",
)  # fmt: skip
_KEPT = ("task", "options", "state")
# Families of tasks -> the kind of their heads; and those of a single output.
_KINDS = {
    "classification": "sequence", "regression": "sequence",
    "glue": "sequence", "ranking": "sequence", "tagging": "token",
    "squad": "span", "xquad": "span", "mrqa": "span", "chinese_qa": "span",
}  # fmt: skip
_NUMBERS = ("regression", "ranking")
_OUTPUT = ("task/output/kernel", "task/output/bias")
_HIDDEN = ("task/dense/kernel", "task/dense/bias")
_LONGEST = 512  # tokens in a row, if the model has more positions
_SHORTEST = 8  # a pair, with its special tokens; less is not a limit


def with_hidden_layer(checkpoint: Checkpoint) -> Checkpoint:
    """Adds to a head the hidden layer of the class, and unscales numbers.

    GELU(x) - GELU(-x) is x: a layer with each output and its negative, and one
    that takes their difference, compute the same as the head alone. A number
    that was scaled for training is returned on the data's scale.

    Args:
      checkpoint: a checkpoint that may have a head; others are returned
        unchanged.
    """
    checkpoint = unscaled(checkpoint)
    config = checkpoint.config
    if not is_narrow(config):
        return checkpoint
    kernel = np.asarray(checkpoint.weights[_OUTPUT[0]])
    size, labels = kernel.shape
    dense = np.zeros((size, size), np.float32)
    dense[:, :labels], dense[:, labels : 2 * labels] = kernel, -kernel
    output = np.zeros((size, labels), np.float32)
    output[:labels], output[labels : 2 * labels] = _signs(labels)
    assert isinstance(config.task, TaskHeadConfig)  # from `is_narrow`
    task = dataclasses.replace(config.task, hidden_layer=True)
    return dataclasses.replace(
        checkpoint,
        config=dataclasses.replace(config, task=task),
        weights=_with(
            checkpoint.weights,
            {
                _OUTPUT[0]: output,
                _HIDDEN[0]: dense,
                _HIDDEN[1]: np.zeros(size, np.float32),
            },
        ),
    )


def unscaled(checkpoint: Checkpoint) -> Checkpoint:
    """Makes a head return a number as large as in the data.

    Args:
      checkpoint: a checkpoint whose head may give a number that was scaled for
        training; others are returned unchanged.
    """
    offset, scale = _number(checkpoint.config)
    if (offset, scale) == (0.0, 1.0):
        return checkpoint
    kernel, bias = (np.asarray(checkpoint.weights[n]) for n in _OUTPUT)
    changed = dict(zip(_OUTPUT, (kernel * scale, bias * scale + offset)))
    return dataclasses.replace(
        checkpoint,
        weights=_with(
            checkpoint.weights,
            {n: np.asarray(array, np.float32) for n, array in changed.items()},
        ),
    )


def _with(
    weights: Mapping[str, np.ndarray], changed: Mapping[str, np.ndarray]
) -> Lazy[np.ndarray]:
    """Returns weights of which some are new or changed."""
    shapes = dict(shapes_of(weights))
    shapes |= {name: array.shape for name, array in changed.items()}

    def array(name: str) -> np.ndarray:
        found = changed.get(name)
        return weights[name] if found is None else found

    return Lazy(array, shapes)


def without_hidden_layer(
    config: DirectoryConfig, weights: Mapping[str, np.ndarray]
) -> tuple[DirectoryConfig, Mapping[str, np.ndarray]]:
    """Removes the hidden layer that `with_hidden_layer` added to a head.

    Args:
      config: the directory's config.
      weights: our names -> arrays.

    Returns:
      Config and weights; unchanged where the layer computes something else.
    """
    task, shapes = config.task, dict(shapes_of(weights))
    if (
        not isinstance(task, TaskHeadConfig)
        or not (task.kind == "sequence" and task.hidden_layer)
        or task.hidden_activation != "gelu"
        or any(name not in shapes for name in (*_OUTPUT, *_HIDDEN))
    ):
        return config, weights
    labels, size = task.num_labels, shapes[_OUTPUT[0]][0]
    if 2 * labels > size or shapes[_HIDDEN[0]] != (size, size):
        return config, weights
    output, (plus, minus) = weights[_OUTPUT[0]], _signs(labels)
    if (
        output.shape != (size, labels)
        or not np.array_equal(output[:labels], plus)
        or not np.array_equal(output[labels : 2 * labels], minus)
        or output[2 * labels :].any()
        or weights[_HIDDEN[1]].any()
    ):
        return config, weights
    dense = weights[_HIDDEN[0]]
    kernel = np.ascontiguousarray(dense[:, :labels])
    if dense[:, 2 * labels :].any() or not np.array_equal(
        dense[:, labels : 2 * labels], -kernel
    ):
        return config, weights
    kept = {n: s for n, s in shapes.items() if n not in _HIDDEN}
    kept[_OUTPUT[0]] = kernel.shape
    task = dataclasses.replace(task, hidden_layer=False)
    return dataclasses.replace(config, task=task), Lazy(
        lambda name: kernel if name == _OUTPUT[0] else weights[name], kept
    )


def _signs(labels: int) -> tuple[np.ndarray, np.ndarray]:
    plus = np.eye(labels, dtype=np.float32)
    return plus, -plus


def _number(config: DirectoryConfig) -> tuple[float, float]:
    """Returns how a number was scaled: (offset, scale)."""
    about = config.fine_tuning or {}
    if about.get("task") != "regression" or not isinstance(
        config.task, TaskHeadConfig
    ):
        return 0.0, 1.0
    state = about.get("state") or {}
    return float(state.get("offset", 0.0)), float(state.get("scale", 1.0))


def said(config: DirectoryConfig) -> dict[str, Any]:
    """Makes the entries of config.json about the meaning of outputs.

    Args:
      config: config of a model that may be fine-tuned.
    """
    about, task = config.fine_tuning, config.task
    if about is None or not isinstance(task, TaskHeadConfig):
        return {}
    name, options = str(about.get("task")), about.get("options") or {}
    content: dict[str, Any] = {}
    if task.kind == "sequence" and name == "regression":
        content["problem_type"] = _NUMBER
        # Otherwise sentence-transformers would add a sigmoid.
        content[_PAIRS] = {"activation_fn": _IDENTITY}
        about = about | {
            "state": {**about.get("state", {}), "offset": 0.0, "scale": 1.0}
        }
    elif task.kind == "sequence" and name == "ranking":
        sigmoid = (about.get("state") or {}).get("activation") == "sigmoid"
        content[_PAIRS] = {"activation_fn": _SIGMOID if sigmoid else _IDENTITY}
    elif task.kind == "sequence" and options.get("multi_label"):
        content["problem_type"] = _SET
    elif task.kind == "sequence" and task.num_labels > 1:
        content["problem_type"] = _ONE
    elif task.kind == "span" and not task.answerable:
        odds = answerable.threshold(about)
        if odds is not None:
            content[answerable.THRESHOLD] = odds
    if ":" in name:  # a task from a file, which is not included
        return content
    kept = {key: about[key] for key in _KEPT if key in about}
    return content | {OURS: {"fine_tuning": kept}}


def heard(
    content: Mapping[str, Any],
    directory: str,
    config: DirectoryConfig,
    assumed: list[str],
) -> dict[str, Any] | None:
    """Reads the meaning of outputs, where the head alone does not show it.

    Args:
      content: content of config.json.
      directory: its directory.
      config: config of the model, with its head.
      assumed: a list that gets sentences on what is not supported.

    Returns:
      See `DirectoryConfig.fine_tuning`; None where there is only the head.
    """
    task = config.task
    if not isinstance(task, TaskHeadConfig):
        return None
    ours = content.get(OURS)
    kept = ours.get("fine_tuning") if isinstance(ours, Mapping) else None
    if isinstance(kept, dict) and set(kept) == set(_KEPT):
        if _is_of(kept, task):
            if task.kind == "span":
                return _answered(kept, content, task)
            return _scored(kept, content, directory)
        assumed.append(
            "ignored: the fine-tuning that config.json describes belongs to "
            "another head; the model was trained further elsewhere"
        )
    if task.kind == "span":
        return _unanswerable(content, config)
    if task.kind != "sequence":
        return None
    problem = content.get("problem_type")
    pairs, activation = _pair_scores(content, directory)
    known = {_IDENTITY: "identity", _SIGMOID: "sigmoid"}
    if activation is not None and activation not in known:
        assumed.append(
            f"the function {activation}, which follows its scores, is left out"
        )
    sigmoid = activation == _SIGMOID
    if problem == _SET or (task.num_labels > 1 and sigmoid):
        return sets_of_labels(config)
    if task.num_labels > 1 and problem == _NUMBER:
        assumed.append(
            f"problem_type {_NUMBER}: its {task.num_labels} numbers are taken "
            "for scores of labels, as our heads give one number at most"
        )
    if task.num_labels > 1 or problem == _NUMBER or not pairs:
        return None
    # sentence-transformers' default for one score.
    name = "sigmoid" if activation is None else known.get(activation)
    found = _about(config, "ranking", {}, {"activation": name or "identity"})
    longest = min(found["options"]["max_seq_length"], _max_length(directory))
    found["options"]["max_seq_length"] = longest
    found["options"]["max_query_length"] = max(1, longest // 2)
    return found


def sets_of_labels(config: DirectoryConfig) -> dict[str, Any]:
    """Makes the record of a classifier that decides on each label by itself.

    Args:
      config: config of the model, with its head.
    """
    assert isinstance(config.task, TaskHeadConfig)
    labels = config.task.labels or unnamed(config.task.num_labels)
    return _about(
        config, "classification",
        {"multi_label": True}, {"labels": list(labels), "pairs": "either"},
    )  # fmt: skip


def named(config: DirectoryConfig) -> DirectoryConfig:
    """Names a head's labels as in its fine-tuning.

    Args:
      config: config of a model whose labels may be LABEL_0 and so on, which a
        head leaves out.
    """
    task, state = config.task, (config.fine_tuning or {}).get("state") or {}
    labels = state.get("labels")
    if (
        not isinstance(task, TaskHeadConfig)
        or task.labels is not None
        or not isinstance(labels, list)
        or tuple(labels) != unnamed(task.num_labels)
    ):
        return config
    task = dataclasses.replace(task, labels=tuple(labels))
    return dataclasses.replace(config, task=task)


def _scored(
    kept: dict[str, Any], content: Mapping[str, Any], directory: str
) -> dict[str, Any]:
    """Returns the stored record of ranking, with the current score function."""
    if kept["task"] != "ranking":
        return kept
    _, activation = _pair_scores(content, directory)
    name = "sigmoid" if activation == _SIGMOID else "identity"
    return {**kept, "state": {**kept["state"], "activation": name}}


def _threshold(content: Mapping[str, Any]) -> float | None:
    """Returns the margin of the first token's score over the best answer's."""
    value = content.get(answerable.THRESHOLD)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def _answered(
    kept: dict[str, Any], content: Mapping[str, Any], task: TaskHeadConfig
) -> dict[str, Any]:
    """Returns the stored record of answering, with the current threshold."""
    if task.answerable:
        return kept
    if kept["options"].get("answerability", "head") == "head" and (
        kept["state"].get("unanswerable")
    ):
        kept = answerable.without_head(kept)
    threshold = _threshold(content)
    if threshold is None:
        return kept
    options = {
        k: v for k, v in kept["options"].items() if k != "null_threshold"
    }
    state = kept["state"] | {"unanswerable": True, "null_threshold": threshold}
    return {**kept, "options": options, "state": state}


def _unanswerable(
    content: Mapping[str, Any], config: DirectoryConfig
) -> dict[str, Any] | None:
    """Makes a record for an imported model whose threshold implies
    unanswerables.
    """
    threshold = _threshold(content)
    if threshold is None:
        return None
    assert config.discriminator is not None
    return {
        "task": "squad",
        "options": {
            "head": "independent",
            "answerability": "first_token",
            **window_options(config.discriminator.max_positions),
        },
        "state": {"unanswerable": True, "null_threshold": threshold},
    }


def _is_of(kept: Mapping[str, Any], task: TaskHeadConfig) -> bool:
    """Returns whether the stored record still fits this head."""
    state = kept["state"]
    if not isinstance(state, dict) or not isinstance(kept["options"], dict):
        return False
    # An imported directory must not name a file to run.
    if not isinstance(kept["task"], str) or ":" in kept["task"]:
        return False
    family = kept["task"].partition("/")[0]
    if _KINDS.get(family, task.kind) != task.kind or (
        family in _NUMBERS and task.num_labels != 1
    ):
        return False
    labels = state.get("labels")
    names = list(task.labels or unnamed(task.num_labels))
    return labels is None or task.kind == "span" or labels == names


def _pair_scores(
    content: Mapping[str, Any], directory: str
) -> tuple[bool, str | None]:
    """Returns whether it is a CrossEncoder, and the function on its scores."""
    given = content.get(_PAIRS)
    found = isinstance(given, Mapping) or _OLD_ACTIVATION in content
    activation = given.get("activation_fn") if isinstance(given, Mapping) else (
        content.get(_OLD_ACTIVATION)
    )  # fmt: skip
    beside = _beside(directory, _BESIDE)
    if beside.get("model_type") == "CrossEncoder":
        found = True
        activation = beside.get("activation_fn") or activation
    return found, activation if isinstance(activation, str) else None


def _max_length(directory: str) -> int:
    """Returns the length that a CrossEncoder truncates pairs to, in tokens."""
    found = _beside(directory, SETTINGS).get("model_max_length")
    # Where there is no limit, transformers writes a float, 1e30.
    if isinstance(found, int) and found >= _SHORTEST:
        return found
    return _LONGEST


def _beside(directory: str, name: str) -> dict[str, Any]:
    """Reads a file of the directory; empty if missing or damaged."""
    file = files.join(directory, name)
    try:
        return read_json(file) if files.exists(file) else {}
    except UserError:
        return {}


def _about(
    config: DirectoryConfig,
    name: str,
    options: dict[str, Any],
    state: dict[str, Any],
) -> dict[str, Any]:
    task, model = config.task, config.discriminator
    assert isinstance(task, TaskHeadConfig) and model is not None
    options = {
        "hidden_layer": task.hidden_layer,
        "hidden_activation": task.hidden_activation,
        "max_seq_length": min(_LONGEST, model.max_positions),
        **options,
    }
    return {"task": name, "options": options, "state": state}
