"""Number formats: 32 bits everywhere, or 16 in all but weights and sums."""

import contextlib
from collections.abc import Iterator

import keras

FLOAT16 = "mixed_float16"


@contextlib.contextmanager
def policy(name: str) -> Iterator[None]:
    """Models made inside compute by this Keras policy; weights stay float32.

    Args:
      name: "float32", "mixed_bfloat16" or "mixed_float16".
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def scaled(
    optimizer: keras.optimizers.Optimizer, name: str
) -> keras.optimizers.Optimizer:
    """The optimizer for models of a policy.

    Small gradients are zero in float16. There the loss is scaled up, by twice
    as much after 2,000 good steps and half as much after a bad one, which is
    left out.

    Args:
      optimizer: as for float32.
      name: see `policy`.
    """
    if name != FLOAT16:
        return optimizer
    return keras.optimizers.LossScaleOptimizer(optimizer, name="loss_scale")
