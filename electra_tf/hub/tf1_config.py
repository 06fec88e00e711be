"""What a TF1 checkpoint is: from its variables, and what stands beside it.

The variables tell the sizes. Heads, GELU, dropout and the like come from a
`config.json` beside the checkpoint or from `--set`; else they are the
original's defaults, and each default that is taken is told.
"""

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.hub import config as configs
from electra_tf.hub.config import DirectoryConfig
from electra_tf.models.config import GENERATOR_KINDS, ModelConfig
from electra_tf.models.task_heads import TaskHeadConfig

Shapes = Mapping[str, tuple[int, ...]]

# BERT's names of ours; in the original's code and in Hugging Face's alike.
BERT = {
    "vocab_size": "vocab_size",
    "embedding_size": "embedding_size",
    "hidden_size": "hidden_size",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "intermediate_size": "intermediate_size",
    "max_position_embeddings": "max_positions",
    "type_vocab_size": "type_vocab_size",
    "hidden_dropout_prob": "hidden_dropout",
    "attention_probs_dropout_prob": "attention_dropout",
    "hidden_act": "gelu",
    "initializer_range": "initializer_range",
    "layer_norm_eps": "layer_norm_epsilon",
}
GELU = {"erf": "gelu", "tanh": "gelu_new"}
_GELU_THERE = {
    "gelu": "erf",
    "gelu_python": "erf",
    "gelu_new": "tanh",
    "gelu_fast": "tanh",
    "gelu_pytorch_tanh": "tanh",
}
_OURS = "electra_tf"  # where what BERT's config has no name for is kept
_SIZES = (
    "vocab_size", "embedding_size", "hidden_size", "num_layers",
    "intermediate_size", "max_positions", "type_vocab_size",
)  # fmt: skip
# Tasks of the original whose head scores tokens; by name, since their
# variables look like a classifier's.
_TOKEN_TASKS = ("chunk", "ner", "pos", "ccg", "depparse")
_LAYER = re.compile(r"/encoder/layer_(\d+)/")


@dataclasses.dataclass(frozen=True)
class Told:
    """What is said beside the variables.

    Attributes:
      values: dotted key -> value, as of `--set`.
      origins: dotted key -> where it was said.
      whole: everything, where config.json is one that we wrote.
    """

    values: Mapping[str, Any]
    origins: Mapping[str, str]
    whole: DirectoryConfig | None = None

    def of(self, section: str) -> dict[str, Any]:
        """The values below `model`, `generator` or `task`."""
        return configs.of_section(self.values, section)


def read_beside(path: str, overrides: Mapping[str, str]) -> Told:
    """Reads the config.json at `path`, if any; `overrides` go before it.

    Raises:
      UserError: it is no such file, or an override is wrong.
    """
    values: dict[str, Any] = {}
    whole = None
    if files.exists(path):
        try:
            content = json.loads(files.read_text(path))
            if not isinstance(content, dict):
                raise ValueError("no mapping")
            if _OURS in content:
                whole = configs.from_json(content[_OURS], path)
            else:
                values = _of_bert(content)
        except ValueError as error:
            raise UserError(
                f"{path}: expected the settings of a BERT or ELECTRA model "
                f"in JSON ({error})"
            ) from error
    origins = dict.fromkeys(values, path)
    said = configs.parse(overrides)
    origins |= dict.fromkeys(said, "--set")
    return Told({**values, **said}, origins, whole)


def _of_bert(content: dict[str, Any]) -> dict[str, Any]:
    """A config of BERT's form -> dotted keys."""
    outer, bert = content, content.get("bert_config", content)
    if not isinstance(bert, dict):
        raise ValueError("bert_config is no mapping")
    bert = {"embedding_size": outer.get("embedding_size"), **bert}
    values = {}
    for theirs, ours in BERT.items():
        value = bert.get(theirs)
        if value is None:
            continue
        if ours == "gelu":
            if value not in _GELU_THERE:
                raise ValueError(f"hidden_act '{value}' is no GELU")
            value = _GELU_THERE[value]
        elif not isinstance(value, int | float) or isinstance(value, bool):
            raise ValueError(f"{theirs} is no number")
        values[f"model.{ours}"] = value
    if not values:
        raise ValueError("it has none of " + ", ".join(list(BERT)[:4]))
    for key in ("do_lower_case", "lower_case"):
        if isinstance(outer.get(key), bool):
            values["lower_case"] = outer[key]
    settings = outer.get("kwargs")
    if isinstance(settings, dict) and settings.get("uniform_generator"):
        values["generator_kind"] = "uniform"
    return values


def to_bert(config: DirectoryConfig) -> dict[str, Any]:
    """The content of a config.json that the original's code reads too."""
    network = config.discriminator or config.generator
    content: dict[str, Any] = {}
    if network is not None:
        for theirs, ours in BERT.items():
            value = getattr(network, ours)
            content[theirs] = GELU[value] if ours == "gelu" else value
    return content | {_OURS: configs.to_json(config)}


def infer(
    shapes: Shapes, told: Told, source: str
) -> tuple[DirectoryConfig, str, list[str]]:
    """What the variables and `told` make of a checkpoint.

    Args:
      shapes: the checkpoint's names -> shapes.
      told: what was said beside them.
      source: the checkpoint, for messages.

    Returns:
      The config (without fingerprint and step), the name of its task ("" if
      none), and what was assumed.

    Raises:
      UserError: not an ELECTRA checkpoint, or at odds with what was told.
    """
    look = _Look(shapes, told, source)
    discriminator = generator = None
    kind, untied = told.values.get("generator_kind", "separate"), False
    if look.has("electra/encoder/"):
        discriminator = look.network("electra", "electra", "model", {})
    shared = {
        name: getattr(discriminator, name)
        for name in configs.BOTH
        if discriminator is not None
    } | {k: v for k, v in told.of("model").items() if k in configs.BOTH}
    for scope in ("generator", "generator_ltr"):
        if look.has(f"{scope}/encoder/"):
            kind = "two_tower" if scope == "generator_ltr" else "separate"
            untied = look.has(f"{scope}/embeddings/")
            generator = look.network(
                scope, scope if untied else "electra", "generator", shared
            )
    if generator is None and look.has("generator_predictions/"):
        kind, generator = "tied", discriminator
    if discriminator is None and generator is None:
        raise UserError(
            f"{source}: no ELECTRA checkpoint: it has no variables below "
            "electra/encoder; expected the original's names"
        )
    task, task_name = look.task()
    if "lower_case" not in told.values:
        look.assumed.append("lower_case true (--lower_case)")
    config = DirectoryConfig(
        discriminator,
        generator,
        told.values.get("lower_case", True),
        told.values.get("strip_accents"),
        "",
        generator_kind=kind,
        generator_embeddings="untied" if untied else "shared",
        # The original's towers do wrap around.
        wrap_around=told.values.get(
            "wrap_around", GENERATOR_KINDS[kind].two_towers
        ),
        replaced_token_head=look.has("discriminator_predictions/"),
        token_lm_head=generator is not None
        and (look.has("generator_predictions/") or look.has("cloze_pred")),
        task=task,
    )
    return config, task_name, look.assumed


class _Look:
    """A look at the variables of a checkpoint."""

    def __init__(self, shapes: Shapes, told: Told, source: str):
        self.shapes = shapes
        self.told = told
        self.source = source
        self.assumed: list[str] = []

    def has(self, prefix: str) -> bool:
        return any(name.startswith(prefix) for name in self.shapes)

    def shape(self, name: str, rank: int = 2) -> tuple[int, ...]:
        if name not in self.shapes:
            raise UserError(f"{self.source}: lacks the variable {name}")
        if len(self.shapes[name]) != rank:
            raise UserError(
                f"{self.source}: {name} has shape {list(self.shapes[name])}, "
                f"expected {rank} dimensions"
            )
        return self.shapes[name]

    def network(
        self, scope: str, tables: str, section: str, shared: Mapping[str, Any]
    ) -> ModelConfig:
        """The config of one encoder.

        Args:
          scope: of the encoder.
          tables: scope of its embeddings.
          section: "model" or "generator": whose settings are for it.
          shared: fields that it has from the other network.
        """
        layer = f"{scope}/encoder/layer_0"
        words = self.shape(f"{tables}/embeddings/word_embeddings")
        hidden = self.shape(f"{layer}/attention/self/query/kernel")[0]
        sizes = {
            "vocab_size": words[0],
            "embedding_size": words[1],
            "hidden_size": hidden,
            "num_layers": 1 + max(self._layers(scope)),
            "intermediate_size": self.shape(
                f"{layer}/intermediate/dense/kernel"
            )[1],
            "max_positions": self.shape(
                f"{tables}/embeddings/position_embeddings"
            )[0],
            "type_vocab_size": self.shape(
                f"{tables}/embeddings/token_type_embeddings"
            )[0],
        }
        told = self.told.of(section)
        for name in _SIZES:
            if told.get(name, sizes[name]) != sizes[name]:
                key = f"{section}.{name}"
                raise UserError(
                    f"{self.told.origins[key]}: {key} is {told[name]} there, "
                    f"but {sizes[name]} in {self.source}"
                )
        settings = {
            "num_heads": max(1, hidden // 64), **shared, **told, **sizes
        }  # fmt: skip
        if "num_heads" not in told:
            self.assumed.append(
                f"{section}.num_heads {settings['num_heads']} "
                f"(hidden size {hidden} // 64)"
            )
        try:
            return ModelConfig(**settings)
        except UserError as error:
            text = str(error).replace("model.", f"{section}.")
            raise UserError(
                f"{self.source}: {text}; say it with --set "
                f"{section}.num_heads=…"
            ) from error

    def _layers(self, scope: str) -> Iterable[int]:
        for name in self.shapes:
            match = _LAYER.search(name)
            if match and name[: match.start()] == scope:
                yield int(match[1])

    def task(self) -> tuple[TaskHeadConfig | None, str]:
        """The head of a fine-tuned checkpoint and what it is called there."""
        names = sorted(
            {n.split("/")[1] for n in self.shapes if _is_task(n)}
        )  # fmt: skip
        if not names:
            return None, ""
        wanted = self.told.values.get("task.name", names[0])
        if wanted not in names:
            raise UserError(
                f"--set task.name={wanted}: {self.source} has "
                f"{', '.join(names)}"
            )
        if len(names) > 1 and "task.name" not in self.told.values:
            self.assumed.append(f"task.name {wanted} (of {', '.join(names)})")
        told = self.told.of("task")
        told.pop("name", None)
        kind = self._task_kind(wanted, told)
        return TaskHeadConfig(**{**kind, **told}), wanted

    def _task_kind(self, task: str, told: Mapping[str, Any]) -> dict[str, Any]:
        scope = f"task_specific/{task}"

        def found(name: str) -> bool:
            return f"{scope}/{name}/kernel" in self.shapes

        if found("qa_hidden"):
            return {
                "kind": "joint_span",
                "joint_size": self.shape(f"{scope}/qa_hidden/kernel")[1],
                "answerable": found("dense_3"),
            }
        first = self.shape(f"{scope}/dense/kernel")
        if found("dense_1"):
            second = self.shape(f"{scope}/dense_1/kernel")
            if first[1] == second[1] == 1 and first[0] > 1:
                kind = {"kind": "span"}
                if found("dense_3"):
                    kind["answerable"] = True
                    kind["joint_size"] = self.shape(f"{scope}/dense_2/kernel")[
                        1
                    ]
                return kind
            return {
                "kind": "sequence", "hidden_layer": True,
                "num_labels": second[1],
            }  # fmt: skip
        kind = "token" if task in _TOKEN_TASKS else "sequence"
        if "kind" not in told:
            self.assumed.append(f"task.kind {kind} (of its name, {task})")
        return {"kind": kind, "num_labels": first[1]}


def _is_task(name: str) -> bool:
    return name.startswith("task_specific/") and name.count("/") > 1
