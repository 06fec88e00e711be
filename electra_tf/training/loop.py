"""Runs the training loop: steps, logs, evaluations, checkpoints, resuming."""

import contextlib
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.training import checkpoints, pages, workers
from electra_tf.training.reporting import Reporter
from electra_tf.training.settings import TrainConfig, check_run
from electra_tf.training.steps import (
    Evaluator,
    EvaluatorLike,
    FiniteWatch,
    iterate,
    make_train_steps,
    recorded_norm,
    reset_metrics,
    take_metrics,
)
from electra_tf.training.stopping import Selection, StopRequest, Tracker

TrainData = Callable[[int], tf.data.Dataset]

# After so many steps a run has the memory that it works in. To move that into
# large pages takes a second or two, which so many more steps win back.
_SETTLED, _LONG = 20, 2000


def train(
    model: keras.Model,
    train_data: TrainData,
    *,
    config: TrainConfig,
    run_dir: str,
    strategy: tf.distribute.Strategy,
    eval_data: tf.data.Dataset | None = None,
    evaluator: EvaluatorLike | None = None,
    selection: Selection | None = None,
    run_config: dict[str, Any] | None = None,
    settings_class: type | None = None,
    reporter: Reporter | None = None,
    initial_step: int = 0,
) -> dict[str, Any]:
    """Trains `model` to the last step, from the newest checkpoint if any.

    Args:
      model: a model built and compiled with an optimizer under
        `strategy.scope()`; its `train_step(batch)` returns scalars including
        "loss", running means of its metrics since they were reset.
      train_data: step -> batches of the global size from that step on; with
        several workers, this one's share of each (`workers.Share`).
      config: see `TrainConfig`.
      run_dir: directory of config.json, checkpoints/, metrics.jsonl,
        tensorboard/ and plots/. Several workers need the same one: the chief
        writes it.
      strategy: see `make_strategy`.
      eval_data: held-out batches, read from the start at each evaluation
        with the model's `test_step`; with several workers, this one's shares.
      evaluator: evaluates in place of `eval_data`, with its own metrics; the
        same ones on all workers.
      selection: the metric that chooses the best checkpoint, and whether
        training stops early. Each improvement is saved at once, and the best
        checkpoint is never removed.
      run_config: all settings of the run, saved in the run directory; resuming
        with other settings is an error.
      settings_class: class of `run_config`; it knows older names of keys, and
        the values before some of them existed.
      reporter: shows and records metrics; None makes a `Reporter`.
      initial_step: number of updates of the model and its optimizer, where
        training continues from elsewhere and `run_dir` has no checkpoint yet.

    Returns:
      step (int), stopped (True after SIGTERM or SIGINT), resumed_from (step or
      None), checkpoint (the newest one's directory), train and validation (the
      last metrics of each), best (with a selection and after an evaluation:
      step, value and checkpoint) and stopped_early.

    Raises:
      UserError: `run_dir` has other settings, another process trains there, a
        loss is not finite, a checkpoint cannot be written, or data ends too
        early.
    """
    _check_arguments(model, config, strategy)
    if eval_data is not None and evaluator is not None:
        raise ValueError("train() takes eval_data or an evaluator, not both")
    if eval_data is not None:
        evaluator = Evaluator(model, eval_data, strategy, config.num_eval_steps)
    if selection is not None and evaluator is None:
        raise ValueError("a selection needs eval_data or an evaluator")
    if reporter is None:
        reporter = Reporter(
            run_dir,
            num_train_steps=config.num_train_steps,
            batch_size=config.batch_size,
        )
    team = workers.of(strategy)
    team.agree("the settings", run_config)
    reporter.recording &= team.is_chief
    begun = bool(checkpoints.all_steps(run_dir))
    check_run(run_dir, run_config, team.is_chief, settings_class, begun)
    alone: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if team.is_chief:
        alone = files.claimed(run_dir)
    with alone:
        return _train(
            model,
            train_data,
            config=config,
            run_dir=run_dir,
            strategy=strategy,
            evaluator=evaluator,
            selection=selection,
            run_config=run_config,
            reporter=reporter,
            initial_step=initial_step,
        )


def _train(
    model: keras.Model,
    train_data: TrainData,
    *,
    config: TrainConfig,
    run_dir: str,
    strategy: tf.distribute.Strategy,
    evaluator: EvaluatorLike | None,
    selection: Selection | None,
    run_config: dict[str, Any] | None,
    reporter: Reporter,
    initial_step: int,
) -> dict[str, Any]:
    """Does what `train` says, in a directory that no other process uses."""
    team = workers.of(strategy)
    if team.is_chief:
        checkpoints.clean(run_dir)
    team.barrier()
    with strategy.scope():
        # The slots must exist to be restored.
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        restored = checkpoints.restore(run_dir, model, model.optimizer)
    step = restored.step if restored else initial_step
    team.agree(f"the step of the newest checkpoint in {run_dir}", step)
    # Steps of the last record and evaluation; the checkpoint has both.
    logged = step
    evaluated = restored.state.get("evaluated_step") if restored else 0
    saved = (step, evaluated)
    tracker = Tracker(
        selection, restored.state.get("selection") if restored else None
    )
    result: dict[str, Any] = {
        "step": step,
        "stopped": False,
        "resumed_from": step if restored else None,
        "checkpoint": restored.path if restored else None,
        "train": {},
        "validation": {},
        "best": None,
        "stopped_early": False,
    }

    def settled() -> bool:
        """Returns whether training is finished."""
        done = step >= config.num_train_steps
        result["stopped_early"] = not done and tracker.exhausted
        if tracker.best is not None:
            path = checkpoints.path_at(run_dir, tracker.best["step"])
            result["best"] = tracker.best | {"checkpoint": path}
        return done or tracker.exhausted

    if settled() and (evaluator is None or evaluated == step):
        reporter.note(f"step {step} of {config.num_train_steps}: all done")
        _draw_plots(reporter)
        return result
    if restored:
        reporter.note(f"resuming from step {step} ({restored.path})")

    train_steps = make_train_steps(
        model,
        strategy,
        in_graph_loop=config.steps_per_loop > 1,
        jit_compile=config.jit_compile,
    )
    batches = iterate(train_data(step), strategy)
    watch = FiniteWatch()
    settled_at: int | None = step + _SETTLED

    def log() -> None:
        nonlocal logged
        if logged == step:
            return
        logged = step
        result["train"] = take_metrics(model, strategy)
        extra = _optimizer_metrics(model.optimizer)
        reporter.train(step, result["train"] | extra)

    def run_evaluation() -> None:
        nonlocal evaluated
        if evaluator is None or evaluated == step:
            return
        with reporter.paused():
            metrics = evaluator.run(stopping)
        if metrics is not None:
            evaluated = step
            result["validation"] = metrics
            reporter.validation(step, metrics)
            if tracker.update(step, metrics):
                save()

    def save() -> None:
        nonlocal saved
        if saved == (step, evaluated):
            return
        saved = (step, evaluated)
        if not team.is_chief:
            result["checkpoint"] = checkpoints.path_at(run_dir, step)
            return
        with reporter.paused():
            result["checkpoint"] = checkpoints.save(
                run_dir,
                step,
                model,
                model.optimizer,
                data_position=step * config.batch_size,
                run_config=run_config,
                extra={"evaluated_step": evaluated} | tracker.state(),
                protected=tracker.protected,
                keep=config.keep_checkpoints,
                keep_every_steps=config.keep_every_steps,
            )

    def stopping() -> bool:
        """Returns whether any worker was asked to stop; the same on all.

        A flag that all read after the same step is simpler than TensorFlow's
        PreemptionCheckpointHandler, which agrees on a future step and writes
        checkpoints in its own form.
        """
        result["stopped"] = result["stopped"] or team.any(stop.requested)
        return result["stopped"]

    reporter.begin(step)
    try:
        with StopRequest() as stop:
            reset_metrics(model, strategy)
            if _due(step, config.eval_every_steps):
                run_evaluation()  # a stop may have interrupted it
            while not settled() and not stopping():
                count = _steps_to_next_event(step, config)
                try:
                    outcome = train_steps(batches, count)
                except tf.errors.OutOfRangeError as error:
                    raise UserError(
                        f"the training data ends within {count} steps after"
                        f" step {step}, before step {config.num_train_steps}:"
                        " give more data, let it repeat, or train less long"
                    ) from error
                # Checks the previous call, so that the device is never idle.
                watch.push(outcome, step, count, result["checkpoint"])
                step += count
                if settled_at is not None and step >= settled_at:
                    settled_at = None
                    if config.num_train_steps - step >= _LONG and _on_cpu():
                        pages.enlarge()
                result["step"] = step
                reporter.progress(step)
                logs = _due(step, config.log_every_steps)
                evaluates = _due(step, config.eval_every_steps)
                saves = _due(step, config.checkpoint_every_steps)
                if logs or evaluates or saves:
                    watch.flush(result["checkpoint"])
                if logs or evaluates:  # an evaluation resets the metrics
                    log()
                if evaluates:
                    run_evaluation()
                # The last checkpoint comes after the last evaluation.
                if saves and step < config.num_train_steps:
                    save()
            watch.flush(result["checkpoint"])
            log()
            if not stopping():
                run_evaluation()
            save()
            team.barrier()  # whoever returns finds the checkpoint
            settled()
            stopping()
        if result["stopped_early"]:
            reporter.note(f"stopped early at step {step}: {tracker.describe()}")
        if result["stopped"]:
            reporter.note(
                f"{stop.signal_name or 'another worker'}: stopped after step"
                f" {step}; start again to resume from {result['checkpoint']}"
            )
        else:
            _draw_plots(reporter)
    finally:
        reporter.close()
    return result


def _draw_plots(reporter: Reporter) -> None:
    for path in reporter.draw_plots():
        reporter.note(f"plot: {path}")


def make_deterministic(seed: int) -> None:
    """Seeds Python, NumPy, TensorFlow and Keras, and makes ops deterministic.

    Call it before anything else uses TensorFlow. Training is slower with it on
    GPUs; on CPUs a run repeats bit for bit.
    """
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def check_batch_size(batch_size: int, replicas: int, parts: int = 1) -> None:
    """Refuses a batch that cannot be shared and cut into equal parts.

    Args:
      batch_size: examples in a batch of all replicas.
      replicas: number of replicas of all workers.
      parts: the setting `gradient_accumulation`.

    Raises:
      UserError: it is no multiple of both.
    """
    if batch_size % replicas:
        raise UserError(
            f"train.batch_size {batch_size} cannot be shared by {replicas}"
            f" replicas: make it a multiple of {replicas}"
        )
    share = batch_size // replicas
    if share % parts:
        raise UserError(
            f"train.gradient_accumulation: a replica's {share} examples cannot"
            f" be cut into {parts} equal parts; make train.batch_size a"
            f" multiple of {parts * replicas}, or set another number of parts"
        )


def _check_arguments(
    model: keras.Model, config: TrainConfig, strategy: tf.distribute.Strategy
) -> None:
    if not model.built or getattr(model, "optimizer", None) is None:
        raise ValueError("train() takes a model that is built and compiled")
    replicas = strategy.num_replicas_in_sync
    check_batch_size(config.batch_size, replicas)
    if config.jit_compile and replicas > 1:
        raise UserError(
            "jit_compile works on one device: turn it off, or take the"
            " strategy one_device"
        )


def _on_cpu() -> bool:
    devices = tf.config.list_logical_devices()
    return all(device.device_type == "CPU" for device in devices)


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _steps_to_next_event(step: int, config: TrainConfig) -> int:
    ends = [config.num_train_steps, step + config.steps_per_loop]
    for every in (
        config.log_every_steps,
        config.eval_every_steps,
        config.checkpoint_every_steps,
    ):
        if every > 0:
            ends.append((step // every + 1) * every)
    return min(ends) - step


def _optimizer_metrics(optimizer: Any) -> dict[str, float]:
    metrics = {"learning_rate": float(optimizer.learning_rate)}
    norm = recorded_norm(optimizer)
    if norm is not None:
        metrics["gradient_norm"] = float(norm.numpy())
    return metrics
