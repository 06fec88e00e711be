"""Embeds the texts in a file as vectors."""

from collections.abc import Sequence
from typing import Annotated, Literal

from electra_tf.config import Setting
from electra_tf.errors import UserError
from electra_tf.recipes import lines, spread
from electra_tf.recipes.arguments import checked
from electra_tf.recipes.predict import Predicted, names, of


@checked
def embed(
    model: str,
    input: str,
    output: str,
    *,
    column: str = "text",
    pooling: Literal["mean", "first"] = "mean",
    normalize: bool = False,
    max_seq_length: Annotated[int, Setting(at_least=3)] | None = None,
    vocab: str | None = None,
    format: Literal["tsv", "csv", "jsonl", "json", "parquet", "arrow"]
    | None = None,
    columns: str | Sequence[str] | None = None,
    delimiter: str | None = None,
    keep: str | Sequence[str] | None = None,
    batch_size: Annotated[int, Setting(at_least=1)] = 64,
    overwrite: bool = False,
    runner: Literal["local", "beam"] = "local",
    beam_args: str = "",
    num_workers: Annotated[int, Setting(at_least=1)] = 1,
    rows_per_shard: Annotated[int, Setting(at_least=1)] = spread.ROWS_PER_SHARD,
    progress: bool = True,
) -> Predicted:
    """Writes the vectors of the texts in a file, one for each row.

        electra-tf embed --model=RUN --input=FILE.jsonl \\
            --output=VECTORS.npy

    A vector is the mean of the encoder's last states over a text's tokens,
    [CLS] and [SEP] among them, or the state at [CLS]; the signatures embed and
    embed_first of an export give the same. The input is as predict's. The
    output is .npy (float32, a row a text; NaN where a row has none), or
    .parquet, .jsonl or .jsonl.gz with the columns of the input, `embedding`
    and `error`, in place of the input's columns of these names; in Parquet the
    columns of the input are texts, what is none is JSON. The command says how
    many rows have no vector and ends with status 3 then.

    Interrupted at any moment and started again with the same arguments, it
    resumes. --runner=beam is as predict's: of x/v.npy the files are
    x/v-00000-of-00002.npy and so on, and x/v.manifest.json.

    Args:
      model: any model with an encoder: run of pretrain or finetune, model
        directory, checkpoint of another format or handle
      input: file with texts
      output: file to write
      column: column of the input with the text
      pooling: mean over a text's tokens, or the first token's state
      normalize: normalize vectors to length 1
      max_seq_length: tokens of a text that are read; by default a fine-tuned
        model's options.max_seq_length, of other models as many as they can
      vocab: vocabulary, if the model has none
      format: format of the input; detected by default
      columns: names of the input's columns, separated by commas, where it has
        no header
      delimiter: delimiter of CSV; detected by default
      keep: columns of the input to repeat, separated by commas; all by default
      batch_size: rows in a batch
      overwrite: replace an existing output
      runner: this process, or Apache Beam
      beam_args: Beam's own flags in one string; without, Beam runs on this
        machine
      num_workers: Beam's processes on this machine, unless --beam_args say
        otherwise; each uses one core
      rows_per_shard: rows of an output file of --runner=beam; rounded up to
        whole groups of 1,024
      progress: whether to report progress on stderr.

    Returns:
      The number of rows written, and of those with an error.

    Raises:
      UserError: the model or the input is missing, or the output exists.
    """
    from electra_tf import files
    from electra_tf.prediction import files as prediction_files
    from electra_tf.prediction import held, resumable, row_answers, vectors
    from electra_tf.recipes.progress import RowProgress
    from electra_tf.tasks import formats

    spread.check_used(
        runner, beam_args=beam_args, num_workers=num_workers,
        rows_per_shard=rows_per_shard,
    )  # fmt: skip
    note = lines.note_on(progress)
    vectors.check_name(output)
    if runner == "beam":
        paths = spread.inputs(input)
    else:
        if not files.exists(input):
            raise UserError(f"--input: {input}: no such file")
        prediction_files.check_output(output, overwrite)
        paths = [input]
    named = names(columns)
    layout = formats.detect(paths[0], format, delimiter)
    row_answers.check_delimiter(paths[0], layout, delimiter)
    kept = row_answers.checked_columns(names(keep), paths[0], layout, named)
    arguments = {
        "model": model, "vocab": vocab, "column": column, "pooling": pooling,
        "normalize": normalize, "max_seq_length": max_seq_length,
        "batch_size": batch_size, "keep": kept,
    }  # fmt: skip
    read = {"format": format, "columns": named, "delimiter": delimiter}
    load = held.Loader("electra_tf.prediction.vectors:load", arguments)
    loaded = load()
    given = list(layout) if format or delimiter else None
    about = loaded.about() | {"columns": named, "layout": given}
    home, width = "electra_tf.prediction.", loaded.encoder.config.hidden_size
    rows = held.Loader(f"{home}row_answers:read_rows", read)
    write = held.Loader(f"{home}vectors:write", {"width": width})
    if runner == "beam":
        found = spread.answered(
            paths, output,
            spread.Spread(
                beam_args, num_workers, rows_per_shard, overwrite, note
            ),
            load=load, read=rows, write=write, about=about,
            group=vectors.ROWS_AT_ONCE, loaded=lambda: loaded,
        )  # fmt: skip
        return of(found)
    line = RowProgress(files.size(input), progress)
    try:
        done = resumable.answer_file(
            loaded, input, output,
            write=write, read=rows,
            group=vectors.ROWS_AT_ONCE, about=about,
            progress=line.update, note=note,
        )  # fmt: skip
    finally:
        line.close()
    return Predicted(output, done.rows, done.errors, done.first_error)
