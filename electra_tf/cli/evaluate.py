"""Scores of a fine-tuned model on data with answers.

electra-tf evaluate --model=RUN --data=DATA

Reads the splits that the task validates on, or --split. With --predictions it
writes what was predicted too, and the files that a leaderboard takes.
"""

from absl import flags

from electra_tf.cli import distribution

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "model",
    None,
    "run of finetune, model directory, or a fine-tuned model of another format",
    required=True,
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "data",
    None,
    "directory or file with the task's data; some tasks know where theirs is",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "task",
    None,
    "another task with the same head, as glue/ax for a model of glue/mnli",
    flag_values=FLAGS,
)
flags.DEFINE_multi_string(
    "split",
    [],
    "train, validation, test or what the task has; those for validation if "
    "not given",
    flag_values=FLAGS,
)
flags.DEFINE_multi_string(
    "set",
    [],
    "options.key=value, over those of the fine-tuning; repeat",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "batch_size", 64, "rows at once", lower_bound=1, flag_values=FLAGS
)
flags.DEFINE_string(
    "output", None, "write the scores here as JSON too", flag_values=FLAGS
)
flags.DEFINE_string(
    "predictions",
    None,
    "directory for the predictions of each split",
    flag_values=FLAGS,
)
distribution.define(FLAGS, tpu=False)


def main(flags_: flags.FlagValues) -> int:
    """Loads, predicts, prints a table."""
    from electra_tf import files
    from electra_tf.cli import finetune_settings
    from electra_tf.prediction import evaluating
    from electra_tf.prediction import files as prediction_files
    from electra_tf.training import workers

    with distribution.strategy_of(flags_) as strategy:
        team = workers.of(strategy)
        predictor = finetune_settings.load_predictor(
            flags_.model,
            flags_.task,
            flags_.data,
            flags_.set,
            flags_.batch_size,
            team,
        )
        scores = evaluating.evaluate(
            predictor, flags_.split, flags_.predictions, write=team.is_chief
        )
    print(table(scores))
    if flags_.output and team.is_chief:
        found = {
            "model": flags_.model,
            "task": predictor.task.name,
            "data": flags_.data,
            "scores": scores,
        }
        files.write_text(flags_.output, prediction_files.dumps(found) + "\n")
    return 0


def table(scores: dict[str, dict[str, float]]) -> str:
    """A line for each split and metric."""
    rows = [
        (split, name, value)
        for split, metrics in scores.items()
        for name, value in metrics.items()
    ]
    splits = max((len(row[0]) for row in rows), default=0)
    names = max((len(row[1]) for row in rows), default=0)
    return "\n".join(
        f"{split:<{splits}}  {name:<{names}}  {value:10.4f}"
        for split, name, value in rows
    )
