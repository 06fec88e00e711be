"""Builds pre-training examples from a directory of text files.

    python -m electra_tf.original.build_pretraining_dataset \\
        --corpus-dir DIR --vocab-file vocab.txt --output-dir DIR

The flags are the original's; the examples are those of `electra-tf build-data`.
"""

import argparse
import sys
from collections.abc import Sequence

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.original import datasets, hparams

_FALSE, _TRUE = ("false", "no", "0", ""), ("true", "yes", "1")


def _truth(text: str) -> bool:
    """Parses the value of --blanks-separate-docs."""
    if text.lower() in _FALSE + _TRUE:
        return text.lower() in _TRUE
    raise argparse.ArgumentTypeError(f"expected True or False, got '{text}'")


def main(argv: Sequence[str] | None = None) -> int:
    """Builds; returns the exit status."""
    flags = datasets.parser(__doc__)
    flags.add_argument(
        "--corpus-dir", required=True, help="Directory of text files."
    )
    flags.add_argument("--vocab-file", required=True, help="The vocabulary.")
    flags.add_argument(
        "--output-dir", required=True, help="Where the examples go."
    )
    flags.add_argument(
        "--blanks-separate-docs", default=True, type=_truth,
        help="Whether blank lines end documents.",
    )  # fmt: skip
    args = flags.parse_args(argv)

    def body() -> str:
        if not files.is_directory(args.corpus_dir):
            raise UserError(f"--corpus-dir: no directory {args.corpus_dir}")
        return datasets.build(
            args,
            input=datasets.all_files(args.corpus_dir),
            vocab=args.vocab_file,
            output=args.output_dir,
            blank_lines_separate_documents=args.blanks_separate_docs,
        )

    return hparams.run(
        "build_pretraining_dataset", body, argv or sys.argv, resumes=False
    )


if __name__ == "__main__":
    sys.exit(main())
