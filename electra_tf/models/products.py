"""Products of what `kernels` compute, which need not be kept for training.

The gradient of a product needs both its factors. A factor that is one of our
elementwise groups costs little to compute, and much memory to keep: of a block
of `base`, the activated intermediate layer and the attention's scores and
probabilities are two fifths of all that is kept. So they are computed once more
when the backward pass reaches them: 1 % of a step.
"""

import functools
from collections.abc import Callable
from typing import Literal, get_args

import keras
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.models import kernels


def product(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """x @ kernel as one product of matrices: [..., I] @ [I, O] -> [..., O]."""
    width, units = kernel.shape
    flat = tf.matmul(tf.reshape(x, [-1, width]), kernel)
    shape = tf.concat([tf.shape(x)[:-1], [units]], axis=0)
    flat = tf.reshape(flat, shape)
    return tf.ensure_shape(flat, [*x.shape[:-1], units])


# --- after GELU ------------------------------------------------------------


def gelu_product(
    x: tf.Tensor,
    bias: tf.Tensor,
    kernel: tf.Tensor,
    kind: str,
    training: bool,
    frozen: bool = False,
) -> tf.Tensor:
    """GELU(x + bias) @ kernel.

    Args:
      x: [..., I].
      bias: [I].
      kernel: [I, O].
      kind: which GELU, as `kernels.bias_gelu`'s.
      training: whether gradients follow.
      frozen: whether the bias needs none.

    Returns:
      [..., O].
    """
    if training and kernels.mode() == "xla":
        return _gelu_product(kind, frozen)(x, bias, kernel)
    return product(kernels.bias_gelu(x, bias, kind, training), kernel)


@functools.cache
def _gelu_product(kind: str, frozen: bool) -> Callable[..., tf.Tensor]:
    gelu = kernels.gelu_cluster(kind, frozen)

    @tf.custom_gradient
    def op(
        x: tf.Tensor, bias: tf.Tensor, kernel: tf.Tensor
    ) -> tuple[tf.Tensor, Callable]:
        def gradient(dy: tf.Tensor) -> tuple[tf.Tensor | None, ...]:
            dy = _rows_of(dy)
            d_gelu = tf.matmul(dy, kernel, transpose_b=True)
            dx, *rest = gelu.backward(x, bias, tf.reshape(d_gelu, tf.shape(x)))
            d_bias = rest[0] if rest else None
            with _once_there(dy):
                again = gelu.forward(x, bias)
            d_kernel = tf.matmul(_rows_of(again), dy, transpose_a=True)
            return dx, d_bias, d_kernel

        return product(gelu.forward(x, bias), kernel), gradient

    return op


def _rows_of(x: tf.Tensor) -> tf.Tensor:
    return tf.reshape(x, [-1, x.shape[-1]])


# --- attention -------------------------------------------------------------


def attend(
    query: tf.Tensor,
    key: tf.Tensor,
    value: tf.Tensor,
    bias: tf.Tensor,
    keys: tf.Tensor | None,
    rate: float,
    scale: float,
) -> tf.Tensor:
    """dropout(softmax(scale * query @ key + bias)) @ value.

    Args:
      query: [B, A, T, D].
      key: [B, A, L, D].
      value: [B, A, L, D].
      bias: [B, 1, 1 or T, L], 0 where attention is allowed and a large
        negative number elsewhere. Not differentiated.
      keys: [B] uint32 dropout keys in training; None in inference.
      rate: dropout rate.
      scale: 1 / sqrt(D).

    Returns:
      [B, A, T, D].
    """
    if keys is not None and kernels.mode() == "xla":
        return _attention(rate, scale)(query, key, value, bias, keys)
    scores = tf.matmul(query, key, transpose_b=True)
    return tf.matmul(
        kernels.attention_probabilities(scores, bias, keys, rate, scale), value
    )


@functools.cache
def _attention(rate: float, scale: float) -> Callable[..., tf.Tensor]:
    probabilities = kernels.attention_cluster(rate, scale)

    @tf.custom_gradient
    def op(
        query: tf.Tensor,
        key: tf.Tensor,
        value: tf.Tensor,
        bias: tf.Tensor,
        keys: tf.Tensor,
    ) -> tuple[tf.Tensor, Callable]:
        def gradient(dy: tf.Tensor) -> tuple[tf.Tensor | None, ...]:
            with _once_there(dy):
                again = tf.matmul(query, key, transpose_b=True)
            d_scores, p = probabilities.backward(
                again, bias, keys, tf.matmul(dy, value, transpose_b=True)
            )
            return (
                tf.matmul(d_scores, key),
                tf.matmul(d_scores, query, transpose_a=True),
                tf.matmul(p, dy, transpose_a=True),
                tf.zeros_like(bias),  # the mask is not trained
                None,
            )

        scores = tf.matmul(query, key, transpose_b=True)
        p = probabilities.forward(scores, bias, keys)
        return tf.matmul(p, value), gradient

    return op


def _once_there(dy: tf.Tensor) -> tf.control_dependencies:
    """Computed again when `dy` is there: not before, nor taken from before."""
    return tf.control_dependencies([dy])


# --- attention as one operation of Keras --------------------------------------

AttentionKind = Literal["composed", "fused", "flash"]


def check_attention(kind: str, dropout: float) -> None:
    """Refuses what cannot be computed here.

    Args:
      kind: "composed", by our kernels; "fused", by Keras' operation; "flash",
        by its kernel that never stores the scores.
      dropout: rate on attention probabilities in training.

    Raises:
      UserError: it names the setting, and what to do.
    """
    if kind not in get_args(AttentionKind):
        raise UserError(
            "train.attention: expected one of "
            f"{', '.join(get_args(AttentionKind))}, got {kind}"
        )
    if kind != "composed" and dropout:
        raise UserError(
            f"train.attention, model.attention_dropout: {kind} attention has "
            f"no dropout, which is {dropout}; set it to 0, or train.attention "
            "to composed"
        )
    if kind == "flash":
        x = tf.zeros([1, 128, 1, 64], tf.float16)
        try:
            keras.ops.dot_product_attention(x, x, x, flash_attention=True)
        except (ValueError, RuntimeError, tf.errors.OpError) as error:
            raise UserError(
                "train.attention: Keras has no flash attention with "
                f"{keras.config.backend()} on this device "
                f"({str(error).splitlines()[0]}); set it to fused or composed"
            ) from error


def fused_attend(
    qkv: tf.Tensor, bias: tf.Tensor, scale: float, flash: bool
) -> tf.Tensor:
    """softmax(scale * query @ key + bias) @ value, by Keras' operation.

    With TensorFlow, Keras puts that operation together from products and a
    softmax. On a CPU that costs more than ours: of four layers of `small`,
    forward and backward, 5 % at 128 tokens and 1 % at 512. It has no flash
    kernel there, and says so; once it has one, it is used as it is.

    Args:
      qkv: [B, L, 3, A, D], query, key and value.
      bias: [B, 1, 1 or L, L], added to the scaled scores.
      scale: 1 / sqrt(D).
      flash: whether by the kernel that never stores the scores.

    Returns:
      [B, L, A, D].
    """
    query, key, value = tf.unstack(qkv, axis=2)
    return keras.ops.dot_product_attention(
        query, key, value, bias=bias, scale=scale, flash_attention=flash
    )
