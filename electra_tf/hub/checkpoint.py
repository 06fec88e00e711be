"""Defines a checkpoint, which every reader returns and every writer takes.

It also selects parts, handles two networks in one or two directories, and
reports what was loaded.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.hub.config import DirectoryConfig
from electra_tf.hub.names import EXTRA, Network, scopes, shapes
from electra_tf.models.config import ModelConfig
from electra_tf.text.vocab import Vocab

Slots = Mapping[str, tuple[np.ndarray, np.ndarray]]
T = TypeVar("T")
Part = Literal["discriminator", "generator", "both"]
NETWORKS: tuple[Network, ...] = ("discriminator", "generator")

_SHOWN = 6  # names that a report lists


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A model with our names and shapes, independent of its format.

    Attributes:
      config: its config.
      weights: our name on disk -> array. It may be lazy: each look-up may read
        from the file, so look up once; `shapes_of` reads nothing.
      vocab: its vocabulary; None where the source has none.
      slots: our name -> Adam's (m, v), each with the weight's shape; None where
        the source has none.
      leftover: unused names of the source.
      pooler: BERT's pooler, as a classifier's hidden layer by our names; it is
        for a new head. Empty where the source has none.
      assumed: sentences on defaults that were used, as the source does not say
        them, e.g. "model.num_heads 4 (hidden size 256 // 64)".
      source: the path, for messages.
    """

    config: DirectoryConfig
    weights: Mapping[str, np.ndarray]
    vocab: Vocab | None
    slots: Slots | None = None
    leftover: tuple[str, ...] = ()
    pooler: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    assumed: tuple[str, ...] = ()
    source: str = ""


class Lazy(Mapping[str, T], Generic[T]):
    """A mapping that computes a value at each look-up and stores none.

    Attributes:
      shapes: name -> shape, known without computing.
    """

    def __init__(
        self,
        read: Callable[[str], T],
        shapes: Mapping[str, tuple[int, ...]],
    ):
        """Takes a function that reads a name's value, and the names' shapes."""
        self._read = read
        self.shapes = dict(shapes)

    def __getitem__(self, name: str) -> T:
        if name not in self.shapes:
            raise KeyError(name)
        return self._read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)

    # Mapping's own method would look the value up.
    def __contains__(self, name: object) -> bool:
        return name in self.shapes


def shapes_of(
    weights: Mapping[str, Any],
) -> Mapping[str, tuple[int, ...]]:
    """Returns name -> shape, without reading the arrays of a lazy mapping."""
    shapes = getattr(weights, "shapes", None)
    if shapes is None:
        shapes = {name: tuple(np.shape(a)) for name, a in weights.items()}
    return shapes


def check_layers(config: DirectoryConfig, held: int, source: str) -> None:
    """Refuses a config with more layers than variables, before listing them.

    Args:
      config: the source's config.
      held: number of its variables.
      source: its path, for messages.

    Raises:
      UserError: there are more layers.
    """
    for model in (config.discriminator, config.generator):
        if model is not None and model.num_layers > max(held, 1):
            raise UserError(
                f"{source}: holds {held} variables, but its config asks for "
                f"{model.num_layers} layers; take both from the same model"
            )


def check(
    config: DirectoryConfig, weights: Mapping[str, np.ndarray], source: str
) -> None:
    """Checks the shapes of `weights` against `config`.

    Further weights are accepted.

    Raises:
      UserError: a weight is missing or has another shape; its name and both
        shapes are reported.
    """
    found = shapes_of(weights)
    check_layers(config, len(found), source)
    expected = shapes(config)
    missing = sorted(expected.keys() - found.keys())
    if missing:
        raise UserError(
            f"{source}: lacks {len(missing)} of the {len(expected)} "
            f"variables of such a model, among them {missing[0]}; expected a "
            "whole checkpoint"
        )
    for name, shape in expected.items():
        if tuple(found[name]) != shape:
            raise UserError(
                f"{source}: {name} has shape {list(found[name])}, but its "
                f"config asks for {list(shape)}"
            )


@dataclasses.dataclass(frozen=True)
class Report:
    """The result of loading or converting a checkpoint.

    Attributes:
      source: the checkpoint.
      loaded: our names of the loaded weights.
      parameters: their number of parameters.
      new: our names of variables that it lacks, which start from random
        weights.
      leftover: names of unused weights, ours or the source's.
      assumed: defaults that were used, as it does not say them.
      replaced: settings that the checkpoint decides, and that were others.
      slots: number of variables with loaded Adam slots.
      step: the step at which training continues.
    """

    source: str
    loaded: tuple[str, ...]
    parameters: int = 0
    new: tuple[str, ...] = ()
    leftover: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    slots: int = 0
    step: int = 0

    def __str__(self) -> str:
        """Returns a line for each attribute that is not empty."""
        lines = [
            f"loaded {len(self.loaded)} variables "
            f"({self.parameters:,} parameters) from {self.source}"
        ]
        if self.slots:
            lines.append(
                f"with the optimizer's slots of {self.slots} variables, at "
                f"step {self.step:,}"
            )
        if self.assumed:
            lines.append("taken by default: " + "; ".join(self.assumed))
        if self.replaced:
            lines.append(
                "decided by the checkpoint, not by the settings: "
                + "; ".join(self.replaced)
            )
        if self.new:
            lines.append(
                f"newly initialised ({len(self.new)}): {_some(self.new)}"
            )
        if self.leftover:
            lines.append(
                f"left over ({len(self.leftover)}): {_some(self.leftover)}"
            )
        return "\n".join(lines)


def _some(names: Sequence[str]) -> str:
    """Summarizes names by their place, few enough to read."""
    groups: dict[str, int] = {}
    for name in names:
        # All layers of an encoder count as one place, and so does a head.
        place = "/".join(name.split("/")[:2])
        place = ".".join(place.split(".")[:2])
        groups[place] = groups.get(place, 0) + 1
    shown = [
        place if count == 1 else f"{place} ({count})"
        for place, count in list(groups.items())[:_SHOWN]
    ]
    if len(groups) > _SHOWN:
        shown.append(f"{len(groups) - _SHOWN} more places")
    return ", ".join(shown)


def select(checkpoint: Checkpoint, part: Part) -> Checkpoint:
    """Returns the checkpoint of one network, with weights still unread.

    A task head belongs to the discriminator. A tied generator, or one with its
    own tables, becomes a plain one: its encoder is `generator/encoder`, its
    tables are `embeddings`.

    Args:
      checkpoint: a checkpoint of both networks, or one.
      part: the network to keep.

    Raises:
      UserError: the checkpoint has no such network.
    """
    if part == "both":
        return checkpoint
    config, wanted = _wanted(checkpoint, part)
    weights, slots = checkpoint.weights, checkpoint.slots
    found = shapes_of(weights)
    return dataclasses.replace(
        checkpoint,
        config=config,
        weights=_renamed(weights, wanted, found),
        slots=None if slots is None else _renamed(slots, wanted, found),
    )


def report(checkpoint: Checkpoint, part: Part) -> Report:
    """Reports what `select` keeps of a checkpoint, and what it leaves over.

    Raises:
      UserError: see `select`.
    """
    shapes_ = shapes_of(checkpoint.weights)
    kept = set(shapes_)
    if part != "both":
        kept &= set(_wanted(checkpoint, part)[1].values())
    slots = kept.intersection(checkpoint.slots or ())
    return Report(
        source=checkpoint.source,
        loaded=tuple(name for name in shapes_ if name in kept),
        parameters=sum(math.prod(shapes_[name]) for name in kept),
        leftover=(
            *(name for name in shapes_ if name not in kept),
            *checkpoint.leftover,
        ),
        assumed=checkpoint.assumed,
        slots=len(slots),
        step=checkpoint.config.step,
    )


def _wanted(
    checkpoint: Checkpoint, part: Part
) -> tuple[DirectoryConfig, dict[str, str]]:
    """Returns a part's config, and {name in it: name in the whole}."""
    config = checkpoint.config
    if getattr(config, part) is None:
        why = "; it is a generator alone, which Generator.from_pretrained reads"
        if part == "generator":
            uniform = not config.generator_traits.has_weights
            why = " (a uniform one has no variables)" if uniform else ""
        raise UserError(f"{checkpoint.source}: holds no {part}{why}")
    if part == "generator":
        return _lone_generator(config)
    config = dataclasses.replace(
        config,
        generator=None,
        generator_kind="separate",
        generator_embeddings="shared",
        wrap_around=False,
    )
    names_ = list(shapes(config))
    names_ += [n for n in checkpoint.weights if n.startswith(EXTRA)]
    return config, {name: name for name in names_}


def _lone_generator(
    config: DirectoryConfig,
) -> tuple[DirectoryConfig, dict[str, str]]:
    """Returns a generator's config, and {name in it: name in the whole}."""
    encoder, embeddings = scopes(config, "generator")
    config = dataclasses.replace(
        config, discriminator=None, task=None, fine_tuning=None
    )
    if config.is_two_tower:
        return config, {name: name for name in shapes(config)}
    config = dataclasses.replace(
        config, generator_kind="separate", generator_embeddings="shared"
    )
    wanted = {}
    for name in shapes(config):
        there = name
        for alone, before in (
            ("generator/encoder", encoder),
            ("embeddings", embeddings),
        ):
            if name.startswith(f"{alone}/"):
                there = before + name.removeprefix(alone)
        wanted[name] = there
    return config, wanted


def _renamed(
    values: Mapping[str, T],
    wanted: Mapping[str, str],
    found: Mapping[str, tuple[int, ...]],
) -> Lazy[T]:
    held = set(values)
    return Lazy(
        lambda name: values[wanted[name]],
        {new: found[old] for new, old in wanted.items() if old in held},
    )


def present(config: DirectoryConfig) -> list[Network]:
    """Returns the networks that have variables."""
    return [part for part in NETWORKS if getattr(config, part) is not None]


def chosen(config: DirectoryConfig, part: Part) -> list[Network]:
    """Returns the networks that `part` means; "both" means those present."""
    return present(config) if part == "both" else [part]


def is_pair(path: str, recognises: Callable[[str], bool]) -> bool:
    """Returns whether both directories are there and of the format."""
    return all(recognises(files.join(path, part)) for part in NETWORKS)


def joined(one: Checkpoint, other: Checkpoint, source: str) -> Checkpoint:
    """Joins a discriminator and a generator to one model.

    Their tables are shared if they are equal, bit for bit, and the generator
    is tied if its encoder is the discriminator's.

    Args:
      one: a checkpoint with the discriminator.
      other: a checkpoint with the generator.
      source: the directory with both.

    Raises:
      UserError: one of them has the other network.
    """
    for part, checkpoint in zip(NETWORKS, (one, other)):
        if getattr(checkpoint.config, part) is None:
            raise UserError(f"{checkpoint.source}: holds no {part}")
    generator, discriminator = other.config.generator, one.config.discriminator
    shared = _same(one, other, "embeddings/", "embeddings/")
    tied = (
        shared
        and generator is not None
        and discriminator is not None
        and _without_head(generator) == _without_head(discriminator)
        and _same(one, other, "discriminator/encoder/", "generator/encoder/")
    )
    places = {name: (one, name) for name in one.weights}
    for name in other.weights:
        if name.startswith("embeddings/"):
            if not shared:
                places[f"generator/{name}"] = (other, name)
        elif not (tied and name.startswith("generator/encoder/")):
            places[name] = (other, name)
    config = dataclasses.replace(
        one.config,
        generator=generator,
        generator_kind="tied" if tied else "separate",
        generator_embeddings="shared" if shared else "untied",
        token_lm_head=other.config.token_lm_head,
    )

    def compute(name: str) -> np.ndarray:
        checkpoint, there = places[name]
        return checkpoint.weights[there]

    shapes = {
        name: shapes_of(checkpoint.weights)[there]
        for name, (checkpoint, there) in places.items()
    }
    return dataclasses.replace(
        one,
        config=config,
        weights=Lazy(compute, shapes),
        leftover=one.leftover + other.leftover,
        assumed=tuple(dict.fromkeys(one.assumed + other.assumed)),
        source=source,
    )


def write_each(
    path: str,
    checkpoint: Checkpoint,
    part: Part,
    write_one: Callable[[str, Checkpoint, Network], list[str]],
) -> tuple[str, ...]:
    """Writes one network to a directory, or two to two subdirectories.

    Args:
      path: the directory.
      checkpoint: the model.
      part: the network to write; for a model with one, "both" is that one.
      write_one: writes the directory of a network; returns sentences on what
        could not be stored.

    Returns:
      The sentences, each once.
    """
    wanted = chosen(checkpoint.config, part)
    notes: list[str] = []
    for one in wanted:
        place = path if len(wanted) == 1 else files.join(path, one)
        notes += write_one(place, select(checkpoint, one), one)
    return tuple(dict.fromkeys(notes))


def split_elsewhere(vocab: Vocab | None) -> list[str]:
    """Reports added tokens that a format's own tokenizer splits, if any.

    Args:
      vocab: the model's vocabulary.
    """
    listed = ", ".join(token.text for token in vocab.added) if vocab else ""
    if not listed:
        return []
    return [f"added tokens, which its own tokenizer splits: {listed}"]


def left_out(names: Iterable[str]) -> list[str]:
    """Reports weights that a format cannot store, if any."""
    listed = ", ".join(names)
    return [f"left out, with no place there: {listed}"] if listed else []


def _without_head(config: ModelConfig) -> ModelConfig:
    """Returns the config without settings of the token LM head."""
    return dataclasses.replace(config, head_gelu=None, tied_head=True)


def _same(one: Checkpoint, other: Checkpoint, here: str, there: str) -> bool:
    names = [n for n in one.weights if n.startswith(here)]
    matches = [there + n.removeprefix(here) for n in names]
    return all(
        match in other.weights
        and np.array_equal(one.weights[name], other.weights[match])
        for name, match in zip(names, matches)
    )
