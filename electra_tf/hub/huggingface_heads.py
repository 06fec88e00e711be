"""Maps heads to Hugging Face's classes and back, with labels."""

import math
from collections.abc import Mapping
from typing import Any

from electra_tf.errors import UserError
from electra_tf.hub.config import DirectoryConfig
from electra_tf.hub.names import Network
from electra_tf.models.config import TaskHeadConfig

ENCODER = "ElectraModel"
PRETRAINING = "ElectraForPreTraining"
MASKED_LM = "ElectraForMaskedLM"
SEQUENCE = "ElectraForSequenceClassification"
TOKEN = "ElectraForTokenClassification"
ANSWERING = "ElectraForQuestionAnswering"
_CAUSAL_LM = "ElectraForCausalLM"
TASKS = {SEQUENCE: "sequence", TOKEN: "token", ANSWERING: "span"}

Shapes = Mapping[str, tuple[int, ...]]

# The variable that identifies a class's head; for an unnamed class the first
# existing one decides.
MARKS = {
    MASKED_LM: "generator_predictions.dense.weight",
    PRETRAINING: "discriminator_predictions.dense.weight",
    SEQUENCE: "classifier.out_proj.weight",
    ANSWERING: "qa_outputs.weight",
    TOKEN: "classifier.weight",
}


class Fields:
    """Looks up typed values in config.json; errors name the file and the
    key.
    """

    def __init__(self, content: Mapping[str, Any], path: str):
        self.content, self.path = content, path

    def get(self, key: str, kinds: tuple[type, ...], default: Any) -> Any:
        """Returns the value, or `default` where it is absent or null."""
        value = self.content.get(key)
        if value is None:
            return default
        if not isinstance(value, kinds) or (
            isinstance(value, bool) and bool not in kinds
        ):
            raise self.error(key, f"of type {kinds[-1].__name__}")
        return value

    def error(self, key: str, expected: str) -> UserError:
        """Makes an error with the expected and the actual value of a key."""
        shown = repr(self.content.get(key))
        return UserError(
            f"{self.path}: {key}: expected {expected}, got {shown[:60]}"
        )


def class_named(fields: Fields, found: Shapes) -> tuple[str, list[str]]:
    """Returns the directory's class, and what was assumed about it."""
    model_type = fields.get("model_type", (str,), None)
    named = fields.get("architectures", (list,), None) or [None]
    name = named[0]
    if name is not None and not isinstance(name, str):
        raise fields.error("architectures", "the name of a class")
    if model_type is None and str(name).startswith("Electra"):
        model_type = "electra"
    if model_type != "electra":
        raise UserError(
            f"{fields.path}: model_type: expected 'electra' or 'bert', got "
            f"{model_type!r}; models of other kinds are not read"
        )
    # Without a causal mask, it is the generator's class.
    if name == _CAUSAL_LM and not fields.get("is_decoder", (bool,), False):
        name = MASKED_LM
    if name == _CAUSAL_LM:
        raise UserError(
            f"{fields.path}: architectures: {name} reads from the left alone, "
            "which ours do not; expected one of " + ", ".join([ENCODER, *MARKS])
        )
    if name == ENCODER or name in MARKS:
        return name, []
    for candidate, mark in MARKS.items():
        # A summary layer before the classifier: the class for multiple choice.
        if mark in found and "sequence_summary.summary.weight" not in found:
            return candidate, [f"class {candidate}, from its variables"]
    return ENCODER, [f"the encoder alone (its class: {name or 'not named'})"]


def task_of(
    fields: Fields,
    kind: str,
    found: Shapes,
    dropout: float,
    assumed: list[str],
) -> TaskHeadConfig:
    """Makes the config of a fine-tuned class's head.

    Args:
      fields: look-ups in config.json.
      kind: entry of `TASKS` for the class.
      found: names of the variables and their shapes.
      dropout: default of the head's dropout.
      assumed: a list that gets a sentence where names of labels are ignored.

    Raises:
      UserError: our heads cannot do the same.
    """
    if kind == "span":
        # That class has no dropout.
        rows = found["qa_outputs.weight"][0]
        if rows != 2:
            raise UserError(
                f"{fields.path}: qa_outputs.weight has {rows} rows; expected "
                "2, start and end"
            )
        return TaskHeadConfig(kind="span", dropout=0.0)
    sequence = kind == "sequence"
    mark = MARKS[SEQUENCE if sequence else TOKEN]
    number = found[mark][0] if found[mark] else 0
    if not math.prod(found[mark]):
        raise UserError(f"{fields.path}: {mark} is empty; expected a head")
    dropout = float(fields.get("classifier_dropout", (int, float), dropout))
    if not 0 <= dropout < 1:
        raise fields.error("classifier_dropout", "at least 0 and below 1")
    return TaskHeadConfig(
        kind="sequence" if sequence else "token",
        num_labels=number,
        labels=_labels(fields, number, assumed),
        hidden_layer=sequence,
        dropout=dropout,
    )


def _labels(
    fields: Fields, number: int, assumed: list[str]
) -> tuple[str, ...] | None:
    """Returns label names in order; None for labels without names."""
    given = fields.get("id2label", (dict,), None) or {}
    if not given:  # the other way round alone
        names = fields.get("label2id", (dict,), None) or {}
        given = {str(number): name for name, number in names.items()}
    labels = {str(key): str(label) for key, label in given.items()}
    whole = set(labels) == {str(i) for i in range(number)}
    if not whole or len(set(labels.values())) < number or "" in labels.values():
        if labels:
            assumed.append(
                f"labels are called LABEL_0 and so on: id2label names "
                f"{len(set(labels.values()) - {''})}, and the head has {number}"
            )
        return None
    ordered = tuple(labels[str(i)] for i in range(number))
    return None if ordered == unnamed(number) else ordered


def unnamed(number: int) -> tuple[str, ...]:
    """Returns the default names of labels, LABEL_0 and so on."""
    return tuple(f"LABEL_{i}" for i in range(number))


def is_narrow(config: DirectoryConfig) -> bool:
    """Returns whether a head without hidden layer can be written with one.

    Args:
      config: config of a model that may have a head.
    """
    task, model = config.task, config.discriminator
    return (
        isinstance(task, TaskHeadConfig)
        and task.kind == "sequence"
        and not task.hidden_layer
        and model is not None
        and 2 * task.num_labels <= model.hidden_size
    )


def nearest(config: DirectoryConfig, part: Network) -> str:
    """Returns the class with the inputs and outputs of a network.

    Args:
      config: config of the model; its head, if any, is a `TaskHeadConfig`.
      part: the network.
    """
    if part == "generator":
        return MASKED_LM if config.token_lm_head else ENCODER
    kind = getattr(config.task, "kind", None)
    if kind is None:
        return PRETRAINING if config.replaced_token_head else ENCODER
    kinds = {kind: name for name, kind in TASKS.items()}
    return kinds.get(kind, ANSWERING)


def class_of(config: DirectoryConfig, part: Network) -> str:
    """Returns the class that a network is saved as.

    Raises:
      UserError: no class computes the same.
    """
    if part == "generator":
        if config.is_two_tower:
            raise UserError(
                f"Hugging Face has no class for a {config.generator_kind} "
                "generator; convert with --part=discriminator"
            )
        return MASKED_LM if config.token_lm_head else ENCODER
    task = config.task
    if task is None:
        return PRETRAINING if config.replaced_token_head else ENCODER
    if not isinstance(task, TaskHeadConfig):
        decoder = task.kind == "decoder"
        what = "with a decoder" if decoder else "that chooses sentences"
        raise UserError(
            f"Hugging Face has no class of ELECTRA {what}; keep the model as "
            "a model directory of electra_tf"
        )
    if (
        task.kind == "joint_span"
        or not (
            task.kind != "sequence" or task.hidden_layer or is_narrow(config)
        )
        or task.hidden_activation != "gelu"
    ):
        raise UserError(
            "Hugging Face has no class for this task head (task.kind "
            f"{task.kind}, task.hidden_layer {str(task.hidden_layer).lower()} "
            f"with {task.hidden_activation}); expected token, span "
            "(options.head: independent), or sequence with hidden_layer and "
            "its GELU, or with labels that are half of the hidden size at most"
        )
    return next(name for name, kind in TASKS.items() if kind == task.kind)
