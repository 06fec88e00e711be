"""The encoder as TensorFlow runs it fastest on a CPU, without training.

The same sums as `encoder.ElectraEncoder`, with these differences:

- Real tokens of all rows stand one behind the other in one matrix [T, H], so
  padding costs no matrix products, but those of attention. There the rows are
  laid side by side again, by the same gather that divides them into heads.
- Operations stand in forms that TensorFlow's graph optimiser knows: bias,
  GELU and residual become part of a matrix product, a layer normalisation one
  operation, and so do scale and mask of the scores.
- `first_output` computes of the last block what the first tokens need. What
  nobody reads of an `EncoderOutput`, TensorFlow does not run.

With weights of bfloat16 the products with them are of bfloat16, as are those of
attention; residuals, softmax, GELU and normalisation stay in float32.

Shapes as in `layers`; T is the number of real tokens.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from electra_tf.models import layers
from electra_tf.models.encoder import ElectraEncoder, EncoderOutput
from electra_tf.models.rows import as_rows


@contextlib.contextmanager
def installed(
    network: keras.Model, make: Callable[[ElectraEncoder], Any] | None = None
) -> Iterator[None]:
    """Has the network use another encoder; those of another kind stay.

    Args:
      network: with an `encoder`, or without.
      make: the encoder that stands for it; `PackedEncoder` where None.
    """
    before = getattr(network, "encoder", None)
    if not isinstance(before, ElectraEncoder) or before.attends != "both":
        yield
        return
    network.encoder = (make or PackedEncoder)(before)
    try:
        yield
    finally:
        network.encoder = before


def where_fastest(
    network: keras.Model,
) -> contextlib.AbstractContextManager[None]:
    """Returns `installed` where this encoder is the fastest, else nothing.

    That is where there is a CPU alone and nothing of 16 bits.
    """
    policy = getattr(network, "dtype_policy", None)
    whole = policy is None or policy.compute_dtype == "float32"
    if whole and not tf.config.list_physical_devices("GPU"):
        return installed(network)
    return contextlib.nullcontext()


class _Places(NamedTuple):
    """Where tokens stand: in rows, and in the matrix of all of them."""

    tokens: tf.Tensor  # int32 [T], the place of each in [B * L]
    rows: tf.Tensor  # int32 [B, L], the token in each; of padding, any
    vectors: tf.Tensor  # int32 [T, A], of each token and head in [B, A, L]
    firsts: tf.Tensor  # int32 [B], the first token of each row
    bias: tf.Tensor  # float32 [B, 1, 1, L], added to scores


class PackedEncoder:
    """Called as the encoder that it stands for, in inference.

    Args:
      encoder: attends to both sides.
      bfloat16: whether to multiply by constants of bfloat16, rounded from the
        weights of now.
    """

    def __init__(self, encoder: ElectraEncoder, bfloat16: bool = False):
        self._encoder = encoder
        self.config = encoder.config
        self.embeddings = encoder.embeddings
        self._rounded: dict[layers.Dense, _Weights] = {}
        if bfloat16:
            self._rounded = {
                layer: _rounded(layer) for layer in _dense_layers(encoder)
            }

    def __call__(
        self, *parts: Any, training: bool = False, **named: Any
    ) -> EncoderOutput:
        """Called as every `rows.Network`; training is not possible.

        The outputs of padding are 0. L is at least 1, and a row without a
        real token counts as one of one token.
        """
        encoder = self._encoder
        if named.pop("return_attentions", False):
            return encoder(*parts, return_attentions=True, **named)
        rows = as_rows(*parts, **named)
        if rows.inputs_embeds is not None:  # not of tables, which it reads
            return encoder(rows)
        input_ids, input_mask, segment_ids, *_ = rows.filled()
        places = _places(input_mask, self.config.num_heads)
        x = self._embed(input_ids, segment_ids, places)
        if encoder.embeddings_project is not None:
            x = _whole(self._dense(encoder.embeddings_project, x))
        packed = [x]
        for block in encoder.blocks:
            packed.append(self._block(block, packed[-1], places))
        apart = [self._apart(x, places) for x in packed]
        first = self._first(encoder.blocks[-1], packed[-2], places)
        return EncoderOutput(apart[-1], first, apart[0], tuple(apart[1:]))

    def _embed(
        self, input_ids: tf.Tensor, segment_ids: tf.Tensor, places: _Places
    ) -> tf.Tensor:
        """Returns [B, L] int32, [B, L] int32 -> [T, E]."""
        embeddings = self._encoder.embeddings
        length = tf.shape(input_ids)[1]

        def read(table: keras.Variable, which: tf.Tensor) -> tf.Tensor:
            return tf.gather(tf.convert_to_tensor(table), which)

        def real(values: tf.Tensor) -> tf.Tensor:
            return tf.gather(tf.reshape(values, [-1]), places.tokens)

        x = read(embeddings.word_embeddings, real(input_ids))
        segments = embeddings.known(real(segment_ids))
        x += read(embeddings.token_type_embeddings, segments)
        x += read(embeddings.position_embeddings, places.tokens % length)
        return _norm(embeddings.norm, x)

    def _apart(self, x: tf.Tensor, places: _Places) -> tf.Tensor:
        """Returns [T, H] -> [B, L, H]."""
        size = self.config.hidden_size
        shape = tf.shape(places.rows)
        x = tf.scatter_nd(
            places.tokens[:, tf.newaxis], x, [shape[0] * shape[1], size]
        )
        x = tf.reshape(x, [shape[0], shape[1], size])
        return tf.ensure_shape(x, [None, None, size])

    def _block(self, block: Any, x: tf.Tensor, places: _Places) -> tf.Tensor:
        """Returns a block of the Transformer, [T, H] -> [T, H]."""
        qkv = self._dense(block.attention.qkv, x)  # [T, 3 H]
        query, key, value = (
            self._to_heads(qkv, places.rows, part) for part in range(3)
        )  # each [B, A, L, D]
        context = self._attend(query, key, value, places.bias)
        context = _gather_vectors(context, places.vectors)  # [T, A, D]
        return self._after_attention(block, context, x)

    def _first(self, block: Any, x: tf.Tensor, places: _Places) -> tf.Tensor:
        """Returns what `_block` gives for the first tokens: [T, H] -> [B,
        H].
        """
        heads, size = self.config.num_heads, self.config.hidden_size
        first = tf.gather(x, places.firsts)  # [B, H]
        kernel, bias = self._weights(block.attention.qkv)
        x = tf.cast(x, kernel.dtype)
        asking = tf.cast(first, kernel.dtype)
        query = product(asking, kernel[:, :size], bias[:size])
        query = tf.reshape(query, [-1, heads, 1, size // heads])
        pair = product(x, kernel[:, size:], bias[size:])  # [T, 2 H]
        key, value = (
            self._to_heads(pair, places.rows, part) for part in range(2)
        )
        context = self._attend(query, key, value, places.bias)  # [B, A, 1, D]
        return self._after_attention(block, context, first)

    def _dense(self, layer: layers.Dense, x: tf.Tensor) -> tf.Tensor:
        """Returns [N, input] -> [N, units], in the weights' type."""
        kernel, bias = self._weights(layer)
        return product(tf.cast(x, kernel.dtype), kernel, bias)

    def _weights(self, layer: layers.Dense) -> "_Weights":
        """Returns what a layer's product reads."""
        return self._rounded.get(layer) or _weights(layer)

    def _to_heads(self, x: tf.Tensor, rows: tf.Tensor, part: int) -> tf.Tensor:
        """Returns a part of [T, parts * H], by heads: [B, A, L, D].

        Args:
          x: queries, keys and values, or some of these, side by side.
          rows: see `_Places`.
          part: which of them.
        """
        heads = self.config.num_heads
        across = x.shape[-1] // (self.config.hidden_size // heads)
        head = part * heads + tf.range(heads)
        index = rows[:, tf.newaxis] * across + head[:, tf.newaxis]
        return _gather_vectors(x, index, self.config.hidden_size // heads)

    def _attend(
        self,
        query: tf.Tensor,
        key: tf.Tensor,
        value: tf.Tensor,
        bias: tf.Tensor,
    ) -> tf.Tensor:
        """Returns [B, A, L or 1, D] of queries -> the same of what they
        gather.
        """
        scale = (self.config.hidden_size // self.config.num_heads) ** -0.5
        scores = _whole(tf.matmul(query, key, transpose_b=True))
        weights = tf.nn.softmax(scores * scale + bias)
        return tf.matmul(tf.cast(weights, value.dtype), value)

    def _after_attention(
        self, block: Any, context: tf.Tensor, x: tf.Tensor
    ) -> tf.Tensor:
        """Returns the rest of a block.

        Args:
          block: the block.
          context: as many values as `x`, of all heads side by side.
          x: [N, H], what went into the block.
        """
        # In the shape of `x`, so that the optimiser sees they are the same.
        context = tf.reshape(context, tf.shape(x))
        x = _whole(self._dense(block.attention.output_dense, context)) + x
        x = _norm(block.attention_norm, x)
        inner = _whole(self._dense(block.intermediate, x))
        inner = gelu(inner, self.config.gelu)
        outer = _whole(self._dense(block.output_dense, inner))
        return _norm(block.output_norm, outer + x)


def _places(input_mask: tf.Tensor, heads: int) -> _Places:
    """Returns [B, L] of 1 and 0, and A -> where the real tokens are."""
    real = input_mask > 0
    # A row always has its first place: heads read it.
    first = tf.range(tf.shape(real)[1]) == 0
    real = tf.logical_or(real, first[tf.newaxis])
    flat = tf.reshape(real, [-1])
    tokens = tf.cast(tf.where(flat)[:, 0], tf.int32)
    count = tf.cumsum(tf.cast(flat, tf.int32)) - 1
    rows = tf.reshape(count, tf.shape(real))
    # Reckoned before it is gathered: so the optimiser sees that T is T.
    batch, length = tf.shape(real)[0], tf.shape(real)[1]
    begins = tf.range(batch)[:, tf.newaxis] * (heads * length)
    vectors = tf.reshape(begins + tf.range(length), [-1])  # of the first head
    vectors = tf.gather(vectors, tokens)[:, tf.newaxis]
    vectors += tf.range(heads) * length
    bias = (1.0 - tf.cast(real, tf.float32)) * layers.MASKED_SCORE
    return _Places(tokens, rows, vectors, rows[:, 0], bias[:, None, None, :])


def _gather_vectors(
    x: tf.Tensor, index: tf.Tensor, size: int | None = None
) -> tf.Tensor:
    """Returns vectors of a tensor, counted through all of it: [..., D].

    Args:
      x: whatever shape, D values after D values.
      index: int32 [...].
      size: D; the last axis of `x` where None.
    """
    return tf.gather(tf.reshape(x, [-1, size or x.shape[-1]]), index)


class _Weights(NamedTuple):
    """Of a dense layer."""

    kernel: tf.Tensor  # [input, units]
    bias: tf.Tensor  # [units]


def _weights(layer: layers.Dense) -> _Weights:
    return _Weights(layer.whole_kernel(), tf.convert_to_tensor(layer.bias))


def _rounded(layer: layers.Dense) -> _Weights:
    """Returns constants of bfloat16."""
    with tf.init_scope():
        return _Weights(
            *(tf.cast(value, tf.bfloat16) for value in _weights(layer))
        )


def _dense_layers(encoder: ElectraEncoder) -> Iterator[layers.Dense]:
    """Yields the layers whose products are large."""
    if encoder.embeddings_project is not None:
        yield encoder.embeddings_project
    for block in encoder.blocks:
        yield block.attention.qkv
        yield block.attention.output_dense
        yield block.intermediate
        yield block.output_dense


def dense(layer: layers.Dense, x: tf.Tensor) -> tf.Tensor:
    """Returns [N, input] -> [N, units]."""
    return product(x, *_weights(layer))


def product(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """Returns [N, input], [input, units], [units] -> [N, units]."""
    return tf.nn.bias_add(tf.matmul(x, kernel), bias)


def _whole(x: tf.Tensor) -> tf.Tensor:
    """Returns a product in float32; the same tensor where it is."""
    return tf.cast(x, tf.float32)


def gelu(x: tf.Tensor, kind: str) -> tf.Tensor:
    """As the optimiser and LiteRT's converter know it.

    `tf.nn.gelu` itself has another form.
    """
    if kind == "tanh":
        return tf.nn.gelu(x, approximate=True)
    return 0.5 * x * (1.0 + tf.math.erf(x * math.sqrt(0.5)))


def _norm(norm: layers.LayerNorm, x: tf.Tensor) -> tf.Tensor:
    """Returns layer normalisation, [N, H] -> [N, H].

    As Keras 2 wrote it, which the optimiser takes for what it is: each row is
    a channel of a batch normalisation.
    """
    shape = tf.shape(x)
    unit, zero = tf.fill([shape[0]], 1.0), tf.fill([shape[0]], 0.0)
    none = tf.constant([], tf.float32)
    normal, *_ = tf.raw_ops.FusedBatchNormV3(
        x=tf.reshape(x, [1, shape[0], shape[1], 1]),
        scale=unit,
        offset=zero,
        mean=none,
        variance=none,
        epsilon=norm.epsilon,
        is_training=True,
        data_format="NCHW",
    )
    normal = tf.reshape(normal, shape)
    gamma = tf.convert_to_tensor(norm.gamma)
    return normal * gamma + tf.convert_to_tensor(norm.beta)
