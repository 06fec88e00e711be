"""The flags of commands that run on several devices or machines."""

import contextlib
import typing
from collections.abc import Iterator

from absl import flags

if typing.TYPE_CHECKING:
    import tensorflow as tf


def define(values: flags.FlagValues, tpu: bool = True) -> None:
    """Adds the flags.

    Args:
      values: of the command.
      tpu: whether it runs on all strategies; else on one device, or on
        several workers that share the examples.
    """
    kinds = "one_device, mirrored, multi_worker or tpu"
    flags.DEFINE_string(
        "strategy",
        "one_device",
        f"{kinds if tpu else 'one_device or multi_worker'}; the workers of "
        "multi_worker are what the environment variable TF_CONFIG says",
        flag_values=values,
    )
    flags.DEFINE_float(
        "join_seconds",
        300.0,
        "how long to wait for the other workers at the start",
        lower_bound=0.0,
        flag_values=values,
    )
    if tpu:
        flags.DEFINE_string(
            "tpu", "", "name or address of a TPU", flag_values=values
        )


@contextlib.contextmanager
def strategy_of(
    flags_: flags.FlagValues,
) -> Iterator["tf.distribute.Strategy"]:
    """The strategy; made before anything else that TensorFlow does.

    At the end the workers wait for one another: done means that the chief has
    written what there is to write.

    Raises:
      UserError: see `make_strategy`; another worker is gone.
    """
    from electra_tf.training import strategy

    tpu = flags_["tpu"].value if "tpu" in flags_ else None
    with strategy.distributed(
        flags_.strategy,
        tpu=tpu or "",
        join_seconds=flags_.join_seconds,
        among=strategy.STRATEGIES
        if "tpu" in flags_
        else strategy.FORWARD_STRATEGIES,
    ) as chosen:
        yield chosen
