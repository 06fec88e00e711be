"""Defines the interface of a kind of generator."""

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.models.config import GeneratorConfig, ModelConfig
from electra_tf.models.embeddings import Embeddings
from electra_tf.models.networks import Discriminator
from electra_tf.models.rows import Network
from electra_tf.pretraining.losses import Scores, TokenLoss
from electra_tf.pretraining.masking import MaskedBatch, SpecialIds

# Kind -> where its class is, imported when it is asked for.
KINDS = {
    "separate": "separate:Separate",
    "tied": "separate:Tied",
    "uniform": "separate:Uniform",
    "two_tower": "two_tower:TwoTower",
}


@dataclasses.dataclass(frozen=True)
class Draws:
    """Says how samples are taken from the generator's logits.

    Attributes:
      uniform: [B, N] float32 in [0, 1), random numbers that decide the samples;
        None for no samples.
      temperature: divides the logits.
      disallow_correct: whether the original token is never sampled.
    """

    uniform: tf.Tensor | None
    temperature: float | tf.Tensor = 1.0
    disallow_correct: bool = False


class Cloze(NamedTuple):
    """Holds a two-tower generator's prediction of every token from the
    others.
    """

    token: TokenLoss  # each [B, L]; no samples
    weights: tf.Tensor  # [B, L] float32, 1 for the tokens it is trained on
    scores: Scores  # rows: B * L


class Generated(NamedTuple):
    """Holds what a generator computes for a masked batch."""

    token: TokenLoss  # each [B, N]
    # What the generator itself is trained on: nats and weights.
    loss: tf.Tensor
    weights: tf.Tensor
    encoder: Any = None  # what its encoder, or its towers, computed
    # Of a generator that reads [MASK]: what the head read and gave.
    hidden: tf.Tensor | None = None  # [B, N, H]
    scores: Scores | None = None  # rows: B * N
    cloze: Cloze | None = None  # of a two-tower generator


class GeneratorKind:
    """Defines a kind of generator: its shape, its network and its step.

    Args:
      config: its settings.
      special: ids that are never masked; not needed for its shape.

    Attributes:
      reads_masked: whether its input has [MASK] where a token is to be
        predicted.
      can_freeze: whether it has weights of its own that can be frozen.
    """

    reads_masked: ClassVar[bool] = True
    can_freeze: ClassVar[bool] = True

    def __init__(
        self, config: GeneratorConfig, special: SpecialIds | None = None
    ):
        self.config = config
        self.special = special

    def check(self) -> None:
        """Raises an error if settings of the generator contradict each other.

        Raises:
          UserError: settings contradict each other; it names the keys and what
            to do.
        """
        if not self.config.frozen:
            return
        if not self.can_freeze:
            raise UserError(
                "generator.frozen, generator.kind: a "
                f"{self.config.kind} generator has no weights of its own to "
                "stay as they are; set generator.kind to separate or two_tower"
            )
        if self.config.embeddings == "shared":
            raise UserError(
                "generator.frozen, generator.embeddings: shared tables are "
                "trained with the discriminator; set generator.embeddings to "
                "untied or disentangled"
            )

    def shape(self, model: ModelConfig) -> ModelConfig | None:
        """Returns the shape of its encoder, or of each of its towers, or None.

        Args:
          model: the discriminator's.
        """
        config = self.config
        shape = model.generator(
            config.hidden_fraction,
            config.layers_fraction,
            config.embeddings == "untied",
        )
        if config.frozen:
            # It is only evaluated: there is nothing to regularise.
            shape = dataclasses.replace(
                shape, hidden_dropout=0.0, attention_dropout=0.0
            )
        return shape

    def networks(
        self,
        model: ModelConfig,
        embeddings: Embeddings,
        discriminator: Callable[[], Discriminator],
    ) -> tuple[Network, Discriminator]:
        """Makes both networks, unbuilt.

        Args:
          model: the discriminator's shape.
          embeddings: tables to share.
          discriminator: makes the discriminator.
        """
        # In this order: initial values depend on it.
        own = self.network(model, embeddings)
        return own, discriminator()

    def network(self, model: ModelConfig, embeddings: Embeddings) -> Network:
        """Makes a generator that shares at most the embeddings.

        Args:
          model: the discriminator's shape.
          embeddings: tables to share.
        """
        raise NotImplementedError

    def generate(
        self,
        network: Any,
        masked: MaskedBatch,
        draws: Draws,
        training: bool,
        keys: tf.Tensor | None,
    ) -> Generated:
        """Predicts the masked tokens and samples replacements for them.

        Args:
          network: from `networks`.
          masked: the masked batch.
          draws: how samples are taken.
          training: whether dropout is on.
          keys: [B] uint32 dropout keys.
        """
        raise NotImplementedError

    def weights(self, masked: MaskedBatch) -> tf.Tensor:
        """Returns the weights of its own loss, float32; as in `Generated`."""
        return masked.masked_lm_weights


def make(
    config: GeneratorConfig, special: SpecialIds | None = None
) -> GeneratorKind:
    """Returns the kind of generator that the settings name.

    Args:
      config: its settings.
      special: ids that are never masked.
    """
    module, _, name = KINDS[config.kind].partition(":")
    package = __name__.rpartition(".")[0]
    kind = getattr(importlib.import_module(f"{package}.{module}"), name)
    return kind(config, special)
