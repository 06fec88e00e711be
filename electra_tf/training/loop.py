"""The training loop: run steps, log, evaluate, checkpoint, resume, stop."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How long to train and what to do along the way; counts are in steps."""

    # Updates of the weights in the whole run.
    num_train_steps: int = 1_000_000
    # Examples per update, over all replicas.
    batch_size: int = 128
    # Between held-out evaluations; 0 evaluates at the end alone.
    eval_every_steps: int = 10_000
    # Batches of an evaluation; None takes all the held-out data.
    num_eval_steps: int | None = None
    # Between checkpoints; 0 writes one at the end alone.
    checkpoint_every_steps: int = 10_000
    # How many of the newest checkpoints stay on disk.
    keep_checkpoints: int = 3
    # Every checkpoint whose step this divides stays as well; 0 for none.
    keep_every_steps: int = 0
    # Between records of the training metrics (means since the last record).
    log_every_steps: int = 100
    # Updates in one call of the compiled function; more for fast devices.
    steps_per_loop: int = 1
    # Compile the step with XLA: for GPUs and TPUs, slower on CPUs.
    jit_compile: bool = False
    # Seed of weights, masking and dropout; the caller hands it on.
    seed: int = 42


TrainData = Callable[[int], tf.data.Dataset]


def train(
    model: keras.Model,
    train_data: TrainData,
    *,
    config: TrainConfig,
    run_dir: str,
    strategy: tf.distribute.Strategy,
    eval_data: tf.data.Dataset | None = None,
    run_config: dict[str, Any] | None = None,
    reporter: Any | None = None,
) -> dict[str, Any]:
    """Trains `model` to the last step, from the newest checkpoint if any.

    Args:
      model: built and compiled with an optimizer under `strategy.scope()`;
        its `train_step(batch)` returns scalars with "loss" among them, running
        means of its metrics since they were reset.
      train_data: step -> batches of the global size from that step on.
      config: see `TrainConfig`.
      run_dir: holds config.json, checkpoints/, metrics.jsonl, tensorboard/
        and plots/.
      strategy: see `make_strategy`.
      eval_data: held-out batches, read from the start at each evaluation.
      run_config: all settings of the run, kept in the run directory; starting
        again with others is an error.
      reporter: shows and records metrics; None makes a `Reporter`.

    Returns:
      step (int), stopped (True after SIGTERM or SIGINT), resumed_from (step or
      None), checkpoint (the newest one's directory), train and validation (the
      last metrics of each).

    Raises:
      UserError: other settings in `run_dir`, a loss that is not finite, no
        room for a checkpoint, or data that ends too early.
    """
    raise NotImplementedError


def evaluate(
    model: keras.Model,
    eval_data: tf.data.Dataset,
    strategy: tf.distribute.Strategy,
    num_steps: int | None = None,
) -> dict[str, float]:
    """Means of the model's metrics over held-out batches.

    Args:
      model: built under `strategy.scope()`; its metrics are reset before and
        after.
      eval_data: batches of the global size; the last may be smaller.
      strategy: see `make_strategy`.
      num_steps: batches to take; None for all.
    """
    raise NotImplementedError


def make_deterministic(seed: int) -> None:
    """Seeds Python, NumPy, TensorFlow and Keras, and makes ops repeatable.

    Call it before anything else uses TensorFlow. Training is slower with it on
    GPUs; on CPUs a run repeats bit for bit.
    """
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
