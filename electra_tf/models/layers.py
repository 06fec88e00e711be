"""The Transformer's parts: attention, feed-forward, block.

Shapes: B batch, L sequence length, E embedding size, H hidden size, A heads,
D = H / A, I intermediate size, V vocabulary.
"""

from typing import Any

import keras
import tensorflow as tf

from electra_tf.models import kernels, products, randomness
from electra_tf.models.config import ModelConfig
from electra_tf.models.initial import NeighbourAttention, truncated_normal
from electra_tf.models.low_rank import LowRank
from electra_tf.models.saved import Saved
from electra_tf.registration import registered

# What the original adds to the scores of padding: exp() of it is 0.
MASKED_SCORE = -10000.0


@registered
class Dense(Saved):
    """x @ kernel [+ bias]; the bias may be left to the kernel that follows.

    Attributes:
      lora: a change of the kernel, of low rank; none unless it is enabled.
    """

    _arguments = ("units", "initializer")

    def __init__(
        self,
        units: int,
        initializer: keras.initializers.Initializer,
        name: str | None = None,
        **options: Any,
    ):
        super().__init__(name=name, **options)
        self.units = units
        self.initializer = initializer
        self.lora = LowRank(dtype=self.dtype_policy)

    def build(self, input_shape: tuple) -> None:
        """Creates kernel [input, units] and bias [units]."""
        self.kernel = self.add_weight(
            shape=(input_shape[-1], self.units),
            initializer=self.initializer,
            name="kernel",
        )
        self.bias = self.add_weight(
            shape=(self.units,), initializer="zeros", name="bias"
        )

    def product(self, x: tf.Tensor) -> tf.Tensor:
        """x @ kernel, without the bias: [..., input] -> [..., units].

        In x's type.
        """
        found = products.product(x, tf.cast(self.kernel, x.dtype))
        # Not by Keras' call, which would have it in the layer's type.
        return found + self.lora.call(x) if self.lora.rank else found

    def whole_kernel(self) -> tf.Tensor:
        """The kernel with its change: [input, units]."""
        kernel = tf.convert_to_tensor(self.kernel)
        return kernel + self.lora.change() if self.lora.rank else kernel

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """[..., input] -> [..., units]."""
        return tf.nn.bias_add(self.product(x), tf.cast(self.bias, x.dtype))

    def large(self, x: tf.Tensor) -> tf.Tensor:
        """As `call`, with `products.factor` of x."""
        found = tf.cast(self.product(products.factor(x)), x.dtype)
        return tf.nn.bias_add(found, tf.cast(self.bias, x.dtype))


@registered
class LayerNorm(Saved):
    """The scale and offset of a layer normalisation over the last axis."""

    _arguments = ("epsilon",)

    def __init__(self, epsilon: float, name: str | None = None, **options: Any):
        super().__init__(name=name, **options)
        self.epsilon = epsilon

    def build(self, input_shape: tuple) -> None:
        """Creates gamma and beta, both [H]."""
        self.gamma = self.add_weight(
            shape=(input_shape[-1],), initializer="ones", name="gamma"
        )
        self.beta = self.add_weight(
            shape=(input_shape[-1],), initializer="zeros", name="beta"
        )

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """[..., H] -> [..., H]."""
        return kernels.layer_norm(
            x,
            tf.convert_to_tensor(self.gamma),
            tf.convert_to_tensor(self.beta),
            self.epsilon,
        )


@registered
class SelfAttention(Saved):
    """Multi-head scaled dot-product attention, without its output bias.

    Query, key and value are one kernel [H, 3H], hence one matrix product.

    Attributes:
      kind: by which means; see `products.AttentionKind`. Results are the same.
    """

    _options = ("kind",)

    def __init__(
        self, config: ModelConfig, name: str = "attention", **options: Any
    ):
        super().__init__(name=name, **options)
        self.config = config
        self.kind: products.AttentionKind = "composed"
        # One initialiser each: an initialiser draws the same numbers again.
        stddev = config.initializer_range
        self.qkv = Dense(
            3 * config.hidden_size,
            NeighbourAttention(
                stddev,
                config.num_heads,
                config.match_heads,
                config.beside_words,
                config.embedding_size // config.hidden_size,
            )
            if config.local_start
            else truncated_normal(stddev),
            name="qkv",
            dtype=self.dtype_policy,
        )
        self.output_dense = Dense(
            config.hidden_size,
            truncated_normal(stddev),
            name="output",
            dtype=self.dtype_policy,
        )

    def build(self, input_shape: tuple) -> None:
        """Creates qkv [H, 3H] and output [H, H] with their biases."""
        self.qkv.build(input_shape)
        self.output_dense.build(input_shape)

    def call(
        self, x: tf.Tensor, bias: tf.Tensor, keys: tf.Tensor | None = None
    ) -> tf.Tensor:
        """[B, L, H] -> [B, L, H], before the output bias.

        Args:
          x: hidden states.
          bias: [B, 1, 1 or L, L], added to the scaled scores.
          keys: [B] uint32 dropout keys in training; None in inference.
        """
        return self.attend(products.factor(x), bias, keys)

    def attend(
        self, x: tf.Tensor, bias: tf.Tensor, keys: tf.Tensor | None
    ) -> tf.Tensor:
        """As `call`, of hidden states as products read them, in their type."""
        heads = self.config.num_heads
        size = self.config.hidden_size // heads
        batch, length = tf.shape(x)[0], tf.shape(x)[1]
        if self.kind == "composed":
            context = self._context(x, bias, keys)
        else:
            qkv = tf.reshape(self.qkv.call(x), [batch, length, 3, heads, size])
            context = products.fused_attend(
                qkv, bias, size**-0.5, flash=self.kind == "flash"
            )
        context = tf.reshape(context, [batch, length, heads * size])
        context = tf.ensure_shape(context, x.shape)
        return self.output_dense.product(context)

    def probabilities(self, x: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        """What each position attends to: [B, L, H] -> [B, A, L, L].

        Computed beside `call`, for those who ask; without dropout.

        Args:
          x: hidden states.
          bias: [B, 1, 1 or L, L], added to the scaled scores.
        """
        heads = self.config.num_heads
        size = self.config.hidden_size // heads
        shape = [tf.shape(x)[0], tf.shape(x)[1], 3, heads, size]
        query, key, _ = tf.unstack(
            tf.transpose(tf.reshape(self.qkv(x), shape), [2, 0, 3, 1, 4])
        )
        scores = tf.matmul(query, key, transpose_b=True)
        return kernels.attention_probabilities(
            scores, bias, None, 0.0, size**-0.5
        )

    def _context(
        self, x: tf.Tensor, bias: tf.Tensor, keys: tf.Tensor | None
    ) -> tf.Tensor:
        """[B, L, H] -> [B, L, A, D]; arguments as `attend`'s."""
        query, key, value = products.heads(
            self.qkv.product(x),
            tf.convert_to_tensor(self.qkv.bias),
            self.config.num_heads,
            training=keys is not None,
        )  # each [B, A, L, D]
        return products.attend(
            query,
            key,
            value,
            bias,
            keys,
            self.config.attention_dropout,
            query.shape[-1] ** -0.5,
        )


@registered
class Block(Saved):
    """Attention and feed-forward, each with residual and normalisation."""

    def __init__(
        self, config: ModelConfig, name: str | None = None, **options: Any
    ):
        super().__init__(name=name, **options)
        self.config = config
        stddev = config.initializer_range
        epsilon = config.layer_norm_epsilon
        policy = self.dtype_policy
        self.attention = SelfAttention(config, dtype=policy)
        self.attention_norm = LayerNorm(
            epsilon, name="attention_layer_norm", dtype=policy
        )
        self.intermediate = Dense(
            config.intermediate_size,
            truncated_normal(stddev),
            name="intermediate",
            dtype=policy,
        )
        self.output_dense = Dense(
            config.hidden_size,
            truncated_normal(stddev),
            name="output",
            dtype=policy,
        )
        self.output_norm = LayerNorm(
            epsilon, name="output_layer_norm", dtype=policy
        )

    def build(self, input_shape: tuple) -> None:
        """Builds the parts for [B, L, H]."""
        self.attention.build(input_shape)
        self.attention_norm.build(input_shape)
        self.intermediate.build(input_shape)
        self.output_dense.build((None, None, self.config.intermediate_size))
        self.output_norm.build(input_shape)

    def call(
        self, x: tf.Tensor, bias: tf.Tensor, keys: tf.Tensor | None = None
    ) -> tf.Tensor:
        """[B, L, H] -> [B, L, H]; arguments as `SelfAttention.call`."""
        return self.run(products.states(x), bias, keys).whole

    def run(
        self,
        x: products.States,
        bias: tf.Tensor,
        keys: tf.Tensor | None,
    ) -> products.States:
        """As `call`, for a block that follows another and precedes one."""
        salted = [
            None if keys is None else randomness.salted(keys, site)
            for site in range(3)
        ]
        x = self.add_norm(
            self.attention.attend(x.factor, bias, salted[0]),
            self.attention.output_dense,
            x.whole,
            self.attention_norm,
            salted[1],
        )
        return self.feed_forward(x, salted[2])

    def feed_forward(
        self, x: products.States, keys: tf.Tensor | None = None
    ) -> products.States:
        """The second half.

        Args:
          x: what the first half gave.
          keys: [B] uint32 dropout keys in training; None in inference.
        """
        inner = self.intermediate.product(x.factor)  # [B, L, I]
        bias = tf.cast(self.intermediate.bias, x.whole.dtype)

        def after_gelu(kernel: tf.Tensor) -> tf.Tensor:
            return products.gelu_product(
                inner,
                bias,
                tf.cast(kernel, inner.dtype),
                self.config.gelu,
                training=keys is not None,
                frozen=not self.intermediate.bias.trainable,
            )

        outer = after_gelu(self.output_dense.kernel)  # [B, L, H]
        if self.output_dense.lora.rank:
            down, up = self.output_dense.lora.factors
            changed = after_gelu(down)  # GELU costs less than to keep it
            outer += products.product(changed, tf.cast(up, changed.dtype))
        return self.add_norm(
            outer, self.output_dense, x.whole, self.output_norm, keys
        )

    def add_norm(
        self,
        x: tf.Tensor,
        dense: Dense,
        residual: tf.Tensor,
        norm: LayerNorm,
        keys: tf.Tensor | None,
    ) -> products.States:
        """The end of a half: bias, dropout, residual and normalisation.

        Args:
          x: [B, L, H], a product without its bias.
          dense: whose bias it lacks.
          residual: [B, L, H], what went in.
          norm: the normalisation.
          keys: [B] uint32 dropout keys in training; None in inference.
        """
        offsets = dense.bias, norm.gamma, norm.beta
        inputs = (
            x,
            tf.cast(dense.bias, residual.dtype),
            residual,
            tf.cast(norm.gamma, residual.dtype),
            tf.cast(norm.beta, residual.dtype),
            keys,
            self.config.hidden_dropout,
            norm.epsilon,
            not any(variable.trainable for variable in offsets),
        )
        if x.dtype != residual.dtype:
            return products.States(*kernels.rounding_residual_norm(*inputs))
        whole = kernels.bias_dropout_residual_norm(*inputs)
        return products.States(whole, whole)


def attention_bias(input_mask: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """[B, L] of 1 (real) and 0 (padding) -> [B, 1, 1, L] score offsets."""
    allowed = tf.cast(input_mask[:, None, None, :], dtype)
    return (1.0 - allowed) * tf.cast(MASKED_SCORE, dtype)
