"""Fills each [MASK] of a text with the most probable tokens."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from electra_tf.config import Setting
from electra_tf.errors import UserError
from electra_tf.recipes import lines
from electra_tf.recipes.arguments import checked

if TYPE_CHECKING:
    from electra_tf.generation.filling import Candidate, Filler

_CHUNK = 256  # lines in a batch
_COLUMNS = ("text", "filled", "log_prob", "blanks", "error")


@dataclasses.dataclass(frozen=True)
class Filled:
    """The result of `fill`.

    Attributes:
      rows: a mapping for each text: `text`, `filled` (None in case of an
        error), `log_prob`, `blanks` (the candidates of each) and `error`; empty
        where an output was written.
      output: the file that was written, if one was.
      count: number of texts.
      from_file: whether the texts came from a file.
    """

    rows: Sequence[lines.Row]
    output: str | None
    count: int
    from_file: bool

    def __str__(self) -> str:
        if self.output and self.from_file:
            return f"{self.count:,} lines: {self.output}"
        if self.output:
            return self.output
        return "\n".join(line for row in self.rows for line in _shown(row))


@checked
def fill(
    model: str,
    *,
    text: Sequence[str] = (),
    input: str | None = None,
    output: str | None = None,
    top_k: Annotated[int, Setting(at_least=1)] = 5,
    joint: bool = False,
    max_seq_length: int | None = None,
    vocab: str | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Filled:
    """Fills each [MASK] of a text with the most probable tokens.

        electra-tf fill --model=RUN --text="The old man sat by the [MASK]."
        electra-tf fill --model=RUN --input=TEXT.txt --output=FILLED.jsonl

    The generator predicts them from everything around the blank, or from the
    nearest part of a text that is longer than it reads at once. Several blanks
    are filled independently, or jointly with --joint, by mask-predict.

    With --input each line is filled; one without [MASK] is unchanged. A row of
    the output has the text, the filled text and the candidates of each blank.
    Interrupted and started again with the same arguments, it resumes.

    Args:
      model: run of pretrain, model directory, checkpoint of another format or
        handle
      text: a text with [MASK] in it
      input: texts, one on each line; .gz too
      output: file to write: .jsonl, .tsv or .csv
      top_k: number of candidates for each blank
      joint: fill several blanks jointly
      max_seq_length: tokens read at once; those of the pre-training by default
      vocab: vocabulary, if the model has none
      overwrite: replace an existing output
      progress: whether to report progress on stderr.

    Returns:
      The filled texts, or the file that has them.

    Raises:
      UserError: there is no text, the file or the model is missing, or a text
        cannot be filled.
    """
    from electra_tf.generation import filling
    from electra_tf.prediction import files as prediction_files
    from electra_tf.prediction import resumable

    texts = list(text)
    if bool(texts) == bool(input):
        raise UserError('give --text="... [MASK] ..." or --input=FILE')
    if input:
        prediction_files.check_input(input)
        lines.check_text_input(input)
    for each in texts:
        if filling.BLANK not in each:
            raise UserError(
                f"--text: '{each[:60]}' has no {filling.BLANK} to fill"
            )
    prediction_files.check_output(output, overwrite)
    if output:
        prediction_files.check_name(output, "--output")
    filler = filling.Filler.from_pretrained(
        model, vocab=vocab, max_seq_length=max_seq_length
    )

    def answer(some: Sequence[str], number: int) -> list[dict[str, Any]]:
        del number
        return _rows(filler, some, top_k, joint)

    if input and output:
        about = {
            "model": model,
            "top_k": top_k,
            "joint": joint,
            "max_seq_length": filler.max_length,
            "weights": resumable.weights_digest([filler.generator]),
            **resumable.tokenizer_settings(filler.tokenizer, vocab),
        }
        with lines.answered(
            input, output, answer, about, chunk=_CHUNK, progress=progress
        ) as found:
            count = lines.write(output, _COLUMNS, found())
        return Filled((), output, count, True)
    rows: Sequence[lines.Row]
    if input:
        rows = resumable.answer_in_memory(input, answer, _CHUNK)
    else:
        rows = answer(texts, 1)
        wrong = next((row for row in rows if row["error"]), None)
        if wrong:
            raise UserError(f"--text: '{wrong['text'][:60]}': {wrong['error']}")
        if output:
            lines.write(output, _COLUMNS, rows)
    return Filled(rows, output, len(rows), bool(input))


def _rows(
    filler: "Filler", texts: Iterable[str], top_k: int, joint: bool
) -> list[dict[str, Any]]:
    """Returns a row for each text; one without a blank is unchanged."""
    from electra_tf.generation import filling

    rows: list[dict[str, Any]] = [
        dict(text=t, filled=t, log_prob=None, blanks=[], error=None)
        for t in texts
    ]
    asked = [row for row in rows if filling.BLANK in row["text"]]
    # Joint ones one by one, so that an error of one does not affect others.
    size = 1 if joint else max(1, len(asked))
    for start in range(0, len(asked), size):
        some = asked[start : start + size]
        try:
            found = filler.fill([row["text"] for row in some], top_k, joint)
        except UserError as error:
            # It was the only text, and its number among all is not 1.
            text = str(error).removeprefix("text 1: ")
            some[0].update(filled=None, error=text)
            continue
        for row, filled in zip(some, found):
            row.update(
                filled=filled.text,
                log_prob=round(filled.log_prob, 6),
                blanks=[list(map(_plain, own)) for own in filled.blanks],
            )
    return rows


def _plain(candidate: "Candidate") -> dict[str, Any]:
    probability = round(candidate.probability, 6)
    return candidate._replace(probability=probability)._asdict()


def _shown(row: lines.Row) -> list[str]:
    return [row["error"] or row["filled"]] + [
        f"  {i:>2}  {candidate['probability']:.4f}  {candidate['token']}"
        for i, blank in enumerate(row["blanks"], 1)
        for candidate in blank
    ]
