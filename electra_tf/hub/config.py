"""Describes a model: shapes, kinds, task head, tokenizer settings, step.

The description is read from and written to our config.json and BERT's form, and
changed by `--set`.
"""

import dataclasses
import functools
import json
import numbers
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from electra_tf import config as config_lib
from electra_tf.errors import UserError
from electra_tf.models.config import (
    GENERATOR_KINDS,
    DecoderConfig,
    GeneratorTraits,
    HeadConfig,
    ModelConfig,
    SentenceHeadConfig,
    TaskHeadConfig,
)

FORMAT = "electra_tf model"
VERSION = 1

# Kinds of heads with their own config; the others use `TaskHeadConfig`.
_HEADS_APART = {"decoder": DecoderConfig, "sentences": SentenceHeadConfig}

GeneratorKind = Literal["separate", "tied", "uniform", "two_tower"]

# Fields that always hold for both networks: `--set model.gelu=tanh` also sets
# the generator's, unless `generator.gelu` is given.
BOTH = (
    "gelu",
    "hidden_dropout",
    "attention_dropout",
    "initializer_range",
    "layer_norm_epsilon",
)
# Our names -> BERT's, in the original's code and in Hugging Face's.
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
ACTIVATIONS = {"erf": "gelu", "tanh": "gelu_new"}
GELUS = {
    "gelu": "erf",
    "gelu_python": "erf",
    "gelu_new": "tanh",
    "gelu_fast": "tanh",
    "gelu_pytorch_tanh": "tanh",
    "gelu_python_tanh": "tanh",
    "gelu_accurate": "tanh",
}
OURS = "electra_tf"  # key for settings without a name in BERT's config


@dataclasses.dataclass(frozen=True)
class DirectoryConfig:
    """The content of `config.json`.

    Attributes:
      discriminator: shape of the discriminator; None where it is absent.
      generator: shape of the generator; None where it is absent, or uniform. A
        tied one has the discriminator's; a two-tower one that of each tower.
      lower_case: setting of the tokenizer.
      strip_accents: setting of the tokenizer; None as `lower_case`.
      vocab_fingerprint: fingerprint of vocab.txt.
      step: number of training steps of the weights.
      pretraining: the settings of the run that made it, if any.
      generator_kind: see `GeneratorConfig`.
      generator_embeddings: "shared", both networks read `embeddings/`; or
        "untied", the generator has tables of its own.
      wrap_around: see `GeneratorConfig`.
      replaced_token_head: whether the discriminator has its head.
      token_lm_head: whether the generator has its head.
      task: the head, or decoder, of a fine-tuned model; None where there is
        none.
      fine_tuning: record of the fine-tuning, as JSON: `task` (its name),
        `options`, `state`, `metrics`, `settings`; None without one, or for
        imported models.
    """

    discriminator: ModelConfig | None
    generator: ModelConfig | None
    lower_case: bool
    strip_accents: bool | None
    vocab_fingerprint: str
    step: int = 0
    pretraining: dict[str, Any] | None = None
    generator_kind: GeneratorKind = "separate"
    generator_embeddings: Literal["shared", "untied"] = "shared"
    wrap_around: bool = False
    replaced_token_head: bool = True
    token_lm_head: bool = True
    task: HeadConfig | None = None
    fine_tuning: dict[str, Any] | None = None

    @property
    def generator_traits(self) -> GeneratorTraits:
        """The traits of its kind of generator."""
        return GENERATOR_KINDS[self.generator_kind]

    @property
    def vocab_size(self) -> int:
        """Number of rows of the token table; 0 without any network."""
        config = self.discriminator or self.generator
        return config.vocab_size if config else 0

    @property
    def is_tied(self) -> bool:
        """Whether the generator's encoder is the discriminator's."""
        return self.generator_traits.shares_encoder

    @property
    def is_two_tower(self) -> bool:
        """Whether the generator reads from the left and from the right."""
        return self.generator_traits.two_towers

    @property
    def is_untied(self) -> bool:
        """Whether the generator has tables of its own."""
        return self.generator_embeddings == "untied"

    @property
    def objective(self) -> str | None:
        """The objective of its pre-training ("electric"); None where
        unknown.
        """
        settings = (self.pretraining or {}).get("objective") or {}
        return settings.get("kind", "electra" if settings else None)

    @property
    def gives_energies(self) -> bool:
        """Whether the discriminator is Electric's (Clark et al. 2020b)."""
        return self.objective == "electric"

    @property
    def judges_tokens(self) -> bool:
        """Whether the discriminator detects replaced tokens, as ELECTRA's
        does.
        """
        return self.objective in (None, "electra", "electra_15")


# The sections of `--set`.
_SECTIONS: dict[str, type] = {
    "model": ModelConfig,
    "generator": ModelConfig,
    "task": TaskHeadConfig,
}


def to_json(config: DirectoryConfig) -> dict[str, Any]:
    """Returns the content of config.json, with its format and version."""
    content = {"format": FORMAT, "version": VERSION}
    return content | dataclasses.asdict(config)


def from_json(content: Mapping[str, Any], path: str) -> DirectoryConfig:
    """Parses the content of config.json; `path` is named in messages.

    Raises:
      UserError: the content is not of this form.
    """
    try:
        content = dict(content)
        if content.pop("format", None) != FORMAT:
            raise ValueError("another kind of file")
        if content.pop("version", None) != VERSION:
            raise ValueError("written by another version of electra_tf")
        for part in ("discriminator", "generator"):
            if content[part] is not None:
                content[part] = ModelConfig(**content[part])
        if content.get("task") is not None:
            kind = content["task"].get("kind")
            head = _HEADS_APART.get(kind, TaskHeadConfig)
            content["task"] = head(**content["task"])
        config = DirectoryConfig(**content)
        _check_values(config)
        return config
    except (
        ValueError, KeyError, TypeError, AttributeError, UserError,
    ) as error:  # fmt: skip
        raise UserError(
            f"{path}: not the config of an electra_tf model ({error})"
        ) from error


def _check_values(config: DirectoryConfig) -> None:
    """Raises ValueError for values of another kind than the fields'."""
    expected = {
        "lower_case": (True, False),
        "strip_accents": (True, False, None),
        "generator_kind": tuple(GENERATOR_KINDS),
        "generator_embeddings": ("shared", "untied"),
        "wrap_around": (True, False),
        "replaced_token_head": (True, False),
        "token_lm_head": (True, False),
    }
    for key, known in expected.items():
        value = getattr(config, key)
        if not any(type(value) is type(k) and value == k for k in known):
            listed = ", ".join(json.dumps(k) for k in known)
            raise ValueError(f"{key}: expected {listed}, got {value!r:.40}")
    step: Any = config.step
    if not isinstance(step, numbers.Integral) or isinstance(step, bool):
        raise ValueError(f"step: expected a whole number, got {step!r:.40}")
    for key in ("pretraining", "fine_tuning"):
        if not isinstance(getattr(config, key), Mapping | None):
            raise ValueError(f"{key}: expected a mapping or null")


def window_options(max_positions: int) -> dict[str, int]:
    """Returns options of question answering whose windows fit a model.

    Args:
      max_positions: size of its position table.
    """
    longest = max(5, min(512, max_positions))
    question = min(64, (longest - 4 + 1) // 2)
    return {
        "max_seq_length": longest,
        "max_query_length": question,
        "doc_stride": min(128, max(1, longest // 4)),
    }


def of_bert(content: dict[str, Any]) -> dict[str, Any]:
    """Parses a config.json of BERT's form.

    Returns:
      Dotted keys and values, as from `parse`.

    Raises:
      ValueError: the content is not of this form.
    """
    outer, bert = content, content.get("bert_config", content)
    if not isinstance(bert, dict):
        raise ValueError("bert_config is not a mapping")
    bert = {"embedding_size": outer.get("embedding_size"), **bert}
    values = {}
    for theirs, ours in BERT.items():
        value = bert.get(theirs)
        if value is None:
            continue
        if ours == "gelu":
            if not isinstance(value, str) or value not in GELUS:
                raise ValueError(f"hidden_act '{value}' is not a GELU")
            value = GELUS[value]
        elif not isinstance(value, int | float) or isinstance(value, bool):
            raise ValueError(f"{theirs} is not a number")
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
    """Returns a config.json that the original's code can read too."""
    network = config.discriminator or config.generator
    content: dict[str, Any] = {}
    if network is not None:
        for theirs, ours in BERT.items():
            value = getattr(network, ours)
            content[theirs] = ACTIVATIONS[value] if ours == "gelu" else value
    return content | {OURS: to_json(config)}


def assigned(
    overrides: Sequence[str] | Mapping[str, Any], flag: str = "--set"
) -> dict[str, str]:
    """Parses assignments: ["a.b=c"] becomes {"a.b": "c"}.

    Args:
      overrides: `section.key=value` texts; or a mapping of such keys to
        values, as a Python caller may give.
      flag: name of the flag, for messages.

    Raises:
      UserError: a text has no equals sign.
    """
    if isinstance(overrides, Mapping):
        return {
            key: value if isinstance(value, str) else json.dumps(value)
            for key, value in overrides.items()
        }
    found = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise UserError(f"{flag}: expected section.key=value, got '{text}'")
        found[key.strip()] = value.strip()
    return found


def parse(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Converts `--set` texts to values of each key's type.

    Keys are `model.FIELD`, `generator.FIELD` (of `ModelConfig`),
    `task.FIELD` (of `TaskHeadConfig`, or `task.name`, which of the heads of
    a source to take), and some of `DirectoryConfig`'s own.

    Raises:
      UserError: a key is unknown, or a value is wrong.
    """
    texts = assigned(overrides)
    for key in texts.keys() & set(_SECTIONS):
        raise UserError(
            f"--set {key}={texts[key]}: is a section; name a key in it, as "
            f"{key}.{dataclasses.fields(_SECTIONS[key])[0].name}"
        )
    resolved: Any = config_lib.resolve(
        _keys(), None, [f"{key}={text}" for key, text in texts.items()]
    )
    return {
        key: functools.reduce(getattr, key.split("."), resolved)
        for key in texts
    }


@functools.cache
def _keys() -> type:
    """Returns the settings class of `--set`, whose keys have no defaults."""

    def optional(name: str, kinds: Mapping[str, Any]) -> type:
        fields = [(key, kind, None) for key, kind in kinds.items()]
        return dataclasses.make_dataclass(name, fields, frozen=True)

    kinds: dict[str, Any] = {}
    for section, cls in _SECTIONS.items():
        kinds[section] = typing.get_type_hints(cls, include_extras=True)
    kinds["task"]["name"] = str
    own = typing.get_type_hints(DirectoryConfig)
    return dataclasses.make_dataclass(
        "Overrides",
        [
            (section, made, made())
            for section, fields in kinds.items()
            for made in [optional(section, fields)]
        ]
        + [
            (key, own[key], None)
            for key in (
                "lower_case", "strip_accents", "wrap_around", "generator_kind",
            )
        ],
        frozen=True,
    )  # fmt: skip


def override(
    config: DirectoryConfig, overrides: Mapping[str, str]
) -> DirectoryConfig:
    """Returns `config` with `--set` texts applied; see `parse` for the keys.

    Settings of the model hold for a lone generator, and its GELU, dropout and
    the like for a generator beside it.

    Raises:
      UserError: see `parse`; or values do not fit each other.
    """
    values = parse(overrides)
    model = of_section(values, "model")
    generator = of_section(values, "generator")
    both = {k: v for k, v in model.items() if k in BOTH}
    changes = {k: v for k, v in values.items() if "." not in k}
    kind = changes.get("generator_kind", config.generator_kind)
    traits = GENERATOR_KINDS[kind]
    if config.discriminator is not None:
        changes["discriminator"] = dataclasses.replace(
            config.discriminator, **model
        )
    elif config.generator is not None:
        generator = {**model, **generator}
    if not traits.has_weights:
        changes["generator"] = None
    elif traits.shares_encoder and config.discriminator and config.generator:
        changes["generator"] = changes["discriminator"]
    elif config.generator is not None:
        changes["generator"] = dataclasses.replace(
            config.generator, **{**both, **generator}
        )
    task = of_section(values, "task")
    task.pop("name", None)
    if task and config.task is None:
        raise UserError(
            f"--set task.{next(iter(task))}: the model has no task head"
        )
    if isinstance(config.task, TaskHeadConfig):
        changes["task"] = dataclasses.replace(config.task, **task)
    elif task:
        raise UserError(
            f"--set task.{next(iter(task))}: is not for a model that writes "
            "texts or chooses sentences; leave it out"
        )
    return dataclasses.replace(config, **changes)


def of_section(values: Mapping[str, Any], section: str) -> dict[str, Any]:
    """Returns the part of dotted `values` below `section`, without its name."""
    prefix = f"{section}."
    return {
        key.removeprefix(prefix): value
        for key, value in values.items()
        if key.startswith(prefix)
    }
