"""What stands on an encoder in pre-training: token LM, replaced token."""

import keras
import tensorflow as tf

from electra_tf.models import initial, kernels, layers, shared_table
from electra_tf.models.config import ModelConfig


class TokenLMHead(keras.layers.Layer):
    """Scores of every token of the vocabulary.

    Dense to E, GELU, LayerNorm, product with the token table (or, untied,
    one of its own), bias.
    """

    def __init__(
        self,
        config: ModelConfig,
        embeddings: layers.Embeddings,
        name: str = "head",
    ):
        super().__init__(name=name)
        self.config = config
        self.embeddings = embeddings
        self.dense = layers.Dense(
            config.embedding_size,
            initial.truncated_normal(config.initializer_range),
            name="dense",
        )
        self.norm = layers.LayerNorm(
            config.layer_norm_epsilon, name="layer_norm"
        )

    def build(self, input_shape: tuple) -> None:
        """Creates dense [H, E], the normalisation, output_bias [V].

        And output_weights [V, E] where they are not the token table.
        """
        self.dense.build(input_shape)
        self.norm.build((None, self.config.embedding_size))
        self.output_bias = self.add_weight(
            shape=(self.config.vocab_size,),
            initializer="zeros",
            name="output_bias",
        )
        self.output_weights = None
        if not self.config.tied_head:
            self.output_weights = self.add_weight(
                shape=(self.config.vocab_size, self.config.embedding_size),
                initializer=initial.truncated_normal(
                    self.config.initializer_range
                ),
                name="output_weights",
            )

    def scores(self, hidden: tf.Tensor, training: bool = False) -> tf.Tensor:
        """[..., H] hidden states -> [rows, V] logits without output_bias."""
        x = kernels.bias_gelu(
            self.dense.product(hidden),
            tf.cast(self.dense.bias, hidden.dtype),
            self.config.head_gelu or self.config.gelu,
            training,
        )
        x = self.norm(x)
        table = self.output_weights
        if table is None:
            table = shared_table.read(self.embeddings.word_embeddings).outputs
        table = tf.cast(table, x.dtype)
        flat = tf.reshape(x, [-1, self.config.embedding_size])
        return tf.matmul(flat, table, transpose_b=True)

    def call(self, hidden: tf.Tensor, training: bool = False) -> tf.Tensor:
        """[..., H] hidden states -> [..., V] float32 logits."""
        logits = tf.cast(self.scores(hidden, training), tf.float32)
        logits += tf.cast(self.output_bias, tf.float32)
        shape = tf.concat(
            [tf.shape(hidden)[:-1], [self.config.vocab_size]], axis=0
        )
        return tf.reshape(logits, shape)


class ReplacedTokenHead(keras.layers.Layer):
    """One logit for each position: was this token replaced?"""

    def __init__(self, config: ModelConfig, name: str = "head"):
        super().__init__(name=name)
        self.config = config
        self.dense = layers.Dense(
            config.hidden_size,
            initial.truncated_normal(config.initializer_range),
            name="dense",
        )
        self.prediction = layers.Dense(
            1, keras.initializers.GlorotUniform(), name="prediction"
        )

    def build(self, input_shape: tuple) -> None:
        """Creates dense [H, H] and prediction [H, 1]."""
        self.dense.build(input_shape)
        self.prediction.build(input_shape)

    def call(self, hidden: tf.Tensor, training: bool = False) -> tf.Tensor:
        """[B, L, H] -> [B, L] float32 logits."""
        x = kernels.bias_gelu(
            self.dense.product(hidden),
            tf.cast(self.dense.bias, hidden.dtype),
            self.config.gelu,
            training,
        )
        return tf.cast(tf.squeeze(self.prediction(x), axis=-1), tf.float32)
