"""`config.json` of a Hugging Face directory <-> ours."""

from collections.abc import Mapping
from typing import Any

from electra_tf.errors import UserError
from electra_tf.hub.config import DirectoryConfig
from electra_tf.hub.names import Network
from electra_tf.models.config import ModelConfig
from electra_tf.models.task_heads import TaskHeadConfig

Shapes = Mapping[str, tuple[int, ...]]

ENCODER = "ElectraModel"
_PRETRAINING = "ElectraForPreTraining"
_MASKED_LM = "ElectraForMaskedLM"
_SEQUENCE = "ElectraForSequenceClassification"
_TOKEN = "ElectraForTokenClassification"
_ANSWERING = "ElectraForQuestionAnswering"
_TASKS = {_SEQUENCE: "sequence", _TOKEN: "token", _ANSWERING: "span"}

# The variable by which a class's head is known; of a class that is not
# named, the first that is there decides.
_MARKS = {
    _MASKED_LM: "generator_predictions.dense.weight",
    _PRETRAINING: "discriminator_predictions.dense.weight",
    _SEQUENCE: "classifier.out_proj.weight",
    _ANSWERING: "qa_outputs.weight",
    _TOKEN: "classifier.weight",
}
_GELU = {
    "gelu": "erf", "gelu_python": "erf",
    "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh",
}  # fmt: skip
_ACTIVATIONS = {"erf": "gelu", "tanh": "gelu_new"}

# Theirs -> ours; the defaults are those of the class ElectraConfig.
_INTEGERS = {
    "vocab_size": "vocab_size",
    "embedding_size": "embedding_size",
    "hidden_size": "hidden_size",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "intermediate_size": "intermediate_size",
    "max_position_embeddings": "max_positions",
    "type_vocab_size": "type_vocab_size",
}
_FLOATS = {
    "hidden_dropout_prob": ("hidden_dropout", 0.1),
    "attention_probs_dropout_prob": ("attention_dropout", 0.1),
    "initializer_range": ("initializer_range", 0.02),
    "layer_norm_eps": ("layer_norm_epsilon", 1e-12),
}
# What a size is where config.json does not say it: (variable, axis).
_FROM_SHAPES = {
    "vocab_size": ("electra.embeddings.word_embeddings.weight", 0),
    "embedding_size": ("electra.embeddings.word_embeddings.weight", 1),
    "hidden_size": ("electra.encoder.layer.0.attention.self.query.weight", 0),
    "intermediate_size": ("electra.encoder.layer.0.intermediate.dense.bias", 0),
    "max_position_embeddings": (
        "electra.embeddings.position_embeddings.weight", 0,
    ),
    "type_vocab_size": ("electra.embeddings.token_type_embeddings.weight", 0),
}  # fmt: skip


class _Fields:
    """Typed look-ups in config.json; errors name the file and the key."""

    def __init__(self, content: Mapping[str, Any], path: str):
        self.content, self.path = content, path

    def get(self, key: str, kinds: tuple[type, ...], default: Any) -> Any:
        value = self.content.get(key)
        if value is None:
            return default
        if not isinstance(value, kinds) or (
            isinstance(value, bool) and bool not in kinds
        ):
            raise self.error(key, f"of type {kinds[-1].__name__}")
        return value

    def error(self, key: str, expected: str) -> UserError:
        shown = repr(self.content.get(key))
        return UserError(
            f"{self.path}: {key}: expected {expected}, got {shown[:60]}"
        )


def to_ours(
    content: Mapping[str, Any], path: str, found: Shapes
) -> tuple[DirectoryConfig, tuple[str, ...]]:
    """What a directory holds, tokenizer settings aside.

    Args:
      content: of config.json.
      path: of config.json, for messages.
      found: names of the variables, prefixed as in a class with a head, and
        their shapes.

    Returns:
      The config, and sentences on what was taken by default.

    Raises:
      UserError: another model, or one that computes what ours cannot; the
        key is named.
    """
    fields = _Fields(content, path)
    name, assumed = _class(fields, found)
    _refuse(fields, name)
    model = _model(fields, found, assumed)
    present = _MARKS.get(name) in found
    if name != ENCODER and not present:
        assumed.append(
            f"no head: config.json names {name}, but {_MARKS[name]} is not "
            "among the weights"
        )
    tokenizer = {
        "lower_case": True, "strip_accents": None, "vocab_fingerprint": "",
    }  # fmt: skip
    if name == _MASKED_LM:
        tied = fields.get("tie_word_embeddings", (bool,), True)
        return DirectoryConfig(
            None,
            ModelConfig(
                **model,
                tied_head=tied or not present,
                # That class has the one GELU whatever hidden_act says.
                head_gelu="erf" if model["gelu"] == "tanh" else None,
            ),
            token_lm_head=present,
            **tokenizer,
        ), tuple(assumed)
    task = None
    if name in _TASKS and present:
        task = _task(fields, _TASKS[name], found, model["hidden_dropout"])
    return DirectoryConfig(
        ModelConfig(**model),
        None,
        replaced_token_head=name == _PRETRAINING and present,
        task=task,
        **tokenizer,
    ), tuple(assumed)


def _class(fields: _Fields, found: Shapes) -> tuple[str, list[str]]:
    """The class, and what was assumed about it."""
    model_type = fields.get("model_type", (str,), None)
    named = fields.get("architectures", (list,), None) or [None]
    name = named[0]
    if model_type is None and str(name).startswith("Electra"):
        model_type = "electra"
    if model_type != "electra":
        raise UserError(
            f"{fields.path}: model_type: expected 'electra', got "
            f"{model_type!r}; only ELECTRA's models are read"
        )
    if name == "ElectraForCausalLM":
        raise UserError(
            f"{fields.path}: architectures: {name} reads from the left alone, "
            "which ours do not; expected one of "
            + ", ".join([ENCODER, *_MARKS])
        )
    if name == ENCODER or name in _MARKS:
        return name, []
    for candidate, mark in _MARKS.items():
        # A summary before the classifier: the class for multiple choice.
        if mark in found and "sequence_summary.summary.weight" not in found:
            return candidate, [f"class {candidate}, from its variables"]
    return ENCODER, [f"the encoder alone (its class: {name or 'not said'})"]


def _refuse(fields: _Fields, name: str) -> None:
    """Raises for settings under which ours would compute something else."""
    kind = fields.get("position_embedding_type", (str,), "absolute")
    if kind != "absolute":
        raise fields.error("position_embedding_type", "'absolute'")
    for key in ("is_decoder", "add_cross_attention"):
        if fields.get(key, (bool,), False):
            raise fields.error(key, "false: decoders are not read")
    if fields.content.get("pruned_heads"):
        raise fields.error("pruned_heads", "none")


def _model(
    fields: _Fields, found: Shapes, assumed: list[str]
) -> dict[str, Any]:
    """Arguments of `ModelConfig`."""
    model: dict[str, Any] = {}
    default = ModelConfig()
    for key, ours in _INTEGERS.items():
        value = fields.get(key, (int,), None)
        if value is None:
            value = getattr(default, ours)
            variable, axis = _FROM_SHAPES.get(key, ("", 0))
            if variable in found and len(found[variable]) > axis:
                value = found[variable][axis]
            elif key == "num_hidden_layers":
                value = _layers(found) or value
            else:
                assumed.append(f"model.{ours} {value}: config.json lacks it")
        model[ours] = value
    for key, (ours, number) in _FLOATS.items():
        model[ours] = float(fields.get(key, (int, float), number))
    activation = fields.get("hidden_act", (str,), "gelu")
    if activation not in _GELU:
        raise fields.error("hidden_act", "one of " + ", ".join(_GELU))
    model["gelu"] = _GELU[activation]
    try:
        ModelConfig(**model)
    except UserError as error:
        raise UserError(f"{fields.path}: {error}") from error
    return model


def _layers(found: Shapes) -> int:
    prefix = "electra.encoder.layer."
    numbers = {
        name.removeprefix(prefix).split(".")[0]
        for name in found
        if name.startswith(prefix)
    }
    return len(numbers)


def _task(
    fields: _Fields, kind: str, found: Shapes, dropout: float
) -> TaskHeadConfig:
    if kind == "span":
        # No dropout in that class.
        rows = found["qa_outputs.weight"][0]
        if rows != 2:
            raise UserError(
                f"{fields.path}: qa_outputs.weight has {rows} rows; expected "
                "2, start and end"
            )
        return TaskHeadConfig(kind="span", dropout=0.0)
    hidden = kind == "sequence"
    mark = _MARKS[_SEQUENCE if hidden else _TOKEN]
    number = found[mark][0]
    return TaskHeadConfig(
        kind="sequence" if hidden else "token",
        num_labels=number,
        labels=_labels(fields, number),
        hidden_layer=hidden,
        dropout=float(fields.get("classifier_dropout", (int, float), dropout)),
    )


def _labels(fields: _Fields, number: int) -> tuple[str, ...] | None:
    """Names in the order of their numbers; None where they are numbers."""
    given = fields.get("id2label", (dict,), None) or {}
    labels = {str(key): str(label) for key, label in given.items()}
    if set(labels) != {str(i) for i in range(number)}:
        return None
    ordered = tuple(labels[str(i)] for i in range(number))
    return None if ordered == _unnamed(number) else ordered


def _unnamed(number: int) -> tuple[str, ...]:
    return tuple(f"LABEL_{i}" for i in range(number))


def class_of(config: DirectoryConfig, part: Network) -> str:
    """The class that one network is saved as.

    Raises:
      UserError: none computes what it does.
    """
    if part == "generator":
        if config.generator_kind not in ("separate", "tied"):
            raise UserError(
                f"Hugging Face has no class for a {config.generator_kind} "
                "generator; convert with --part=discriminator"
            )
        return _MASKED_LM if config.token_lm_head else ENCODER
    task = config.task
    if task is None:
        return _PRETRAINING if config.replaced_token_head else ENCODER
    if task.kind in ("decoder", "sentences"):
        what = "with a decoder"
        if task.kind == "sentences":
            what = "that chooses sentences"
        raise UserError(
            f"Hugging Face has no class of ELECTRA {what}; keep the model as "
            "a model directory of electra_tf"
        )
    if (
        task.kind == "joint_span"
        or task.answerable
        or (task.kind == "sequence" and not task.hidden_layer)
    ):
        raise UserError(
            "Hugging Face has no class for this task head (task.kind "
            f"{task.kind}, task.hidden_layer {str(task.hidden_layer).lower()}, "
            f"task.answerable {str(task.answerable).lower()}); expected token, "
            "span without answerable, or sequence with hidden_layer"
        )
    return next(name for name, kind in _TASKS.items() if kind == task.kind)


def from_ours(
    config: DirectoryConfig, part: Network
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """One network's config.json, and sentences on what it cannot say."""
    name = class_of(config, part)
    model = getattr(config, part)
    notes = []
    content: dict[str, Any] = {
        "architectures": [name],
        "model_type": "electra",
        **{key: getattr(model, ours) for key, ours in _INTEGERS.items()},
        **{key: getattr(model, ours) for key, (ours, _) in _FLOATS.items()},
        "hidden_act": _ACTIVATIONS[model.gelu],
        "position_embedding_type": "absolute",
        "torch_dtype": "float32",
    }
    if name == _MASKED_LM:
        content["tie_word_embeddings"] = model.tied_head
        if (model.head_gelu or model.gelu) != "erf":
            notes.append(
                "the token LM head has the tanh GELU here and the erf GELU in "
                f"{name}: logits will differ in the third decimal"
            )
    task = config.task
    if name in _TASKS and task.kind != "span":
        labels = task.labels or _unnamed(task.num_labels)
        content["classifier_dropout"] = task.dropout
        content["id2label"] = {str(i): n for i, n in enumerate(labels)}
        content["label2id"] = {n: i for i, n in enumerate(labels)}
    return content, tuple(notes)
