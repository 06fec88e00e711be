"""Runs one trial: trains a network, chooses the best weights, predicts."""

import copy
import dataclasses
import io
import json
import math
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.finetuning import plots
from electra_tf.finetuning.fine_tuner import FineTuner, plan_steps
from electra_tf.finetuning.settings import FinetuneTrainConfig, fit, run_class
from electra_tf.finetuning.splits import Split, Splits
from electra_tf.finetuning.start import Start
from electra_tf.hub import directory
from electra_tf.models import task_networks
from electra_tf.prediction import files as prediction_files
from electra_tf.prediction.predictor import Inference, write_predictions
from electra_tf.tasks.batches import training_dataset
from electra_tf.tasks.task import Prediction, Task
from electra_tf.training import checkpoints, loop, precision, workers
from electra_tf.training.loop import TrainConfig
from electra_tf.training.optimizer import (
    loss_scaled,
    make_optimizer,
    precision_policy,
)
from electra_tf.training.reporting import Reporter
from electra_tf.training.stopping import Selection, StopRequest

_SHOWN = 6  # metrics on the progress line
# Written last, to mark a finished trial.
RESULT = "result.json"


def result_of(run_dir: str) -> dict[str, Any] | None:
    """Reads the result of a trial; None where it is not finished.

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


def begun(run_dir: str) -> bool:
    """Returns whether a trial has a checkpoint or a result."""
    return files.exists(files.join(run_dir, RESULT)) or bool(
        checkpoints.all_steps(run_dir)
    )


def run_trial(
    run_dir: str,
    splits: Splits,
    start: Start,
    config: FinetuneTrainConfig,
    strategy: tf.distribute.Strategy,
    described: dict[str, Any],
    progress: bool = True,
    loggers: Sequence[str] = (),
) -> dict[str, Any] | None:
    """Trains from the start, or resumes from an earlier process.

    Args:
      run_dir: the trial's directory; see `trials` for its content. Among
        several workers the chief writes it.
      splits: the data.
      start: the first weights.
      config: the settings, with the trial's seed.
      strategy: see `training.strategy.make_strategy`.
      described: all settings, saved in config.json; resuming with others is an
        error.
      progress: whether to report progress on stderr.
      loggers: names in `training.loggers`.

    Returns:
      The content of RESULT: seed, steps, seconds, scores of each split, best,
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
        loggers=loggers,
    )
    team = workers.of(strategy)
    reporter.recording = team.is_chief
    layout = plan_steps(
        start.config,
        splits.features,
        train.batch_size,
        train.num_train_steps,
        strategy,
        train.jit_compile,
        bfloat16_products=config.precision == precision.PRODUCTS,
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
        tuner.bfloat16_products = config.precision == precision.PRODUCTS
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
    chosen = choose_weights(
        run_dir, tuner, outcome, config, evaluator, task.metric
    )
    with StopRequest() as stop:
        predicted = _predict_all(
            run_dir if team.is_chief else None,
            task,
            inference,
            splits,
            lambda: team.any(stop.requested),
        )
    if predicted is None:
        who = stop.signal_name or "another worker"
        reporter.note(f"{who}: stopped; start again to resume")
        return None
    scores = predicted.scores
    if predicted.collapsed is not None:
        reporter.note(
            f"every prediction is '{predicted.collapsed}': training was too "
            "short or has collapsed; take more epochs, a lower "
            "train.learning_rate, a longer train.warmup_proportion or another "
            "train.seed"
        )
    result = _result(outcome, train, network, splits) | {
        "collapsed": predicted.collapsed,
        "details": predicted.details,
        "seed": config.seed,
        "chosen_step": chosen.step,
        "averaged_steps": chosen.averaged,
        "examples_per_second": _median(
            plots.draw_curves(
                run_dir, splits.features.epoch_units / train.batch_size
            )
            if team.is_chief
            else []
        ),
        # Seconds of this process; an earlier one may have begun the trial.
        "seconds": round(time.monotonic() - began, 1),
        "scores": scores,
        "state": task.state,
    }
    text = prediction_files.dumps(result, nan=True)  # if training diverged
    team.barrier()  # until all have read what they need
    if team.is_chief:
        _save_models(
            run_dir, task, network, start, chosen.step, scores, described,
            splits.unknown.percent,
        )  # fmt: skip
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
    """Returns the part of the result that follows from training alone."""
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


class HeldOut:
    """Evaluates the validation splits, for the training loop.

    Metrics of the first split have their own names, those of the others
    "split/metric".
    """

    def __init__(
        self,
        task: Task,
        inference: Inference,
        splits: tuple[Split, ...],
        reporter: Reporter | None = None,
    ):
        self._task = task
        self._inference = inference
        self._splits = splits
        self._reporter = reporter

    def run(self, should_stop: Callable[[], bool]) -> dict[str, float] | None:
        """See `training.steps.EvaluatorLike`."""
        metrics: dict[str, float] = {}
        for split in self._splits:
            features = split.features
            outputs = self._inference.run(features, should_stop=should_stop)
            if outputs is None:
                return None
            predictions = self._task.predictions(
                split.examples, features, outputs
            )
            scores = self._task.scores(split.examples, predictions)
            first = split is self._splits[0]
            for name, value in scores.items():
                metrics[name if first else f"{split.name}/{name}"] = value
        if self._reporter is not None:
            rest = [n for n in metrics if n not in (self._task.metric, "loss")]
            shown = ("loss", self._task.metric, *rest)
            self._reporter.shown = shown[:_SHOWN]
        return metrics


class Chosen(NamedTuple):
    """The weights that were chosen."""

    step: int  # step of the weights; for a mean the last one
    averaged: list[int]  # steps of the averaged weights; empty without a mean


def choose_weights(
    run_dir: str,
    model: keras.Model,
    outcome: dict[str, Any],
    config: FinetuneTrainConfig,
    evaluator: HeldOut | None,
    metric: str,
) -> Chosen:
    """Loads the weights to keep into a trained model.

    Args:
      run_dir: the trial's directory, with its checkpoints.
      model: the trained model, with the last step's weights.
      outcome: result of `training.loop.train`.
      config: settings that choose the best weights or a mean.
      evaluator: evaluator of the validation data, if there is any.
      metric: metric that decides between best and mean; higher is better.

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


def _save_models(
    run_dir: str,
    task: Task,
    network: keras.Model,
    start: Start,
    step: int,
    scores: dict[str, Any],
    described: dict[str, Any],
    unknown: float,
) -> None:
    """Writes `model/`, or a directory in it for each of several tasks.

    Args:
      run_dir: the trial's directory.
      task: the trained and tuned task.
      network: the network with the weights to keep.
      start: the start, with shape and vocabulary.
      step: number of updates of the weights.
      scores: split -> metric -> value.
      described: all settings.
      unknown: share of [UNK] in the training data's tokens, in percent.
    """
    for name, (own, part) in task.models(network).items():
        about = {
            "task": _lasting(own.name),
            "options": dataclasses.asdict(own.options),
            "state": own.state,
            "metrics": scores,
            "settings": described,
            "unknown_percent": round(unknown, 3),
        }
        directory.save(
            files.join(run_dir, "model", name).rstrip("/"),
            start.directory_config(part.head_config, step, about),
            [part],
            start.vocab,
        )


def _lasting(name: str) -> str:
    """Returns a task's name that works from other directories too."""
    path, colon, attribute = name.rpartition(":")
    if colon and path.endswith(".py"):
        return f"{os.path.abspath(path)}:{attribute}"
    return name


class _Predicted(NamedTuple):
    """The results of a trial's predictions."""

    scores: dict[str, dict[str, float]]  # of each split
    details: dict[str, dict[str, dict[str, float]]]  # by class or type
    collapsed: str | None  # the answer to everything, if there is only one


def _predict_all(
    run_dir: str | None,
    task: Task,
    inference: Inference,
    splits: Splits,
    should_stop: Callable[[], bool],
) -> "_Predicted | None":
    """Predicts, tunes and writes; returns scores of splits with answers.

    Args:
      run_dir: the trial's directory; None writes nothing.
      task: the task, which is tuned on the first validation split.
      inference: inference with the trained network.
      splits: the splits to predict.
      should_stop: returns whether to stop; then the result is None.
    """
    found: dict[str, dict[str, float]] = {}
    details: dict[str, dict[str, dict[str, float]]] = {}
    collapsed = None
    for split in (*splits.validation, *splits.test):
        outputs = inference.run(split.features, should_stop=should_stop)
        if outputs is None:
            return None
        examples = split.examples
        predictions = task.predictions(examples, split.features, outputs)
        if split in splits.validation[:1]:
            before = copy.deepcopy(task.state)
            task.tune(examples, predictions)
            if task.state != before:
                predictions = task.predictions(
                    examples, split.features, outputs
                )
            if run_dir is not None:
                _draw_confusion(
                    run_dir, task, split.name, examples, predictions
                )
        if run_dir is not None:
            write_predictions(
                files.join(run_dir, "predictions"),
                task,
                split.name,
                examples,
                predictions,
            )
        scores = task.scores(examples, predictions)
        if scores:
            found[split.name] = {n: float(v) for n, v in scores.items()}
            details[split.name] = task.details(examples, predictions)
            if split in splits.validation[:1]:
                collapsed = task.one_answer(examples, predictions)
    return _Predicted(found, details, collapsed)


def _draw_confusion(
    run_dir: str,
    task: Task,
    split: str,
    examples: Sequence[Any],
    predictions: Sequence[Prediction],
) -> None:
    pairs = [
        (task.truth(example), prediction.get("label"))
        for example, prediction in zip(examples, predictions)
    ]
    if not pairs or any(None in pair for pair in pairs):
        return
    truths, predicted = zip(*pairs)
    labels = getattr(task.head(), "labels", None)
    labels = labels or sorted({*truths, *predicted})
    files.write_bytes(
        files.join(run_dir, "plots", "confusion_matrix.png"),
        plots.draw_confusion(
            truths, predicted, labels, f"{task.name}, {split}"
        ),
    )
