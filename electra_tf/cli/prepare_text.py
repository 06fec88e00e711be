"""Cleans text up, and counts documents, lines and words before and after.

electra-tf prepare-text --input='raw/*.txt' --output=clean.txt \\
    --repair_unicode --drop_duplicates --min_line_length=20
electra-tf prepare-text --input=zh.txt --output=words.txt \\
    --word_segmenter=jieba --divide_words --stop_words=chinese

Input may be text or JSON lines (.jsonl, .ndjson), plain or compressed (.gz,
.xz, .zst), of any size. Bytes that are not UTF-8 are replaced, control
characters removed. The output is what build-data would read with the same
flags: a line a line, a blank line between documents; .gz compresses it.
Without --output only the counts are told.

Stop words are for what counts words. A network that reads sentences wants
them left in: do not remove them before pre-training or fine-tuning.
"""

from collections.abc import Iterator
from typing import Any

from absl import flags

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "input",
    None,
    "text files: globs, separated by commas",
    required=True,
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "output", None, "file to write; .gz compresses", flag_values=FLAGS
)
flags.DEFINE_string(
    "stop_words",
    None,
    "words to remove: files, one a line, or english, chinese; by commas. In "
    "Chinese they are found with --word_segmenter",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "word_segmenter",
    None,
    "finds words in Chinese text: jieba",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "divide_words",
    False,
    "put a space between the words that it finds",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "repair_unicode", False, "mend mojibake with ftfy", flag_values=FLAGS
)
flags.DEFINE_integer(
    "min_line_length",
    0,
    "leave out shorter lines (characters)",
    lower_bound=0,
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "drop_duplicates", False, "leave out repeated documents", flag_values=FLAGS
)
flags.DEFINE_bool(
    "blank_lines_separate_documents",
    True,
    "a blank line ends a document; else each file is one",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "text_field", "text", "field of JSON lines with the text", flag_values=FLAGS
)
flags.DEFINE_bool(
    "strict", False, "stop at the first bad byte, naming its line",
    flag_values=FLAGS,
)  # fmt: skip
flags.DEFINE_bool(
    "overwrite", False, "replace an output that is there", flag_values=FLAGS
)


def main(flags_: flags.FlagValues) -> int:
    """Checks, reads, cleans, writes, counts."""
    from electra_tf import files
    from electra_tf.errors import UserError
    from electra_tf.prediction import files as prediction_files
    from electra_tf.recipes.lines import write_lines
    from electra_tf.recipes.progress import ProgressLine
    from electra_tf.text import corpus, prepare, segment
    from electra_tf.text.cleaning import Cleaning, load_stop_words

    if flags_.divide_words and not flags_.word_segmenter:
        raise UserError(
            "--divide_words: by what? give "
            f"--word_segmenter={segment.SEGMENTERS[0]}"
        )
    prediction_files.check_output(flags_.output, flags_.overwrite)
    if flags_.output and flags_.output.endswith((".xz", ".zst", ".jsonl")):
        raise UserError(
            f"--output: {flags_.output}: is written as text, or text in .gz"
        )
    words: frozenset[str] = frozenset()
    if flags_.stop_words:
        words = load_stop_words(flags_.stop_words)
    preparation = prepare.Preparation(
        Cleaning(
            repair_unicode=flags_.repair_unicode,
            stop_words=words,
            word_segmenter=flags_.word_segmenter,
            min_line_length=flags_.min_line_length,
            strict=flags_.strict,
        ),
        drop_duplicates=flags_.drop_duplicates,
        word_segmenter=flags_.word_segmenter,
        divide_words=flags_.divide_words,
        text_field=flags_.text_field,
    )
    reader = corpus.Reader(
        files.expand(flags_.input),
        blank_lines_separate_documents=flags_.blank_lines_separate_documents,
        strict=flags_.strict,
    )
    bar = ProgressLine()

    def lines() -> Iterator[str]:
        first = True
        for document in preparation.run(reader):
            if not first:
                yield ""
            first = False
            yield from document
            done = preparation.after["documents"]
            bar.update(
                reader.bytes_read, reader.bytes_total, f"{done:,} documents"
            )

    try:
        if flags_.output:
            write_lines(flags_.output, lines())
        else:
            for _ in lines():
                pass
    finally:
        bar.close()
    print(_table(preparation))
    if flags_.output:
        print(flags_.output)
    return 0


def _table(preparation: Any) -> str:
    """Counts before and after, and what was done in between."""
    from electra_tf.text import prepare

    rows = [f"{'':<12}{'before':>15}{'after':>15}"]
    for name in prepare.COUNTED:
        before, after = preparation.before[name], preparation.after[name]
        share = f"{100 * after / before:8.1f} %" if before else ""
        rows.append(f"{name:<12}{before:>15,}{after:>15,}{share}")
    done = {name: n for name, n in sorted(preparation.repairs.items()) if n}
    rows += [f"{name.replace('_', ' ')}: {n:,}" for name, n in done.items()]
    return "\n".join(rows)
