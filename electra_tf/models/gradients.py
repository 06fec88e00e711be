"""Makes gradients ready for an optimizer: in order, and clipped together.

An optimizer of Keras inside `tf.function` has two faults that ours must not
meet; each function here avoids one.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


def ready(
    optimizer: keras.optimizers.Optimizer, gradients: Sequence[Any]
) -> list[Any]:
    """Returns gradients that the optimizer may apply at once.

    Args:
      optimizer: the one that is to apply them.
      gradients: this replica's, of the loss that `scale_loss` has scaled;
        dense, or None.
    """
    return clipped_together(optimizer, all_computed(gradients))


def all_computed(gradients: Sequence[Any]) -> list[Any]:
    """Returns the same gradients, none of which is there before all are.

    So no weight is updated before its last use in the step. `tf.function` has
    every read of a variable precede its update, but Keras' optimizers (3.15.1)
    lead all gradients through one operation, and TensorFlow's graph optimizer
    (2.21.0) first takes that for order enough, then removes it. A weight that
    is also read where no gradient of its own follows (under `stop_gradient`,
    or when activations are computed once more) may then be read updated.

    Args:
      gradients: dense, sparse, or None.
    """
    found = [g for g in gradients if g is not None]
    # By way of one node: pairs of gradients would be thousands of edges.
    with tf.control_dependencies([tf.group(*found)]):
        same = iter([tf.identity(g) for g in found])
    return [None if g is None else next(same) for g in gradients]


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
