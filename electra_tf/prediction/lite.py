"""Runs a task's network by LiteRT."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from electra_tf import litert
from electra_tf.models import lite_encoder
from electra_tf.models.rows import Rows
from electra_tf.tasks.task import Task

# Inputs, each int32 [B, L] -> the task's outputs.
Forward = Callable[..., dict[str, Any]]
_STATES = "sequence_output"


def network_of(
    network: keras.Model, task: Task, int8: bool
) -> litert.LiteNetwork:
    """Converts a network for LiteRT: whole, or only its encoder.

    Heads on the first token are converted too: they compute little, and a call
    of TensorFlow would take longer. Other heads search, and stay in TensorFlow.

    Args:
      network: the task's network.
      task: selects what is kept of its outputs.
      int8: whether to multiply in 8 bits.

    Raises:
      UserError: LiteRT is not installed, or the network is not covered.
    """

    def compute(rows: Rows) -> dict[str, tf.Tensor]:
        return task.infer(network, rows.input_ids, rows.mask, rows.segments)

    if lite_encoder.states_of(network) == "first_output":
        content = lite_encoder.convert(network, compute, int8)
    else:
        content = lite_encoder.convert_encoder(network, int8)
    return litert.LiteNetwork(content, network.config.max_positions, int8)


def forward_of(
    network: keras.Model, task: Task, lite: litert.LiteNetwork
) -> Forward:
    """Returns a function that runs a batch: arrays in, the task's outputs out.

    Args:
      network: the task's network.
      task: see `network_of`.
      lite: result of `network_of`.
    """
    cores = litert.cores()
    if _STATES not in lite.outputs:  # it is the whole network
        return lambda *rows: {
            name: lite(name, rows, threads=cores) for name in lite.outputs
        }

    @tf.function(
        autograph=False,
        input_signature=[
            tf.TensorSpec([None, None, network.config.hidden_size]),
            *[tf.TensorSpec([None, None], tf.int32)] * 3,
        ],
    )
    def answer(states: tf.Tensor, *rows: tf.Tensor) -> dict[str, tf.Tensor]:
        with lite_encoder.known_states(network, states):
            return task.infer(network, *rows)

    # Called without a search for the types of what it is given.
    traced = answer.get_concrete_function()

    def forward(*rows: np.ndarray) -> dict[str, np.ndarray]:
        states = lite(_STATES, rows, threads=cores)
        found = traced(*map(tf.constant, (states, *rows)))
        return {name: value.numpy() for name, value in found.items()}

    return forward
