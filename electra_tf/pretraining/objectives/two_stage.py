"""Trains the generator alone, then the discriminator from its weights.

Two-stage training of the paper's section 3.2. The stage follows from the
optimizer's step, inside the graph, so a run that is resumed is in the right
one. Weights that a stage does not train are restored after each update,
whatever the optimizer does to them (weight decay, momentum).
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


class Stages:
    """Moves and keeps the variables of both networks, stage by stage.

    Args:
      generator: built, with tables of its own.
      discriminator: built, of the same shape.
      two_stage_steps: length of the first stage.
    """

    def __init__(
        self,
        generator: keras.Model,
        discriminator: keras.Model,
        two_stage_steps: int,
    ):
        self._steps = two_stage_steps
        self._generator = tuple(generator.trainable_variables)
        self._discriminator = tuple(discriminator.trainable_variables)
        by_place = {_place(v.path): v for v in self._generator}
        # The replaced-token head has no counterpart: it starts from its initial
        # weights.
        self._sources = tuple(
            by_place.get(_place(v.path)) for v in self._discriminator
        )

    def factors(self, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the factors of the generator's and the discriminator's
        losses.

        Args:
          step: scalar, updates done.

        Returns:
          (1, 0) in the first stage, (0, 1) in the second; float32.
        """
        first = tf.cast(step < self._steps, tf.float32)
        return first, 1.0 - first

    def values(self) -> tuple[tf.Tensor, ...]:
        """Returns the weights of both networks, to be handed to `settle`."""
        return tuple(
            tf.identity(v.value)
            for v in (*self._generator, *self._discriminator)
        )

    def settle(self, step: tf.Tensor, before: Sequence[tf.Tensor]) -> None:
        """Restores the weights to be kept; copies weights at the change of
        stage.

        Args:
          step: scalar, updates done before the one that `before` precedes.
          before: `values()` before it.
        """
        first = step < self._steps
        changes = tf.equal(step, self._steps - 1)
        count = len(self._generator)
        updates = []
        for variable, old in zip(self._generator, before[:count]):
            now = tf.identity(variable.value)
            updates.append((variable, tf.where(first, now, old)))
        for variable, old, source in zip(
            self._discriminator, before[count:], self._sources
        ):
            still = old
            if source is not None:
                still = tf.where(changes, tf.identity(source.value), old)
            now = tf.identity(variable.value)
            updates.append((variable, tf.where(first, still, now)))
        _assign([v for v, _ in updates], [value for _, value in updates])


def _place(path: str) -> str:
    """Returns a variable's place in its network: tables, and below the
    encoder.
    """
    parts = path.split("/")
    for scope in ("embeddings", "encoder"):
        if scope in parts:
            return "/".join(parts[parts.index(scope) :])
    return path


def _assign(
    variables: Sequence[keras.Variable], values: Sequence[tf.Tensor]
) -> None:
    """Assigns in every replica; their values are equal, as the updates are."""
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        for variable, value in zip(variables, values):
            variable.assign(value)
        return

    def update_all(strategy: tf.distribute.Strategy, *values: Any) -> None:
        for variable, value in zip(variables, values):
            strategy.extended.update(
                variable.value,
                lambda v, new: v.assign(new),
                args=(value,),
                group=False,
            )

    replica.merge_call(update_all, args=tuple(values))
