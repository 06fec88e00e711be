"""Embeddings that follow another network's without pulling at them.

The generator wants tokens of like meaning side by side, the discriminator
wants them apart. Where both train one table they pull it two ways ("tug of
war": DeBERTaV3, He et al. 2021, section 3). Here the generator alone trains
the table, and the discriminator reads it plus a difference of its own.
"""

import keras
import tensorflow as tf

from electra_tf.models import layers
from electra_tf.models.config import ModelConfig


class DisentangledEmbeddings(layers.Embeddings):
    """stop_gradient(the other's tables) + differences, which start at 0.

    Gradient-disentangled embedding sharing (section 3.3 there), for each of
    the three tables. The normalisation is its own.

    Args:
      config: shape; the tables have the sizes of `base`'s.
      base: the generator's embeddings, built before these.
      name: the scope of its variables.
    """

    def __init__(
        self,
        config: ModelConfig,
        base: layers.Embeddings,
        name: str = "embedding_differences",
    ):
        super().__init__(config, name=name)
        self.base = base

    def build(self, input_shape: tuple | None = None) -> None:
        """Creates the differences [V, E], [segments, E], [positions, E]."""
        self.differences = {
            name: self.add_weight(
                shape=getattr(self.base, name).shape,
                initializer="zeros",
                name=name,
            )
            for name in (
                "word_embeddings",
                "token_type_embeddings",
                "position_embeddings",
            )
        }
        self.norm.build((None, None, self.config.embedding_size))

    def _table(self, name: str) -> tf.Tensor:
        base: keras.Variable = getattr(self.base, name)
        return tf.stop_gradient(
            tf.convert_to_tensor(base)
        ) + tf.convert_to_tensor(self.differences[name])

    @property
    def word_embeddings(self) -> tf.Tensor:
        """[V, E], what the network reads."""
        return self._table("word_embeddings")

    @property
    def token_type_embeddings(self) -> tf.Tensor:
        """[segments, E], what the network reads."""
        return self._table("token_type_embeddings")

    @property
    def position_embeddings(self) -> tf.Tensor:
        """[positions, E], what the network reads."""
        return self._table("position_embeddings")
