"""What stands between matrix products, each fused into one pass.

On a CPU more than half of a plain training step goes into elementwise
operations that each walk through memory. Here every such group is one
function. Under training it is compiled by XLA on its own, forward and
backward (the backward pass recomputes the forward from the inputs, so nothing
in between is stored); matrix products stay outside, where TensorFlow's
library is faster than XLA's: see `products` for what stands before one. In
inference the same functions run as ordinary operations, which exports anywhere.

`use("plain")` selects ordinary operations for training as well: the reference
that tests and benchmarks compare with.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

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

    forward: Callable[..., tf.Tensor]
    backward: Callable[..., tuple[tf.Tensor, ...]]  # of (*inputs, dy)


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


def _rows(x: tf.Tensor) -> tf.Tensor:
    """Sums over all axes but the last: a bias gradient.

    As a product with ones: XLA on a CPU walks column sums badly (4 times the
    whole of GELU's backward pass at 4,096 x 1,024).
    """
    flat = tf.reshape(x, [-1, x.shape[-1]])
    ones = tf.ones([1, tf.shape(flat)[0]], x.dtype)
    return tf.matmul(ones, flat)[0]


# --- bias and GELU ---------------------------------------------------------


def _gelu_erf(x: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    x = x + bias
    return 0.5 * x * (1.0 + tf.math.erf(x * math.sqrt(0.5)))


def _gelu_erf_backward(
    x: tf.Tensor, bias: tf.Tensor, dy: tf.Tensor
) -> tuple[tf.Tensor, ...]:
    x = x + bias
    cdf = 0.5 * (1.0 + tf.math.erf(x * math.sqrt(0.5)))
    density = tf.exp(-0.5 * x * x) * (1.0 / math.sqrt(2.0 * math.pi))
    dx = dy * (cdf + x * density)
    return dx, _rows(dx)


_TANH_SCALE, _TANH_CUBIC = math.sqrt(2.0 / math.pi), 0.044715


def _gelu_tanh(x: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    x = x + bias
    inner = _TANH_SCALE * (x + _TANH_CUBIC * x * x * x)
    return 0.5 * x * (1.0 + tf.tanh(inner))


def _gelu_tanh_backward(
    x: tf.Tensor, bias: tf.Tensor, dy: tf.Tensor
) -> tuple[tf.Tensor, ...]:
    x = x + bias
    t = tf.tanh(_TANH_SCALE * (x + _TANH_CUBIC * x * x * x))
    slope = _TANH_SCALE * (1.0 + 3.0 * _TANH_CUBIC * x * x)
    dx = dy * 0.5 * (1.0 + t + x * (1.0 - t * t) * slope)
    return dx, _rows(dx)


_GELU_PAIRS = {
    "erf": (_gelu_erf, _gelu_erf_backward),
    "tanh": (_gelu_tanh, _gelu_tanh_backward),
}


def gelu_cluster(kind: str, frozen: bool = False) -> Cluster:
    """(x, bias) -> GELU(x + bias), and (x, bias, dy) -> (dx, dbias).

    Where the bias is frozen, the second gives (dx,).
    """
    forward, backward = _GELU_PAIRS[kind]
    return _compiled(forward, _of_first(backward) if frozen else backward)


@functools.cache
def _of_first(backward: Callable) -> Callable[..., tuple[tf.Tensor]]:
    """The gradient of the first input alone."""

    def first(*inputs: tf.Tensor) -> tuple[tf.Tensor]:
        return (backward(*inputs)[0],)

    return first


def bias_gelu(
    x: tf.Tensor, bias: tf.Tensor, kind: str, training: bool
) -> tf.Tensor:
    """GELU(x + bias); `kind` "erf" (exact) or "tanh" (approximation).

    Args:
      x: [..., I].
      bias: [I].
      kind: which GELU.
      training: whether gradients follow.
    """
    forward, backward = _GELU_PAIRS[kind]
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
        z = drop(x + bias, keys) + residual
        return layer_norm(z, gamma, beta, epsilon)

    def backward(x, bias, residual, gamma, beta, keys, dy):
        z = _in_float32(drop(x + bias, keys) + residual)
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
        sums = _rows(dx), dz, _rows(dgamma), _rows(_in_float32(dy))
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
        return layer_norm(x + bias + residual, gamma, beta, epsilon)
    functions = _residual_functions(rate, epsilon, frozen)
    if _mode == "plain":
        return functions[0](x, bias, residual, gamma, beta, keys)
    return _clustered(*functions)(x, bias, residual, gamma, beta, keys)


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
        found = dz, dz, of_positions, _rows(normal * dy), _rows(dy)
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


@functools.cache
def _attention_functions(
    rate: float, scale: float
) -> tuple[Callable, Callable]:
    def drop(x, keys):
        # The same for an example however far it is padded.
        index = randomness.square_index(tf.shape(x)[1:])
        return randomness.dropout(x, keys, rate, index)

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
