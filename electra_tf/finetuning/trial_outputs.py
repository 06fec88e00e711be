"""What a trial leaves when it is trained: answers, pictures, models."""

import copy
import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any

import keras

from electra_tf import files
from electra_tf.finetuning import confusion
from electra_tf.finetuning.splits import Splits
from electra_tf.finetuning.start import Start
from electra_tf.hub import directory
from electra_tf.prediction import evaluating
from electra_tf.prediction.inference import Inference
from electra_tf.tasks.task import Prediction, Task
from electra_tf.training.reporting import PlotGroup, read_records, write_plots


def save_models(
    run_dir: str,
    task: Task,
    network: keras.Model,
    start: Start,
    step: int,
    scores: dict[str, Any],
    described: dict[str, Any],
) -> None:
    """Writes `model/`, or a directory in it for each of several tasks.

    Args:
      run_dir: the trial's directory.
      task: as it was trained and tuned.
      network: with the weights to keep.
      start: where it began: shape and vocabulary.
      step: updates behind the weights.
      scores: split -> metric -> value.
      described: all settings.
    """
    for name, (own, part) in task.models(network).items():
        about = {
            "task": _lasting(own.name),
            "options": dataclasses.asdict(own.options),
            "state": own.state,
            "metrics": scores,
            "settings": described,
        }
        directory.save(
            files.join(run_dir, "model", name).rstrip("/"),
            start.directory_config(part.head_config, step, about),
            [part],
            start.vocab,
        )


def _lasting(name: str) -> str:
    """A task's name that is found from other directories too."""
    path, colon, attribute = name.rpartition(":")
    if colon and path.endswith(".py"):
        return f"{os.path.abspath(path)}:{attribute}"
    return name


def predict_all(
    run_dir: str | None,
    task: Task,
    inference: Inference,
    splits: Splits,
    should_stop: Callable[[], bool],
) -> dict[str, dict[str, float]] | None:
    """Predicts, tunes, writes; the scores of each split that has answers.

    Args:
      run_dir: the trial's directory; None writes nothing.
      task: is tuned on the first validation split.
      inference: of the trained network.
      splits: what to predict.
      should_stop: then the result is None.
    """
    found: dict[str, dict[str, float]] = {}
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
            evaluating.write_predictions(
                files.join(run_dir, "predictions"),
                task,
                split.name,
                examples,
                predictions,
            )
        scores = task.scores(examples, predictions)
        if scores:
            found[split.name] = {n: float(v) for n, v in scores.items()}
    return found


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
        confusion.draw(truths, predicted, labels, f"{task.name}, {split}"),
    )


def draw_curves(run_dir: str) -> list[float]:
    """Draws loss and scores over the steps; the examples/s of the records."""
    records = read_records(files.join(run_dir, "metrics.jsonl"))
    scores = [
        name
        for name, value in next(
            (r for r in records if r["split"] == "validation"), {}
        ).items()
        if name not in ("step", "split", "time", "loss")
        and "/" not in name
        and isinstance(value, int | float)
        and abs(value) <= 100  # not a count
    ]
    write_plots(
        records,
        [
            PlotGroup("loss", ("loss",), "loss per example"),
            PlotGroup("scores", tuple(scores), "score (percent)"),
        ],
        files.join(run_dir, "plots"),
    )
    return [
        r["examples_per_second"]
        for r in records
        if r.get("examples_per_second")
    ]
