"""Turns text files into a directory of pre-training examples."""

import dataclasses
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from electra_tf.config import Setting
from electra_tf.recipes import spread
from electra_tf.recipes.arguments import checked
from electra_tf.recipes.interrupts import sigterm_interrupts
from electra_tf.recipes.progress import ProgressLine

if TYPE_CHECKING:
    from electra_tf.data.manifest import Manifest


@dataclasses.dataclass(frozen=True)
class BuiltData:
    """A data directory that was built; its `str()` is what the command prints.

    Attributes:
      path: the directory.
      manifest: content of its `manifest.json`: counts, repairs, settings.
      seconds: duration of the build.
    """

    path: str
    manifest: "Manifest"
    seconds: float

    def __str__(self) -> str:
        lines = [
            f"{name}: {split.examples} examples, {split.tokens} tokens from "
            f"{split.documents} documents, {len(split.shards)} "
            f"{'shard' if len(split.shards) == 1 else 'shards'}"
            for name, split in self.manifest.splits.items()
        ]
        repairs = [f"{k} {n}" for k, n in self.manifest.repairs.items() if n]
        if repairs:
            lines.append(f"repaired: {', '.join(repairs)}")
        splits = self.manifest.splits.values()
        unknown = sum(split.unknown_tokens or 0 for split in splits)
        tokens = sum(split.source_tokens for split in splits)
        lines.append(f"{unknown / max(tokens, 1):.4%} of the tokens are [UNK]")
        size = self.manifest.input["bytes"] / 1e6
        lines.append(f"{size:.1f} MB in {self.seconds:.1f} s -> {self.path}")
        lines += [f"warning: {text}" for text in self.manifest.warnings]
        return "\n".join(lines)


@checked
def build_data(
    input: str | Sequence[str],
    vocab: str,
    output: str,
    *,
    max_seq_length: Annotated[int, Setting(at_least=8)] = 128,
    num_workers: Annotated[int, Setting(at_least=1)] | None = None,
    lower_case: bool = True,
    strip_accents: bool | None = None,
    blank_lines_separate_documents: bool = True,
    validation_fraction: Annotated[float, Setting(at_least=0, below=1)] = 0.01,
    seed: int = 0,
    num_shards: Annotated[int, Setting(at_least=1)] | None = None,
    text_field: str = "text",
    stop_words: str | None = None,
    drop_duplicates: bool = False,
    min_line_length: int = 0,
    repair_unicode: bool = False,
    legacy: bool = False,
    word_segmenter: str | None = None,
    strict: bool = False,
    overwrite: bool = False,
    runner: Literal["local", "beam"] = "local",
    beam_args: str = "",
    progress: bool = True,
) -> BuiltData:
    """Turns text files into a directory of pre-training examples.

      electra-tf build-data --input='books/*.txt' --vocab=vocab.txt \\
          --output=data

    Input may be text, JSON (.jsonl, .ndjson, .json) or tables (.csv, .tsv,
    Parquet, Arrow) with a column --text_field, of any size, plain or packed
    with gzip, xz, zstd or bzip2, and tar and zip archives of these, which are
    recognised by their content; UTF-16 is, by its byte order mark. A document
    ends at a blank line, or with the file (--noblank_lines_separate_documents);
    each text in an archive is one, and each JSON record and row of a table. Bad
    bytes are replaced and counted, see manifest.json in the output; a file with
    too many of them is not text, and is refused. The same input, settings and
    seed give the same bytes whatever --num_workers is, and with --runner=beam
    on many machines.

    A program that calls this with `num_workers` above 1 keeps its own work
    under `if __name__ == "__main__":`, as Python's `multiprocessing` asks. In
    its main thread SIGTERM ends the build as Ctrl-C does, unless the program
    handles it itself: nothing unfinished is left.

    Args:
      input: Text files, tables or archives: globs, separated by commas.
      vocab: The vocabulary, one token per line.
      output: The directory to make.
      max_seq_length: The longest example, in tokens.
      num_workers: Processes; by default all cores, up to 8.
      lower_case: Lower-case the text.
      strip_accents: Strip accents; as --lower_case if unset.
      blank_lines_separate_documents: A blank line ends a document; else each
        file is one.
      validation_fraction: Share of documents held out.
      seed: Seed of all random choices.
      num_shards: Files to write; by default by size.
      text_field: Field of JSON records, or column of tables, with the text.
      stop_words: Words to remove: files, one a line, or english, chinese (this
        with --word_segmenter), by commas.
      drop_duplicates: Leave out repeated documents.
      min_line_length: Leave out shorter lines (characters).
      repair_unicode: Repair mojibake with ftfy.
      legacy: Make the original's examples exactly.
      word_segmenter: Finds where words begin in Chinese text, for whole-word
        and span masking: jieba.
      strict: Stop at the first bad byte, naming its line.
      overwrite: Replace a finished build in --output.
      runner: processes of this machine, or Apache Beam (the extra 'beam')
      beam_args: Beam's own flags in one string, as '--runner=FlinkRunner
        --flink_master=host:8081'; without, Beam too runs on this machine
      progress: Report progress on stderr.

    Returns:
      The directory, its manifest, and the time it took.

    Raises:
      UserError: there is no input; settings exclude each other; files are
        unreadable or cannot be written; the output has a finished build; or,
        with `strict`, the text has a flaw.
      KeyboardInterrupt: Ctrl-C or SIGTERM came.
    """
    from electra_tf.data import builder
    from electra_tf.data.build_settings import BuildSettings

    spread.check_used(runner, beam_args=beam_args)
    settings = BuildSettings(
        input=input if isinstance(input, str) else ",".join(input),
        vocab=vocab,
        output=output,
        max_seq_length=max_seq_length,
        num_workers=num_workers,
        lower_case=lower_case,
        strip_accents=strip_accents,
        blank_lines_separate_documents=blank_lines_separate_documents,
        validation_fraction=validation_fraction,
        seed=seed,
        num_shards=num_shards,
        text_field=text_field,
        stop_words=stop_words,
        drop_duplicates=drop_duplicates,
        min_line_length=min_line_length,
        repair_unicode=repair_unicode,
        legacy=legacy,
        word_segmenter=word_segmenter,
        strict=strict,
        overwrite=overwrite,
    )
    bar = ProgressLine(progress)

    def show(done: builder.Progress) -> None:
        bar.update(
            done.bytes_read, done.bytes_total, f"{done.examples} examples"
        )

    start = time.monotonic()
    try:
        with sigterm_interrupts():
            if runner == "beam":
                from electra_tf.data import beam

                made = beam.build_data(settings, beam_args, num_workers or 1)
            else:
                made = builder.build_data(settings, show)
    finally:
        bar.close()
    seconds = time.monotonic() - start
    held_out = made.splits.get("validation")
    if progress and held_out and not held_out.examples:
        print(
            "note: no document fell into the held-out share; with few "
            "documents choose a larger --validation_fraction",
            file=sys.stderr,
        )
    return BuiltData(output, made, seconds)
