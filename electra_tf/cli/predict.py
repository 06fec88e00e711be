"""Answers of a fine-tuned model, for each row of a file.

electra-tf predict --model=RUN --input=FILE.tsv --output=FILE.jsonl

Both files are TSV or CSV with a header, or JSON Lines, by their names; .gz
too. The input has the columns that the task was trained with (text, or
question and context, or tokens). An output row repeats them and adds the
prediction: label and probabilities, score, tags and entities, answer, or text.
A column that is there already gets the name predicted_...; in tables a value
that is no text is JSON. A row that cannot be answered has an error instead.

The file is read bit by bit, whatever its size. Interrupted at any moment and
started again with the same arguments, it goes on where it was.
"""

from absl import flags

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "model",
    None,
    "run of finetune, model directory, or a fine-tuned model of another format",
    required=True,
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "input", None, "file to predict for", required=True, flag_values=FLAGS
)
flags.DEFINE_string(
    "output", None, "file to write", required=True, flag_values=FLAGS
)
flags.DEFINE_enum(
    "format",
    None,
    ["tsv", "csv", "jsonl"],
    "of the input, where its name does not tell: tsv, csv or jsonl",
    flag_values=FLAGS,
)
flags.DEFINE_list(
    "keep",
    None,
    "columns of the input to repeat, divided by commas; all by default",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "task",
    None,
    "answer as this task, if its head is the same",
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
flags.DEFINE_bool(
    "overwrite", False, "replace an output that is there", flag_values=FLAGS
)


def main(flags_: flags.FlagValues) -> int:
    """Loads, streams, counts."""
    import sys

    from electra_tf import files
    from electra_tf.cli import finetune_settings
    from electra_tf.errors import UserError
    from electra_tf.prediction import file_run as predicting
    from electra_tf.prediction import files as prediction_files
    from electra_tf.recipes.progress import RowProgress
    from electra_tf.tasks import records

    source, target = flags_.input, flags_.output
    prediction_files.check_name(target, "--output")
    if flags_.format is None:
        records.format_of(source, "--input")
    if not files.exists(source):
        raise UserError(f"--input: {source}: no such file")
    if files.exists(target) and not flags_.overwrite:
        raise UserError(
            f"--output: {target} is there already; name another file, or give "
            "--overwrite"
        )
    predictor = finetune_settings.load_predictor(
        flags_.model, flags_.task, None, flags_.set, flags_.batch_size
    )
    line = RowProgress(files.size(source))
    try:
        done = predicting.predict_file(
            predictor,
            source,
            target,
            source_format=flags_.format,
            keep=flags_.keep,
            progress=line.update,
            note=lambda text: print(text, file=sys.stderr, flush=True),
        )
    finally:
        line.close()
    print(f"{done.rows:,} rows: {target}")
    if done.errors:
        print(f"{done.errors:,} with an error, the first: {done.first_error}")
    return 0
