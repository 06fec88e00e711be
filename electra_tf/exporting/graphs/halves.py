"""Divides a signature into two halves, with LiteRT between them.

LiteRT runs the encoder. Before it texts become rows, after it the encoder's
states become predictions: both halves are the signature itself, traced up to
`inputs.over_rows`, and from there on.
"""

from typing import Any

import tensorflow as tf

from electra_tf.exporting.graphs import inputs
from electra_tf.exporting.graphs.inputs import Tensors
from electra_tf.models import lite_encoder
from electra_tf.text.rows import Rows


class _Reached(Exception):
    """Carries the rows out of the signature, once they are made."""

    def __init__(self, rows: Rows):
        super().__init__("over_rows")
        self.rows = rows


def divided(
    function: tf.types.experimental.GenericFunction,
    network: Any,
    states: lite_encoder.States,
) -> (
    tuple[
        tf.types.experimental.GenericFunction,
        tf.types.experimental.GenericFunction,
    ]
    | None
):
    """Divides a signature.

    Args:
      function: a tf.function of string tensors [B], with an input signature.
      network: the network that it calls.
      states: which of the encoder's states its second half gets.

    Returns:
      Two tf.functions: of the texts, returning `input_ids`, `input_mask` and
      `segment_ids`, each int32 [R, L], R and L at least 1 where there are
      texts; and of these three, the states float32 [R, L, H] or [R, H], and
      the texts, returning the signature's outputs. None where the signature
      does not run the network over rows.
    """
    inner = function.python_function
    texts = function.input_signature

    def read(*given: tf.Tensor) -> Tensors:
        try:
            with inputs.over_rows_instead(_raise):
                inner(*given)
        except _Reached as reached:
            rows = reached.rows
            width = tf.maximum(tf.shape(rows.input_ids)[1], 1)
            missing = [[0, 0], [0, width - tf.shape(rows.input_ids)[1]]]
            return {
                "input_ids": tf.pad(rows.input_ids, missing),
                "input_mask": tf.sequence_mask(rows.lengths, width, tf.int32),
                "segment_ids": tf.pad(rows.segment_ids, missing),
            }
        raise _NoRows

    def answer(
        input_ids: tf.Tensor,
        input_mask: tf.Tensor,
        segment_ids: tf.Tensor,
        known: tf.Tensor,
        *given: tf.Tensor,
    ) -> Tensors:
        rows = Rows(input_ids, segment_ids, tf.reduce_sum(input_mask, axis=1))

        def over_known(
            forward: inputs.Forward, _: Rows, outputs: Any
        ) -> Tensors:
            def from_states(*parts: tf.Tensor) -> Tensors:
                *read, some = parts
                with lite_encoder.known_states(network, some):
                    return forward(*read)

            return inputs.some_at_a_time(from_states, rows, outputs, known)

        with inputs.over_rows_instead(over_known):
            return inner(*given)

    width = [None] * (2 if states == "sequence_output" else 1)
    whole = [tf.TensorSpec([None, None], tf.int32)] * 3
    known = tf.TensorSpec([*width, network.config.hidden_size])
    halves = (
        tf.function(read, input_signature=texts, autograph=False),
        tf.function(
            answer, input_signature=[*whole, known, *texts], autograph=False
        ),
    )
    try:
        halves[0].get_concrete_function()
    except _NoRows:
        return None
    return halves


class _NoRows(Exception):
    """Raised if the signature ended without rows."""


def _raise(forward: Any, rows: Rows, outputs: Any) -> Tensors:
    raise _Reached(rows)
