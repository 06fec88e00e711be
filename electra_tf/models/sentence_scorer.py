"""SentenceScorer: which sentences of a text say the most.

BertSum's reading of a text (Liu & Lapata 2019, "Text Summarization with
Pretrained Encoders"): a [CLS] before each sentence, segments in turn, a score
at each [CLS]. It gives the sentences' vectors their places in the text; here
they are counted from the start of the text even where a window begins later.
Beside the [CLS] the head reads the mean of the sentence's tokens: a [CLS]
inside a row is nothing that pre-training knows, and it takes long to learn
what to look at.

Shapes: B batch, L sequence length, H hidden size.
"""

from typing import NamedTuple

import keras
import tensorflow as tf

from electra_tf.models import encoder as encoders
from electra_tf.models import kernels, layers, randomness
from electra_tf.models.config import ModelConfig, SentenceHeadConfig

# Dropout sites of the head; the encoder's are small numbers.
_SITE = 1 << 16
_LONGEST_WAVE = 10_000.0  # of the places, as Vaswani et al. 2017 have it


class SentenceOutput(NamedTuple):
    """Of `SentenceScorer.call`."""

    logits: tf.Tensor  # [B, L] float32; they are of sentences at their [CLS]
    encoder: encoders.EncoderOutput


class SentenceHead(keras.layers.Layer):
    """A score from a sentence's hidden states and its number in the text."""

    def __init__(self, config: SentenceHeadConfig, name: str = "task"):
        super().__init__(name=name)
        self.config = config
        self.dense = None  # as wide as the encoder, so made in build()
        self.output_dense = _dense(1, "output")

    def build(self, input_shape: tuple) -> None:
        """Creates dense [2H, H] and output [H, 1]."""
        size = input_shape[-1]
        self.dense = _dense(size, "dense")
        self.dense.build((None, None, 2 * size))
        self.output_dense.build(input_shape)

    def call(
        self,
        hidden: tf.Tensor,
        input_mask: tf.Tensor,
        numbers: tf.Tensor,
        training: bool = False,
        keys: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """[B, L, H] -> [B, L] float32 logits.

        Args:
          hidden: the last hidden states.
          input_mask: [B, L] int32, 1 for real tokens.
          numbers: [B, L] int32, of the sentence that a token is in.
          training: whether gradients follow.
          keys: [B] uint32 dropout keys in training; None for no dropout.
        """
        places = tf.cast(waves(numbers, hidden.shape[-1]), hidden.dtype)
        means = sentence_means(hidden, input_mask, numbers)
        x = tf.concat([hidden + places, means], axis=-1)  # [B, L, 2H]
        x = _drop(x, keys, self.config, 0)
        bias = tf.cast(self.dense.bias, x.dtype)
        x = kernels.bias_gelu(self.dense.product(x), bias, "erf", training)
        x = _drop(x, keys, self.config, 1)
        return tf.cast(tf.squeeze(self.output_dense(x), axis=-1), tf.float32)


def sentence_means(
    hidden: tf.Tensor, input_mask: tf.Tensor, numbers: tf.Tensor
) -> tf.Tensor:
    """Each token's sentence's mean: [B, L, H] -> [B, L, H]; 0 for padding.

    Args:
      hidden: of tokens.
      input_mask: [B, L] int32, 1 for real tokens.
      numbers: [B, L] int32, of sentences, one after another in a row.
    """
    shape, size = tf.shape(hidden), hidden.shape[-1]
    row = tf.range(shape[0])[:, tf.newaxis] * shape[1]
    at = tf.where(input_mask > 0, row + numbers - numbers[:, :1], -1)
    at = tf.reshape(at, [-1])
    flat = tf.reshape(hidden, [-1, size])
    sums = tf.math.unsorted_segment_sum(flat, at, shape[0] * shape[1])
    counts = tf.math.unsorted_segment_sum(
        tf.ones_like(flat[:, :1]), at, shape[0] * shape[1]
    )
    means = tf.gather(sums / tf.maximum(counts, 1), tf.maximum(at, 0))
    means = tf.where((at >= 0)[:, tf.newaxis], means, tf.zeros_like(means))
    return tf.reshape(means, shape)


def waves(numbers: tf.Tensor, size: int) -> tf.Tensor:
    """Sines and cosines of numbers: [...] int32 -> [..., size] float32.

    Defined for any number, so that a text may have more sentences than those
    that were trained on.
    """
    half = (size + 1) // 2
    rates = _LONGEST_WAVE ** (-tf.range(half, dtype=tf.float32) / half)
    angles = tf.cast(numbers, tf.float32)[..., tf.newaxis] * rates
    both = tf.concat([tf.sin(angles), tf.cos(angles)], axis=-1)
    return both[..., :size]


class SentenceScorer(keras.Model):
    """The encoder with a `SentenceHead`; scores of a text's sentences.

    Variables are named like those of the other fine-tuned networks:
    `discriminator/encoder/...`, `discriminator/task/...`.

    Args:
      config: shape of the encoder.
      head_config: of the head.
      name: the scope of its variables.
    """

    def __init__(
        self,
        config: ModelConfig,
        head_config: SentenceHeadConfig,
        name: str = "discriminator",
    ):
        super().__init__(name=name)
        self.config = config
        self.head_config = head_config
        self.encoder = encoders.ElectraEncoder(config)
        self.head = SentenceHead(head_config)

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
        training: bool = False,
        keys: tf.Tensor | None = None,
    ) -> SentenceOutput:
        """Scores all tokens; those of the [CLS] are the sentences'.

        Args:
          input_ids: [B, L] int32.
          input_mask: [B, L] int32.
          segment_ids: [B, L] int32, the number of each token's sentence in
            the whole text; the encoder is given 0 and 1 in turn.
          training: whether dropout is on.
          keys: [B] uint32 dropout keys.
        """
        if input_mask is None:
            input_mask = tf.ones_like(input_ids)
        if segment_ids is None:
            segment_ids = tf.zeros_like(input_ids)
        if not training:
            keys = None
        elif keys is None:
            keys = randomness.fresh_keys(
                self.dropout_seed, tf.shape(input_ids)[0]
            )
        output = self.encoder(
            input_ids, input_mask, segment_ids % 2,
            training=training, keys=keys,
        )  # fmt: skip
        logits = self.head(
            output.sequence_output, input_mask, segment_ids,
            training=training, keys=keys,
        )  # fmt: skip
        return SentenceOutput(logits, output)


def _dense(units: int, name: str) -> layers.Dense:
    # Glorot, as the original's task heads.
    return layers.Dense(units, keras.initializers.GlorotUniform(), name=name)


def _drop(
    x: tf.Tensor, keys: tf.Tensor | None, config: SentenceHeadConfig, site: int
) -> tf.Tensor:
    if keys is None:
        return x
    keys = randomness.salted(keys, _SITE + site)
    return randomness.dropout(x, keys, config.dropout)
