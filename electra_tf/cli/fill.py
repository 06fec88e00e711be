"""The most probable tokens for each [MASK] of a text.

electra-tf fill --model=RUN --text="The old man sat by the [MASK]."
electra-tf fill --model=RUN --input=TEXT.txt --output=FILLED.jsonl

The generator says them, of everything around the blank; of a text that is
longer than what it reads at once, what is nearest. Several blanks are filled
each by itself, or together with --joint, by mask-predict.

With --input each line is filled; one without [MASK] stays as it is. A row of
the output has the text, the filled text and the candidates of each blank.
Interrupted and started again with the same arguments, it goes on.
"""

from typing import Any

from absl import flags

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "model",
    None,
    "run of pretrain, model directory, checkpoint of another format or handle",
    required=True,
    flag_values=FLAGS,
)
flags.DEFINE_multi_string(
    "text", [], "a text with [MASK] in it", flag_values=FLAGS
)
flags.DEFINE_string(
    "input", None, "texts, one a line; .gz too", flag_values=FLAGS
)
flags.DEFINE_string(
    "output", None, "file to write: .jsonl, .tsv or .csv", flag_values=FLAGS
)
flags.DEFINE_integer(
    "top_k", 5, "candidates a blank", lower_bound=1, flag_values=FLAGS
)
flags.DEFINE_bool(
    "joint", False, "fill several blanks together", flag_values=FLAGS
)
flags.DEFINE_integer(
    "max_seq_length",
    None,
    "tokens read at once; those of the pre-training by default",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "vocab", None, "vocabulary, if none is beside the model", flag_values=FLAGS
)
flags.DEFINE_bool(
    "overwrite", False, "replace an output that is there", flag_values=FLAGS
)

_CHUNK = 256  # lines at a time
_COLUMNS = ("text", "filled", "log_prob", "blanks", "error")


def main(flags_: flags.FlagValues) -> int:
    """Checks, loads, fills, shows or writes."""
    from electra_tf.cli import score_outputs
    from electra_tf.errors import UserError
    from electra_tf.generation import filling
    from electra_tf.prediction import files as prediction_files
    from electra_tf.prediction import resumable

    if bool(flags_.text) == bool(flags_.input):
        raise UserError('give --text="... [MASK] ..." or --input=FILE')
    if flags_.input:
        prediction_files.check_input(flags_.input)
    for text in flags_.text:
        if filling.BLANK not in text:
            raise UserError(
                f"--text: '{text[:60]}' has no {filling.BLANK} to fill"
            )
    prediction_files.check_output(flags_.output, flags_.overwrite)
    if flags_.output:
        prediction_files.check_name(flags_.output, "--output")
    filler = filling.Filler.from_pretrained(
        flags_.model,
        vocab=flags_.vocab,
        max_seq_length=flags_.max_seq_length,
    )

    def answer(lines: Any, number: int) -> list[dict[str, Any]]:
        del number
        return rows_of(filler, lines, flags_.top_k, flags_.joint)

    if flags_.text:
        rows = answer(flags_.text, 1)
        wrong = next((row["error"] for row in rows if row["error"]), None)
        if wrong:
            raise UserError(wrong)
    elif not flags_.output:
        rows = resumable.answer_in_memory(flags_.input, answer, _CHUNK)
    else:
        return _write_file(flags_, filler, answer)
    if flags_.output:
        score_outputs.write(flags_.output, _COLUMNS, rows)
        print(flags_.output)
        return 0
    for row in rows:
        _show(row)
    return 0


def rows_of(
    filler: Any, texts: Any, top_k: int, joint: bool
) -> list[dict[str, Any]]:
    """What is written for texts: one without a blank stays as it is.

    Args:
      filler: a `generation.filling.Filler`.
      texts: any.
      top_k: candidates a blank.
      joint: whether blanks are filled together.
    """
    from electra_tf.errors import UserError
    from electra_tf.generation import filling

    rows: list[dict[str, Any]] = [
        dict(text=t, filled=t, log_prob=None, blanks=[], error=None)
        for t in texts
    ]
    asked = [row for row in rows if filling.BLANK in row["text"]]
    # Joint ones one by one: one that is too long is no other's error.
    size = 1 if joint else max(1, len(asked))
    for start in range(0, len(asked), size):
        some = asked[start : start + size]
        try:
            found = filler.fill([row["text"] for row in some], top_k, joint)
        except UserError as error:
            some[0].update(filled=None, error=str(error))
            continue
        for row, filled in zip(some, found):
            row.update(
                filled=filled.text,
                log_prob=round(filled.log_prob, 6),
                blanks=[list(map(_plain, own)) for own in filled.blanks],
            )
    return rows


def _write_file(flags_: flags.FlagValues, filler: Any, answer: Any) -> int:
    from electra_tf import files
    from electra_tf.cli import score_outputs
    from electra_tf.prediction import resumable
    from electra_tf.recipes.progress import RowProgress

    about = {
        name: getattr(flags_, name) for name in ("model", "top_k", "joint")
    }
    run = resumable.ResumableRun(
        flags_.input,
        flags_.output,
        about
        | {
            "max_seq_length": filler.max_length,
            "weights": resumable.weights_digest([filler.generator]),
        },
        score_outputs.note,
    )
    line = RowProgress(files.size(flags_.input))
    try:
        run.answer(answer, _CHUNK, line.update)
    finally:
        line.close()
    count = score_outputs.write(flags_.output, _COLUMNS, run.rows())
    run.close()
    print(f"{count:,} lines: {flags_.output}")
    return 0


def _plain(candidate: Any) -> dict[str, Any]:
    probability = round(candidate.probability, 6)
    return candidate._replace(probability=probability)._asdict()


def _show(row: dict[str, Any]) -> None:
    print(row["error"] or row["filled"])
    for i, blank in enumerate(row["blanks"], 1):
        for candidate in blank:
            print(
                f"  {i:>2}  {candidate['probability']:.4f}  "
                f"{candidate['token']}"
            )
