"""Splits contexts into words and WordPieces, with their characters."""

import dataclasses
import functools
import re
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from electra_tf.tasks.features import ranges
from electra_tf.text.tokenizer import Tokenizer

# Contexts tokenized at a time: bounds memory.
_CHARACTERS_AT_ONCE = 4_000_000

# The original's white space: a subset of Python's.
_SPACE = " \t\r\n\u202f"
# Ideographs and Chinese punctuation: WordPiece always splits there.
_CHARACTER = (
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0002a6df\U0002a700-\U0002ceaf\U0002f800-\U0002fa1f"
    "，。、；：？！（）《》〈〉「」『』【】“”‘’—…·"  # noqa: RUF001
)
# All white space at which WordPiece splits. Other characters that Python takes
# for it, as U+0085, are controls, which are left out without a split.
_ANY_SPACE = " \t\r\n\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"


@dataclasses.dataclass(frozen=True)
class Splitter:
    """How a context is split; WordPiece must split wherever this does.

    Attributes:
      word: pattern that matches a word.
      space: pattern replaced by one space in an answer's text; None keeps the
        context's text.
    """

    word: re.Pattern[str]
    space: re.Pattern[str] | None = None

    def text(self, source: str) -> str:
        """Returns an answer's text for its part of the context."""
        if self.space is None:
            return source
        return self.space.sub(" ", source)


# As in the original: white space separates words, and an answer's words are
# joined by one space.
WORDS = Splitter(re.compile(f"[^{_SPACE}]+"), re.compile(f"[{_SPACE}]+"))
# For Chinese: each ideograph is a word, and so is a run of others.
CHARACTERS = Splitter(
    re.compile(f"[{_CHARACTER}]|[^{_ANY_SPACE}{_CHARACTER}]+")
)


@functools.lru_cache(maxsize=64)  # many questions share a context
def split_words(
    context: str, splitter: Splitter = WORDS
) -> tuple[tuple[str, ...], np.ndarray]:
    """Returns the words of a context, and where each starts, int64 [words]."""
    found = [(m.group(), m.start()) for m in splitter.word.finditer(context)]
    words = tuple(word for word, _ in found)
    return words, np.array([start for _, start in found], "int64")


@dataclasses.dataclass(frozen=True, eq=False)
class Document:
    """One tokenized context: a view into `Documents`.

    Attributes:
      context: its text.
      splitter: how it was split into words.
      ids: int32 [pieces].
      starts: int32 [pieces], first character of each piece in the context.
      ends: int32 [pieces], the character after it; accents that follow it
        belong to it.
    """

    context: str
    splitter: Splitter
    ids: np.ndarray
    starts: np.ndarray
    ends: np.ndarray

    @property
    def words(self) -> tuple[str, ...]:
        """The words that the splitter found."""
        return split_words(self.context, self.splitter)[0]

    @functools.cached_property
    def first_piece(self) -> np.ndarray:
        """The number of pieces before each word, int64 [words]."""
        starts = split_words(self.context, self.splitter)[1]
        return np.searchsorted(self.starts, starts)

    def span(self, first: int, last: int) -> tuple[int, int]:
        """Returns the characters of pieces `first` to `last`; end exclusive."""
        return int(self.starts[first]), int(self.ends[last])

    def text(self, first: int, last: int) -> str:
        """Returns the text of pieces `first` to `last`, spaced by the
        splitter.
        """
        start, end = self.span(first, last)
        return self.splitter.text(self.context[start:end])


@dataclasses.dataclass(frozen=True, eq=False)
class Documents:
    """D tokenized contexts, in arrays over the P pieces of all.

    Attributes:
      contexts: [D] texts.
      splitter: how they were split into words.
      ids, starts, ends: [P], as in `Document`.
      splits: int64 [D + 1], where the pieces of each context start.
    """

    contexts: Sequence[str]
    splitter: Splitter
    ids: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    splits: np.ndarray

    def __len__(self) -> int:
        return len(self.contexts)

    def __getitem__(self, index: int) -> Document:
        own = slice(self.splits[index], self.splits[index + 1])
        return Document(
            self.contexts[index], self.splitter, self.ids[own],
            self.starts[own], self.ends[own],
        )  # fmt: skip

    def pieces_at(
        self, which: np.ndarray, spans: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the pieces that cover spans of characters.

        Args:
          which: int64 [N], the document of each span.
          spans: int64 [N, 2], first character and the one after the last.

        Returns:
          First and last piece of each span, counted in its document, int64 [N],
          and whether they cover exactly those characters, bool [N].
        """
        lengths = np.array([len(c) + 1 for c in self.contexts], "int64")
        shift = np.cumsum(lengths) - lengths
        of_piece = np.repeat(shift, np.diff(self.splits))
        starts, ends = self.starts + of_piece, self.ends + of_piece
        wanted = spans + shift[which][:, None]
        first = np.searchsorted(starts, wanted[:, 0], side="left")
        last = np.searchsorted(ends, wanted[:, 1], side="right") - 1
        found = (first <= last) & (first < len(starts))
        at = np.where(found, first, 0), np.where(found, last, 0)
        if len(starts):
            found &= starts[at[0]] == wanted[:, 0]
            found &= ends[at[1]] == wanted[:, 1]
        return first - self.splits[which], last - self.splits[which], found


def make_documents(
    tokenizer: Tokenizer, contexts: Sequence[str], splitter: Splitter = WORDS
) -> Documents:
    """Tokenizes contexts, each distinct word about once.

    Args:
      tokenizer: the model's.
      contexts: texts.
      splitter: splits contexts into words.
    """
    parts = [_make_part(tokenizer, part, splitter) for part in _parts(contexts)]
    counts, ids, starts, ends = (np.concatenate(p) for p in zip(*parts))
    splits = np.concatenate([[0], np.cumsum(counts)])
    return Documents(contexts, splitter, ids, starts, ends, splits)


def _parts(contexts: Sequence[str]) -> Iterator[Sequence[str]]:
    start = size = 0
    for i, context in enumerate(contexts):
        size += len(context)
        if size >= _CHARACTERS_AT_ONCE:
            yield contexts[start : i + 1]
            start, size = i + 1, 0
    if start < len(contexts) or not contexts:
        yield contexts[start:]


def _make_part(
    tokenizer: Tokenizer, contexts: Sequence[str], splitter: Splitter
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns each context's piece count, then ids, starts, ends of all."""
    # No word crosses a line's end, so all contexts are split together.
    lines = "\n".join(contexts)
    words = splitter.word.findall(lines)
    starts = np.array(
        [found.start() for found in splitter.word.finditer(lines)], "int64"
    )
    lengths = np.array([len(context) + 1 for context in contexts], "int64")
    shift = np.cumsum(lengths) - lengths
    counts = np.searchsorted(starts, [*shift, len(lines)])
    place = starts - np.repeat(shift, np.diff(counts))
    numbers = {word: i for i, word in enumerate(dict.fromkeys(words))}
    word = np.array([numbers[word] for word in words], "int64")

    # One empty word more, so that the list is never empty.
    table = tokenizer.tokenize_with_offsets([*numbers, ""])
    splits = table.ids.row_splits.numpy()
    sizes = np.diff(splits)[word]
    source, _ = ranges(splits[word], splits[word] + sizes)
    of_word = np.repeat(place, sizes)
    pieces_before = np.concatenate([[0], np.cumsum(sizes)])[counts]
    return (
        np.diff(pieces_before),
        table.ids.flat_values.numpy()[source],
        _shifted(table.start_chars, source, of_word),
        _shifted(table.end_chars, source, of_word),
    )


def _shifted(
    offsets: tf.RaggedTensor, source: np.ndarray, places: np.ndarray
) -> np.ndarray:
    return (offsets.flat_values.numpy()[source] + places).astype("int32")
