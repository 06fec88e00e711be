"""Which weights a trial keeps: the last, the best, or a mean of several."""

from typing import Any, NamedTuple

import keras

from electra_tf.finetuning.held_out import HeldOut
from electra_tf.finetuning.settings import FinetuneTrainConfig
from electra_tf.training import checkpoints


class Chosen(NamedTuple):
    """What was loaded."""

    step: int  # of the weights; of a mean, the last one's
    averaged: list[int]  # the steps that the mean is of; empty for none


def load(
    run_dir: str,
    model: keras.Model,
    outcome: dict[str, Any],
    config: FinetuneTrainConfig,
    evaluator: HeldOut | None,
    metric: str,
) -> Chosen:
    """Puts the weights to keep into a trained model.

    Args:
      run_dir: the trial's directory, its checkpoints still there.
      model: trained; it has the last step's weights.
      outcome: what `training.loop.train` returned.
      config: says whether the best ones are taken, or a mean.
      evaluator: of the validation data, if there is any.
      metric: decides between best and mean; higher is better.

    Raises:
      UserError: a checkpoint is damaged.
    """
    best = outcome["best"] if config.select_best else None
    steps = checkpoints.all_steps(run_dir)
    last = [s for s in steps if s <= outcome["step"]]
    last = sorted(last)[-config.average_checkpoints :]
    if len(last) > 1:
        checkpoints.load_mean([steps[step] for step in last], model)
        if best is None or evaluator is None:
            return Chosen(last[-1], last)
        scores = evaluator.run(lambda: False) or {}
        value = best["value"]
        if value is None or scores.get(metric, float("-inf")) > value:
            return Chosen(last[-1], last)
    if best is not None:
        checkpoints.load_weights(best["checkpoint"], model)
        return Chosen(best["step"], [])
    if len(last) > 1:
        checkpoints.load_weights(outcome["checkpoint"], model)
    return Chosen(outcome["step"], [])
