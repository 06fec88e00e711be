"""Trains a WordPiece vocabulary from text files.

electra-tf build-vocab --input='text/*.txt' --output=vocab.txt --vocab_size=8000

The special tokens come first, then single characters, then pieces, the most
useful ones first. The same text gives the same file. Tell the tokenizer, when
you use the vocabulary, the same --lower_case and --strip_accents.
"""

import sys
import time
from collections.abc import Iterable, Iterator

from absl import flags

from electra_tf.cli import beam_flags

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "input",
    None,
    "text files: paths or globs, separated by commas; .gz, .xz, .zst and"
    " .jsonl are understood",
    required=True,
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "output", None, "the vocabulary file", required=True, flag_values=FLAGS
)
flags.DEFINE_integer(
    "vocab_size",
    8000,
    "how many tokens, specials included",
    lower_bound=1,
    flag_values=FLAGS,
)
flags.DEFINE_bool("lower_case", True, "lower-case text", flag_values=FLAGS)
flags.DEFINE_bool(
    "strip_accents",
    None,
    "drop accents; as --lower_case unless given",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "min_frequency",
    2,
    "leave out characters and pieces seen less often",
    lower_bound=1,
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "text_field", "text", "the field of .jsonl records", flag_values=FLAGS
)
flags.DEFINE_integer(
    "num_workers",
    1,
    "processes, with --runner=beam on this machine",
    lower_bound=1,
    flag_values=FLAGS,
)
beam_flags.define(FLAGS)


def main(flags_: flags.FlagValues) -> int:
    """Trains, writes the file, and says what came out."""
    from electra_tf import files
    from electra_tf.errors import UserError
    from electra_tf.text import vocab as vocab_lib
    from electra_tf.text.corpus import iter_lines

    if files.is_directory(flags_.output):
        raise UserError(
            f"--output: {flags_.output} is a directory; expected a file name,"
            f" such as {files.join(flags_.output, 'vocab.txt')}"
        )
    paths = files.expand(flags_.input)
    if flags_.runner == "beam":
        from electra_tf.data import beam_words

        counts = beam_words.count(
            paths,
            f"{flags_.output}.counting",
            lower_case=flags_.lower_case,
            strip_accents=flags_.strip_accents,
            text_field=flags_.text_field,
            beam_args=flags_.beam_args,
            num_workers=flags_.num_workers,
        )
    else:
        lines = iter_lines(paths, text_field=flags_.text_field)
        counts = vocab_lib.count_words(
            _with_progress(lines), flags_.lower_case, flags_.strip_accents
        )
    if not counts:
        raise UserError(f"--input: no text in {len(paths)} file(s)")
    words = sum(counts.values())
    print(f"{words:,} words, {len(counts):,} different", flush=True)
    vocab = vocab_lib.train_vocab_from_counts(
        counts, flags_.vocab_size, flags_.min_frequency
    )
    vocab.save(flags_.output)
    print(f"{flags_.output}: {len(vocab):,} tokens")
    if len(vocab) < flags_.vocab_size:
        print(
            f"The text has no more pieces seen {flags_.min_frequency} times"
            f" or more; {flags_.vocab_size:,} were asked for."
        )
    unknown = vocab_lib.unknown_share(vocab, counts)
    print(f"{unknown:.4%} of the words are [UNK]")
    return 0


def _with_progress(lines: Iterable[str]) -> Iterator[str]:
    """Passes lines on; tells a terminal how much was read."""
    if not sys.stderr.isatty():
        yield from lines
        return
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
