"""Predicts with a fine-tuned model, for each row of a file."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from electra_tf import files
from electra_tf.config import Overrides, Setting, Settings
from electra_tf.errors import UserError
from electra_tf.recipes import lines, spread
from electra_tf.recipes.arguments import checked

# The settings are those of `evaluate`.
from electra_tf.recipes.evaluate import check_settings, settings_class

__all__ = ["Predicted", "check_settings", "predict", "settings_class"]


_UNANSWERED = 3


@dataclasses.dataclass(frozen=True)
class Predicted:
    """What `predict` wrote.

    Attributes:
      output: the file.
      rows: how many it has.
      errors: of those, the ones without a prediction.
      first_error: of the first of these.
    """

    output: str
    rows: int
    errors: int
    first_error: str | None

    def __str__(self) -> str:
        text = f"{self.rows:,} rows: {self.output}"
        if self.errors:
            text += (
                f"\n{self.errors:,} of them without an answer, the first: "
                f"{self.first_error}"
            )
        return text

    @property
    def exit_status(self) -> int:
        """The command's: 3 where rows are without an answer, else 0."""
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
    rows_per_shard: Annotated[int, Setting(at_least=1)] = 8192,
    progress: bool = True,
) -> Predicted:
    """Writes the predictions of a fine-tuned model for each row of a file.

        electra-tf predict --model=RUN --input=FILE.tsv --output=FILE.jsonl

    The input is a table, JSON Lines, JSON, Parquet, Arrow or a folder of
    datasets, recognised by its content; the output is TSV, CSV or JSON Lines by
    its name; .gz too. The input has the columns that the task was trained with
    (text, or question and context, or tokens). An output row repeats them and
    adds the prediction: label and probabilities, score, tags and entities,
    answer, or text. A column that is there already gets the name predicted_...;
    in tables a value that is no text is JSON. A row that cannot be answered has
    an error instead; the command then says how many there are and ends with
    status 3.

    The file is read in pieces, whatever its size. Interrupted at any moment
    and started again with the same arguments, it resumes where it was.

    With --runner=beam Apache Beam's workers answer (the extra 'beam'), each
    with the model loaded once. The input may be several files then, as globs
    and by commas; of --output=x/answers.jsonl the files are
    x/answers-00000-of-00002.jsonl and so on, whose rows one behind the other
    are those of the local command to the last digit, and, last of all,
    x/answers.manifest.json. Started again, it answers the shards that are
    missing.

    Args:
      model: run of finetune, model directory, or a fine-tuned model of another
        format
      input: file to predict for
      output: file to write
      format: of the input, where its content does not say
      columns: names of the input's columns, divided by commas, where its first
        line does not tell them
      delimiter: between the columns of CSV, where the first rows do not tell
      keep: columns of the input to repeat, divided by commas; all by default
      task: answer as this task, if its head is the same
      overrides: options.key=value, over those of the fine-tuning
      options: keys of the task's options, over those of the fine-tuning.
      batch_size: rows at once
      engine: what runs the network: tensorflow, or litert, on CPUs (pip install
        'electra-tf[litert]'); auto is tensorflow, and litert with --int8
      int8: multiply in 8 bits, which is several times as fast; predictions
        differ a little, and how much is what evaluate --int8 tells
      overwrite: replace an output that is there
      runner: this process, or Apache Beam
      beam_args: Beam's own flags in one string; without, Beam runs on this
        machine
      num_workers: processes of Beam on this machine, where no --beam_args say
        otherwise; each computes on one core
      rows_per_shard: rows of an output file of --runner=beam; rounded up to
        rows that are answered together, 1,024 or, of long texts, 64
      progress: whether to tell on stderr how far it is.

    Returns:
      How many rows were written, and how many of them have an error.

    Raises:
      UserError: no such model or input, an output that is there, or options
        that do not fit.
    """
    from electra_tf.prediction import files as prediction_files
    from electra_tf.prediction import predictor, row_answers
    from electra_tf.recipes.progress import RowProgress
    from electra_tf.tasks import formats

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
    prediction_files.check_output(output, overwrite)
    loaded = predictor.load(
        model, task=task, options=options, overrides=overrides,
        batch_size=batch_size, engine=engine, int8=int8,
    )  # fmt: skip
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
    """As `predict`, with the arguments of reading, loading and running."""
    from electra_tf.prediction import files as prediction_files
    from electra_tf.prediction import held, predictor, row_answers
    from electra_tf.tasks import formats

    paths = spread.inputs(input)
    layout = formats.detect(paths[0], read["format"], read["delimiter"])
    loaded = predictor.load(model, **load)
    kept = row_answers.checked_columns(keep, paths[0], layout, read["columns"])
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
            f"{home}files:write_rows",
            {"format": prediction_files.check_name(output, "--output")},
        ),
        group=loaded.rows_at_once,
        about=row_answers.about_rows(
            loaded,
            kept,
            read["columns"],
            layout if read["format"] or read["delimiter"] else None,
        ),
        renewed=row_answers.renewed_options(loaded),
        loaded=lambda: row_answers.RowAnswers(loaded, kept),
    )
    unknown = loaded.unknown_of(
        int(found.sums.get("tokens", 0)), int(found.sums.get("unknown", 0))
    )
    if unknown.notable:
        how.note(f"{input}: {unknown}")
    return of(found)


def of(found: spread.Answered) -> Predicted:
    """Returns what was written by other processes."""
    return Predicted(found.files, found.rows, found.errors, found.first_error)


def names(given: str | Sequence[str] | None) -> Sequence[str] | None:
    """Returns the names that a text divides by commas."""
    if not isinstance(given, str):
        return given
    return [name.strip() for name in given.split(",") if name.strip()]
