"""Text files -> one clean text, with counts of before and after.

The text is what `data.builder` would make examples of: the same reading,
cleaning and fingerprints.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator

from electra_tf.text import corpus, segment
from electra_tf.text.cleaning import Cleaning, fingerprint

COUNTED = ("documents", "lines", "words", "characters")

_DIVIDED_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# Where nothing finds Chinese words, each character is one.
_WORD = re.compile(rf"[{_HAN}]|(?:(?![{_HAN}])[^\W_])+(?:['\u2019][^\W_]+)*")
_WIDE = re.compile(f"[{_HAN}\u3000-\u303f\uff00-\uffef]")


class Preparation:
    """A text that is prepared.

    Attributes:
      before: of the text as it was, by the names in `COUNTED`.
      after: of what is left.
      repairs: what was done, and how often.
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
        """Decides what is done.

        Args:
          cleaning: what is done to lines.
          drop_duplicates: leave out documents that were there before.
          word_segmenter: finds words in text without spaces, which then are
            counted; without it each Chinese character is one.
          divide_words: put a space between words that it finds.
          text_field: of JSON lines.

        Raises:
          UserError: the segmenter is not there.
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
        """Yields the documents that are left, each a list of lines.

        A piece of a document that is too large for memory is one of its own,
        in what is yielded, but is not counted again.

        Raises:
          UserError: a file cannot be read, or is not what it should be.
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
        """Returns `text` with spaces around Chinese words and marks, nowhere
        else.
        """
        assert self._cut is not None  # the callers look
        found: list[str] = []
        for word in self._cut(text):
            if found and _WIDE.search(found[-1][-1] + word[0]):
                found.append(" ")
            found.append(word)
        return " ".join("".join(found).split())
