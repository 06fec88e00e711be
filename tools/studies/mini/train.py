"""Trains electra-tf-mini, the model that ships, from books to a run.

  tools/studies/mini/train.py --books='books/*.txt' --output=mini

Cleans the books, trains a vocabulary, builds examples and pre-trains with
configs/pretrain/electra_tf_mini.yaml. Existing files are reused: started again
with the same arguments it resumes, and SIGTERM stops it at a checkpoint.
Then `tools/studies/mini/ship.py --study=mini` puts it into the package. With
--init_from=electra-tf-mini and a new --output its training is continued.
"""

import argparse
import os
import pathlib
import sys

# Before TensorFlow is imported: freed memory is kept for the next step.
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import books

from electra_tf import files
from electra_tf.errors import UserError

CONFIG = (
    pathlib.Path(__file__).resolve().parents[3]
    / "configs" / "pretrain" / "electra_tf_mini.yaml"
)  # fmt: skip
VOCAB_SIZE, LENGTH, HELD_OUT = 10_000, 128, 0.005


def prepare(source: str, output: str) -> str:
    """Makes text, vocabulary and examples, unless they exist already.

    Args:
      source: the books; globs, by commas.
      output: the folder for everything.

    Returns:
      The directory of examples.

    Raises:
      UserError: there are no such books.
    """
    from electra_tf.data import manifest
    from electra_tf.recipes.build_data import build_data
    from electra_tf.recipes.build_vocab import build_vocab

    text = files.join(output, books.TEXT)
    vocab, data = files.join(output, "vocab.txt"), files.join(output, "data")
    if not files.exists(text):
        files.make_directory(output)
        print(f"{books.clean(source, text):,} words: {text}", flush=True)
    if not files.exists(vocab):
        print(build_vocab(text, vocab, vocab_size=VOCAB_SIZE), flush=True)
    if not manifest.is_finished(data):
        built = build_data(
            text, vocab, data, max_seq_length=LENGTH, num_workers=2,
            validation_fraction=HELD_OUT,
        )  # fmt: skip
        print(built, flush=True)
    return data


def main() -> int:
    """Prepares the data and pre-trains; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--books", required=True, help="text files, globs")
    parser.add_argument("--output", required=True, help="the folder to fill")
    parser.add_argument("--config", default=str(CONFIG))
    parser.add_argument(
        "--set", action="append", default=[], help="section.key=value"
    )
    parser.add_argument(
        "--init_from",
        default="",
        help="a model whose training is continued; default: random weights",
    )
    options = parser.parse_args()
    try:
        data = prepare(options.books, options.output)
        from electra_tf.recipes.pretrain import pretrain

        found = pretrain(
            data,
            files.join(options.output, "run"),
            config=options.config,
            overrides=options.set,
            init_from=[options.init_from] if options.init_from else [],
        )
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    text = files.join(options.output, books.TEXT)
    print(f"text: sha256:{books.fingerprint(text)}")
    print(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
