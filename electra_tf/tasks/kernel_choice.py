"""Whether compiling the fused kernels pays in a training run."""

import numpy as np

from electra_tf.models.config import ModelConfig
from electra_tf.tasks.batches import padded_lengths
from electra_tf.tasks.features import Features

# How many numbers must go through the kernels for each length, so that what
# compiling them saves is what it costs. Measured with a small encoder on a CPU:
# a length costs 3.2 s of processor time; a step of 32 rows of 32 tokens, with
# 33 million numbers, saves 0.5 s.
_BREAK_EVEN = 200e6


def kernel_mode(
    config: ModelConfig, features: Features, batch_size: int, steps: int
) -> str:
    """The mode for `models.kernels.use` that should finish first.

    XLA compiles a kernel again for each length of a batch. A run over little
    data, or of a tiny model, is over before that has paid.

    Args:
      config: shape of the encoder.
      features: the training data.
      batch_size: units in a batch.
      steps: updates in the whole run.

    Returns:
      "xla" or "plain".
    """
    lengths = padded_lengths(features)
    if not len(lengths):
        return "plain"
    rows = batch_size * features.group * steps
    of_token = config.intermediate_size + 6 * config.hidden_size
    numbers = config.num_layers * np.mean(
        lengths * (of_token + config.num_heads * lengths)
    )
    worth = rows * numbers > _BREAK_EVEN * len(np.unique(lengths))
    return "xla" if worth else "plain"
