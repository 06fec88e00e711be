"""The two networks: an encoder with its pre-training head."""

from typing import NamedTuple

import keras
import tensorflow as tf

from electra_tf.models import encoder as encoders
from electra_tf.models import heads, layers
from electra_tf.models.config import ModelConfig


class GeneratorOutput(NamedTuple):
    """Of `Generator.call`."""

    logits: tf.Tensor  # [B, N, V] float32, or [B, L, V] without positions
    encoder: encoders.EncoderOutput


class DiscriminatorOutput(NamedTuple):
    """Of `Discriminator.call`."""

    logits: tf.Tensor  # [B, L] float32; above 0: replaced
    encoder: encoders.EncoderOutput


class Generator(keras.Model):
    """A masked language model (paper, equation 1).

    Args:
      config: shape of its encoder.
      embeddings: tables shared with the discriminator; its own where None.
      name: the scope of its variables.
    """

    def __init__(
        self,
        config: ModelConfig,
        embeddings: layers.Embeddings | None = None,
        name: str = "generator",
    ):
        super().__init__(name=name)
        self.config = config
        self.encoder = encoders.ElectraEncoder(config, embeddings)
        self.head = heads.TokenLMHead(config, self.encoder.embeddings)

    def build(self, input_shape: object = None) -> None:
        """Creates all variables."""
        self.encoder.build()
        self.head.build((None, None, self.config.hidden_size))
        self.built = True

    def call(
        self,
        input_ids: tf.Tensor,
        input_mask: tf.Tensor | None = None,
        segment_ids: tf.Tensor | None = None,
        positions: tf.Tensor | None = None,
        training: bool = False,
        keys: tf.Tensor | None = None,
    ) -> GeneratorOutput:
        """Predicts tokens, at `positions` alone where they are given.

        Args:
          input_ids: [B, L] int32, with [MASK] where a token is asked for.
          input_mask: [B, L], as in `ElectraEncoder.call`.
          segment_ids: [B, L], as there.
          positions: [B, N] int32 positions to predict; all where None.
          training: whether dropout is on.
          keys: [B] uint32 dropout keys, as there.
        """
        hidden, output = self.hidden_at(
            input_ids, input_mask, segment_ids, positions, training, keys
        )
        return GeneratorOutput(self.head(hidden, training=training), output)

    def hidden_at(
        self,
        input_ids: tf.Tensor,
        input_mask: tf.Tensor | None,
        segment_ids: tf.Tensor | None,
        positions: tf.Tensor | None,
        training: bool = False,
        keys: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, encoders.EncoderOutput]:
        """The hidden states that the head reads; arguments as `call`'s."""
        output = self.encoder(
            input_ids, input_mask, segment_ids, training=training, keys=keys
        )
        hidden = output.sequence_output
        if positions is not None:
            hidden = tf.gather(hidden, positions, batch_dims=1)  # [B, N, H]
        return hidden, output


class Discriminator(keras.Model):
    """Tells replaced tokens from original ones (paper, equation 2).

    Args:
      config: shape of its encoder.
      embeddings: tables shared with the generator; its own where None.
      name: the scope of its variables.
    """

    def __init__(
        self,
        config: ModelConfig,
        embeddings: layers.Embeddings | None = None,
        name: str = "discriminator",
    ):
        super().__init__(name=name)
        self.config = config
        self.encoder = encoders.ElectraEncoder(config, embeddings)
        self.head = heads.ReplacedTokenHead(config)

    def build(self, input_shape: object = None) -> None:
        """Creates all variables."""
        self.encoder.build()
        self.head.build((None, None, self.config.hidden_size))
        self.built = True

    def call(
        self,
        input_ids: tf.Tensor,
        input_mask: tf.Tensor | None = None,
        segment_ids: tf.Tensor | None = None,
        training: bool = False,
        keys: tf.Tensor | None = None,
    ) -> DiscriminatorOutput:
        """[B, L] int32 ids -> [B, L] logits; see `ElectraEncoder.call`."""
        output = self.encoder(
            input_ids, input_mask, segment_ids, training=training, keys=keys
        )
        logits = self.head(output.sequence_output, training=training)
        return DiscriminatorOutput(logits, output)
