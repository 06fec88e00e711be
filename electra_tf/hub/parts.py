"""One network out of a checkpoint of two."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Literal, TypeVar

from electra_tf.errors import UserError
from electra_tf.hub import names
from electra_tf.hub.config import DirectoryConfig
from electra_tf.hub.report import Report
from electra_tf.hub.shapes import EXTRA, shapes
from electra_tf.hub.source import Checkpoint, Lazy, shapes_of

Part = Literal["discriminator", "generator", "both"]
PARTS: tuple[Part, ...] = ("discriminator", "generator", "both")
T = TypeVar("T")


def select(checkpoint: Checkpoint, part: Part) -> Checkpoint:
    """The checkpoint with the weights of one network alone, still unread.

    A task head belongs to the discriminator. A generator that was tied, or
    had tables of its own, is a plain one when it stands alone: its encoder is
    `generator/encoder`, its tables are `embeddings`.

    Args:
      checkpoint: of both networks, or one.
      part: which to keep.

    Raises:
      UserError: it has no such network.
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
    """What of a checkpoint `select` keeps, and what it leaves over.

    Raises:
      UserError: as `select`.
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
    """The part's own config, and {name in it: name in the whole}."""
    config = checkpoint.config
    if getattr(config, part) is None:
        uniform = config.generator_kind == "uniform"
        raise UserError(
            f"{checkpoint.source}: holds no {part}"
            + (" (a uniform one has no variables)" if uniform else "")
        )
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
    """The generator's own config, and {name in it: name in the whole}."""
    encoder, embeddings = names.scopes(config, "generator")
    config = dataclasses.replace(
        config, discriminator=None, task=None, fine_tuning=None
    )
    if config.generator_kind == "two_tower":
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
