"""What stands between matrix products, each fused into one pass.

On a CPU more than half of a plain training step goes into elementwise
operations that each walk through memory. Here every such group is one
function. Under training it is compiled by XLA on its own, forward and
backward (the backward pass recomputes the forward from the inputs, so nothing
in between is stored); matrix products stay outside, where TensorFlow's
library is faster than XLA's: see `products` for what stands before one. In
inference the same functions run as ordinary operations, which exports anywhere.

A product may give bfloat16 (`products.in_bfloat16`). What follows it is then
computed in the type of its own weights, float32, and what the next product
reads is rounded where it is made: both conversions cost nothing there.

`use("plain")` selects ordinary operations for training as well: the reference
that tests and benchmarks compare with.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import tensorflow as tf

from electra_tf.models import randomness

_mode = "xla"


@contextlib.contextmanager
def use(wanted: str) -> Iterator[None]:
    """Traces what follows with "xla" clusters or "plain" operations."""
    global _mode
    if wanted not in ("xla", "plain"):
        raise ValueError(f"mode: expected 'xla' or 'plain', got {wanted!r}")
    before, _mode = _mode, wanted
    try:
        yield
    finally:
        _mode = before


def mode() -> str:
    """What is in force: "xla" or "plain"."""
    return _mode


class Cluster(NamedTuple):
    """A group and its gradient, each compiled by XLA."""

    forward: Callable[..., Any]
    backward: Callable[..., tuple[tf.Tensor, ...]]


@functools.cache
def _compiled(forward: Callable, backward: Callable) -> Cluster:
    return Cluster(
        tf.function(forward, jit_compile=True),
        tf.function(backward, jit_compile=True),
    )


@functools.cache
def _clustered(
    forward: Callable[..., tf.Tensor],
    backward: Callable[..., tuple[tf.Tensor, ...]],
    finish: Callable[..., tuple[tf.Tensor | None, ...]] | None = None,
) -> Callable[..., tf.Tensor]:
    """`forward(*inputs)` and `backward(*inputs, dy)` as two XLA clusters.

    `backward` returns a gradient for each floating input, in order; integer
    inputs have none. Or `finish(dy, *what it returns)` does, by ordinary
    operations.
    """
    cluster = _compiled(forward, backward)

    @tf.custom_gradient
    def op(*inputs: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        def gradient(dy: tf.Tensor) -> list[tf.Tensor | None]:
            found = cluster.backward(*inputs, dy)
            own = iter(finish(dy, *found) if finish else found)
            return [next(own) if x.dtype.is_floating else None for x in inputs]

        return cluster.forward(*inputs), gradient

    return op


def row_sums(x: tf.Tensor) -> tf.Tensor:
    """Sums over all axes but the last, as of a bias' gradient.

    As a product with ones: XLA on a CPU walks column sums badly (4 times the
    whole of GELU's backward pass at 4,096 x 1,024).
    """
    flat = tf.reshape(x, [-1, x.shape[-1]])
    ones = tf.ones([1, tf.shape(flat)[0]], x.dtype)
    return tf.matmul(ones, flat)[0]


def _plus(x: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """x + bias, in the type of the bias."""
    return tf.cast(x, bias.dtype) + bias


# --- bias and GELU ---------------------------------------------------------


class _Gelu(NamedTuple):
    value: Callable[[tf.Tensor], tf.Tensor]
    slope: Callable[[tf.Tensor], tf.Tensor]


def _erf_value(x: tf.Tensor) -> tf.Tensor:
    return 0.5 * x * (1.0 + tf.math.erf(x * math.sqrt(0.5)))


def _erf_slope(x: tf.Tensor) -> tf.Tensor:
    cdf = 0.5 * (1.0 + tf.math.erf(x * math.sqrt(0.5)))
    density = tf.exp(-0.5 * x * x) * (1.0 / math.sqrt(2.0 * math.pi))
    return cdf + x * density


_TANH_SCALE, _TANH_CUBIC = math.sqrt(2.0 / math.pi), 0.044715


def _tanh_value(x: tf.Tensor) -> tf.Tensor:
    inner = _TANH_SCALE * (x + _TANH_CUBIC * x * x * x)
    return 0.5 * x * (1.0 + tf.tanh(inner))


def _tanh_slope(x: tf.Tensor) -> tf.Tensor:
    t = tf.tanh(_TANH_SCALE * (x + _TANH_CUBIC * x * x * x))
    slope = _TANH_SCALE * (1.0 + 3.0 * _TANH_CUBIC * x * x)
    return 0.5 * (1.0 + t + x * (1.0 - t * t) * slope)


_GELUS = {
    "erf": _Gelu(_erf_value, _erf_slope),
    "tanh": _Gelu(_tanh_value, _tanh_slope),
}


@functools.cache
def _gelu_functions(kind: str) -> tuple[Callable, Callable]:
    gelu = _GELUS[kind]

    def forward(x, bias):
        return gelu.value(_plus(x, bias))

    def backward(x, bias, dy):
        dx = dy * gelu.slope(_plus(x, bias))
        return tf.cast(dx, x.dtype), row_sums(dx)

    return forward, backward


@functools.cache
def _rounded_gelu_functions(kind: str) -> tuple[Callable, Callable]:
    gelu = _GELUS[kind]

    def forward(x, bias):
        return tf.cast(gelu.value(_plus(x, bias)), x.dtype)

    def backward(x, bias, dy):
        wide = _plus(x, bias)
        dx = tf.cast(dy, wide.dtype) * gelu.slope(wide)
        return tf.cast(dx, x.dtype), tf.cast(gelu.value(wide), x.dtype)

    return forward, backward


def gelu_cluster(kind: str, frozen: bool = False) -> Cluster:
    """(x, bias) -> GELU(x + bias), and (x, bias, dy) -> (dx, dbias).

    Where the bias is frozen, the second gives (dx,).
    """
    forward, backward = _gelu_functions(kind)
    return _compiled(forward, _of_first(backward) if frozen else backward)


@functools.cache
def _of_first(backward: Callable) -> Callable[..., tuple[tf.Tensor]]:
    """The gradient of the first input alone."""

    def first(*inputs: tf.Tensor) -> tuple[tf.Tensor]:
        return (backward(*inputs)[0],)

    return first


def rounded_gelu_cluster(kind: str) -> Cluster:
    """(x, bias) -> GELU(x + bias) in x's type, (x, bias, dy) -> (dx, the same).

    Computed in the bias' type. The sum of dx is left to the caller.
    """
    return _compiled(*_rounded_gelu_functions(kind))


def bias_gelu(
    x: tf.Tensor, bias: tf.Tensor, kind: str, training: bool
) -> tf.Tensor:
    """GELU(x + bias); `kind` "erf" (exact) or "tanh" (approximation).

    Args:
      x: [..., I].
      bias: [I].
      kind: which GELU.
      training: whether gradients follow.

    Returns:
      [..., I], in the bias' type.
    """
    forward, backward = _gelu_functions(kind)
    if training and _mode == "xla":
        return _clustered(forward, backward)(x, bias)
    return forward(x, bias)


# --- layer normalisation ---------------------------------------------------


def _normalise(z: tf.Tensor, epsilon: float) -> tuple[tf.Tensor, tf.Tensor]:
    centred = z - tf.reduce_mean(z, axis=-1, keepdims=True)
    variance = tf.reduce_mean(centred * centred, axis=-1, keepdims=True)
    inverse = tf.math.rsqrt(variance + epsilon)
    return centred * inverse, inverse


def _normalise_backward(
    normal: tf.Tensor, inverse: tf.Tensor, dn: tf.Tensor
) -> tf.Tensor:
    along = tf.reduce_mean(dn * normal, axis=-1, keepdims=True)
    mean = tf.reduce_mean(dn, axis=-1, keepdims=True)
    return inverse * (dn - mean - normal * along)


def _in_float32(x: tf.Tensor) -> tf.Tensor:
    """Statistics of 16-bit activations are taken in float32."""
    return tf.cast(x, tf.float32)


def layer_norm(
    x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float
) -> tf.Tensor:
    """Normalises the last axis; plain operations.

    Args:
      x: [..., H].
      gamma: [H] scale.
      beta: [H] offset.
      epsilon: added to the variance.
    """
    normal, _ = _normalise(_in_float32(x), epsilon)
    return tf.cast(normal * _in_float32(gamma) + _in_float32(beta), x.dtype)


@functools.cache
def _residual_functions(
    rate: float, epsilon: float, frozen: bool
) -> tuple[Callable, Callable, Callable]:
    drop = functools.partial(randomness.dropout, rate=rate)

    def forward(x, bias, residual, gamma, beta, keys):
        z = drop(_plus(x, bias), keys) + residual
        return layer_norm(z, gamma, beta, epsilon)

    def backward(x, bias, residual, gamma, beta, keys, dy):
        z = _in_float32(drop(_plus(x, bias), keys) + residual)
        normal, inverse = _normalise(z, epsilon)
        dy = _in_float32(dy)
        dz = _normalise_backward(normal, inverse, dy * _in_float32(gamma))
        found = tf.cast(drop(dz, keys), x.dtype), tf.cast(dz, x.dtype)
        return found if frozen else (*found, normal * dy)

    def finish(dy, dx, dz, dgamma=None):
        if frozen:
            return dx, None, dz, None, None
        # Outside: XLA computes the whole group again for each of these sums,
        # which at a width of 768 takes three times as long.
        sums = row_sums(dx), dz, row_sums(dgamma), row_sums(_in_float32(dy))
        return dx, *(tf.cast(g, dx.dtype) for g in sums)

    return forward, backward, finish


def bias_dropout_residual_norm(
    x: tf.Tensor,
    bias: tf.Tensor,
    residual: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    keys: tf.Tensor | None,
    rate: float,
    epsilon: float,
    frozen: bool = False,
) -> tf.Tensor:
    """LayerNorm(dropout(x + bias) + residual), the end of each sub-layer.

    Args:
      x: [B, L, H].
      bias: [H].
      residual: [B, L, H].
      gamma: [H] scale of the normalisation.
      beta: [H] offset of the normalisation.
      keys: [B] uint32 dropout keys in training; None in inference.
      rate: dropout rate.
      epsilon: added to the variance.
      frozen: whether bias, scale and offset need no gradients.
    """
    if keys is None:
        return layer_norm(_plus(x, bias) + residual, gamma, beta, epsilon)
    functions = _residual_functions(rate, epsilon, frozen)
    if _mode == "plain":
        return functions[0](x, bias, residual, gamma, beta, keys)
    return _clustered(*functions)(x, bias, residual, gamma, beta, keys)


def rounding_residual_norm(
    x: tf.Tensor,
    bias: tf.Tensor,
    residual: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    keys: tf.Tensor | None,
    rate: float,
    epsilon: float,
    frozen: bool = False,
) -> tuple[tf.Tensor, tf.Tensor]:
    """The same where x is a product of 16 bits, and products read what comes.

    Args:
      x: [B, L, H] bfloat16.
      bias: [H], as the others in float32.
      residual: [B, L, H].
      gamma: [H] scale of the normalisation.
      beta: [H] offset of the normalisation.
      keys: [B] uint32 dropout keys in training; None in inference.
      rate: dropout rate.
      epsilon: added to the variance.
      frozen: whether bias, scale and offset need no gradients.

    Returns:
      [B, L, H] in float32, and the same in bfloat16.
    """
    inputs = x, bias, residual, gamma, beta, keys
    if keys is None or _mode == "plain":
        y = bias_dropout_residual_norm(*inputs, rate, epsilon, frozen)
        return y, tf.cast(y, x.dtype)
    return _rounding_residual(rate, epsilon, frozen)(*inputs)


@functools.cache
def _rounding_residual(
    rate: float, epsilon: float, frozen: bool
) -> Callable[..., tuple[tf.Tensor, tf.Tensor]]:
    """Keeps, in place of all inputs, what was normalised, in 16 bits."""
    drop = functools.partial(randomness.dropout, rate=rate)

    def forward(x, bias, residual, gamma, beta, keys):
        z = drop(_plus(x, bias), keys) + residual
        normal, inverse = _normalise(z, epsilon)
        y = normal * gamma + beta
        return y, *(tf.cast(n, x.dtype) for n in (y, normal)), inverse

    def backward(normal, inverse, gamma, keys, dy, dy_rounded):
        dtype, normal = normal.dtype, tf.cast(normal, dy.dtype)
        dy = dy + tf.cast(dy_rounded, dy.dtype)
        dz = _normalise_backward(normal, inverse, dy * gamma)
        offsets = () if frozen else (normal * dy, dy)
        rounded = drop(dz, keys), *offsets
        return dz, *(tf.cast(g, dtype) for g in rounded)

    cluster = _compiled(forward, backward)

    @tf.custom_gradient
    def op(x, bias, residual, gamma, beta, keys):
        y, rounded, normal, inverse = cluster.forward(
            x, bias, residual, gamma, beta, keys
        )

        def gradient(dy, dy_rounded):
            dz, dx, *others = cluster.backward(
                normal, inverse, gamma, keys, dy, dy_rounded
            )
            if frozen:
                return dx, None, dz, None, None, None
            sums = (tf.cast(row_sums(g), dz.dtype) for g in (dx, *others))
            d_bias, d_gamma, d_beta = sums
            return dx, d_bias, dz, d_gamma, d_beta, None

        return (y, rounded), gradient

    return op


# --- embeddings ------------------------------------------------------------


@functools.cache
def _embedding_functions(
    rate: float, epsilon: float
) -> tuple[Callable, Callable]:
    drop = functools.partial(randomness.dropout, rate=rate)

    def forward(words, types, positions, gamma, beta, keys):
        z = words + types + positions
        return drop(layer_norm(z, gamma, beta, epsilon), keys)

    def backward(words, types, positions, gamma, beta, keys, dy):
        z = _in_float32(words + types + positions)
        normal, inverse = _normalise(z, epsilon)
        dy = _in_float32(drop(dy, keys))
        dz = _normalise_backward(normal, inverse, dy * _in_float32(gamma))
        own = positions.shape.rank == 3
        of_positions = dz if own else tf.reduce_sum(dz, axis=0)
        found = dz, dz, of_positions, row_sums(normal * dy), row_sums(dy)
        return tuple(tf.cast(g, words.dtype) for g in found)

    return forward, backward


def sum_norm_dropout(
    words: tf.Tensor,
    types: tf.Tensor,
    positions: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    keys: tf.Tensor | None,
    rate: float,
    epsilon: float,
) -> tf.Tensor:
    """dropout(LayerNorm(words + types + positions)).

    Args:
      words: [B, L, E] token embeddings.
      types: [B, L, E] segment embeddings.
      positions: [L, E] position embeddings, or [B, L, E].
      gamma: [E] scale of the normalisation.
      beta: [E] offset of the normalisation.
      keys: [B] uint32 dropout keys in training; None in inference.
      rate: dropout rate.
      epsilon: added to the variance.
    """
    if keys is None:
        return layer_norm(words + types + positions, gamma, beta, epsilon)
    forward, backward = _embedding_functions(rate, epsilon)
    if _mode == "plain":
        return forward(words, types, positions, gamma, beta, keys)
    return _clustered(forward, backward)(
        words, types, positions, gamma, beta, keys
    )


# --- attention probabilities -----------------------------------------------


def _softmax(scores: tf.Tensor, bias: tf.Tensor, scale: float) -> tf.Tensor:
    scores = _in_float32(scores) * scale + _in_float32(bias)
    scores = scores - tf.reduce_max(scores, axis=-1, keepdims=True)
    weights = tf.exp(scores)
    return weights / tf.reduce_sum(weights, axis=-1, keepdims=True)


def _drop_pairs(x: tf.Tensor, keys: tf.Tensor, rate: float) -> tf.Tensor:
    """Dropout of [B, A, L, L]: the same however far an example is padded."""
    index = randomness.square_index(tf.shape(x)[1:])
    return randomness.dropout(x, keys, rate, index)


@functools.cache
def _attention_functions(
    rate: float, scale: float
) -> tuple[Callable, Callable]:
    drop = functools.partial(_drop_pairs, rate=rate)

    def forward(scores, bias, keys):
        probabilities = _softmax(scores, bias, scale)
        return tf.cast(drop(probabilities, keys), scores.dtype)

    def backward(scores, bias, keys, dy):
        p = _softmax(scores, bias, scale)
        dp = drop(_in_float32(dy), keys)
        along = tf.reduce_sum(dp * p, axis=-1, keepdims=True)
        ds = (dp - along) * p * scale
        return tf.cast(ds, scores.dtype), tf.cast(drop(p, keys), scores.dtype)

    return forward, backward


def attention_cluster(rate: float, scale: float) -> Cluster:
    """`attention_probabilities`, and (its inputs, dy) -> (dscores, y).

    What the probabilities were is returned once more, as they are cheap there;
    the mask is not trained.
    """
    return _compiled(*_attention_functions(rate, scale))


@functools.cache
def rounded_attention_cluster(rate: float, scale: float) -> Cluster:
    """The same for scores of 16 bits, with what is known of their softmax.

    `(scores, bias, keys) -> (y, log_sums)`, the logarithms of the sums of
    exponentials, [B, A, L, 1] float32; and `(scores, bias, keys, log_sums,
    along, dy) -> (dscores, y)`, `along` the `dot_products` of the context's
    gradient with the context, which are those of dy and y. So the second has
    no sums over rows, and is one pass.
    """
    drop = functools.partial(_drop_pairs, rate=rate)

    def forward(scores, bias, keys):
        logits = _in_float32(scores) * scale + bias
        peak = tf.reduce_max(logits, axis=-1, keepdims=True)
        weights = tf.exp(logits - peak)
        total = tf.reduce_sum(weights, axis=-1, keepdims=True)
        y = tf.cast(drop(weights / total, keys), scores.dtype)
        return y, peak + tf.math.log(total)

    def backward(scores, bias, keys, log_sums, along, dy):
        p = tf.exp(_in_float32(scores) * scale + (bias - log_sums))
        ds = (drop(_in_float32(dy), keys) - along) * p * scale
        return tf.cast(ds, scores.dtype), tf.cast(drop(p, keys), scores.dtype)

    return _compiled(forward, backward)


@tf.function(jit_compile=True, autograph=False)
def dot_products(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Sums of x y over the last axis, by head.

    Args:
      x: [B, L, A, D] bfloat16.
      y: the same shape.

    Returns:
      [B, A, L, 1] float32.
    """
    sums = tf.reduce_sum(_in_float32(x) * _in_float32(y), axis=-1)
    return tf.transpose(sums, [0, 2, 1])[..., None]


def attention_probabilities(
    scores: tf.Tensor,
    bias: tf.Tensor,
    keys: tf.Tensor | None,
    rate: float,
    scale: float,
) -> tf.Tensor:
    """dropout(softmax(scores * scale + bias)) over the last axis; plain.

    Args:
      scores: [B, A, L, L] products of queries and keys.
      bias: [B, 1, 1 or L, L], 0 where attention is allowed and a large
        negative number elsewhere. Not differentiated.
      keys: [B] uint32 dropout keys in training; None in inference.
      rate: dropout rate.
      scale: 1 / sqrt(head size).
    """
    if keys is None:
        return tf.cast(_softmax(scores, bias, scale), scores.dtype)
    forward, _ = _attention_functions(rate, scale)
    return forward(scores, tf.stop_gradient(bias), keys)
