"""How training steps are laid out, so that a run finishes first.

Three things follow from the machine, the model and the length of the run;
none of them changes what is learned, but for the order of sums.
"""

import dataclasses
import os

import numpy as np
import tensorflow as tf

from electra_tf.models.config import ModelConfig
from electra_tf.tasks.batches import longest, padded_lengths
from electra_tf.tasks.features import Features

# Measured with a small encoder on a CPU: what it takes to compile the kernels
# for a length, in seconds of processor time, and to take a number through the
# kernels and the matrix products that belong to it.
_COMPILE = 3.2
_COMPILED, _PLAIN = 48e-9, 64e-9
# Multiples that lengths are rounded up to. Each length costs compiling; the
# finer they are, the less is padding. Accelerators want their tiles full.
_FINE, _COARSE = 4, 8


@dataclasses.dataclass(frozen=True)
class StepPlan:
    """What `FineTuner` and its batches are made with.

    Attributes:
      kernel_mode: for `models.kernels.use`.
      pad_to_multiple: of the batches' lengths.
      side_by_side: see `FineTuner`.
    """

    kernel_mode: str
    pad_to_multiple: int
    side_by_side: int


def plan(
    config: ModelConfig,
    features: Features,
    batch_size: int,
    steps: int,
    strategy: tf.distribute.Strategy,
    jit_compile: bool = False,
) -> StepPlan:
    """The plan that should need the least time.

    XLA compiles a kernel again for each length of a batch. A run over little
    data, or of a tiny model, is over before that has paid. On a CPU a short
    batch has products too small to keep two cores busy; its halves, side by
    side, do.

    Args:
      config: shape of the encoder.
      features: the training data.
      batch_size: units in a batch.
      steps: updates in the whole run.
      strategy: where it runs.
      jit_compile: whether XLA compiles the whole step.
    """
    if isinstance(strategy, tf.distribute.TPUStrategy):
        # One shape for all batches, all of which XLA compiles anyway.
        return StepPlan("plain", longest(features), 1)
    devices = {
        device.device_type for device in tf.config.list_logical_devices()
    }
    on_cpu = devices <= {"CPU"}
    multiples = (_FINE, _COARSE) if on_cpu and not jit_compile else (_COARSE,)
    rows = batch_size * features.group * steps
    costs = {}
    for multiple in multiples:
        lengths = padded_lengths(features, multiple)
        work = rows * _numbers(config, lengths)
        compiling = _COMPILE * len(np.unique(lengths))
        costs["plain", multiple] = work * _PLAIN
        costs["xla", multiple] = work * _COMPILED + compiling
    mode, multiple = min(costs, key=lambda choice: costs[choice])
    alone = strategy.num_replicas_in_sync == 1 and not jit_compile
    halves = on_cpu and alone and (os.cpu_count() or 1) > 1
    return StepPlan(mode, multiple, 2 if halves else 1)


def _numbers(config: ModelConfig, lengths: np.ndarray) -> float:
    """How many go through the kernels for a row, on average."""
    of_token = config.intermediate_size + 6 * config.hidden_size
    return config.num_layers * float(
        np.mean(lengths * (of_token + config.num_heads * lengths))
        if len(lengths)
        else 0.0
    )
