"""What a model is: shapes, kinds, task head, tokenizer settings, step."""

import dataclasses
import difflib
import json
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import yaml

from electra_tf.errors import UserError
from electra_tf.models.config import (
    DecoderConfig,
    ModelConfig,
    SentenceHeadConfig,
    TaskHeadConfig,
)

FORMAT = "electra_tf model"
VERSION = 1

# Kinds of heads with a config of their own; the others are `TaskHeadConfig`'s.
_HEADS_APART = {"decoder": DecoderConfig, "sentences": SentenceHeadConfig}

GeneratorKind = Literal["separate", "tied", "uniform", "two_tower"]

# Fields that in every source hold for both networks: `--set model.gelu=tanh`
# means the generator too, unless `generator.gelu` is given.
BOTH = (
    "gelu",
    "hidden_dropout",
    "attention_dropout",
    "initializer_range",
    "layer_norm_epsilon",
)


@dataclasses.dataclass(frozen=True)
class DirectoryConfig:
    """The content of `config.json`.

    Attributes:
      discriminator: shape of the discriminator; None where it is absent.
      generator: shape of the generator; None where it is absent, or uniform.
        Of a tied one it is the discriminator's; of a two-tower one it is
        that of each tower.
      lower_case: how the tokenizer is set.
      strip_accents: how the tokenizer is set; None as lower_case.
      vocab_fingerprint: of vocab.txt.
      step: training steps behind the weights.
      pretraining: the settings of the run that made it, if any.
      generator_kind: as in `GeneratorConfig`.
      generator_embeddings: "shared", both networks read `embeddings/`; or
        "untied", the generator has tables of its own.
      wrap_around: as in `GeneratorConfig`.
      replaced_token_head: whether the discriminator has its head.
      token_lm_head: whether the generator has its head.
      task: the head, or decoder, of a fine-tuned model; None where there is
        none.
      fine_tuning: what `tasks` made it with, as JSON: `task` (its name),
        `options`, `state`, `metrics`, `settings`; None where it was not, or
        elsewhere.
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
    task: TaskHeadConfig | DecoderConfig | SentenceHeadConfig | None = None
    fine_tuning: dict[str, Any] | None = None

    @property
    def vocab_size(self) -> int:
        """Rows of the token table; 0 where no network is there."""
        config = self.discriminator or self.generator
        return config.vocab_size if config else 0


def to_json(config: DirectoryConfig) -> dict[str, Any]:
    """The content of config.json, with its format and version."""
    content = {"format": FORMAT, "version": VERSION}
    return content | dataclasses.asdict(config)


def from_json(content: Mapping[str, Any], path: str) -> DirectoryConfig:
    """The inverse of `to_json`; `path` is named in messages.

    Raises:
      UserError: not such content.
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
        return DirectoryConfig(**content)
    except (
        ValueError, KeyError, TypeError, AttributeError, UserError,
    ) as error:  # fmt: skip
        raise UserError(
            f"{path}: not the config of an electra_tf model ({error})"
        ) from error


def assigned(
    overrides: Sequence[str] | Mapping[str, Any], flag: str = "--set"
) -> dict[str, str]:
    """Takes assignments apart: ["a.b=c"] becomes {"a.b": "c"}.

    Args:
      overrides: `section.key=value` texts; or a mapping of such keys to
        values, as a Python caller may give.
      flag: what messages call it.

    Raises:
      UserError: a text without an equals sign.
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


def parse(overrides: Mapping[str, str]) -> dict[str, Any]:
    """`--set` texts -> values of the type that each key has.

    Keys are `model.FIELD`, `generator.FIELD` (of `ModelConfig`),
    `task.FIELD` (of `TaskHeadConfig`, or `task.name`, which of the heads of
    a source to take), and some of `DirectoryConfig`'s own.

    Raises:
      UserError: an unknown key, with the nearest known, or a wrong value.
    """
    known = _known()
    values = {}
    for key, text in overrides.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else (
                "expected model.…, generator.…, task.… or one of "
                + ", ".join(k for k in known if "." not in k)
            )  # fmt: skip
            raise UserError(f"--set {key}={text}: unknown key; {hint}")
        try:
            value = _converted(yaml.safe_load(text), known[key])
        except (yaml.YAMLError, ValueError, TypeError) as error:
            raise UserError(
                f"--set {key}={text}: expected {_words(known[key])}"
            ) from error
        values[key] = value
    return values


def override(
    config: DirectoryConfig, overrides: Mapping[str, str]
) -> DirectoryConfig:
    """`config` with `--set` texts applied; see `parse` for the keys.

    What is said of the model holds for a lone generator, and its kind of
    GELU, dropout and the like for the generator beside it.

    Raises:
      UserError: as `parse`, or for values that do not fit each other.
    """
    values = parse(overrides)
    model = of_section(values, "model")
    generator = of_section(values, "generator")
    both = {k: v for k, v in model.items() if k in BOTH}
    changes = {k: v for k, v in values.items() if "." not in k}
    kind = changes.get("generator_kind", config.generator_kind)
    if config.discriminator is not None:
        changes["discriminator"] = replaced(config.discriminator, model)
    elif config.generator is not None:
        generator = {**model, **generator}
    if kind == "uniform":
        changes["generator"] = None
    elif kind == "tied" and config.discriminator and config.generator:
        changes["generator"] = changes["discriminator"]
    elif config.generator is not None:
        changes["generator"] = replaced(config.generator, {**both, **generator})
    task = of_section(values, "task")
    task.pop("name", None)
    if task and config.task is None:
        raise UserError(
            f"--set task.{next(iter(task))}: the model has no task head"
        )
    if task and not isinstance(config.task, TaskHeadConfig):
        raise UserError(
            f"--set task.{next(iter(task))}: is not for a model that writes "
            "texts or chooses sentences; leave it out"
        )
    if task:
        changes["task"] = dataclasses.replace(config.task, **task)
    return dataclasses.replace(config, **changes)


def of_section(values: Mapping[str, Any], section: str) -> dict[str, Any]:
    """The part of dotted `values` below `section`, without its name."""
    prefix = f"{section}."
    return {
        key.removeprefix(prefix): value
        for key, value in values.items()
        if key.startswith(prefix)
    }


def replaced(config: ModelConfig, values: Mapping[str, Any]) -> ModelConfig:
    """`dataclasses.replace`, which checks the result."""
    return dataclasses.replace(config, **values)


def _known() -> dict[str, Any]:
    model = typing.get_type_hints(ModelConfig)
    own = typing.get_type_hints(DirectoryConfig)
    task = typing.get_type_hints(TaskHeadConfig)
    return {
        **{f"model.{name}": kind for name, kind in model.items()},
        **{f"generator.{name}": kind for name, kind in model.items()},
        **{f"task.{name}": kind for name, kind in task.items()},
        "task.name": str,
        **{
            name: own[name]
            for name in (
                "lower_case", "strip_accents", "wrap_around", "generator_kind",
            )
        },
    }  # fmt: skip


def _converted(value: Any, kind: Any) -> Any:
    """`value` of YAML as `kind`; ValueError or TypeError if it is none."""
    options = typing.get_args(kind)
    origin = typing.get_origin(kind)
    if origin is Literal:
        if value not in options:
            raise ValueError
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise ValueError
        return tuple(map(str, value))
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        rest = [option for option in options if option is not type(None)]
        return _converted(value, rest[0])
    if kind is bool and not isinstance(value, bool):
        raise ValueError
    if kind is int and (isinstance(value, bool) or value != int(value)):
        raise ValueError
    return kind(value)  # 1e-12 is text to YAML


def _words(kind: Any) -> str:
    if typing.get_origin(kind) is Literal:
        return " or ".join(map(str, typing.get_args(kind)))
    options = typing.get_args(kind)
    if options and typing.get_origin(kind) is not tuple:
        return _words(options[0]) + " or null"
    words = {bool: "true or false", int: "a whole number", float: "a number"}
    return words.get(kind, "a list" if options else "text")
