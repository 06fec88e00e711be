"""The two networks: an encoder with its pre-training head."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

import keras
import tensorflow as tf

from electra_tf.models import encoder as encoders
from electra_tf.models import heads, layers
from electra_tf.models.config import ModelConfig

DiscriminatorHead = Literal["replaced_token", "token_lm", "copy"]


class GeneratorOutput(NamedTuple):
    """Of a generator's `call`."""

    logits: tf.Tensor  # [B, N, V] float32, or [B, L, V] without positions
    encoder: tuple | None  # what its encoder, or encoders, computed


class DiscriminatorOutput(NamedTuple):
    """Of `Discriminator.call`."""

    # [B, L] float32; above 0: replaced. None without that head.
    logits: tf.Tensor | None
    encoder: encoders.EncoderOutput


class Generator(keras.Model):
    """A masked language model (paper, equation 1).

    Args:
      config: shape of its encoder.
      embeddings: tables shared with the discriminator; its own where None.
        Tables that are not built yet are its own too.
      name: the scope of its variables.
      encoder: another network's, to share; one of its own where None.
    """

    reads_masked = True  # its input has [MASK] where a token is asked for

    def __init__(
        self,
        config: ModelConfig,
        embeddings: layers.Embeddings | None = None,
        name: str = "generator",
        encoder: encoders.ElectraEncoder | None = None,
    ):
        super().__init__(name=name)
        self.config = config
        self.encoder = encoder or encoders.ElectraEncoder(config, embeddings)
        self.head = heads.TokenLMHead(config, self.encoder.embeddings)

    def build(self, input_shape: object = None) -> None:
        """Creates all variables; a shared encoder is built by its owner."""
        if not self.encoder.built:
            tables = self.encoder.embeddings
            if not (self.encoder.owns_embeddings or tables.built):
                tables.build()
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
        sequence_ids: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, encoders.EncoderOutput]:
        """The hidden states that the head reads; arguments as `call`'s.

        And `sequence_ids`, as in `ElectraEncoder.call`.
        """
        output = self.encoder(
            input_ids,
            input_mask,
            segment_ids,
            training=training,
            keys=keys,
            sequence_ids=sequence_ids,
        )
        hidden = output.sequence_output
        if positions is not None:
            hidden = tf.gather(hidden, positions, batch_dims=1)  # [B, N, H]
        return hidden, output


class UniformGenerator(keras.Model):
    """Finds every token equally likely; has no variables.

    Args:
      vocab_size: V.
      name: as of the other generators.
    """

    reads_masked = True

    def __init__(self, vocab_size: int, name: str = "generator"):
        super().__init__(name=name)
        self.vocab_size = vocab_size
        self.config = None

    def build(self, input_shape: object = None) -> None:
        """Creates nothing."""
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
        """Logits of 0; arguments as `Generator.call`'s."""
        where = input_ids if positions is None else positions
        shape = tf.concat([tf.shape(where), [self.vocab_size]], axis=0)
        return GeneratorOutput(tf.zeros(shape), None)


class Discriminator(keras.Model):
    """Tells replaced tokens from original ones (paper, equation 2).

    The paper's section 3.4 puts other heads on the same encoder.

    Args:
      config: shape of its encoder.
      embeddings: tables shared with the generator; its own where None.
      name: the scope of its variables.
      with_heads: "replaced_token", `head`; "token_lm", `lm_head`, which
        predicts the original tokens; "copy", `copy_head`, one logit a position:
        does the original token stand here? None of them is an encoder alone.
    """

    def __init__(
        self,
        config: ModelConfig,
        embeddings: layers.Embeddings | None = None,
        name: str = "discriminator",
        with_heads: Iterable[DiscriminatorHead] = ("replaced_token",),
    ):
        super().__init__(name=name)
        self.config = config
        self.encoder = encoders.ElectraEncoder(config, embeddings)
        wanted = frozenset(with_heads)
        self.head = self.lm_head = self.copy_head = None
        if "replaced_token" in wanted:
            self.head = heads.ReplacedTokenHead(config)
        if "token_lm" in wanted:
            self.lm_head = heads.TokenLMHead(
                config, self.encoder.embeddings, name="lm_head"
            )
        if "copy" in wanted:
            self.copy_head = layers.Dense(
                1, keras.initializers.GlorotUniform(), name="copy"
            )

    def build(self, input_shape: object = None) -> None:
        """Creates all variables."""
        tables = self.encoder.embeddings
        if not (self.encoder.owns_embeddings or tables.built):
            tables.build()
        self.encoder.build()
        for head in (self.head, self.lm_head, self.copy_head):
            if head is not None:
                head.build((None, None, self.config.hidden_size))
        self.built = True

    def call(
        self,
        input_ids: tf.Tensor,
        input_mask: tf.Tensor | None = None,
        segment_ids: tf.Tensor | None = None,
        training: bool = False,
        keys: tf.Tensor | None = None,
        sequence_ids: tf.Tensor | None = None,
    ) -> DiscriminatorOutput:
        """[B, L] int32 ids -> [B, L] logits; see `ElectraEncoder.call`."""
        output = self.encoder(
            input_ids,
            input_mask,
            segment_ids,
            training=training,
            keys=keys,
            sequence_ids=sequence_ids,
        )
        logits = None
        if self.head is not None:
            logits = self.head(output.sequence_output, training=training)
        return DiscriminatorOutput(logits, output)
