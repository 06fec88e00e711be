"""Predicts with a fine-tuned model, for each row of a file."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from electra_tf import files
from electra_tf.config import Overrides, Setting, Settings
from electra_tf.errors import UserError
from electra_tf.recipes import lines, spread
from electra_tf.recipes.arguments import checked

# `predict` has the settings of `evaluate`.
from electra_tf.recipes.evaluate import check_settings, settings_class

__all__ = ["Predicted", "check_settings", "predict", "settings_class"]


_UNANSWERED = 3
# Options that say how --data is read, which have flags here.
_READING = ("columns", "delimiter", "format")


@dataclasses.dataclass(frozen=True)
class Predicted:
    """The result of `predict`.

    Attributes:
      output: the file.
      rows: number of rows.
      errors: number of rows without a prediction.
      first_error: error of the first of these.
    """

    output: str
    rows: int
    errors: int
    first_error: str | None

    def __str__(self) -> str:
        text = f"{self.rows:,} rows: {self.output}"
        if self.errors:
            text += (
                f"\n{self.errors:,} of them without a prediction, the first: "
                f"{self.first_error}"
            )
        return text

    @property
    def exit_status(self) -> int:
        """The command's exit status: 3 if rows lack a prediction, else 0."""
        return _UNANSWERED if self.errors else 0


@checked
def predict(
    model: str,
    input: str,
    output: str,
    *,
    format: Literal["tsv", "csv", "jsonl", "json", "parquet", "arrow"]
    | None = None,
    columns: str | Sequence[str] | None = None,
    delimiter: str | None = None,
    keep: str | Sequence[str] | None = None,
    task: str | None = None,
    overrides: Overrides = (),
    options: Mapping[str, Any] | Settings | None = None,
    batch_size: Annotated[int, Setting(at_least=1)] = 64,
    engine: Literal["auto", "tensorflow", "litert"] = "auto",
    int8: bool = False,
    overwrite: bool = False,
    runner: Literal["local", "beam"] = "local",
    beam_args: str = "",
    num_workers: Annotated[int, Setting(at_least=1)] = 1,
    rows_per_shard: Annotated[int, Setting(at_least=1)] = spread.ROWS_PER_SHARD,
    progress: bool = True,
) -> Predicted:
    """Writes the predictions of a fine-tuned model for each row of a file.

        electra-tf predict --model=RUN --input=FILE.tsv --output=FILE.jsonl

    The input is a table, JSON Lines, JSON, Parquet, Arrow or a folder of
    datasets, recognised by its content; the output is TSV, CSV or JSON Lines by
    its name; .gz too. The input has the columns that the task was trained with
    (text, or question and context, or tokens). An output row repeats them and
    adds the prediction: label and probabilities, score, tags and entities,
    answer, or text. A column that exists already gets the name predicted_...;
    in tables a value that is not a text is JSON. A row without a prediction has
    an error instead; the command then prints their number and ends with status
    3.

    The file is read in pieces, whatever its size. Interrupted at any moment and
    started again with the same arguments, it resumes.

    With --runner=beam Apache Beam's workers predict (the extra 'beam'), each
    with the model loaded once. The input may then be several files, as globs
    and separated by commas; --output=x/answers.jsonl stands for the files
    x/answers-00000-of-00002.jsonl and so on, whose concatenated rows equal
    those of the local command to the last digit, and x/answers.manifest.json,
    which is written last. Started again, it computes the missing shards.

    Args:
      model: run of finetune, model directory, or a fine-tuned model of another
        format
      input: file to predict for
      output: file to write
      format: format of the input; detected by default
      columns: names of the input's columns, separated by commas, where it has
        no header
      delimiter: delimiter of CSV; detected by default
      keep: columns of the input to repeat, separated by commas; all by default
      task: predict for this task, if its head is the same
      overrides: options.key=value, which override those of the fine-tuning
      options: keys of the task's options, which override those of the
        fine-tuning.
      batch_size: rows in a batch
      engine: engine of the network: tensorflow, or litert on CPUs (pip install
        'electra-tf[litert]'); auto is tensorflow, and litert with --int8
      int8: multiply in 8 bits, which is several times as fast; predictions
        differ a little: evaluate --int8 reports how much
      overwrite: replace an existing output
      runner: this process, or Apache Beam
      beam_args: Beam's own flags in one string; without, Beam runs on this
        machine
      num_workers: Beam's processes on this machine, unless --beam_args say
        otherwise; each uses one core
      rows_per_shard: rows of an output file of --runner=beam; rounded up to
        whole groups of 1,024 rows or, for long texts, 64
      progress: whether to report progress on stderr.

    Returns:
      The number of rows written, and of those with an error.

    Raises:
      UserError: the model or the input is missing, the output exists, or the
        options do not fit.
    """
    from electra_tf.prediction import files as prediction_files
    from electra_tf.prediction import predictor, row_answers
    from electra_tf.recipes.progress import RowProgress
    from electra_tf.tasks import formats

    spread.check_used(
        runner, beam_args=beam_args, num_workers=num_workers,
        rows_per_shard=rows_per_shard,
    )  # fmt: skip
    note = lines.note_on(progress)
    prediction_files.check_name(output, "--output")
    if runner == "beam":
        return _on_beam(
            model, input, output,
            read={
                "format": format, "columns": names(columns),
                "delimiter": delimiter,
            },
            keep=names(keep),
            load={
                "task": task, "options": options, "overrides": overrides,
                "batch_size": batch_size, "engine": engine, "int8": int8,
            },
            how=spread.Spread(
                beam_args, num_workers, rows_per_shard, overwrite, note
            ),
        )  # fmt: skip
    if not files.exists(input):
        raise UserError(f"--input: {input}: no such file")
    layout = formats.detect(input, format, delimiter)
    row_answers.check_delimiter(input, layout, delimiter)
    prediction_files.check_output(output, overwrite)
    loaded = predictor.load(
        model, task=task, options=options, overrides=overrides,
        batch_size=batch_size, engine=engine, int8=int8,
    )  # fmt: skip
    _check_reading(loaded.task.options, overrides, options)
    line = RowProgress(files.size(input), progress)
    try:
        done = row_answers.predict_file(
            loaded, input, output,
            layout=layout if format or delimiter else None,
            columns=names(columns), keep=names(keep),
            progress=line.update, note=note,
        )  # fmt: skip
    finally:
        line.close()
    if loaded.unknown.notable:
        note(f"{input}: {loaded.unknown}")
    return Predicted(output, done.rows, done.errors, done.first_error)


def _check_reading(own: Any, overrides: Overrides, options: Any) -> None:
    """Refuses options of --data, which would not change how --input is read.

    Args:
      own: the options of the task.
      overrides: see `predict`.
      options: see `predict`.
    """
    from electra_tf.tasks.splits import TableOptions

    if not isinstance(own, TableOptions):
        return
    words = [overrides] if isinstance(overrides, str) else overrides
    keys = [word.partition("=")[0].strip() for word in words]
    if isinstance(options, Mapping):
        keys += [f"options.{name}" for name in options]
    for name in _READING:
        if f"options.{name}" in keys:
            raise UserError(
                f"options.{name}: is for the task's --data; the input of "
                f"predict is read as --{name} says, so give that"
            )


def _on_beam(
    model: str,
    input: str,
    output: str,
    *,
    read: Mapping[str, Any],
    keep: Sequence[str] | None,
    load: Mapping[str, Any],
    how: spread.Spread,
) -> Predicted:
    """Predicts on Beam, with arguments for reading, loading and running."""
    from electra_tf.prediction import files as prediction_files
    from electra_tf.prediction import held, marked_names, predictor, row_answers
    from electra_tf.tasks import formats

    paths = spread.inputs(input)
    layout = formats.detect(paths[0], read["format"], read["delimiter"])
    row_answers.check_delimiter(paths[0], layout, read["delimiter"])
    loaded = predictor.load(model, **load)
    _check_reading(loaded.task.options, load["overrides"], load["options"])
    kept = row_answers.checked_columns(keep, paths[0], layout, read["columns"])
    marked_names.renew(f"{output}.partial")
    home = "electra_tf.prediction."
    found = spread.answered(
        paths,
        output,
        how,
        load=held.Loader(
            f"{home}row_answers:load", {"model": model, "keep": kept, **load}
        ),
        read=held.Loader(f"{home}row_answers:read_rows", read),
        write=held.Loader(
            f"{home}row_answers:write",
            {"format": prediction_files.check_name(output, "--output")},
        ),
        group=loaded.rows_at_once,
        about=row_answers.about_parts(
            loaded,
            kept,
            read["columns"],
            layout if read["format"] or read["delimiter"] else None,
        ),
        renewed=row_answers.renewed_options(loaded),
        loaded=lambda: row_answers.RowAnswers(loaded, kept),
        last=[row_answers.LAST],
    )
    unknown = loaded.unknown_of(
        int(found.sums.get("tokens", 0)), int(found.sums.get("unknown", 0))
    )
    if unknown.notable:
        how.note(f"{input}: {unknown}")
    return of(found)


def of(found: spread.Answered) -> Predicted:
    """Returns the result from what other processes wrote."""
    return Predicted(found.files, found.rows, found.errors, found.first_error)


def names(given: str | Sequence[str] | None) -> Sequence[str] | None:
    """Splits a text at commas into names."""
    if not isinstance(given, str):
        return given
    return [name.strip() for name in given.split(",") if name.strip()]
