"""A Transformer decoder over an encoder's output: trained whole, run by steps.

Post-norm blocks like the encoder's, with attention to the source between
self-attention and feed-forward (Vaswani et al. 2017, section 3.1). Embeddings
are the encoder's own tables, and so is the output layer's (there, section
3.4); target tokens are of segment 1. A target begins with [CLS] and ends with
[SEP].

Shapes: B sources, K beams a source, R = B * K rows, T target length, L source
length, H hidden size, A heads, D = H / A, V vocabulary.
"""

import dataclasses
from typing import Any, NamedTuple

import tensorflow as tf

from electra_tf.models import layers, networks, products, randomness, saved
from electra_tf.models.config import DecoderConfig, ModelConfig
from electra_tf.models.encoder import ElectraEncoder
from electra_tf.models.initial import truncated_normal
from electra_tf.models.saved import Saved
from electra_tf.registration import registered

# Dropout sites of the decoder; the encoder's are small numbers.
_SITE = 1 << 17


class Memory(NamedTuple):
    """What the decoder reads of the sources; the same at every step."""

    keys: tuple[tf.Tensor, ...]  # for each block [B, A, L, D]
    values: tuple[tf.Tensor, ...]  # for each block [B, A, L, D]
    bias: tf.Tensor  # [B, 1, 1, L], low at padding


# For each block the keys and values of the steps before: [R, A, t, D] each.
Cache = tuple[tuple[tf.Tensor, tf.Tensor], ...]


@registered
class CrossAttention(Saved):
    """Attention of target positions to the source, without its output bias."""

    def __init__(
        self,
        config: ModelConfig,
        name: str = "cross_attention",
        **options: Any,
    ):
        super().__init__(name=name, **options)
        self.config = config
        size = config.hidden_size
        self.query = self._dense(size, "query")
        self.key_value = self._dense(2 * size, "key_value")
        self.output_dense = self._dense(size, "output")

    def _dense(self, units: int, name: str) -> layers.Dense:
        initializer = truncated_normal(self.config.initializer_range)
        return layers.Dense(
            units, initializer, name=name, dtype=self.dtype_policy
        )

    def build(self, input_shape: tuple) -> None:
        """Creates query [H, H], key_value [H, 2H] and output [H, H]."""
        for dense in (self.query, self.key_value, self.output_dense):
            dense.build(input_shape)

    def read(self, source: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns [B, L, H] -> keys and values, each [B, A, L, D]."""
        key, value = tf.split(self.key_value.large(source), 2, axis=-1)
        heads_ = self.config.num_heads
        return split_heads(key, heads_), split_heads(value, heads_)

    def call(
        self,
        x: tf.Tensor,
        key: tf.Tensor,
        value: tf.Tensor,
        bias: tf.Tensor,
        keys: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Returns [B, T, H] -> [B, T, H], before the output bias.

        Args:
          x: hidden states of the target; or of K beams, all at one position.
          key: [B, A, L, D].
          value: [B, A, L, D].
          bias: [B, 1, 1, L], added to the scaled scores.
          keys: [B] uint32 dropout keys in training; None in inference.
        """
        query = split_heads(self.query.large(x), self.config.num_heads)
        return self.output_dense.product(
            _attend(query, key, value, bias, keys, self.config)
        )


@registered
class DecoderBlock(Saved):
    """Self-attention, cross-attention, feed-forward; each with a residual."""

    def __init__(
        self, config: ModelConfig, name: str | None = None, **options: Any
    ):
        super().__init__(name=name, **options)
        self.config = config
        policy = self.dtype_policy
        self.block = layers.Block(config, name="block", dtype=policy)
        self.cross_attention = CrossAttention(config, dtype=policy)
        self.cross_attention_norm = layers.LayerNorm(
            config.layer_norm_epsilon,
            name="cross_attention_layer_norm",
            dtype=policy,
        )

    def build(self, input_shape: tuple) -> None:
        """Builds the parts for [B, T, H]."""
        self.block.build(input_shape)
        self.cross_attention.build(input_shape)
        self.cross_attention_norm.build(input_shape)

    def call(
        self,
        x: tf.Tensor,
        bias: tf.Tensor,
        memory: tuple[tf.Tensor, tf.Tensor, tf.Tensor],
        keys: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Returns all positions at once, [B, T, H] -> [B, T, H].

        Args:
          x: hidden states.
          bias: [1, 1, T, T], low above the diagonal.
          memory: of this block: keys, values and bias.
          keys: [B] uint32 dropout keys in training; None in inference.
        """
        attention = self.block.attention
        attended = attention(x, bias, keys=_salted(keys, 0))
        return self._rest(x, attended, memory, keys)

    def step(
        self,
        x: tf.Tensor,
        cache: tuple[tf.Tensor, tf.Tensor],
        memory: tuple[tf.Tensor, tf.Tensor, tf.Tensor],
    ) -> tuple[tf.Tensor, tuple[tf.Tensor, tf.Tensor]]:
        """One position: [B, K, H] -> [B, K, H], and the cache with it.

        Args:
          x: hidden states of the beams at this position.
          cache: keys and values of those before it, [R, A, t, D].
          memory: of this block: keys, values and bias.
        """
        attention, heads_ = self.block.attention, self.config.num_heads
        size = self.config.hidden_size
        rows = tf.reshape(x, [-1, 1, size])  # [R, 1, H]
        query, key, value = (
            split_heads(part, heads_)
            for part in tf.split(attention.qkv(rows), 3, axis=-1)
        )
        cache = (
            tf.concat([cache[0], key], axis=2),
            tf.concat([cache[1], value], axis=2),
        )
        attended = _attend(query, *cache, tf.zeros([]), None, self.config)
        attended = attention.output_dense.product(attended)
        attended = tf.reshape(attended, tf.shape(x))
        return self._rest(x, attended, memory, None), cache

    def _rest(
        self,
        x: tf.Tensor,
        attended: tf.Tensor,
        memory: tuple[tf.Tensor, tf.Tensor, tf.Tensor],
        keys: tf.Tensor | None,
    ) -> tf.Tensor:
        """Returns what follows self-attention; see `layers.Block.call`."""
        block, cross = self.block, self.cross_attention
        states = block.add_norm(
            attended, block.attention.output_dense, x,
            block.attention_norm, _salted(keys, 1),
        )  # fmt: skip
        attended = cross(states.whole, *memory, keys=_salted(keys, 2))
        states = block.add_norm(
            attended, cross.output_dense, states.whole,
            self.cross_attention_norm, _salted(keys, 3),
        )  # fmt: skip
        return block.feed_forward(states, _salted(keys, 4)).whole


@registered
class Decoder(Saved):
    """Blocks under a layer that scores the vocabulary.

    Args:
      config: of the encoder, whose width, heads and dropout it takes.
      decoder_config: its own.
      encoder: its embeddings are read here too.
      name: the scope of its variables.
      **options: Keras' own, as dtype and trainable.
    """

    def __init__(
        self,
        config: ModelConfig,
        decoder_config: DecoderConfig,
        encoder: ElectraEncoder,
        name: str = "task",
        **options: Any,
    ):
        super().__init__(name=name, **options)
        policy = self.dtype_policy
        self.config = decoder_config
        self.model_config = config
        self.embeddings = encoder.embeddings
        self.embeddings_project = encoder.embeddings_project
        self.blocks = [
            DecoderBlock(config, name=f"layer_{i}", dtype=policy)
            for i in range(decoder_config.num_layers)
        ]
        self.prediction = networks.TokenLMHead(
            dataclasses.replace(config, tied_head=True),
            encoder.embeddings,
            name="prediction",
            dtype=policy,
        )
        self._encoder = lambda: encoder  # which is no part of it

    def get_config(self) -> dict[str, Any]:
        """As of every layer, with the encoder that it reads."""
        config = super().get_config()
        config.pop("config")
        return config | {
            "config": saved.plain(self.model_config),
            "decoder_config": saved.plain(self.config),
            "encoder": saved.shared(self._encoder(), owned=False),
        }

    def build(self, input_shape: tuple) -> None:
        """Builds the parts; the embeddings are the encoder's to build."""
        for block in self.blocks:
            block.build(input_shape)
        self.prediction.build(input_shape)

    def read(self, source: tf.Tensor, input_mask: tf.Tensor) -> Memory:
        """Returns what all steps need of the sources.

        Args:
          source: [B, L, H], the encoder's output.
          input_mask: [B, L], 1 for real tokens.
        """
        pairs = [block.cross_attention.read(source) for block in self.blocks]
        keys, values = zip(*pairs)
        return Memory(
            keys, values, layers.attention_bias(input_mask, source.dtype)
        )

    def call(
        self,
        target_ids: tf.Tensor,
        memory: Memory,
        training: bool = False,
        keys: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Scores what follows each token, all at once.

        Args:
          target_ids: [B, T] int32, from [CLS] on; what is padded behind the
            end changes nothing before it.
          memory: what `read` gave.
          training: whether gradients follow.
          keys: [B] uint32 dropout keys in training; None for no dropout.

        Returns:
          [B, T, V] float32 logits.
        """
        x = self._embed(target_ids, self._positions(target_ids), keys)
        length = tf.shape(target_ids)[1]
        seen = tf.linalg.band_part(tf.ones([length, length], x.dtype), -1, 0)
        bias = (1.0 - seen[None, None]) * tf.cast(layers.MASKED_SCORE, x.dtype)
        for i, block in enumerate(self.blocks):
            own = memory.keys[i], memory.values[i], memory.bias
            x = block(x, bias, own, keys=_salted(keys, _SITE + i + 1))
        return self.prediction(x, training=training)

    def empty_cache(self, rows: tf.Tensor, dtype: tf.DType) -> Cache:
        """Returns the cache before the first step.

        Args:
          rows: R.
          dtype: of the hidden states.
        """
        config = self.model_config
        size = config.hidden_size // config.num_heads
        empty = tf.zeros([rows, config.num_heads, 0, size], dtype)
        return tuple((empty, empty) for _ in self.blocks)

    def cache_shapes(self) -> tuple:
        """Of a cache at any step, for a loop."""
        config = self.model_config
        size = config.hidden_size // config.num_heads
        shape = tf.TensorShape([None, config.num_heads, None, size])
        return tuple((shape, shape) for _ in self.blocks)

    def step(
        self,
        ids: tf.Tensor,
        position: tf.Tensor,
        cache: Cache,
        memory: Memory,
    ) -> tuple[tf.Tensor, Cache]:
        """Scores what follows the last token of each row.

        Args:
          ids: [R] int32, the tokens at this position; rows of one source
            stand side by side.
          position: int32, from 0.
          cache: of the positions before it.
          memory: of the B sources.

        Returns:
          [R, V] float32 logits, and the cache with this position.
        """
        table = tf.convert_to_tensor(self.embeddings.position_embeddings)
        x = self._embed(ids[:, None], table[position][None], None)  # [R, 1, H]
        batch = tf.shape(memory.bias)[0]
        x = tf.reshape(x, [batch, -1, self.model_config.hidden_size])
        grown = []
        for i, block in enumerate(self.blocks):
            own = memory.keys[i], memory.values[i], memory.bias
            x, longer = block.step(x, cache[i], own)
            grown.append(longer)
        logits = self.prediction(x)  # [B, K, V]
        logits = tf.reshape(logits, [-1, self.model_config.vocab_size])
        return logits, tuple(grown)

    def start_from(self, encoder: ElectraEncoder) -> None:
        """Copies the encoder's blocks (Rothe et al. 2020, section 3).

        Where there are fewer blocks here, those evenly spread over the
        encoder's are taken, its last among them; where there are more, some
        are taken twice.
        """
        last, count = len(encoder.blocks) - 1, len(self.blocks)
        for i, block in enumerate(self.blocks):
            at = last if count == 1 else round(i * last / (count - 1))
            for own, given in zip(
                block.block.trainable_variables,
                encoder.blocks[at].trainable_variables,
            ):
                own.assign(given)

    def _positions(self, ids: tf.Tensor) -> tf.Tensor:
        table = tf.convert_to_tensor(self.embeddings.position_embeddings)
        return table[: tf.shape(ids)[1]]

    def _embed(
        self, ids: tf.Tensor, positions: tf.Tensor, keys: tf.Tensor | None
    ) -> tf.Tensor:
        """Returns [R, T] ids, [T, E] rows of the table -> [R, T, H]."""
        embedded = self.embeddings.embed(
            ids, tf.ones_like(ids), positions, _salted(keys, _SITE)
        )
        if self.embeddings_project is not None:
            embedded = self.embeddings_project(embedded)
        return embedded


def split_heads(x: tf.Tensor, heads_: int) -> tf.Tensor:
    """Returns [R, T, H] -> [R, A, T, D]."""
    size = x.shape[-1] // heads_
    x = tf.reshape(x, [tf.shape(x)[0], tf.shape(x)[1], heads_, size])
    return tf.transpose(x, [0, 2, 1, 3])


def _attend(
    query: tf.Tensor,
    key: tf.Tensor,
    value: tf.Tensor,
    bias: tf.Tensor,
    keys: tf.Tensor | None,
    config: ModelConfig,
) -> tf.Tensor:
    """Returns [R, A, T, D] queries, keys and values -> [R, T, H]."""
    context = products.attend(
        query,
        key,
        value,
        bias,
        keys,
        config.attention_dropout,
        query.shape[-1] ** -0.5,
    )
    rows = tf.shape(context)
    return tf.reshape(context, [rows[0], rows[1], config.hidden_size])


def _salted(keys: tf.Tensor | None, site: int) -> tf.Tensor | None:
    return None if keys is None else randomness.salted(keys, site)
