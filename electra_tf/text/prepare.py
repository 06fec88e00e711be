"""Prepares one clean text from text files, with counts before and after.

The text is the one that `data.builder` would make examples of, by the same
reading, cleaning and fingerprints.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator

from electra_tf.text import corpus, segment
from electra_tf.text.cleaning import Cleaning, fingerprint

COUNTED = ("documents", "lines", "words", "characters")

_DIVIDED_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# Without a segmenter, each Chinese character is a word.
_WORD = re.compile(rf"[{_HAN}]|(?:(?![{_HAN}])[^\W_])+(?:['\u2019][^\W_]+)*")
_WIDE = re.compile(f"[{_HAN}\u3000-\u303f\uff00-\uffef]")


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

    def run(self, reader: corpus.Reader) -> Iterator[list[str]]:
        """Yields the resulting documents, as lists of lines.

        A piece of a document that is too large for memory is yielded as a
        document, but not counted again.

        Raises:
          UserError: a file is unreadable, or not of a known form.
        """
        for part in reader:
            ignored: Counter[str] = Counter()
            for lines in corpus.documents(
                part, Cleaning(), ignored, self._text_field
            ):
                self._count(self.before, lines, part.piece)
            for lines in corpus.documents(
                part, self._cleaning, self.repairs, self._text_field
            ):
                if self._is_repeated(lines):
                    self.repairs["duplicate_documents_dropped"] += 1
                    continue
                self._count(self.after, lines, part.piece)
                yield [self._written(line.decode("utf-8")) for line in lines]
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
        self, counts: Counter[str], lines: list[bytes], piece: int
    ) -> None:
        counts["documents"] += not piece
        counts["lines"] += len(lines)
        for line in lines:
            text = line.decode("utf-8").strip()
            counts["characters"] += len(text)
            counts["words"] += self._words(text)

    def _words(self, text: str) -> int:
        if self._cut is None or text.isascii():
            return len(_WORD.findall(text))
        return len(_DIVIDED_WORD.findall(self._divided(text)))

    def _written(self, text: str) -> str:
        text = text.strip()
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
