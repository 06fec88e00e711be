"""Cleans up text, and counts documents, lines and words before and after."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

from electra_tf.config import Setting
from electra_tf.recipes.arguments import checked
from electra_tf.recipes.interrupts import sigterm_interrupts
from electra_tf.recipes.lines import check_text_name, write_lines
from electra_tf.recipes.progress import ProgressLine


@dataclasses.dataclass(frozen=True)
class PreparedText:
    """A text that was cleaned up; its `str()` is what the command prints.

    Attributes:
      path: the file that was written, or None.
      before: numbers of documents, lines, words and characters before.
      after: the same numbers after.
      repairs: each kind of repair, and its count.
    """

    path: str | None
    before: Mapping[str, int]
    after: Mapping[str, int]
    repairs: Mapping[str, int]

    def __str__(self) -> str:
        rows = [f"{'':<12}{'before':>15}{'after':>15}"]
        for name, before in self.before.items():
            after = self.after[name]
            share = f"{100 * after / before:8.1f} %" if before else ""
            rows.append(f"{name:<12}{before:>15,}{after:>15,}{share}")
        rows += [
            f"{name.replace('_', ' ')}: {n:,}"
            for name, n in sorted(self.repairs.items())
        ]
        if self.path:
            rows.append(self.path)
        return "\n".join(rows)


@checked
def prepare_text(
    input: str | Sequence[str],
    output: str | None = None,
    *,
    stop_words: str | None = None,
    word_segmenter: str | None = None,
    divide_words: bool = False,
    repair_unicode: bool = False,
    min_line_length: Annotated[int, Setting(at_least=0)] = 0,
    drop_duplicates: bool = False,
    blank_lines_separate_documents: bool = True,
    text_field: str = "text",
    strict: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> PreparedText:
    """Cleans text up, and counts documents, lines and words before and after.

      electra-tf prepare-text --input='raw/*.txt' --output=clean.txt \\
          --repair_unicode --drop_duplicates --min_line_length=20
      electra-tf prepare-text --input=zh.txt --output=words.txt \\
          --word_segmenter=jieba --divide_words --stop_words=chinese

    Input may be what build-data reads: text, JSON, tables, plain or packed,
    and archives of these, of any size. Bytes that are not UTF-8 are replaced,
    control characters removed. The output is what build-data would read with
    the same flags: each line on its line, a blank line between documents; .gz
    compresses it. Without --output only the counts are printed.

    Remove stop words for programs that count words. Do not remove them before
    pre-training or fine-tuning: a network that reads sentences needs them.

    Args:
      input: text files: globs, separated by commas
      output: file to write; .gz compresses
      stop_words: words to remove: files with one on each line, or english,
        chinese; separated by commas. In Chinese they are found with
        --word_segmenter
      word_segmenter: finds words in Chinese text: jieba
      divide_words: put a space between the words that it finds
      repair_unicode: repair mojibake with ftfy
      min_line_length: leave out shorter lines (characters)
      drop_duplicates: leave out repeated documents
      blank_lines_separate_documents: a blank line ends a document; else each
        file is one
      text_field: field of JSON records, or column of tables, with the text
      strict: stop at the first bad byte, naming its line
      overwrite: replace an existing output
      progress: report progress on stderr

    Returns:
      The counts, and the file if one was asked for.

    Raises:
      UserError: a file is missing, the output exists or its format cannot be
        written, the segmenter is unknown; or, with `strict`, the text has a
        flaw.
    """
    from electra_tf import files
    from electra_tf.errors import UserError
    from electra_tf.prediction.files import check_output
    from electra_tf.text import corpus, prepare, segment
    from electra_tf.text.cleaning import (
        Cleaning,
        check_segmented,
        load_stop_words,
    )

    if divide_words and not word_segmenter:
        raise UserError(
            f"--divide_words: needs --word_segmenter={segment.SEGMENTERS[0]}"
        )
    check_output(output, overwrite)
    if output:
        check_text_name(output)
    paths = files.expand(input if isinstance(input, str) else ",".join(input))
    if output and len(paths) > 1 and files.is_among(output, paths):
        raise UserError(
            f"--output: {output} is one of the {len(paths)} files of --input, "
            "as which an earlier result would be read again; give it another "
            "name or folder, or an --input that does not match it"
        )
    words: frozenset[str] = frozenset()
    if stop_words:
        check_segmented(stop_words, word_segmenter)
        words = load_stop_words(stop_words)
    preparation = prepare.Preparation(
        Cleaning(
            repair_unicode=repair_unicode,
            stop_words=words,
            word_segmenter=word_segmenter,
            min_line_length=min_line_length,
            strict=strict,
        ),
        drop_duplicates=drop_duplicates,
        word_segmenter=word_segmenter,
        divide_words=divide_words,
        text_field=text_field,
    )
    reader = corpus.Reader(
        paths,
        blank_lines_separate_documents=blank_lines_separate_documents,
        strict=strict,
        text_field=text_field,
    )
    bar = ProgressLine(progress)

    def lines() -> Iterator[str]:
        first = True
        for document in preparation.run(reader):
            if not (first or document.continues):
                yield ""
            first = False
            yield from document.lines
            done = preparation.after["documents"]
            bar.update(
                reader.bytes_read, reader.bytes_total, f"{done:,} documents"
            )

    try:
        with sigterm_interrupts():
            if output:
                write_lines(output, lines())
            else:
                for _ in lines():
                    pass
    finally:
        bar.close()
    return PreparedText(
        output,
        {name: preparation.before[name] for name in prepare.COUNTED},
        {name: preparation.after[name] for name in prepare.COUNTED},
        {name: n for name, n in preparation.repairs.items() if n},
    )
