"""Evaluates a fine-tuned model on data with labels."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from electra_tf.config import Overrides, Setting, Settings
from electra_tf.prediction import task_of_model
from electra_tf.recipes.arguments import checked
from electra_tf.training.settings import ForwardStrategyName


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    Attributes:
      metrics: split -> metric -> value.
      task: the task that was evaluated.
      output: the JSON file, if one was asked for.
      predictions: the directory of the predictions, if they were asked for.
    """

    metrics: Mapping[str, Mapping[str, float]]
    task: str
    output: str | None
    predictions: str | None

    def __str__(self) -> str:
        rows = [
            (split, name, value)
            for split, metrics in self.metrics.items()
            for name, value in metrics.items()
        ]
        splits = max((len(row[0]) for row in rows), default=0)
        names = max((len(row[1]) for row in rows), default=0)
        return "\n".join(
            f"{split:<{splits}}  {name:<{names}}  {value:10.4f}"
            for split, name, value in rows
        )


@checked
def evaluate(
    model: str,
    *,
    data: str | None = None,
    task: str | None = None,
    split: Sequence[str] = (),
    overrides: Overrides = (),
    options: Mapping[str, Any] | Settings | None = None,
    batch_size: Annotated[int, Setting(at_least=1)] = 64,
    engine: Literal["auto", "tensorflow", "litert"] = "auto",
    int8: bool = False,
    output: str | None = None,
    predictions: str | None = None,
    strategy: ForwardStrategyName = "one_device",
    join_seconds: Annotated[float, Setting(at_least=0)] = 300.0,
) -> Evaluation:
    """Computes the metrics of a fine-tuned model on labelled data.

        electra-tf evaluate --model=RUN --data=DATA

    Reads the splits that the task validates on, or --split. With --predictions
    it writes what was predicted too, and the files that a leaderboard takes.

    Args:
      model: run of finetune, model directory, or a fine-tuned model of another
        format
      data: directory or file with the task's data; some tasks know where
        theirs is
      task: another task with the same head, as glue/ax for a model of
        glue/mnli
      split: train, validation, test or what the task has; those for validation
        if not given
      overrides: options.key=value, over those of the fine-tuning
      options: keys of the task's options, over those of the fine-tuning.
      batch_size: rows at once
      engine: what runs the network, as of predict
      int8: multiply in 8 bits, as predict does with this flag
      output: write the metrics here as JSON too
      predictions: directory for the predictions of each split
      strategy: what it runs under; the workers of multi_worker are what the
        environment variable TF_CONFIG says
      join_seconds: how long to wait for the other workers at the start

    Returns:
      The metrics of each split.

    Raises:
      UserError: no such model, data or split, or options that do not fit.
    """
    from electra_tf import files
    from electra_tf.prediction import files as prediction_files
    from electra_tf.prediction import predictor
    from electra_tf.training import strategy as strategies
    from electra_tf.training import workers

    with strategies.distributed(
        strategy,
        join_seconds=join_seconds,
        among=strategies.FORWARD_STRATEGIES,
    ) as chosen:
        team = workers.of(chosen)
        loaded = predictor.load(
            model, task=task, options=options, overrides=overrides,
            data=data, batch_size=batch_size, workers=team,
            engine=engine, int8=int8,
        )  # fmt: skip
        splits = (split,) if isinstance(split, str) else tuple(split)
        metrics = predictor.evaluate(
            loaded, splits, predictions, write=team.is_chief
        )
    name = loaded.task.name
    if output and team.is_chief:
        found = {"model": model, "task": name, "data": data, "scores": metrics}
        files.write_text(output, prediction_files.dumps(found) + "\n")
    return Evaluation(metrics, name, output, predictions)


def settings_class(
    model: str | None = None, task: str | None = None, **others: Any
) -> type:
    """Returns the settings that --set fills: the options of the task."""
    del others
    about = task_of_model.stored(model) if model else None
    return task_of_model.settings_class(task or (about or {}).get("task"))


def check_settings(
    model: str,
    task: str | None = None,
    overrides: Overrides = (),
    **others: Any,
) -> None:
    """Raises a `UserError` for wrong options, without TensorFlow.

    Of a model that has to be loaded to know its task nothing is checked yet.
    """
    del others
    about = task_of_model.stored(model)
    if about is not None:
        task_of_model.chosen(about, task, None, overrides, model)
