"""Scores of a fine-tuned model on the splits of its task."""

from collections.abc import Sequence
from typing import Any

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.prediction import files as prediction_files
from electra_tf.prediction.predictor import Predictor
from electra_tf.tasks.task import Prediction, Task


def evaluate(
    predictor: Predictor,
    splits: Sequence[str] = (),
    predictions: str | None = None,
    write: bool = True,
) -> dict[str, dict[str, float]]:
    """Split -> metric -> value.

    Args:
      predictor: its task reads the splits.
      splits: their names; those for validation where none is given, or those
        for testing if the data has no others.
      predictions: a directory for `write_predictions`.
      write: whether this process writes them; of several workers one does.

    Raises:
      UserError: no such split, or one without answers and `predictions` not
        asked for.
    """
    task = predictor.task
    found: dict[str, dict[str, float]] = {}
    seen: list[str] = []
    for names in (splits,) if splits else (
        task.validation_splits, task.test_splits,
    ):  # fmt: skip
        for split in names:
            examples = task.read(split)
            if examples is None or not len(examples):
                continue
            seen.append(split)
            scores, answers = predictor.evaluate(examples)
            if predictions is not None and write:
                write_predictions(predictions, task, split, examples, answers)
            if scores:
                found[split] = {n: float(v) for n, v in scores.items()}
        if seen:
            break
    missing = [split for split in splits if split not in seen]
    if missing or not seen:
        where = f" in {task.data}" if task.data else ""
        what = missing[0] if missing else "of validation or test"
        raise UserError(f"task {task.name}: found no split {what}{where}")
    if not found and predictions is None:
        raise UserError(
            f"task {task.name}: {', '.join(seen)}: has no answers to score "
            "against; for predictions give --predictions=DIR"
        )
    return found


def write_predictions(
    folder: str,
    task: Task,
    split: str,
    examples: Sequence[Any],
    predictions: Sequence[Prediction],
) -> None:
    """Writes a split's predictions, and the files that the task makes.

    Args:
      folder: they go to a directory in it with the split's name.
      task: gives the files.
      split: the name.
      examples: of the split.
      predictions: one each.
    """
    here = files.join(folder, split)
    prediction_files.write_jsonl(
        files.join(here, "predictions.jsonl"), predictions
    )
    for name, content in task.files(split, examples, predictions).items():
        files.write_bytes(files.join(here, name), content)
