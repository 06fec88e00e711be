"""One trial: train a network on a task, choose its best weights, use them."""

import io
import json
import math
import statistics
import time
from typing import Any

import keras
import tensorflow as tf

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.finetuning import (
    chosen_weights,
    step_plan,
    trial_outputs,
)
from electra_tf.finetuning.fine_tuner import FineTuner
from electra_tf.finetuning.held_out import HeldOut
from electra_tf.finetuning.settings import FinetuneTrainConfig, fit, run_class
from electra_tf.finetuning.splits import Splits
from electra_tf.finetuning.start import Start
from electra_tf.models import task_networks
from electra_tf.prediction import files as prediction_files
from electra_tf.prediction.inference import Inference
from electra_tf.tasks.batches import training_dataset
from electra_tf.training import checkpoints, loop, workers
from electra_tf.training.loop import TrainConfig
from electra_tf.training.optimizer import (
    loss_scaled,
    make_optimizer,
    precision_policy,
)
from electra_tf.training.reporting import Reporter
from electra_tf.training.stopping import Selection, StopRequest

# Written last: a trial that has it is finished.
RESULT = "result.json"


def result_of(run_dir: str) -> dict[str, Any] | None:
    """What a finished trial has left; None where it is not finished.

    Raises:
      UserError: the file is damaged.
    """
    path = files.join(run_dir, RESULT)
    if not files.exists(path):
        return None
    try:
        return dict(json.loads(files.read_text(path)))
    except ValueError as error:
        raise UserError(
            f"{path}: is damaged ({error}); remove {run_dir} to run the trial "
            "again"
        ) from error


def run_trial(
    run_dir: str,
    splits: Splits,
    start: Start,
    config: FinetuneTrainConfig,
    strategy: tf.distribute.Strategy,
    described: dict[str, Any],
    progress: bool = True,
) -> dict[str, Any] | None:
    """Trains from the start, or from where an earlier process came to.

    Args:
      run_dir: the trial's directory; see `trials` for what is in it. Of
        several workers the chief writes it.
      splits: the data.
      start: the first weights.
      config: its seed is the trial's.
      strategy: see `training.strategy.make_strategy`.
      described: all settings, kept in config.json; starting again with
        others is an error.
      progress: whether to tell on stderr how far it is.

    Returns:
      What RESULT holds: seed, steps, seconds, scores of each split, best,
      parameters and so on; None if a signal stopped it.

    Raises:
      UserError: see `training.loop.train`.
    """
    began = time.monotonic()
    loop.make_deterministic(config.seed)
    task = splits.fresh_task()
    train, decay = fit(
        config,
        start.config.hidden_size,
        splits.features.epoch_units,
        task.default_epochs,
    )
    reporter = Reporter(
        run_dir,
        num_train_steps=train.num_train_steps,
        batch_size=train.batch_size,
        shown=("loss",),
        stream=None if progress else io.StringIO(),
    )
    team = workers.of(strategy)
    reporter.recording = team.is_chief
    layout = step_plan.plan(
        start.config,
        splits.features,
        train.batch_size,
        train.num_train_steps,
        strategy,
        train.jit_compile,
    )
    with strategy.scope(), precision_policy(config.precision):
        network, report = start.build(task.head())
        network.encoder.trainable = not config.freeze_encoder
        network.encoder.recompute = config.recompute
        tuner = FineTuner(
            network,
            task,
            config.seed,
            config.gradient_accumulation,
            layout.side_by_side,
            layout.kernel_mode,
        )
        rates = task_networks.layer_rates(decay, start.config.num_layers)
        optimizer = make_optimizer(
            train, train.num_train_steps, learning_rate_multipliers=rates
        )
        tuner.compile(loss_scaled(optimizer, config.precision))
    if report is not None and checkpoints.latest(run_dir) is None:
        reporter.note(str(report))
    inference = Inference(network, task, config.eval_batch_size, workers=team)
    evaluator = selection = None
    if splits.validation:
        quick, while_trained = task.quick(), inference
        if quick is not task:
            while_trained = Inference(
                network, quick, config.eval_batch_size, workers=team
            )
        evaluator = HeldOut(quick, while_trained, splits.validation, reporter)
        if config.select_best or config.early_stopping_patience:
            selection = Selection(task.metric, config.early_stopping_patience)
    outcome = loop.train(
        tuner,
        lambda step: training_dataset(
            splits.features,
            train.batch_size,
            seed=config.seed,
            start_step=step,
            pad_to_multiple=layout.pad_to_multiple,
            bucket=config.bucket_by_length,
            share=team.share,
        ),
        config=train,
        run_dir=run_dir,
        strategy=strategy,
        evaluator=evaluator,
        selection=selection,
        run_config=described | {"data_fingerprint": splits.fingerprint},
        settings_class=run_class(described["task"]),
        reporter=reporter,
    )
    if outcome["stopped"]:
        return None
    chosen = chosen_weights.load(
        run_dir, tuner, outcome, config, evaluator, task.metric
    )
    with StopRequest() as stop:
        scores = trial_outputs.predict_all(
            run_dir if team.is_chief else None,
            task,
            inference,
            splits,
            lambda: team.any(stop.requested),
        )
    if scores is None:
        who = stop.signal_name or "another worker"
        reporter.note(f"{who}: stopped; start again to go on")
        return None
    result = _result(outcome, train, network, splits) | {
        "seed": config.seed,
        "chosen_step": chosen.step,
        "averaged_steps": chosen.averaged,
        "examples_per_second": _median(
            trial_outputs.draw_curves(run_dir) if team.is_chief else []
        ),
        # Of the process that ended it; an earlier one may have begun it.
        "seconds": round(time.monotonic() - began, 1),
        "scores": scores,
        "state": task.state,
    }
    text = prediction_files.dumps(result)
    team.barrier()  # all have read what they need
    if team.is_chief:
        trial_outputs.save_models(
            run_dir, task, network, start, chosen.step, scores, described
        )
        files.write_text(files.join(run_dir, RESULT), text + "\n")
        if not config.keep_checkpoints:
            files.remove(files.join(run_dir, "checkpoints"))
    return json.loads(text)


def _result(
    outcome: dict[str, Any],
    train: TrainConfig,
    network: keras.Model,
    splits: Splits,
) -> dict[str, Any]:
    """What training alone decides."""
    seen = outcome["step"] * train.batch_size
    sizes = [math.prod(v.shape) for v in network.trainable_variables]
    return {
        "steps": outcome["step"],
        "epochs": seen / splits.features.epoch_units,
        "stopped_early": outcome["stopped_early"],
        "resumed_from": outcome["resumed_from"],
        "learning_rate": train.learning_rate,
        "layerwise_lr_decay": train.layerwise_lr_decay,
        "parameters": sum(sizes),
        "data_fingerprint": splits.fingerprint,
    }


def _median(values: list[float]) -> float | None:
    return statistics.median(values) if values else None
