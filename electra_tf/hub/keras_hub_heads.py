"""Reads and writes the head of a KerasHub preset, `task.json`.

KerasHub itself has no task on ELECTRA's backbone; the classes are those of
`electra_tf.keras_hub`. A classifier's labels are numbers there, so that their
names are stored in a file of ours.
"""

import dataclasses
import json
from typing import Any

import keras

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.hub.config import DirectoryConfig
from electra_tf.hub.huggingface_tokenizer import read_json
from electra_tf.hub.names import Network
from electra_tf.models.config import Gelu, TaskHeadConfig

TASK, WEIGHTS = "task.json", "task.weights.h5"
NAMES = "class_names.json"
_CLASSIFIER, _MASKED_LM = "ElectraTextClassifier", "ElectraMaskedLM"
_TANH = "tanh_gelu"
_SIGMOID = "sigmoid"
_LONGEST_ROW = 512  # default of a preprocessor


class _OtherHead(Exception):
    """Raised for a head that ours cannot represent; says why."""


@dataclasses.dataclass(frozen=True)
class Head:
    """The head of a preset.

    Attributes:
      task: config of a classifier; None for a masked LM.
      gelu: form of a masked LM's GELU; None for a classifier.
      gives_sets: whether each of a classifier's labels is decided by itself.
    """

    task: TaskHeadConfig | None
    gelu: Gelu | None
    gives_sets: bool = False

    @property
    def part(self) -> Network:
        """The network that has such a head."""
        return "discriminator" if self.task else "generator"


def read(path: str, hidden_size: int) -> tuple[Head | None, list[str]]:
    """Reads the head of a preset.

    Args:
      path: the preset.
      hidden_size: hidden size of its backbone.

    Returns:
      The head, None where ours cannot represent it; and what was assumed.

    Raises:
      UserError: a file is damaged; it is named.
    """
    file = files.join(path, TASK)
    if not files.exists(file):
        return None, []
    if not files.exists(files.join(path, WEIGHTS)):
        return None, [f"no head: {TASK} is there, but not its {WEIGHTS}"]
    content = read_json(file)
    name = str(content.get("registered_name"))
    settings = content.get("config")
    if not isinstance(settings, dict):
        raise UserError(f"{file}: config: expected the task's arguments")
    kind = name.rpartition(">")[2]
    assumed: list[str] = []
    try:
        if kind == _CLASSIFIER:
            task, assumed = _classifier(path, settings, hidden_size)
            sets = task.num_labels > 1
            sets = sets and settings.get("activation") == _SIGMOID
            return Head(task, None, sets), assumed
        if kind == _MASKED_LM:
            return Head(None, _gelu(settings)), []
        raise _OtherHead(f"its task is '{name}'")
    except _OtherHead as reason:
        return None, [f"no head: {reason}; the backbone alone is taken"]
    except UserError as error:
        raise UserError(f"{file}: {error}") from error


def _classifier(
    path: str, settings: dict[str, Any], hidden_size: int
) -> tuple[TaskHeadConfig, list[str]]:
    width = settings.get("hidden_dim")
    if width not in (None, hidden_size):
        raise _OtherHead(
            f"its hidden layer is {width} wide, ours would be {hidden_size}"
        )
    inner = settings.get("hidden_activation", "gelu")
    if width is None:
        inner = "gelu"
    elif inner not in ("gelu", "tanh"):
        raise _OtherHead(f"its hidden layer's activation is {inner}")
    assumed = []
    activation = settings.get("activation")
    classes, dropout = settings.get("num_classes"), settings.get("dropout", 0.1)
    known = ["linear", "softmax"] + [_SIGMOID] * (classes != 1)
    if activation is not None and activation not in known:
        assumed.append(f"logits, without its activation {activation}")
    if type(classes) is not int:
        raise UserError(
            f"config.num_classes: expected a whole number, got {classes!r}"
        )
    if isinstance(dropout, bool) or not isinstance(dropout, int | float):
        raise UserError(f"config.dropout: expected a number, got {dropout!r}")
    task = TaskHeadConfig(
        kind="sequence",
        num_labels=classes,
        labels=_class_names(path, classes),
        hidden_layer=width is not None,
        hidden_activation=inner,
        dropout=float(dropout),
    )
    return task, assumed


def _class_names(path: str, classes: int) -> tuple[str, ...] | None:
    file = files.join(path, NAMES)
    if not files.exists(file):
        return None
    try:
        names = json.loads(files.read_text(file))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{NAMES}: not JSON ({error})") from error
    if (
        not isinstance(names, list)
        or len(names) != classes
        or not all(isinstance(name, str) for name in names)
    ):
        raise UserError(
            f"config.num_classes: {classes}, but {NAMES} beside it is not a "
            "list of as many names; correct or remove it"
        )
    return tuple(names)


def _gelu(settings: dict[str, Any]) -> Gelu:
    activation = settings.get("intermediate_activation")
    if isinstance(activation, dict):  # a registered function
        activation = activation.get("config")
    activation = str(activation).rpartition(">")[2]
    if activation not in ("gelu", _TANH):
        raise _OtherHead(f"its activation is {activation}")
    return "erf" if activation == "gelu" else "tanh"


def attach(
    backbone: keras.Model,
    config: DirectoryConfig,
    part: Network,
    preprocessor: Any = None,
) -> keras.Model | None:
    """Adds the head of a network, with random weights, to a backbone.

    Args:
      backbone: a `keras_hub.models.ElectraBackbone` with its shape.
      config: config of the single network.
      part: the network.
      preprocessor: the task's preprocessor; see `preprocessor`.

    Returns:
      A task of `electra_tf.keras_hub`; None where the network has no head, or
      one without a task there.
    """
    # Imports the library.
    from electra_tf.hub import keras_hub_tasks as tasks

    model, task = getattr(config, part), config.task
    if part == "generator":
        if not (config.token_lm_head and model.tied_head):
            return None
        exact = (model.head_gelu or model.gelu) == "erf"
        return tasks.ElectraMaskedLM(
            backbone,
            preprocessor,
            intermediate_activation="gelu" if exact else tasks.tanh_gelu,
        )
    if not isinstance(task, TaskHeadConfig) or task.kind != "sequence":
        return None
    return tasks.ElectraTextClassifier(
        backbone,
        task.num_labels,
        preprocessor,
        activation=_SIGMOID if _gives_sets(config) else None,
        hidden_dim=model.hidden_size if task.hidden_layer else None,
        hidden_activation=task.hidden_activation,
        dropout=task.dropout,
    )


def _gives_sets(config: DirectoryConfig) -> bool:
    """Returns whether a text may have several of a classifier's labels."""
    options = (config.fine_tuning or {}).get("options") or {}
    return bool(options.get("multi_label"))


def preprocessor(
    tokenizer: Any, config: DirectoryConfig, part: Network
) -> keras.Layer:
    """Makes the preprocessor for the task of `attach`.

    Its row length is that of the model's fine-tuning, if known.

    Args:
      tokenizer: a `keras_hub.models.ElectraTokenizer`.
      config: config of the single network.
      part: the network.
    """
    from electra_tf.hub import keras_hub_tasks as tasks

    kind = {
        "generator": tasks.ElectraMaskedLMPreprocessor,
        "discriminator": tasks.ElectraTextClassifierPreprocessor,
    }[part]
    options = (config.fine_tuning or {}).get("options") or {}
    length = options.get("max_seq_length") or _LONGEST_ROW
    positions = getattr(config, part).max_positions
    return kind(tokenizer, sequence_length=min(length, positions))


def write_names(directory: str, config: DirectoryConfig) -> list[str]:
    """Writes the names of a classifier's classes.

    Args:
      directory: directory of the preset.
      config: config of the discriminator.

    Returns:
      Sentences on what its outputs lack there.
    """
    task, notes = config.task, []
    if not isinstance(task, TaskHeadConfig):
        return []
    if task.labels is not None:
        text = json.dumps(list(task.labels), indent=2, ensure_ascii=False)
        files.write_text(files.join(directory, NAMES), text + "\n")
        notes.append(
            f"its classes are numbers there; {NAMES} beside it names them "
            "in their order"
        )
    if _gives_sets(config):
        notes.append(
            "its outputs are probabilities of each label (sigmoid); compiled "
            "by itself it has the loss of one label: compile it with "
            "binary_crossentropy"
        )
    state = (config.fine_tuning or {}).get("state") or {}
    if state.get("activation") == _SIGMOID:
        notes.append("its output is the score before the sigmoid")
    return notes
