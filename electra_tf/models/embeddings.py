"""Token, segment and position tables, and how two networks share them."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from electra_tf.models import kernels, layers
from electra_tf.models.config import ModelConfig
from electra_tf.models.initial import (
    WORDS_TO_POSITIONS,
    Sinusoids,
    WordsBesidePositions,
    truncated_normal,
)
from electra_tf.models.saved import Saved, shared
from electra_tf.registration import registered


class Reading(NamedTuple):
    """The table [V, E], by what it is used for."""

    lookups: tf.Tensor
    outputs: tf.Tensor


# By id() of the variable. Of this thread: replicas are traced in turns, each in
# a thread of its own.
_Readings = dict[int, Reading]
_readings: contextvars.ContextVar[_Readings | None] = contextvars.ContextVar(
    "readings", default=None
)


@contextlib.contextmanager
def read_together(table: keras.Variable | tf.Tensor) -> Iterator[None]:
    """All lookups and the output layer read `table` once, in what follows.

    The gradient of the table has some rows from each lookup and every row
    from the output layer. Where each reads the variable for itself, every
    part is made whole before they are added: four times the table at once.
    Here the rows of the lookups are added into the output layer's. Without an
    output layer that uses the table there is nothing to gain.
    """
    reading = Reading(*_fork(tf.convert_to_tensor(table)))
    token = _readings.set((_readings.get() or {}) | {id(table): reading})
    try:
        yield
    finally:
        _readings.reset(token)


def read_table(table: keras.Variable | tf.Tensor) -> Reading:
    """Returns the reading that `read_together` began, or one by itself."""
    found = (_readings.get() or {}).get(id(table))
    if found is None:
        found = Reading(*[tf.convert_to_tensor(table)] * 2)
    return found


@tf.custom_gradient
def _fork(table: tf.Tensor) -> tuple:
    def gradient(
        of_lookups: tf.Tensor | tf.IndexedSlices, of_outputs: tf.Tensor
    ) -> tf.Tensor:
        if not isinstance(of_lookups, tf.IndexedSlices):
            return of_lookups + of_outputs
        rows = of_lookups.indices[:, None]
        return tf.tensor_scatter_nd_add(of_outputs, rows, of_lookups.values)

    return (tf.identity(table), tf.identity(table)), gradient


@registered
class Embeddings(Saved):
    """Token + segment + position, normalised.

    One object serves generator and discriminator: the paper ties their
    embeddings (section 3.2), and the original ties all three tables.
    """

    def __init__(
        self, config: ModelConfig, name: str = "embeddings", **options: Any
    ):
        super().__init__(name=name, **options)
        self.config = config
        self.norm = layers.LayerNorm(
            config.layer_norm_epsilon,
            name="layer_norm",
            dtype=self.dtype_policy,
        )

    def build(self, input_shape: tuple | None = None) -> None:
        """Creates the tables [V, E], [segments, E], [positions, E]."""
        config = self.config
        size = config.embedding_size

        words = positions = config.initializer_range
        if config.local_start:
            words *= WORDS_TO_POSITIONS
        beside_words = config.beside_words

        def table(
            rows: int, name: str, initializer: keras.initializers.Initializer
        ) -> keras.Variable:
            return self.add_weight(
                shape=(rows, size), initializer=initializer, name=name
            )

        self.word_embeddings = table(
            config.vocab_size,
            "word_embeddings",
            WordsBesidePositions(positions)
            if beside_words
            else truncated_normal(words),
        )
        self.token_type_embeddings = table(
            config.type_vocab_size,
            "token_type_embeddings",
            truncated_normal(words),
        )
        self.position_embeddings = table(
            config.max_positions,
            "position_embeddings",
            Sinusoids(positions, beside_words)
            if config.local_start
            else truncated_normal(positions),
        )
        self.norm.build((None, None, size))

    def call(
        self,
        input_ids: tf.Tensor,
        segment_ids: tf.Tensor,
        keys: tf.Tensor | None = None,
        position_ids: tf.Tensor | None = None,
        words: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Returns [B, L] int32, [B, L] int32 -> [B, L, E].

        Args:
          input_ids: token ids.
          segment_ids: 0 or 1.
          keys: [B] uint32 dropout keys in training; None in inference.
          position_ids: [B, L] int32; counted from 0 where None.
          words: [B, L, E] in place of the tokens' rows of the table.
        """
        positions = tf.convert_to_tensor(self.position_embeddings)
        if position_ids is None:
            positions = positions[: tf.shape(segment_ids)[1]]
        else:
            positions = tf.gather(positions, position_ids)
        return self.embed(input_ids, segment_ids, positions, keys, words)

    def known(self, segment_ids: tf.Tensor) -> tf.Tensor:
        """Returns the segments that there are rows for: 0 where one is all.

        Args:
          segment_ids: int32, of any shape.
        """
        if self.config.type_vocab_size == 1:
            return tf.zeros_like(segment_ids)
        return segment_ids

    def embed(
        self,
        input_ids: tf.Tensor,
        segment_ids: tf.Tensor,
        positions: tf.Tensor,
        keys: tf.Tensor | None = None,
        words: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """As `call`, of tokens that need not stand at the beginning.

        Args:
          input_ids: token ids, [B, L] int32.
          segment_ids: 0 or 1, [B, L] int32.
          positions: [L, E] or [B, L, E], their rows of the position table.
          keys: [B] uint32 dropout keys in training; None in inference.
          words: [B, L, E] in place of the tokens' rows of the table.
        """
        # The reading may be float32 where a layer's own is in its precision.
        dtype = tf.convert_to_tensor(self.norm.gamma).dtype
        if words is None:
            table = read_table(self.word_embeddings).lookups
            words = tf.gather(table, input_ids)
        words = tf.cast(words, dtype)
        # A product with a one-hot of two columns: its gradient is a small
        # matrix product, where a gather's would be a scatter of B * L rows.
        types = tf.one_hot(
            self.known(segment_ids),
            self.config.type_vocab_size,
            dtype=words.dtype,
        )
        types = tf.einsum(
            "bls,se->ble",
            types,
            tf.cast(self.token_type_embeddings, types.dtype),
        )
        return kernels.sum_norm_dropout(
            words,
            types,
            tf.cast(positions, words.dtype),
            tf.cast(self.norm.gamma, words.dtype),
            tf.cast(self.norm.beta, words.dtype),
            keys,
            self.config.hidden_dropout,
            self.config.layer_norm_epsilon,
        )


@registered
class DisentangledEmbeddings(Embeddings):
    """stop_gradient(the other's tables) + differences, which start at 0.

    The generator wants tokens of like meaning side by side, the
    discriminator wants them apart. Where both train one table they pull it
    two ways ("tug of war": DeBERTaV3, He et al. 2021, section 3). Here the
    generator alone trains the tables, and the discriminator reads them plus a
    difference of its own (section 3.3 there). The normalisation is its own.

    Args:
      config: shape; the tables have the sizes of `base`'s.
      base: the generator's embeddings, built before these.
      name: the scope of its variables.
    """

    def __init__(
        self,
        config: ModelConfig,
        base: Embeddings,
        name: str = "embedding_differences",
        **options: Any,
    ):
        super().__init__(config, name=name, **options)
        self.base = base

    def get_config(self) -> dict[str, Any]:
        """As of every layer, with the other's tables."""
        return {
            **super().get_config(),
            "base": shared(self.base, owned=False),
        }

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
