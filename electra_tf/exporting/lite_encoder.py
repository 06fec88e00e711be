"""The encoder as it is converted for TensorFlow Lite, without training.

The same sums as `models.encoder`, in forms that the converter knows and fuses:
positions of all rows in one matrix, bias right behind its matrix product,
softmax as one operation.
"""

import math
from typing import Any

import tensorflow as tf

from electra_tf.models import layers
from electra_tf.models.encoder import ElectraEncoder, EncoderOutput
from electra_tf.models.rows import as_rows


class LiteEncoder:
    """Called as the encoder that it stands for, in inference."""

    def __init__(self, encoder: ElectraEncoder):
        self._encoder = encoder
        self.config = encoder.config

    def __call__(
        self, *parts: Any, training: bool = False, **named: Any
    ) -> EncoderOutput:
        """Called as every `rows.Network`; training is not possible."""
        encoder = self._encoder
        read = as_rows(*parts, **named).filled()
        input_ids, input_mask, segment_ids, *_ = read
        rows = tf.shape(input_ids)  # B, L
        x = encoder.embeddings(input_ids, segment_ids, keys=None)
        x = tf.reshape(x, [-1, self.config.embedding_size])  # [B * L, E]
        if encoder.embeddings_project is not None:
            x = _dense(encoder.embeddings_project, x)
        embedding_output = self._apart(x, rows)
        bias = layers.attention_bias(input_mask, x.dtype)
        all_layers = []
        for block in encoder.blocks:
            x = self._block(block, x, bias, rows)
            all_layers.append(self._apart(x, rows))
        return EncoderOutput(
            all_layers[-1],
            all_layers[-1][:, 0],
            embedding_output,
            tuple(all_layers),
        )

    def _apart(self, x: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """[B * L, H] -> [B, L, H]."""
        size = self.config.hidden_size
        apart = tf.reshape(x, [rows[0], rows[1], size])
        return tf.ensure_shape(apart, [None, None, size])

    def _block(
        self, block: Any, x: tf.Tensor, bias: tf.Tensor, rows: tf.Tensor
    ) -> tf.Tensor:
        """A block of the Transformer, [B * L, H] -> [B * L, H]."""
        attention = block.attention
        attended = self._attend(_dense(attention.qkv, x), bias, rows)
        x = _norm(
            block.attention_norm, _dense(attention.output_dense, attended) + x
        )
        inner = _gelu(_dense(block.intermediate, x), self.config.gelu)
        return _norm(block.output_norm, _dense(block.output_dense, inner) + x)

    def _attend(
        self, qkv: tf.Tensor, bias: tf.Tensor, rows: tf.Tensor
    ) -> tf.Tensor:
        """[B * L, 3 H] -> [B * L, H]."""
        heads = self.config.num_heads
        size = self.config.hidden_size // heads
        qkv = tf.reshape(qkv, [rows[0], rows[1], 3, heads, size])
        query, key, value = tf.unstack(tf.transpose(qkv, [2, 0, 3, 1, 4]))
        scores = tf.matmul(query, key, transpose_b=True) * size**-0.5 + bias
        context = tf.matmul(tf.nn.softmax(scores), value)  # [B, A, L, D]
        return tf.reshape(
            tf.transpose(context, [0, 2, 1, 3]), [-1, heads * size]
        )


def _dense(dense: layers.Dense, x: tf.Tensor) -> tf.Tensor:
    """[N, input] -> [N, units]."""
    return tf.nn.bias_add(
        tf.matmul(x, tf.convert_to_tensor(dense.kernel)),
        tf.convert_to_tensor(dense.bias),
    )


def _gelu(x: tf.Tensor, kind: str) -> tf.Tensor:
    """As the optimiser knows it; `tf.nn.gelu` itself has another form."""
    if kind == "tanh":
        return tf.nn.gelu(x, approximate=True)
    return 0.5 * x * (1.0 + tf.math.erf(x * math.sqrt(0.5)))


def _norm(norm: layers.LayerNorm, x: tf.Tensor) -> tf.Tensor:
    """Layer normalisation, [N, H] -> [N, H]."""
    mean, variance = tf.nn.moments(x, axes=[-1], keepdims=True)
    return tf.nn.batch_normalization(
        x,
        mean,
        variance,
        tf.convert_to_tensor(norm.beta),
        tf.convert_to_tensor(norm.gamma),
        norm.epsilon,
    )
