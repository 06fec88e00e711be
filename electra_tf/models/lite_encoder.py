"""The encoder in forms that LiteRT runs fastest, and a network converted.

The same sums as `encoder.ElectraEncoder`, without training. A row's length may
be any: no operation asks for it, so that LiteRT knows every shape once the
inputs have theirs, and gives the whole graph to XNNPACK. Positions stand one
behind the other in one matrix, bias right behind its matrix product.

Shapes as in `layers`; B is 1.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import keras
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.litert import INPUTS
from electra_tf.models import layers, packed_encoder
from electra_tf.models.encoder import ElectraEncoder, EncoderOutput
from electra_tf.models.packed_encoder import dense, gelu, product
from electra_tf.models.rows import Rows, as_rows

States = Literal["sequence_output", "first_output"]


def convert(
    network: keras.Model,
    compute: Callable[[Rows], Mapping[str, tf.Tensor]],
    int8: bool = False,
) -> bytes:
    """Converts what is computed of one row of tokens to a .tflite file.

    Args:
      network: with an `encoder`.
      compute: calls the network on one row, [1, L] with any L.
      int8: keep large matrices in 8 bits, a scale for each of their columns,
        and multiply in 8 bits; else float32.

    Returns:
      The file: inputs `litert.INPUTS`, each int32 [1, L]; outputs by name.

    Raises:
      UserError: the network has no encoder that reads both sides.
    """
    encoder = getattr(network, "encoder", None)
    if not isinstance(encoder, ElectraEncoder) or encoder.attends != "both":
        raise UserError(
            f"LiteRT: a {type(network).__name__} is not supported; networks "
            "with one bidirectional encoder are"
        )
    constants = [tf.constant(v.numpy()) for v in network.weights]

    @tf.function(
        autograph=False,
        input_signature=[
            tf.TensorSpec([1, None], tf.int32, name) for name in INPUTS
        ],
    )
    def run(*parts: tf.Tensor) -> Mapping[str, tf.Tensor]:
        with (
            keras.StatelessScope(list(zip(network.weights, constants))),
            packed_encoder.installed(network, LiteEncoder),
        ):
            found = compute(Rows(*parts))
        return {name: _of_one_row(value) for name, value in found.items()}

    module = tf.Module()  # so that the inputs keep their names
    module.run = run
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [run.get_concrete_function()], module
    )
    if int8:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return converter.convert()


def _of_one_row(value: tf.Tensor) -> tf.Tensor:
    """[B, ...] -> [1, ...], which the converter may not know B to be."""
    first, *others = value.shape
    if first not in (None, 1) or others.count(None) != 1:
        return value
    return tf.reshape(value, [1, *(-1 if n is None else n for n in others)])


def states_of(network: keras.Model) -> States:
    """Which states of the encoder the network's head reads."""
    kind = getattr(getattr(network, "head_config", None), "kind", None)
    return "first_output" if kind == "sequence" else "sequence_output"


def convert_encoder(
    network: keras.Model, int8: bool = False, states: States | None = None
) -> bytes:
    """Converts a network as far as its encoder; see `convert`.

    Args:
      network: see `convert`.
      int8: see `convert`.
      states: the one output, and its name; what `states_of` says where None.
    """
    name = states or states_of(network)

    def compute(rows: Rows) -> dict[str, tf.Tensor]:
        # A network may change the rows before its encoder reads them; what
        # its head makes of the states is not kept.
        network(rows, training=False)
        return {name: getattr(network.encoder.output, name)}

    return convert(network, compute, int8)


@contextlib.contextmanager
def known_states(network: keras.Model, states: tf.Tensor) -> Iterator[None]:
    """Has the network take its encoder's states as they are given.

    Args:
      network: with an `encoder`.
      states: float32 [B, L, H], the last hidden states, or [B, H] where only
        those of first tokens are read.
    """
    before = network.encoder
    network.encoder = _KnownStates(before, states)
    try:
        yield
    finally:
        network.encoder = before


class _KnownStates:
    """Called as the encoder that it stands for."""

    def __init__(self, encoder: Any, states: tf.Tensor):
        self.config = encoder.config
        self.embeddings = encoder.embeddings
        if states.shape.rank == 2:
            states = states[:, tf.newaxis]
        self._output = EncoderOutput(states, states[:, 0], states, ())

    def __call__(
        self, *parts: Any, training: bool = False, **named: Any
    ) -> EncoderOutput:
        return self._output


class LiteEncoder:
    """Called as the encoder that it stands for; `packed_encoder.installed`.

    Args:
      encoder: attends to both sides.
    """

    def __init__(self, encoder: ElectraEncoder):
        self._encoder = encoder
        self.config = encoder.config
        self.embeddings = encoder.embeddings
        self.output: EncoderOutput | None = None  # of the last call

    def __call__(
        self, *parts: Any, training: bool = False, **named: Any
    ) -> EncoderOutput:
        """Called as every `rows.Network`, of one row; no training."""
        encoder = self._encoder
        input_ids, input_mask, segment_ids, *_ = as_rows(
            *parts, **named
        ).filled()
        x = self._embed(input_ids, segment_ids)
        if encoder.embeddings_project is not None:
            x = dense(encoder.embeddings_project, x)
        mask = tf.cast(tf.reshape(input_mask, [1, 1, 1, -1]), x.dtype)
        bias = (1.0 - mask) * layers.MASKED_SCORE
        states = [x]
        for block in encoder.blocks:
            states.append(self._block(block, states[-1], bias))
        first = self._block(encoder.blocks[-1], states[-2], bias, first=True)
        first = tf.reshape(first, [1, self.config.hidden_size])
        apart = [tf.expand_dims(x, 0) for x in states]
        self.output = EncoderOutput(
            apart[-1], first, apart[0], tuple(apart[1:])
        )
        return self.output

    def _embed(self, input_ids: tf.Tensor, segment_ids: tf.Tensor) -> tf.Tensor:
        """[1, L] int32, [1, L] int32 -> [L, E]."""
        embeddings = self._encoder.embeddings
        input_ids = tf.reshape(input_ids, [-1])
        positions = tf.cumsum(tf.ones_like(input_ids), exclusive=True)
        segments = embeddings.known(tf.reshape(segment_ids, [-1]))
        x = sum(
            tf.gather(tf.convert_to_tensor(table), which)
            for table, which in (
                (embeddings.word_embeddings, input_ids),
                (embeddings.token_type_embeddings, segments),
                (embeddings.position_embeddings, positions),
            )
        )
        return _norm(embeddings.norm, x)

    def _block(
        self, block: Any, x: tf.Tensor, bias: tf.Tensor, first: bool = False
    ) -> tf.Tensor:
        """A block of the Transformer, [L, H] -> [L, H], or [1, H] if `first`.

        Args:
          block: the block.
          x: what goes in.
          bias: [1, 1, 1, L], added to scores.
          first: compute what the first token needs.
        """
        attention, config = block.attention, self.config
        heads, size = config.num_heads, config.hidden_size // config.num_heads

        def apart(x: tf.Tensor, parts: int) -> tf.Tensor:
            """[N, parts * H] -> [1, parts * A, N, D]."""
            x = tf.reshape(x, [1, -1, parts * heads, size])
            return tf.transpose(x, [0, 2, 1, 3])

        kernel = attention.qkv.whole_kernel()
        offset = tf.convert_to_tensor(attention.qkv.bias)
        if first:
            h = config.hidden_size
            pair = apart(product(x, kernel[:, h:], offset[h:]), 2)
            key, value = tf.split(pair, 2, axis=1)
            x = x[:1]
            query = apart(product(x, kernel[:, :h], offset[:h]), 1)
        else:
            whole = apart(product(x, kernel, offset), 3)
            query, key, value = tf.split(whole, 3, axis=1)
        scores = tf.matmul(query, key, transpose_b=True) * size**-0.5 + bias
        context = tf.matmul(tf.nn.softmax(scores), value)  # [1, A, N, D]
        context = tf.reshape(
            tf.transpose(context, [0, 2, 1, 3]), [-1, heads * size]
        )
        x = _norm(
            block.attention_norm, dense(attention.output_dense, context) + x
        )
        inner = gelu(dense(block.intermediate, x), config.gelu)
        return _norm(block.output_norm, dense(block.output_dense, inner) + x)


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
