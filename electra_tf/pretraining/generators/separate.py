"""Defines the generators that read [MASK]: separate, tied and uniform."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from electra_tf.models import networks
from electra_tf.models.config import ModelConfig
from electra_tf.models.embeddings import Embeddings
from electra_tf.pretraining import losses
from electra_tf.pretraining.generators.base import (
    Draws,
    Generated,
    GeneratorKind,
)
from electra_tf.pretraining.losses import TokenLoss
from electra_tf.pretraining.masking import MaskedBatch


class Separate(GeneratorKind):
    """Predicts masked tokens with an encoder of its own (paper, equation 1)."""

    def network(
        self, model: ModelConfig, embeddings: Embeddings
    ) -> networks.Generator:
        """Makes a generator that shares at most the embeddings."""
        shape = self.shape(model)
        assert shape is not None  # there is an encoder
        if self.config.embeddings == "untied":
            embeddings = Embeddings(shape)
        return networks.Generator(shape, embeddings)

    def generate(
        self,
        network: Any,
        masked: MaskedBatch,
        draws: Draws,
        training: bool,
        keys: tf.Tensor | None,
    ) -> Generated:
        """Predicts the masked tokens and samples replacements for them."""
        positions = masked.masked_lm_positions
        hidden, output = network.hidden_at(
            masked.rows(masked.masked_input_ids, keys), positions, training
        )
        scores = losses.scores_of(network.head, hidden, training)
        token = losses.token_loss_and_samples(
            *scores,
            tf.reshape(masked.masked_lm_ids, [-1]),
            None if draws.uniform is None else tf.reshape(draws.uniform, [-1]),
            draws.temperature,
            draws.disallow_correct,
        ).shaped(tf.shape(positions))
        return Generated(
            token, token.loss, self.weights(masked), output, hidden, scores
        )


class Tied(Separate):
    """Predicts with the discriminator's whole encoder and a head of its own."""

    can_freeze = False

    def shape(self, model: ModelConfig) -> ModelConfig:
        """Returns the discriminator's shape."""
        return model

    def networks(
        self,
        model: ModelConfig,
        embeddings: Embeddings,
        discriminator: Callable[[], networks.Discriminator],
    ) -> tuple[networks.Generator, networks.Discriminator]:
        """Makes both networks, which run in one encoder."""
        first = discriminator()
        return networks.Generator(model, encoder=first.encoder), first


class Uniform(GeneratorKind):
    """Samples every token of the vocabulary with the same probability."""

    can_freeze = False

    def shape(self, model: ModelConfig) -> None:
        """Returns None: there is no encoder."""
        return None

    def network(
        self, model: ModelConfig, embeddings: Embeddings
    ) -> networks.UniformGenerator:
        """Makes a generator without variables."""
        return networks.UniformGenerator(model.vocab_size)

    def generate(
        self,
        network: Any,
        masked: MaskedBatch,
        draws: Draws,
        training: bool,
        keys: tf.Tensor | None,
    ) -> Generated:
        """Samples tokens of the vocabulary, all equally likely."""
        ids = masked.masked_lm_ids
        log_z = tf.fill(tf.shape(ids), tf.math.log(float(network.vocab_size)))
        sampled = None
        if draws.uniform is not None:
            sampled = losses.draw_uniform(
                network.vocab_size, ids, draws.uniform, draws.disallow_correct
            )
        token = TokenLoss(log_z, tf.zeros_like(ids), sampled, log_z)
        return Generated(token, token.loss, self.weights(masked))
