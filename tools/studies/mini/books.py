"""Turns books into text for pre-training: one sentence a line.

  tools/studies/mini/books.py --input='books/*.txt' --output=books_clean.txt

Headings, rules and marks of emphasis are removed, quotation marks and dashes
become those of ASCII, and a paragraph is divided into sentences. A blank line
ends a document: a whole paragraph, or, for half of the paragraphs, each single
sentence, since most inputs of a model are single sentences. A checksum of the
paragraph decides which half it belongs to. Documents are mixed, in the order of
their hashes: in that of the books, neighbouring batches are of one author.
"""

import argparse
import hashlib
import re
import sys
import zlib
from collections.abc import Iterable, Iterator

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.recipes import lines

TEXT = "books_clean.txt"  # in the folder of a study
_AT_ONCE = 512  # paragraphs
_PLAIN = str.maketrans(
    {
        "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"',
        "\u2013": "-", "\u2014": "--", "\u2026": "...", "\u00a0": " ",
    }
)  # fmt: skip
_HEADING = re.compile(r"#|\W*$|[^a-z]+$")  # marked so, or without small letters
_FOOTNOTE = re.compile(r"\[\s*(?:\d+|[Ff]ootnote[^\]]*)\s*\]")
_EMPHASIS = re.compile(r"[_*]+")
_LICENCE = re.compile(r"project gutenberg|transcriber's note", re.IGNORECASE)


def paragraphs(text: str) -> Iterator[str]:
    """Yields a book's paragraphs, without headings, footnotes and licence."""
    for block in re.split(r"\n\s*\n", text.translate(_PLAIN)):
        kept = [line for line in block.split("\n") if not _HEADING.match(line)]
        found = " ".join(" ".join(kept).split())
        found = _EMPHASIS.sub("", _FOOTNOTE.sub("", found)).strip()
        if re.search("[a-z]", found) and not _LICENCE.search(found):
            yield found


def in_sentences(blocks: list[str]) -> list[list[str]]:
    """Divides each paragraph into sentences; the list may be empty."""
    import tensorflow as tf

    from electra_tf.text import sentences

    found = sentences.split(tf.constant(blocks))
    return [
        [block.encode()[a:b].decode() for a, b in zip(starts, ends)]
        for block, starts, ends in zip(
            blocks, found.start_bytes.to_list(), found.end_bytes.to_list()
        )
    ]


def documents(blocks: Iterable[str]) -> Iterator[list[str]]:
    """Yields documents, each as a list of sentences."""
    waiting: list[str] = []

    def divided() -> Iterator[list[str]]:
        for block, own in zip(waiting, in_sentences(waiting)):
            if zlib.crc32(block.encode()) % 2:
                yield from ([sentence] for sentence in own)
            elif own:
                yield own

    for block in blocks:
        waiting.append(block)
        if len(waiting) == _AT_ONCE:
            yield from divided()
            waiting = []
    if waiting:
        yield from divided()


def clean(source: str, output: str) -> int:
    """Writes the documents of all books; returns the number of words.

    Args:
      source: text files, globs, by commas.
      output: the file to write.

    Raises:
      UserError: there is no such file.
    """
    texts = [
        "\n".join(document)
        for path in files.expand(source)
        for document in documents(paragraphs(files.read_text(path)))
    ]
    texts.sort(key=lambda text: hashlib.sha256(text.encode()).digest())
    lines.write_lines(output, (f"{text}\n" for text in texts))
    return sum(len(text.split()) for text in texts)


def fingerprint(path: str) -> str:
    """Returns the SHA-256 of a file's bytes, for the model card."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def main() -> int:
    """Cleans the books; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--input", required=True, help="text files, globs")
    parser.add_argument("--output", required=True, help="the text, cleaned")
    options = parser.parse_args()
    try:
        words = clean(options.input, options.output)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{words:,} words: {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
