"""Products of what `kernels` compute, which need not be kept for training.

The gradient of a product needs both its factors. A factor that is one of our
elementwise groups costs little to compute, and much memory to keep: of a block
of `base`, the activated intermediate layer and the attention's scores and
probabilities are two fifths of all that is kept. So they are computed once more
when the backward pass reaches them: 1 % of a step.

On processors with instructions for it products of bfloat16 take half the time
of float32's, and what is kept for them half the memory. Inside `in_bfloat16`
the factors of every large product are rounded; the sums are in float32, and
rounded once. All else stays in float32, the weights too.
"""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, get_args

import keras
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.models import kernels

# Of this thread: replicas are traced in turns, each in a thread of its own.
_rounds: contextvars.ContextVar[bool] = contextvars.ContextVar(
    "rounds", default=False
)


@contextlib.contextmanager
def in_bfloat16(wanted: bool = True) -> Iterator[None]:
    """Traces what follows with products of bfloat16, or of what they are given.

    For training: a forward pass and its gradient are traced inside together.
    """
    token = _rounds.set(wanted)
    try:
        yield
    finally:
        _rounds.reset(token)


def factor(x: tf.Tensor) -> tf.Tensor:
    """`x` as a large product reads it: rounded inside `in_bfloat16`.

    Args:
      x: float32; what has 16 bits already stays as it is.
    """
    if _rounds.get() and x.dtype == tf.float32:
        return tf.cast(x, tf.bfloat16)
    return x


class States(NamedTuple):
    """Hidden states, [B, L, H] both."""

    whole: tf.Tensor  # for residuals and what else is not a product
    factor: tf.Tensor  # for products: the same, or the same rounded


def states(x: tf.Tensor) -> States:
    """States of which only the whole is there yet."""
    return States(x, factor(x))


def product(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """x @ kernel as one product of matrices: [..., I] @ [I, O] -> [..., O]."""
    width, units = kernel.shape
    flat = tf.matmul(tf.reshape(x, [-1, width]), kernel)
    outer = [-1 if size is None else size for size in x.shape[:-1]]
    if outer.count(-1) <= 1:  # a shape that is known needs no reckoning
        return tf.reshape(flat, [*outer, units])
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
      x: [..., I], a product.
      bias: [I].
      kernel: [I, O], in x's type.
      kind: which GELU, as `kernels.bias_gelu`'s.
      training: whether gradients follow.
      frozen: whether the bias needs none.

    Returns:
      [..., O].
    """
    if training and kernels.mode() == "xla":
        make = _gelu_product if x.dtype == bias.dtype else _rounded_gelu_product
        return make(kind, frozen)(x, bias, kernel)
    found = kernels.bias_gelu(x, bias, kind, training)
    return product(tf.cast(found, kernel.dtype), kernel)


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


@functools.cache
def _rounded_gelu_product(kind: str, frozen: bool) -> Callable[..., tf.Tensor]:
    gelu = kernels.rounded_gelu_cluster(kind)

    @tf.custom_gradient
    def op(
        x: tf.Tensor, bias: tf.Tensor, kernel: tf.Tensor
    ) -> tuple[tf.Tensor, Callable]:
        def gradient(dy: tf.Tensor) -> tuple[tf.Tensor | None, ...]:
            dy = _rows_of(dy)
            d_gelu = tf.matmul(dy, kernel, transpose_b=True)
            d_gelu = tf.reshape(d_gelu, tf.shape(x))
            dx, again = gelu.backward(x, bias, d_gelu)
            d_kernel = tf.matmul(_rows_of(again), dy, transpose_a=True)
            if frozen:
                return dx, None, d_kernel
            return dx, tf.cast(kernels.row_sums(dx), bias.dtype), d_kernel

        return product(gelu.forward(x, bias), kernel), gradient

    return op


def _rows_of(x: tf.Tensor) -> tf.Tensor:
    return tf.reshape(x, [-1, x.shape[-1]])


# --- attention -------------------------------------------------------------


def heads(
    x: tf.Tensor, bias: tf.Tensor, count: int, training: bool
) -> list[tf.Tensor]:
    """Divides x + bias into query, key and value of each head.

    Args:
      x: [B, L, 3 H], a product.
      bias: [3 H].
      count: of heads, A.
      training: whether gradients follow.

    Returns:
      Three times [B, A, L, D], in x's type.
    """
    if training and kernels.mode() == "xla" and x.dtype != bias.dtype:
        return list(_rounded_heads(count)(x, bias))
    return _divided(
        tf.nn.bias_add(tf.cast(x, bias.dtype), bias), count, x.dtype
    )


def _divided(x: tf.Tensor, count: int, dtype: tf.DType) -> list[tf.Tensor]:
    rows, size = tf.shape(x), x.shape[-1] // (3 * count)
    x = tf.reshape(tf.cast(x, dtype), [rows[0], rows[1], 3, count, size])
    return tf.unstack(tf.transpose(x, [2, 0, 3, 1, 4]))


@functools.cache
def _rounded_heads(count: int) -> Callable[..., tuple[tf.Tensor, ...]]:
    @functools.partial(tf.function, jit_compile=True)
    def forward(x: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, ...]:
        wide = tf.cast(x, bias.dtype) + bias
        return tuple(_divided(wide, count, x.dtype))

    def backward(*dys: tf.Tensor) -> tf.Tensor:
        # Not by XLA, which moves one number after the other.
        batch, length, size = (tf.shape(dys[0])[i] for i in (0, 2, 3))
        d = tf.reshape(tf.stack(dys, axis=1), [batch, 3 * count, length, size])
        d = tf.transpose(d, [0, 2, 1, 3])
        return tf.reshape(d, [batch, length, 3 * count * dys[0].shape[-1]])

    @tf.custom_gradient
    def op(x: tf.Tensor, bias: tf.Tensor) -> tuple:
        def gradient(*dys: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            dx = backward(*dys)
            return dx, tf.cast(kernels.row_sums(dx), bias.dtype)

        return forward(x, bias), gradient

    return op


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
      [B, T, A, D].
    """
    query, key, value = (factor(x) for x in (query, key, value))
    if keys is not None and kernels.mode() == "xla":
        rounds = query.dtype != bias.dtype
        make = _rounded_attention if rounds else _attention
        context = make(rate, scale)(query, key, value, bias, keys)
        return context if rounds else _swapped(context)
    scores = tf.matmul(query, key, transpose_b=True)
    p = kernels.attention_probabilities(scores, bias, keys, rate, scale)
    return _swapped(tf.matmul(p, value))


def _swapped(x: tf.Tensor) -> tf.Tensor:
    """[B, A, T, D] -> [B, T, A, D], and back."""
    return tf.transpose(x, [0, 2, 1, 3])


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
                *_factors_gradients(query, key, d_scores, p, dy),
                tf.zeros_like(bias),  # the mask is not trained
                None,
            )

        scores = tf.matmul(query, key, transpose_b=True)
        p = probabilities.forward(scores, bias, keys)
        return tf.matmul(p, value), gradient

    return op


@functools.cache
def _rounded_attention(rate: float, scale: float) -> Callable[..., tf.Tensor]:
    """Keeps a number for each row of the scores, which tells their softmax."""
    probabilities = kernels.rounded_attention_cluster(rate, scale)

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
            along = kernels.dot_products(dy, context)
            dy = _swapped(dy)
            d_scores, p = probabilities.backward(
                again, bias, keys, log_sums, along,
                tf.matmul(dy, value, transpose_b=True),
            )  # fmt: skip
            return (
                *_factors_gradients(query, key, d_scores, p, dy),
                tf.zeros_like(bias),  # the mask is not trained
                None,
            )

        scores = tf.matmul(query, key, transpose_b=True)
        p, log_sums = probabilities.forward(scores, bias, keys)
        context = _swapped(tf.matmul(p, value))
        return context, gradient

    return op


def _factors_gradients(
    query: tf.Tensor,
    key: tf.Tensor,
    d_scores: tf.Tensor,
    p: tf.Tensor,
    dy: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns the gradients of query, key and value."""
    return (
        tf.matmul(d_scores, key),
        tf.matmul(d_scores, query, transpose_a=True),
        tf.matmul(p, dy, transpose_a=True),
    )


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
