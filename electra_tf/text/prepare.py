"""Prepares one clean text from text files, with counts before and after.

The text is the one that `data.builder` would make examples of, by the same
reading, cleaning and fingerprints.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from electra_tf.text import corpus, segment
from electra_tf.text.cleaning import Cleaning, fingerprint

COUNTED = ("documents", "lines", "words", "characters")

_DIVIDED_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# Without a segmenter, each Chinese character is a word.
_WORD = re.compile(rf"[{_HAN}]|(?:(?![{_HAN}])[^\W_])+(?:['\u2019][^\W_]+)*")
_WIDE = re.compile(f"[{_HAN}\u3000-\u303f\uff00-\uffef]")


class Document(NamedTuple):
    """The lines of a document, or of a piece of a large one.

    Attributes:
      lines: the lines, none of them blank.
      continues: whether they belong to the same document as those before.
    """

    lines: list[str]
    continues: bool


class Preparation:
    """Prepares a text, and counts.

    Attributes:
      before: counts of the original text, by the names in `COUNTED`.
      after: the same counts of the result.
      repairs: counts of repairs, by name.
    """

    def __init__(
        self,
        cleaning: Cleaning,
        *,
        drop_duplicates: bool = False,
        word_segmenter: str | None = None,
        divide_words: bool = False,
        text_field: str = "text",
    ):
        """Sets the options.

        Args:
          cleaning: options for lines.
          drop_duplicates: whether to leave out repeated documents.
          word_segmenter: finds words in text without spaces; without it each
            Chinese character counts as a word.
          divide_words: whether to put a space between the words that it finds.
          text_field: the text's field in JSON lines.

        Raises:
          UserError: the segmenter is not installed.
        """
        self.before: Counter[str] = Counter()
        self.after: Counter[str] = Counter()
        self.repairs: Counter[str] = Counter()
        self._cleaning = cleaning
        self._text_field = text_field
        self._divide = divide_words
        self._seen: set[bytes] | None = set() if drop_duplicates else None
        self._cut: Callable[[str], list[str]] | None = None
        if word_segmenter:
            self._cut = segment.segmenter(word_segmenter).cut

    def run(self, reader: corpus.Reader) -> Iterator[Document]:
        """Yields the resulting documents.

        One that is too large for memory is yielded in pieces, and counted once.

        Raises:
          UserError: a file is unreadable, or not of a known form.
        """
        begun = written = False  # whether a piece before this one had lines
        for part in reader:
            if not part.piece:
                begun = written = False
            ignored: Counter[str] = Counter()
            for found in corpus.documents(
                part, Cleaning(), ignored, self._text_field
            ):
                if lines := _not_blank(found):
                    self._count(self.before, lines, begun)
                    begun = part.identity is not None
            for found in corpus.documents(
                part, self._cleaning, self.repairs, self._text_field
            ):
                if self._is_repeated(found):
                    self.repairs["duplicate_documents_dropped"] += 1
                elif lines := _not_blank(found):
                    self._count(self.after, lines, written)
                    yield Document(list(map(self._written, lines)), written)
                    written = part.identity is not None
        self.repairs.update(
            {
                name: reader.counts[name]
                for name in ("long_lines_cut", "bad_records", "empty_files")
            }
        )

    def _is_repeated(self, lines: list[bytes]) -> bool:
        if self._seen is None:
            return False
        name = fingerprint(lines)
        if name in self._seen:
            return True
        self._seen.add(name)
        return False

    def _count(
        self, counts: Counter[str], lines: list[str], continues: bool
    ) -> None:
        counts["documents"] += not continues
        counts["lines"] += len(lines)
        for text in lines:
            counts["characters"] += len(text)
            counts["words"] += self._words(text)

    def _words(self, text: str) -> int:
        if self._cut is None or text.isascii():
            return len(_WORD.findall(text))
        return len(_DIVIDED_WORD.findall(self._divided(text)))

    def _written(self, text: str) -> str:
        if not self._divide or self._cut is None or text.isascii():
            return text
        return self._divided(text)

    def _divided(self, text: str) -> str:
        """Puts spaces around Chinese words and marks, and nowhere else."""
        assert self._cut is not None  # checked by the callers
        found: list[str] = []
        for word in self._cut(text):
            if found and _WIDE.search(found[-1][-1] + word[0]):
                found.append(" ")
            found.append(word)
        return " ".join("".join(found).split())


def _not_blank(lines: list[bytes]) -> list[str]:
    """Returns lines without the space around them, and without blank ones.

    Those are lines of only such spaces as do not end a document.
    """
    found = (line.decode("utf-8").strip() for line in lines)
    return [text for text in found if text.replace("\ufeff", "").strip()]
