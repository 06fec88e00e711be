"""Prepares the text and vocabulary for tokenizers and builders."""

import argparse
import contextlib
import glob
import pathlib
import sys
import tempfile
from collections.abc import Iterator

import electra_tf


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that choose text and vocabulary."""
    parser.add_argument(
        "--input", help="text files (a glob); default: the text that ships"
    )
    parser.add_argument(
        "--vocab", help="vocab.txt; default: 8,000 pieces from the text"
    )
    parser.add_argument(
        "--megabytes",
        type=float,
        default=8.0,
        help="megabytes of text in a round (%(default)s)",
    )


@contextlib.contextmanager
def prepared(args: argparse.Namespace) -> Iterator[tuple[str, str, float]]:
    """Yields (text file, vocabulary file, megabytes of the text)."""
    shipped = pathlib.Path(electra_tf.__file__).parent / "sample_text"
    names = sorted(glob.glob(args.input or str(shipped / "*.txt")))
    if not names:
        sys.exit(f"benchmark: no file matches '{args.input}'")
    wanted = int(args.megabytes * 1e6)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "text.txt"
        size = 0
        with open(path, "wb") as target:
            while size < wanted:  # repeats the files until it is long enough
                for name in names:
                    with open(name, "rb") as source:
                        data = source.read(max(0, wanted - size))
                    size += target.write(data)
        vocab = args.vocab
        if not vocab:
            from electra_tf.text.vocab_training import count_words, train_vocab

            print("training a vocabulary ...", file=sys.stderr, flush=True)
            with open(names[0], encoding="utf-8") as source:
                trained = train_vocab(count_words(source), 8000)
            vocab = str(pathlib.Path(folder) / "vocab.txt")
            trained.save(vocab)
        yield str(path), vocab, size / 1e6
