"""Trains a WordPiece vocabulary from text files."""

import dataclasses
import itertools
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Literal

from electra_tf.config import Setting
from electra_tf.recipes import spread
from electra_tf.recipes.arguments import checked
from electra_tf.recipes.interrupts import sigterm_interrupts
from electra_tf.recipes.lines import check_plain_name

# Lines that are checked for scripts that stripping accents harms.
_SAMPLED_LINES = 4096


@dataclasses.dataclass(frozen=True)
class BuiltVocab:
    """A vocabulary that was trained; its `str()` is what the command prints.

    Attributes:
      path: the file.
      size: number of tokens, special ones included.
      asked_size: largest number of tokens that was asked for.
      min_frequency: lowest number of occurrences of each piece.
      words: number of words in the text.
      different_words: number of distinct words.
      unknown_share: the share of the words that are [UNK], 0 to 1.
      warnings: ways in which the text may be tokenized unexpectedly.
    """

    path: str
    size: int
    asked_size: int
    min_frequency: int
    words: int
    different_words: int
    unknown_share: float
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [
            f"{self.words:,} words, {self.different_words:,} different",
            f"{self.path}: {self.size:,} tokens",
        ]
        if self.size < self.asked_size:
            lines.append(
                f"The text has no more pieces seen {self.min_frequency} times "
                f"or more; {self.asked_size:,} were requested."
            )
        lines.append(f"{self.unknown_share:.4%} of the words are [UNK]")
        lines += [f"warning: {text}" for text in self.warnings]
        return "\n".join(lines)


@checked
def build_vocab(
    input: str | Sequence[str],
    output: str,
    *,
    vocab_size: Annotated[int, Setting(at_least=1)] = 8000,
    lower_case: bool = True,
    strip_accents: bool | None = None,
    min_frequency: Annotated[int, Setting(at_least=1)] = 2,
    text_field: str = "text",
    num_workers: Annotated[int, Setting(at_least=1)] = 1,
    runner: Literal["local", "beam"] = "local",
    beam_args: str = "",
    progress: bool = True,
) -> BuiltVocab:
    """Trains a WordPiece vocabulary from text files.

      electra-tf build-vocab --input='text/*.txt' --output=vocab.txt \\
          --vocab_size=8000

    The special tokens come first, then single characters, then pieces, the most
    useful ones first. The same text gives the same file. Use the vocabulary
    with the same --lower_case and --strip_accents.

    Args:
      input: text files, or other inputs of build-data: paths or globs,
        separated by commas
      output: the vocabulary file
      vocab_size: number of tokens, special ones included
      lower_case: lower-case text
      strip_accents: drop accents; as --lower_case unless given
      min_frequency: leave out characters and pieces seen less often
      text_field: field of JSON records, or column of tables, with the text
      num_workers: processes, with --runner=beam on this machine
      runner: processes of this machine, or Apache Beam (the extra 'beam')
      beam_args: Beam's own flags in one string, as '--runner=FlinkRunner
        --flink_master=host:8081'; without, Beam too runs on this machine
      progress: report progress on a terminal

    Returns:
      The file, and how it tokenizes the text.

    Raises:
      UserError: a file is missing or has no text, or the text has more distinct
        characters than `vocab_size`; nothing is written then.
    """
    from electra_tf import files
    from electra_tf.errors import UserError
    from electra_tf.text import accents, vocab_training
    from electra_tf.text.corpus import iter_lines
    from electra_tf.text.vocab import MAX_CHARS_PER_WORD

    spread.check_used(runner, beam_args=beam_args, num_workers=num_workers)
    if files.is_directory(output):
        raise UserError(
            f"--output: {output} is a directory; expected a file name,"
            f" such as {files.join(output, 'vocab.txt')}"
        )
    check_plain_name(output, ".txt")
    files.check_place(output)
    paths = files.expand(input if isinstance(input, str) else ",".join(input))
    if files.is_among(output, paths):
        raise UserError(
            f"--output: {output} is one of the files of --input, and would be "
            "read as text; give it another name or folder, or an --input that "
            "does not match it"
        )
    sample: list[str] = []
    dropped: Counter[str] = Counter()
    if runner == "beam":
        from electra_tf.data import beam_corpus

        with sigterm_interrupts():
            counts = beam_corpus.count_words_of(
                paths,
                f"{output}.counting",
                lower_case=lower_case,
                strip_accents=strip_accents,
                text_field=text_field,
                beam_args=beam_args,
                num_workers=num_workers,
            )
    else:
        lines = _sampled(iter_lines(paths, text_field=text_field), sample)
        if progress and sys.stderr.isatty():
            lines = _with_progress(lines)
        counts = vocab_training.count_words(
            lines, lower_case, strip_accents, dropped
        )
    if runner == "beam":
        sample = list(
            itertools.islice(iter_lines(paths, text_field), _SAMPLED_LINES)
        )
    if not counts:
        raise UserError(f"--input: no text in {len(paths)} file(s)")
    vocab = vocab_training.train_vocab(counts, vocab_size, min_frequency)
    share = vocab_training.unknown_share(vocab, counts)
    long = vocab_training.long_words(counts)
    remarks = []
    if dropped["words"]:
        remarks.append(
            f"{dropped['words']:,} words, the rarest, were left out of the "
            "counts: there are more different ones than memory is used for "
            "(--runner=beam counts all)"
        )
    if share > 0.01:
        cause = "characters seen less than min_frequency times were left out"
        if long * 2 > share * sum(counts.values()):
            cause = (
                f"{long:,} words are longer than {MAX_CHARS_PER_WORD} letters, "
                "and the tokenizer makes [UNK] of each: is the text encoded "
                "data, or without spaces?"
            )
        remarks.append(f"{share:.2%} of the words are [UNK]: {cause}")
    if lower_case if strip_accents is None else strip_accents:
        stripped = accents.warning(accents.changes("\n".join(sample)))
        remarks += [stripped] if stripped else []
    vocab.save(output)
    return BuiltVocab(
        output,
        len(vocab),
        vocab_size,
        min_frequency,
        counts.total() + dropped["words"],
        len(counts),
        share,
        tuple(remarks),
    )


def _sampled(lines: Iterable[str], sample: list[str]) -> Iterator[str]:
    """Yields lines, and adds some of them, including the first, to `sample`."""
    every = 1
    for number, line in enumerate(lines):
        if number % every == 0:
            sample.append(line[:1024])
            if len(sample) == _SAMPLED_LINES:
                del sample[1::2]
                every *= 2
        yield line


def _with_progress(lines: Iterable[str]) -> Iterator[str]:
    """Yields lines, and reports on a terminal how much was read."""
    read, shown = 0, time.monotonic()
    for line in lines:
        yield line
        read += len(line)
        if time.monotonic() - shown > 0.5:
            shown = time.monotonic()
            print(
                f"\r{read / 1e6:,.0f} million characters read",
                end="",
                file=sys.stderr,
                flush=True,
            )
    print("\r\033[K", end="", file=sys.stderr, flush=True)
