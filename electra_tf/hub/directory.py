"""The model directory: `config.json`, `vocab.txt`, `model.safetensors`.

Weights are named by their place: `embeddings/...` for the tables that both
networks share, `generator/...` and `discriminator/...` for the rest.
"""

import dataclasses
import json
import logging
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import keras
import numpy as np

from electra_tf import files, tensors
from electra_tf.errors import UserError
from electra_tf.models import encoder, networks
from electra_tf.models.config import ModelConfig
from electra_tf.text.tokenizer import Tokenizer
from electra_tf.text.vocab import Vocab, load_vocab

CONFIG, VOCAB, WEIGHTS = "config.json", "vocab.txt", "model.safetensors"
_FORMAT = "electra_tf model"
_VERSION = 1

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class DirectoryConfig:
    """The content of `config.json`.

    Attributes:
      discriminator: shape of the discriminator; None where it is absent.
      generator: shape of the generator; None where it is absent.
      lower_case: how the tokenizer is set.
      strip_accents: how the tokenizer is set; None as lower_case.
      vocab_fingerprint: of vocab.txt.
      step: training steps behind the weights.
      pretraining: the settings of the run that made it, if any.
    """

    discriminator: ModelConfig | None
    generator: ModelConfig | None
    lower_case: bool
    strip_accents: bool | None
    vocab_fingerprint: str
    step: int = 0
    pretraining: dict[str, Any] | None = None


def weight_name(path: str) -> str:
    """A variable's path in a model -> its name on disk."""
    parts = path.split("/")
    if "embeddings" in parts:
        return "/".join(parts[parts.index("embeddings") :])
    for i, part in enumerate(parts):
        if part in ("generator", "discriminator"):
            return "/".join(parts[i:])
    # A bare encoder is the discriminator's: that is what is fine-tuned.
    return "/".join(["discriminator", *parts])


def save(
    directory: str,
    config: DirectoryConfig,
    networks_: Iterable[keras.Model],
    vocab: Vocab,
) -> None:
    """Writes a model directory; config.json, which makes it one, comes last.

    Args:
      directory: created if absent; files in it are replaced one by one.
      config: what config.json says.
      networks_: the networks whose weights go in.
      vocab: the vocabulary.
    """
    weights = {
        weight_name(v.path): np.asarray(v)
        for network in networks_
        for v in network.trainable_variables
    }
    files.make_directory(directory)
    vocab.save(files.join(directory, VOCAB))
    tensors.save(files.join(directory, WEIGHTS), weights)
    content = {"format": _FORMAT, "version": _VERSION}
    content |= dataclasses.asdict(config)
    files.write_text(
        files.join(directory, CONFIG), json.dumps(content, indent=2) + "\n"
    )


def find(directory: str) -> str:
    """The model directory that `directory` is, or, if a run, contains.

    Raises:
      UserError: neither; it is named.
    """
    if not files.is_directory(directory):
        raise UserError(f"{directory}: no such model directory")
    for candidate in (directory, files.join(directory, "model")):
        if files.exists(files.join(candidate, WEIGHTS)):
            return candidate
    raise UserError(
        f"{directory}: no {WEIGHTS} there; expected a model directory, or a "
        "run of `electra-tf pretrain` that has ended"
    )


def load_config(directory: str) -> DirectoryConfig:
    """Reads config.json of a model directory.

    Raises:
      UserError: missing or not one of ours; the file is named.
    """
    path = files.join(directory, CONFIG)
    try:
        content = json.loads(files.read_text(path))
        if content.pop("format", None) != _FORMAT:
            raise ValueError("another kind of file")
        if content.pop("version", None) != _VERSION:
            raise ValueError("written by another version of electra_tf")
        for part in ("discriminator", "generator"):
            if content[part] is not None:
                content[part] = ModelConfig(**content[part])
        return DirectoryConfig(**content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: not the config of an electra_tf model ({error})"
        ) from error


def load_weights(
    model: keras.Model, weights: Mapping[str, np.ndarray], source: str
) -> None:
    """Assigns all variables of `model` from `weights`.

    Args:
      model: a built network.
      weights: name on disk -> array; more than the model needs is fine.
      source: the file, for messages.

    Raises:
      UserError: a missing name, or another shape; it names the variable and
        both shapes. The model is unchanged then.
    """
    targets = [(weight_name(v.path), v) for v in model.trainable_variables]
    missing = [name for name, _ in targets if name not in weights]
    if missing:
        raise UserError(
            f"{source}: lacks {len(missing)} of the model's {len(targets)} "
            f"weights, among them {missing[0]}"
        )
    for name, variable in targets:
        if tuple(weights[name].shape) != tuple(variable.shape):
            raise UserError(
                f"{source}: {name} has shape {list(weights[name].shape)}, "
                f"the model's has {list(variable.shape)}"
            )
    for name, variable in targets:
        variable.assign(weights[name])


M = TypeVar("M", bound="_Pretrained")


class _Pretrained:
    """Loading for the three networks below."""

    _part = "discriminator"

    @classmethod
    def from_pretrained(cls: type[M], directory: str) -> M:
        """Loads the network from a model directory, or from a finished run.

        The result has a `tokenizer` beside the network.

        Args:
          directory: local or remote path.

        Raises:
          UserError: not there, not whole, or without this network.
        """
        directory = find(directory)
        config = load_config(directory)
        shape = getattr(config, cls._part)
        if shape is None:
            raise UserError(f"{directory}: holds no {cls._part}")
        vocab = load_vocab(files.join(directory, VOCAB))
        if vocab.fingerprint() != config.vocab_fingerprint:
            raise UserError(
                f"{files.join(directory, VOCAB)}: is {vocab.fingerprint()}, "
                f"but {CONFIG} says {config.vocab_fingerprint}; take both "
                "from the same model"
            )
        path = files.join(directory, WEIGHTS)
        model = cls(shape)
        model.build()
        load_weights(model, tensors.load(path), path)
        model.tokenizer = Tokenizer(
            vocab, config.lower_case, config.strip_accents
        )
        model.directory_config = config
        return model

    def save_pretrained(self, directory: str) -> None:
        """Writes this network alone as a model directory."""
        config = getattr(self, "directory_config", None)
        if config is None:
            raise ValueError("only a network from from_pretrained is saved so")
        other = {"discriminator": None, "generator": None}
        other[self._part] = self.config
        save(
            directory,
            dataclasses.replace(config, **other),
            [self],
            self.tokenizer.vocab,
        )


class Encoder(_Pretrained, encoder.ElectraEncoder):
    """The discriminator's encoder: what one fine-tunes.

    `Encoder.from_pretrained(DIR)`, then as `models.encoder.ElectraEncoder`.
    """


class Discriminator(_Pretrained, networks.Discriminator):
    """`Discriminator.from_pretrained(DIR)`; see `models.networks`."""


class Generator(_Pretrained, networks.Generator):
    """`Generator.from_pretrained(DIR)`; see `models.networks`."""

    _part = "generator"
