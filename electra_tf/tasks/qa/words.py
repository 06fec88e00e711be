"""The words of a context, and of what stands between them."""

import dataclasses
import functools
import re

import numpy as np

# The original's white space, which is narrower than Python's.
_SPACE = " \t\r\n\u202f"
# Ideographs, and punctuation of Chinese: WordPiece always cuts there.
_CHARACTER = (
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0002a6df\U0002a700-\U0002ceaf\U0002f800-\U0002fa1f"
    "，。、；：？！（）《》〈〉「」『』【】“”‘’—…·"  # noqa: RUF001
)


@dataclasses.dataclass(frozen=True)
class Splitter:
    """How a context is split; cuts of its own must be WordPiece's too.

    Attributes:
      word: matches a word.
      space: what one space stands for in an answer's text; None leaves the
        text as it is in the context.
    """

    word: re.Pattern[str]
    space: re.Pattern[str] | None = None

    def text(self, source: str) -> str:
        """An answer's text, from the part of the context that it is."""
        if self.space is None:
            return source
        return self.space.sub(" ", source)


# As the original: words stand between white space, and an answer's words
# are joined by one space.
WORDS = Splitter(re.compile(f"[^{_SPACE}]+"), re.compile(f"[{_SPACE}]+"))
# For Chinese: each character is a word; runs of others are words as well.
CHARACTERS = Splitter(re.compile(rf"[{_CHARACTER}]|[^\s{_CHARACTER}]+"))


@functools.lru_cache(maxsize=64)  # many questions share a context
def split_words(
    context: str, splitter: Splitter = WORDS
) -> tuple[tuple[str, ...], np.ndarray]:
    """The words of a context, and where each starts, int64 [words]."""
    found = [(m.group(), m.start()) for m in splitter.word.finditer(context)]
    words = tuple(word for word, _ in found)
    return words, np.array([start for _, start in found], "int64")
