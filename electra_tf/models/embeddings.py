"""Provides token, segment and position tables, which networks may share."""

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
    """The table [V, E], for each of its uses."""

    lookups: tf.Tensor
    outputs: tf.Tensor


# By id() of the variable, for each thread, as replicas are traced in separate
# threads.
_Readings = dict[int, Reading]
_readings: contextvars.ContextVar[_Readings | None] = contextvars.ContextVar(
    "readings", default=None
)
_sparse: contextvars.ContextVar[bool] = contextvars.ContextVar(
    "sparse", default=False
)


@contextlib.contextmanager
def read_together(table: keras.Variable | tf.Tensor) -> Iterator[None]:
    """Makes all lookups and the output layer read `table` once, while entered.

    The gradient of the table has some rows from each lookup and every row from
    the output layer. If each reads the variable separately, every part is made
    dense before they are added: four times the table at once. Here the rows of
    the lookups are added to the output layer's gradient. Without an output
    layer that uses the table nothing is gained.
    """
    reading = Reading(*_fork(tf.convert_to_tensor(table)))
    token = _readings.set((_readings.get() or {}) | {id(table): reading})
    try:
        yield
    finally:
        _readings.reset(token)


def read_table(table: keras.Variable | tf.Tensor) -> Reading:
    """Returns the shared reading of `read_together`, or a new one."""
    found = (_readings.get() or {}).get(id(table))
    if found is None:
        whole = tf.convert_to_tensor(table)
        found = Reading(read_rows(whole), whole)
    return found


@contextlib.contextmanager
def sparse_gradients() -> Iterator[None]:
    """Leaves gradients of tables sparse, a row for each lookup, while entered.

    Several such gradients are quicker to add. Their sum is to be made dense
    before an optimizer sees it; see `read_rows`.
    """
    token = _sparse.set(True)
    try:
        yield
    finally:
        _sparse.reset(token)


def read_rows(table: keras.Variable | tf.Tensor) -> tf.Tensor:
    """Returns a table for lookups, whose gradient is dense.

    The gradient of `tf.gather` has a row for each lookup, not for each token.
    Keras' optimizers (3.15.1) square these rows, and take their norm, before
    they are added: Adam moves a token that occurs n times up to sqrt(n) times
    too far, and clipping takes another norm than that of the gradient.
    """
    table = tf.convert_to_tensor(table)
    return table if _sparse.get() else _dense(table)


@tf.custom_gradient
def _dense(table: tf.Tensor) -> tuple:
    return tf.identity(table), tf.convert_to_tensor


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
    """Adds token, segment and position embeddings, and normalises.

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
        """Embeds tokens, [B, L] -> [B, L, E].

        Args:
          input_ids: token ids.
          segment_ids: 0 or 1.
          keys: [B] uint32 dropout keys in training; None in inference.
          position_ids: [B, L] int32; None counts from 0.
          words: [B, L, E], used in place of the tokens' rows of the table.
        """
        if position_ids is None:
            positions = tf.convert_to_tensor(self.position_embeddings)
            positions = positions[: tf.shape(segment_ids)[1]]
        else:
            positions = read_rows(self.position_embeddings)
            positions = tf.gather(positions, position_ids)
        return self.embed(input_ids, segment_ids, positions, keys, words)

    def known(self, segment_ids: tf.Tensor) -> tf.Tensor:
        """Limits segments to the table's rows: all 0 if it has one row.

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
        """Embeds like `call`, at any positions.

        Args:
          input_ids: token ids, [B, L] int32.
          segment_ids: 0 or 1, [B, L] int32.
          positions: [L, E] or [B, L, E], rows of the position table.
          keys: [B] uint32 dropout keys in training; None in inference.
          words: [B, L, E], used in place of the tokens' rows of the table.
        """
        # The shared reading may be float32 in a layer of another precision.
        dtype = tf.convert_to_tensor(self.norm.gamma).dtype
        if words is None:
            table = read_table(self.word_embeddings).lookups
            words = tf.gather(table, input_ids)
        words = tf.cast(words, dtype)
        # A product with one-hot rows of two columns: its gradient is a small
        # matrix product, while a gather's would be a scatter of B * L rows.
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
    """Embeds by stop_gradient(the generator's tables) + own differences.

    The generator moves tokens of similar meaning together, the discriminator
    apart. If both train one table they pull it in opposite directions ("tug of
    war": DeBERTaV3, He et al. 2021, section 3). Here only the generator trains
    the tables, and the discriminator reads them plus its own differences, which
    start at 0 (section 3.3 there), and has its own normalisation.

    Args:
      config: shape; the tables have the sizes of those of `base`.
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
        """Returns the layer's config, with the other's tables."""
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
        """The token table that the network reads, [V, E]."""
        return self._table("word_embeddings")

    @property
    def token_type_embeddings(self) -> tf.Tensor:
        """The segment table that the network reads, [segments, E]."""
        return self._table("token_type_embeddings")

    @property
    def position_embeddings(self) -> tf.Tensor:
        """The position table that the network reads, [positions, E]."""
        return self._table("position_embeddings")
