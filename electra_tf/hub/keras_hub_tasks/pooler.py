"""Excludes the backbone's pooler, which ELECTRA's tasks do not use."""

from collections.abc import Iterable

import keras


def without_pooler(
    variables: Iterable[keras.Variable], backbone: keras.Model | None
) -> list[keras.Variable]:
    """Returns variables without those of the backbone's pooler.

    No output of a task depends on it. Left among what a task trains, each
    `fit` warns of variables without gradients, and asks for a forgotten loss.
    (A function, not a base class: KerasHub names a task in a preset by its
    class' first base.)

    Args:
      variables: a task's variables.
      backbone: its `keras_hub.models.ElectraBackbone`; None before it is set.
    """
    if backbone is None:
        return list(variables)
    unused = {id(v) for v in backbone.pooled_dense.variables}
    return [v for v in variables if id(v) not in unused]
