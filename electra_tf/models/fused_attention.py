"""Attention as one operation of Keras, in place of our own kernels.

With TensorFlow, Keras puts that operation together from products and a
softmax. On a CPU that costs more than ours: of four layers of `small`, forward
and backward, 5 % at 128 tokens and 1 % at 512. It has no flash kernel there,
and says so; once it has one, it is used as it is.
"""

from typing import Literal, get_args

import keras
import tensorflow as tf

from electra_tf.errors import UserError

Kind = Literal["composed", "fused", "flash"]


def check(kind: str, dropout: float) -> None:
    """Refuses what cannot be computed here.

    Args:
      kind: "composed", by our kernels; "fused", by Keras' operation; "flash",
        by its kernel that never stores the scores.
      dropout: rate on attention probabilities in training.

    Raises:
      UserError: it names the setting, and what to do.
    """
    if kind not in get_args(Kind):
        raise UserError(
            f"train.attention: expected one of {', '.join(get_args(Kind))}, "
            f"got {kind}"
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


def attend(
    qkv: tf.Tensor, bias: tf.Tensor, scale: float, flash: bool
) -> tf.Tensor:
    """softmax(scale * query @ key + bias) @ value.

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
