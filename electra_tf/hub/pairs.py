"""Two networks in two directories, as formats of one network hold them.

`discriminator/` and `generator/` below one directory are one model again.
"""

import dataclasses
from collections.abc import Callable, Iterable

import numpy as np

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.hub import parts
from electra_tf.hub.config import DirectoryConfig
from electra_tf.hub.names import Part
from electra_tf.hub.source import Checkpoint, Lazy, shapes_of

BOTH: tuple[Part, ...] = ("discriminator", "generator")


def present(config: DirectoryConfig) -> list[Part]:
    """The networks that have variables."""
    return [part for part in BOTH if getattr(config, part) is not None]


def chosen(config: DirectoryConfig, part: parts.Part) -> list[Part]:
    """The networks that `part` means; "both" are those that are present."""
    return present(config) if part == "both" else [part]


def is_pair(path: str, recognises: Callable[[str], bool]) -> bool:
    """Whether both directories are there and of the format."""
    return all(recognises(files.join(path, part)) for part in BOTH)


def joined(one: Checkpoint, other: Checkpoint, source: str) -> Checkpoint:
    """One model of a discriminator and a generator.

    Their tables are shared if they are equal, bit for bit, and the generator
    is tied if its encoder is the discriminator's.

    Args:
      one: holds the discriminator.
      other: holds the generator.
      source: the directory of both.

    Raises:
      UserError: one of them holds the other network.
    """
    for part, checkpoint in zip(BOTH, (one, other)):
        if getattr(checkpoint.config, part) is None:
            raise UserError(f"{checkpoint.source}: holds no {part}")
    generator = other.config.generator
    shared = _same(one, other, "embeddings/", "embeddings/")
    tied = (
        shared
        and _plain(generator) == _plain(one.config.discriminator)
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


def write(
    path: str,
    checkpoint: Checkpoint,
    part: parts.Part,
    write_one: Callable[[str, Checkpoint, Part], list[str]],
) -> tuple[str, ...]:
    """Writes one network into a directory, or two into two below it.

    Args:
      path: the directory.
      checkpoint: the model.
      part: which network; of a model that has one, "both" is that one.
      write_one: writes the directory of a network; returns sentences on what
        could not be held.

    Returns:
      The sentences, each once.
    """
    wanted = chosen(checkpoint.config, part)
    notes: list[str] = []
    for one in wanted:
        place = path if len(wanted) == 1 else files.join(path, one)
        notes += write_one(place, parts.select(checkpoint, one), one)
    return tuple(dict.fromkeys(notes))


def left_out(names: Iterable[str]) -> list[str]:
    """The sentence on weights that a format has no place for, if any."""
    listed = ", ".join(names)
    return [f"left out, with no place there: {listed}"] if listed else []


def _plain(config: object) -> object:
    """Without what concerns the token LM head alone."""
    return dataclasses.replace(config, head_gelu=None, tied_head=True)


def _same(one: Checkpoint, other: Checkpoint, here: str, there: str) -> bool:
    names = [n for n in one.weights if n.startswith(here)]
    matches = [there + n.removeprefix(here) for n in names]
    return all(
        match in other.weights
        and np.array_equal(one.weights[name], other.weights[match])
        for name, match in zip(names, matches)
    )
