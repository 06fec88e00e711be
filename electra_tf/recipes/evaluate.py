"""Evaluates a fine-tuned model on data with labels."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from electra_tf.config import Overrides, Setting, Settings
from electra_tf.errors import UserError
from electra_tf.prediction import task_of_model
from electra_tf.recipes import lines, spread
from electra_tf.recipes.arguments import checked
from electra_tf.training.settings import ForwardStrategyName

if TYPE_CHECKING:
    from electra_tf.prediction.predictor import Predictor
    from electra_tf.tasks.task import Prediction


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The result of `evaluate`.

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
        lines = [
            f"{split:<{splits}}  {name:<{names}}  {value:10.4f}"
            for split, name, value in rows
        ]
        lines += [
            f"{split}: no scores, as its examples have no labels"
            for split, metrics in self.metrics.items()
            if not metrics
        ]
        return "\n".join(lines)


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
    join_seconds: Annotated[float, Setting(at_least=0, infinite=True)] = 300.0,
    runner: Literal["local", "beam"] = "local",
    beam_args: str = "",
    num_workers: Annotated[int, Setting(at_least=1)] = 1,
    rows_per_shard: Annotated[int, Setting(at_least=1)] = spread.ROWS_PER_SHARD,
    progress: bool = True,
) -> Evaluation:
    """Computes the metrics of a fine-tuned model on labelled data.

        electra-tf evaluate --model=RUN --data=DATA

    Reads the task's validation splits, or --split. With --predictions it also
    writes the predictions, and the files that a leaderboard takes.

    With --runner=beam Apache Beam's workers predict (the extra 'beam'), each
    with the model loaded once; this process reads the data too, and scores the
    predictions. Finished parts are stored in <output>.partial, and reused when
    the same command is started again.

    Args:
      model: run of finetune, model directory, or a fine-tuned model of another
        format
      data: directory or file with the task's data; some tasks have a default
      task: another task with the same head, as glue/ax for a model of
        glue/mnli
      split: train, validation, test or another split of the task; the
        validation splits if not given
      overrides: options.key=value, which override those of the fine-tuning
      options: keys of the task's options, which override those of the
        fine-tuning.
      batch_size: rows in a batch
      engine: engine of the network, as in predict
      int8: multiply in 8 bits, as in predict
      output: JSON file for the metrics
      predictions: directory for the predictions of each split
      strategy: distribution strategy; the environment variable TF_CONFIG lists
        the workers of multi_worker
      join_seconds: how long to wait for the other workers at the start
      runner: this process, or Apache Beam
      beam_args: Beam's own flags in one string; without, Beam runs on this
        machine
      num_workers: Beam's processes on this machine, unless --beam_args say
        otherwise; each uses one core
      rows_per_shard: examples that are resumed together, with --runner=beam
      progress: whether to report Beam's progress on stderr

    Returns:
      The metrics of each split.

    Raises:
      UserError: the model, data or split is missing, or the options do not fit.
    """
    from electra_tf import files
    from electra_tf.prediction import files as prediction_files
    from electra_tf.prediction import predictor
    from electra_tf.training import strategy as strategies
    from electra_tf.training import workers

    spread.check_used(
        runner, beam_args=beam_args, num_workers=num_workers,
        rows_per_shard=rows_per_shard,
    )  # fmt: skip
    prediction_files.check_result(output)
    prediction_files.check_output(predictions, True, "--predictions", True)
    on_beam = runner == "beam"
    if on_beam and strategy != "one_device":
        raise UserError(
            f"--strategy={strategy}: not with --runner=beam; give one of them"
        )
    if on_beam and not (output or predictions):
        raise UserError(
            "--runner=beam: give --output or --predictions, at a path that all "
            "workers reach; finished parts are stored beside it"
        )
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
        splits = tuple(split)
        answer = None
        if on_beam:
            how = spread.Spread(
                beam_args, num_workers, rows_per_shard, True,
                lines.note_on(progress),
            )  # fmt: skip
            arguments = {
                "model": model, "task": task, "options": options,
                "overrides": overrides, "data": data,
            }  # fmt: skip
            load = {
                **arguments, "batch_size": batch_size, "engine": engine,
                "int8": int8,
            }  # fmt: skip
            answer = _on_beam(
                loaded, arguments, load, output or f"{predictions}/all", how
            )  # fmt: skip
        metrics = predictor.evaluate(
            loaded, splits, predictions, team.is_chief, answer
        )
    name = loaded.task.name
    if output and team.is_chief:
        found = {"model": model, "task": name, "data": data, "scores": metrics}
        files.write_text(output, prediction_files.dumps(found) + "\n")
    return Evaluation(metrics, name, output, predictions)


def _on_beam(
    loaded: "Predictor",
    arguments: Mapping[str, Any],
    load: Mapping[str, Any],
    output: str,
    how: spread.Spread,
) -> "Callable[[str, Sequence[Any]], list[Prediction]]":
    """Returns a function that predicts a split on Beam, by name and
    examples.
    """
    from electra_tf.prediction import held, row_answers, split_answers

    home = "electra_tf.prediction.split_answers"
    about = row_answers.about_rows(loaded, None, None, None) | {
        "data": arguments["data"],
        "files": split_answers.identity_of(arguments["data"]),
    }

    def answer(split: str, examples: Sequence[Any]) -> "list[Prediction]":
        with spread.answered_lines(
            [split],
            f"{output}.{split}",
            how,
            load=held.Loader(f"{home}:load", load),
            read=held.Loader(f"{home}:read", arguments),
            group=loaded.rows_at_once,
            about=about | {"split": split, "examples": len(examples)},
            loaded=lambda: split_answers.ExampleAnswers(loaded),
        ) as lines_of:
            return split_answers.parsed(lines_of(0))

    return answer


def settings_class(
    model: str | None = None, task: str | None = None, **others: Any
) -> type:
    """Returns the settings class of --set: the options of the task."""
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

    Nothing is checked for a model that must be loaded to find its task.
    """
    del others
    about = task_of_model.stored(model)
    if about is not None:
        task_of_model.chosen(about, task, None, overrides, model)
