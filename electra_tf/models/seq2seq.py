"""Seq2Seq: an encoder that reads a text, a decoder that writes another."""

from typing import NamedTuple

import keras
import tensorflow as tf

from electra_tf.models import encoder as encoders
from electra_tf.models import randomness
from electra_tf.models.config import DecoderConfig, ModelConfig
from electra_tf.models.decoder import Decoder, Memory


class Seq2SeqOutput(NamedTuple):
    """Of `Seq2Seq.call`."""

    encoder: encoders.EncoderOutput
    memory: Memory  # what the decoder reads of the sources
    logits: tf.Tensor | None  # [B, T, V] float32; None without a target


class Seq2Seq(keras.Model):
    """An ELECTRA encoder and a decoder with cross-attention.

    Variables of the encoder are named like the discriminator's, those of the
    decoder like a task head's: `discriminator/task/...`.

    Args:
      config: shape of the encoder.
      head_config: of the decoder.
      name: the scope of its variables.
    """

    def __init__(
        self,
        config: ModelConfig,
        head_config: DecoderConfig,
        name: str = "discriminator",
    ):
        super().__init__(name=name)
        self.config = config
        self.head_config = head_config
        self.encoder = encoders.ElectraEncoder(config)
        self.head = Decoder(config, head_config, self.encoder)

    def build(self, input_shape: object = None) -> None:
        """Creates all variables; no input is needed for their shapes."""
        self.encoder.build()
        self.head.build((None, None, self.config.hidden_size))
        self.dropout_seed = keras.random.SeedGenerator(name="dropout_seed")
        self.built = True

    def call(
        self,
        input_ids: tf.Tensor,
        input_mask: tf.Tensor | None = None,
        segment_ids: tf.Tensor | None = None,
        target_ids: tf.Tensor | None = None,
        training: bool = False,
        keys: tf.Tensor | None = None,
    ) -> Seq2SeqOutput:
        """Reads the sources; with targets, scores their tokens too.

        Args:
          input_ids: [B, L] int32.
          input_mask: [B, L] int32.
          segment_ids: [B, L] int32.
          target_ids: [B, T] int32, from [CLS] on; each position's logits are
            of the token that follows.
          training: whether dropout is on.
          keys: [B] uint32 dropout keys.
        """
        if input_mask is None:
            input_mask = tf.ones_like(input_ids)
        if not training:
            keys = None
        elif keys is None:
            keys = randomness.fresh_keys(
                self.dropout_seed, tf.shape(input_ids)[0]
            )
        output = self.encoder(
            input_ids, input_mask, segment_ids, training=training, keys=keys
        )
        memory = self.head.read(output.sequence_output, input_mask)
        logits = None
        if target_ids is not None:
            logits = self.head(target_ids, memory, training=training, keys=keys)
        return Seq2SeqOutput(output, memory, logits)

    def start_head(self) -> None:
        """Begins the decoder with the encoder's weights, if it is to be."""
        if self.head_config.from_encoder:
            self.head.start_from(self.encoder)
