"""Applies gradients by an optimizer: in order, and judged together.

An optimizer of Keras inside `tf.function` has faults that ours must not meet;
each function here avoids one.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from electra_tf.errors import UserError


def apply(
    optimizer: keras.optimizers.Optimizer,
    gradients: Sequence[Any],
    variables: Sequence[keras.Variable],
) -> None:
    """Updates variables, once all gradients are there.

    Optimizers of Keras (3.15.1) count the step, and decay the weights, without
    waiting for a gradient. Inside `tf.function` they did so before the batch
    was read, and once more where the data had ended.

    Nor is a weight updated before its last use in the step. `tf.function` has
    every read of a variable precede its update, but Keras' optimizers lead all
    gradients through one operation, and TensorFlow's graph optimizer (2.21.0)
    first takes that for order enough, then removes it. A weight that is also
    read where no gradient of its own follows (under `stop_gradient`, or when
    activations are computed once more) might then be read updated.

    Args:
      optimizer: any of Keras.
      gradients: this replica's, of the loss that `scale_loss` has scaled;
        dense, or None.
      variables: the variables of the gradients.

    Raises:
      UserError: Keras cannot do on several replicas what the optimizer is to.
    """
    _check_replicas(optimizer)
    found = [g for g in gradients if g is not None]
    # By way of one node: pairs of gradients and updates would be thousands.
    with tf.control_dependencies([tf.group(*found)]):
        clipped = clipped_together(optimizer, gradients)
        right = skipped_together(optimizer, gradients, clipped)
        optimizer.apply_gradients(zip(right, variables))


def _check_replicas(optimizer: keras.optimizers.Optimizer) -> None:
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    for name in ("gradient_accumulation_steps", "ema_overwrite_frequency"):
        if getattr(inner, name, None):
            raise UserError(
                f"{type(inner).__name__}({name}={getattr(inner, name)}): "
                "Keras cannot do that on several replicas; leave it out"
            )


def clipped_together(
    optimizer: keras.optimizers.Optimizer, gradients: Sequence[Any]
) -> list[Any]:
    """Returns gradients that the optimizer clips as those of the whole batch.

    With TensorFlow, optimizers of Keras (3.15.1) clip each replica's gradient,
    then add the replicas: n replicas have n times the limit. Here the sum is
    clipped by the optimizer's `clipnorm`, `clipvalue` or `global_clipnorm`, and
    every replica gets an equal part, which is within the limit itself.

    Args:
      optimizer: the one that is to apply them.
      gradients: this replica's, of the loss that `scale_loss` has scaled;
        dense, or None.
    """
    replica = tf.distribute.get_replica_context()
    count = 1 if replica is None else replica.num_replicas_in_sync
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    norm, value, global_norm = (
        getattr(inner, name, None)
        for name in ("clipnorm", "clipvalue", "global_clipnorm")
    )
    if count == 1 or not (norm or value or global_norm):
        return list(gradients)
    found = replica.all_reduce(
        tf.distribute.ReduceOp.SUM, [g for g in gradients if g is not None]
    )
    scale = tf.cast(optimizer.scale_loss(1.0), tf.float32)
    if norm:
        found = [tf.clip_by_norm(g, norm * scale) for g in found]
    elif value:
        limit = value * scale
        found = [tf.clip_by_value(g, -limit, limit) for g in found]
    else:
        found, _ = tf.clip_by_global_norm(found, global_norm * scale)
    parts = iter(found)
    return [None if g is None else next(parts) / count for g in gradients]


def skipped_together(
    optimizer: keras.optimizers.Optimizer,
    gradients: Sequence[Any],
    clipped: Sequence[Any],
) -> list[Any]:
    """Returns `clipped`; not finite on all replicas if it was not so on one.

    `LossScaleOptimizer` (Keras 3.15.1) skips a step if the gradients of the
    first replica are not finite. An overflow on another one went into the
    weights, and one that `clipvalue` had limited went unnoticed.

    Args:
      optimizer: the one that is to apply them.
      gradients: this replica's before they were clipped.
      clipped: the gradients to apply.
    """
    replica = tf.distribute.get_replica_context()
    count = 1 if replica is None else replica.num_replicas_in_sync
    scales = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    found = [g for g in gradients if g is not None]
    if count == 1 or not scales or not found:
        return list(clipped)
    fine = [tf.reduce_all(tf.math.is_finite(g)) for g in found]
    bad = 1.0 - tf.cast(tf.reduce_all(fine), tf.float32)
    bad = replica.all_reduce(tf.distribute.ReduceOp.SUM, bad) > 0.0
    # One gradient that is not finite is enough.
    first = next(i for i, g in enumerate(clipped) if g is not None)
    result = list(clipped)
    result[first] += tf.where(bad, tf.constant(np.nan, result[first].dtype), 0)
    return result
