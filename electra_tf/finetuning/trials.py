"""Runs the trials of a fine-tuning run, and reports them.

    <run>/config.json     all settings
    <run>/trial_1/        config.json, metrics.jsonl, plots/, predictions/,
                          tensorboard/, model/, result.json (written last),
                          checkpoints/ until then
    <run>/model/          the best trial's; for several tasks a directory each
    <run>/plots/  <run>/report.md  <run>/report.json

A run that was interrupted resumes: finished trials are kept, an unfinished one
resumes from its last checkpoint.
"""

import dataclasses
import gc
import json
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.finetuning import plots, report, splits
from electra_tf.finetuning import trial as finetune
from electra_tf.finetuning.settings import FREE, FinetuneSettings, run_class
from electra_tf.finetuning.start import Start
from electra_tf.hub import directory
from electra_tf.tasks.registry import task_class
from electra_tf.training import loop, precision, workers
from electra_tf.training.settings import check_run

# Content of a run's directory.
_OWN = re.compile(
    r"config\.json|report\.(md|json)|plots|model|trial_\d+|tensorboard"
    r"|mlflow.*|wandb.*|fold_\d+"
)


def run_trials(
    settings: FinetuneSettings,
    start: Start,
    data: str | None,
    output: str,
    strategy: tf.distribute.Strategy,
    progress: bool = True,
    loggers: Sequence[str] = (),
    overwrite: bool = False,
) -> dict[str, Any] | None:
    """Trains, predicts and reports, and resumes unfinished work.

    Args:
      settings: all settings.
      start: the first weights of every trial.
      data: data for the task.
      output: the run directory.
      strategy: see `training.strategy.make_strategy`.
      progress: whether to report progress on stderr.
      loggers: names in `training.loggers`.
      overwrite: whether to remove a run that is there, once the data are read.

    Returns:
      The content of report.json; None if a signal stopped it.

    Raises:
      UserError: the run has other settings or data, or the task refuses the
        data.
    """
    if overwrite:
        _check_removable(output, start)
    asked = settings.train
    loop.check_batch_size(
        asked.batch_size,
        strategy.num_replicas_in_sync,
        asked.gradient_accumulation,
    )
    train = dataclasses.replace(
        asked,
        precision=precision.resolved(
            asked.precision, None if overwrite else output, asked.jit_compile
        ),
    )
    settings = dataclasses.replace(settings, train=train)
    described = describe(settings, start, data)
    team = workers.of(strategy)
    team.agree("the settings", described)
    cls = run_class(settings.task)
    begun = not overwrite and _begun(output)
    if not overwrite:
        check_run(output, described, False, cls, begun)
    results = {
        number: None
        if overwrite
        else finetune.result_of(_trial(output, number))
        for number in range(1, (train.folds or train.num_trials) + 1)
    }
    team.agree(f"the results in {output}", results)

    def note(text: str) -> None:
        if progress and team.is_chief:
            print(text, file=sys.stderr, flush=True)

    def fold(number: int) -> splits.Splits:
        return splits.fold(
            whole, number, train.folds or 1, train.seed,
            start.tokenizer(), start.config.max_positions,
        )  # fmt: skip

    task = task_class(settings.task)(settings.task, settings.options, data)
    task.parts_joined = train.folds is not None
    read = splits.read(
        task,
        start.tokenizer(),
        start.config.max_positions,
        train.max_train_examples,
        train.seed,
    )
    whole = read
    before = _report(output) if all(results.values()) else None
    if before is not None and len(before["trials"]) == len(results):
        for number, result in results.items():
            assert result is not None  # all are done
            if train.folds is not None:
                read = fold(number)
            _check_data(output, number, result, read)
        note(f"{output}: all {len(results)} trials are done")
        return before
    if train.folds is not None:
        read = fold(1)
    head = read.task.head()
    # Only now, so that wrong data leaves no record that would refuse the right
    # data, and removes no run.
    if overwrite:
        if team.is_chief:
            clear(output)
        team.barrier()
    check_run(output, described, team.is_chief, cls, begun)
    note(_describe_data(read))
    note(f"start: {start.describe(head)}")
    description = precision.describe(train.precision, asked.precision)
    if description:
        note(description)
    baselines: list[report.Scores] = []
    for number, result in results.items():
        if train.folds is not None:
            read = fold(number)
            baselines.append(read.baseline())
        if result is not None:
            _check_data(output, number, result, read)
            continue
        if len(results) > 1:
            what = "fold" if train.folds else "trial"
            note(f"{what} {number} of {len(results)}")
        results[number] = finetune.run_trial(
            _trial(output, number),
            read,
            start,
            train
            if train.folds
            else dataclasses.replace(train, seed=train.seed + number - 1),
            strategy,
            described,
            progress,
            loggers,
        )
        if results[number] is None:
            return None
        # Frees this network before the next trial's is built.
        keras.backend.clear_session()
        gc.collect()
    summary = report.summarise(
        {number: result for number, result in results.items() if result},
        described,
        read,
        start.describe(head),
        report.mean_of(baselines or [read.baseline()]),
    )
    if not team.is_chief:
        return summary
    best = _trial(output, summary["best_trial"])
    for name in directory.models_in(files.join(best, "model")):
        directory.write(
            files.join(output, "model", name).rstrip("/"),
            directory.read(files.join(best, "model", name).rstrip("/")),
        )
    plots.write_plots(output, summary)
    report.write(output, summary)
    return summary


def clear(output: str) -> None:
    """Removes a run, for another one in its place.

    Raises:
      UserError: the directory has something that runs do not have.
    """
    if files.exists(output):
        _check_own(output)
        files.remove(output)


def _check_own(output: str) -> None:
    """Refuses a directory with something that runs do not have."""
    names = files.list_directory(output) if files.is_directory(output) else [""]
    others = [name for name in names if not _OWN.fullmatch(name)]
    if others:
        raise UserError(
            f"--overwrite: {output}: holds {', '.join(others[:5])}, which is "
            "not of a run of finetune; remove it yourself, or name another "
            "directory"
        )


def _check_removable(output: str, start: Start) -> None:
    """Refuses to remove what is no run, or has the weights to start from."""
    if not files.exists(output):
        return
    _check_own(output)
    if start.checkpoint is None or start.source is None:
        return
    folder, source = (
        os.path.realpath(path) if files.is_local(path) else path.rstrip("/")
        for path in (output, start.source)
    )
    if f"{source}/".startswith(f"{folder}/"):
        raise UserError(
            f"--overwrite: --model={start.source} is in {output}, which would "
            "be removed; name another directory"
        )


def _begun(output: str) -> bool:
    """Returns whether a run has a checkpoint, a result or a model."""
    if not files.is_directory(output):
        return False
    trials = [n for n in files.list_directory(output) if n.startswith("trial_")]
    return (
        files.exists(files.join(output, report.JSON))
        or files.exists(files.join(output, "model"))
        or any(finetune.begun(files.join(output, trial)) for trial in trials)
    )


def describe(
    settings: FinetuneSettings, start: Start, data: str | None
) -> dict[str, Any]:
    """Returns everything that decides a run's result, as JSON values."""
    train = dataclasses.asdict(settings.train)
    assert settings.options is not None  # from `settings.settings_class`
    found = {
        "task": settings.task,
        "options": dataclasses.asdict(settings.options),
        "train": {k: v for k, v in train.items() if k not in FREE},
        "model": dataclasses.asdict(start.config),
        "data": data,
        "start": {
            "from": start.source,
            "random_weights": start.checkpoint is None,
            "new_head": start.new_head,
            "lower_case": start.lower_case,
            "strip_accents": start.strip_accents,
            "vocab_fingerprint": start.vocab.fingerprint(),
        },
    }
    return json.loads(json.dumps(found))


def _report(output: str) -> dict[str, Any] | None:
    """Returns the content of a run's report; None where there is none."""
    path = files.join(output, report.JSON)
    return json.loads(files.read_text(path)) if files.exists(path) else None


def _trial(output: str, number: int) -> str:
    return files.join(output, f"trial_{number}")


def _describe_data(read: splits.Splits) -> str:
    sizes = ", ".join(f"{name} {n:,}" for name, n in read.sizes.items())
    lengths = read.features.lengths
    text = (
        f"task {read.task.name}: {sizes} examples; {len(lengths):,} training "
        f"rows of {lengths.mean():.0f} tokens, at most {lengths.max()}"
    )
    classes = read.task.classes(read.train)
    if classes:
        shown = [f"{name} {n:,}" for name, n in list(classes.items())[:12]]
        more = len(classes) - len(shown)
        text += f"\nclasses: {', '.join(shown)}"
        text += f" and {more} more" if more else ""
    return text


def _check_data(
    output: str, number: int, result: dict[str, Any], read: splits.Splits
) -> None:
    if result["data_fingerprint"] != read.fingerprint:
        raise UserError(
            f"{_trial(output, number)} was trained on other data than --data "
            "has now; restore that data, or choose another output directory"
        )
