"""Turns text files into a directory of pre-training examples.

  electra-tf build-data --input='books/*.txt' --vocab=vocab.txt --output=data

Input may be text or JSON lines (.jsonl, .ndjson), plain or compressed (.gz,
.xz, .zst), of any size. Documents end at blank lines, or each file is one
(--noblank_lines_separate_documents), or each JSON line. Bad bytes are replaced
and counted; see manifest.json in the output. The same input, settings and
seed give the same bytes whatever --num_workers is, and with --runner=beam on
many machines.
"""

import signal
import sys
import time
from typing import Any

from absl import flags

from electra_tf.cli import beam_flags
from electra_tf.recipes.progress import ProgressLine

FLAGS = flags.FlagValues()


def _define(kind: Any, name: str, default: object, text: str) -> None:
    kind(name, default, text, flag_values=FLAGS)


_STRING, _INTEGER = flags.DEFINE_string, flags.DEFINE_integer
_BOOL, _FLOAT = flags.DEFINE_bool, flags.DEFINE_float

_define(_STRING, "input", None, "Text files: globs, separated by commas.")
_define(_STRING, "vocab", None, "The vocabulary, one token a line.")
_define(_STRING, "output", None, "The directory to make.")
_define(_INTEGER, "max_seq_length", 128, "The longest example, in tokens.")
_define(
    _INTEGER, "num_workers", None, "Processes; by default all cores, up to 8."
)
_define(_BOOL, "lower_case", True, "Lower-case the text.")
_define(
    _BOOL, "strip_accents", None, "Strip accents; as --lower_case if unset."
)
_define(
    _BOOL,
    "blank_lines_separate_documents",
    True,
    "A blank line ends a document; else each file is one.",
)
_define(_FLOAT, "validation_fraction", 0.01, "Share of documents held out.")
_define(_INTEGER, "seed", 0, "Of all random choices.")
_define(_INTEGER, "num_shards", None, "Files to write; by default by size.")
_define(_STRING, "text_field", "text", "Field of JSON lines with the text.")
_define(
    _STRING,
    "stop_words",
    None,
    "Words to remove: files, one a line, or english, chinese (this with "
    "--word_segmenter), by commas.",
)
_define(_BOOL, "drop_duplicates", False, "Leave out repeated documents.")
_define(_INTEGER, "min_line_length", 0, "Leave out shorter lines (characters).")
_define(_BOOL, "repair_unicode", False, "Mend mojibake with ftfy.")
_define(_BOOL, "legacy", False, "Make the original's examples exactly.")
_define(
    _STRING,
    "word_segmenter",
    None,
    "Tells where words begin in Chinese text, for whole-word and span masking: "
    "jieba.",
)
_define(_BOOL, "strict", False, "Stop at the first bad byte, naming its line.")
_define(_BOOL, "overwrite", False, "Replace a finished build in --output.")
_SETTINGS = tuple(FLAGS)
beam_flags.define(FLAGS)
for _name in ("input", "vocab", "output"):
    flags.mark_flag_as_required(_name, flag_values=FLAGS)


def main(flags_: flags.FlagValues) -> int:
    """Runs the command; returns the exit status."""
    import tensorflow as tf

    from electra_tf.data import builder

    # A build is no work for a GPU, and should not take its memory.
    tf.config.set_visible_devices([], "GPU")
    values = {name: flags_[name].value for name in _SETTINGS}
    settings = builder.BuildSettings(**values)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    bar = ProgressLine()
    start = time.monotonic()
    try:
        if flags_.runner == "beam":
            from electra_tf.data import beam

            made = beam.build_data(
                settings, flags_.beam_args, settings.num_workers or 1
            )
        else:
            made = builder.build_data(
                settings,
                lambda done: bar.update(
                    done.bytes_read,
                    done.bytes_total,
                    f"{done.examples} examples",
                ),
            )
    finally:
        bar.close()
        signal.signal(signal.SIGTERM, before)
    seconds = time.monotonic() - start
    for name, split in made.splits.items():
        print(
            f"{name}: {split.examples} examples, {split.tokens} tokens from "
            f"{split.documents} documents, {len(split.shards)} files"
        )
    repairs = {name: n for name, n in made.repairs.items() if n}
    if repairs:
        print("repaired:", ", ".join(f"{k} {v}" for k, v in repairs.items()))
    if settings.validation_fraction and not made.splits["validation"].examples:
        print(
            "note: no document fell into the held-out share; with few "
            "documents choose a larger --validation_fraction",
            file=sys.stderr,
        )
    size = made.input["bytes"] / 1e6
    print(f"{size:.1f} MB in {seconds:.1f} s -> {settings.output}")
    return 0
