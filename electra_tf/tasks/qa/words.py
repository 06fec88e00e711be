"""Contexts in words and in WordPieces, each of which knows its characters."""

import dataclasses
import functools
import re
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from electra_tf.tasks.features import ranges
from electra_tf.text.tokenizer import Tokenizer

# Tokenized at once: bounds the memory that this takes.
_CHARACTERS_AT_ONCE = 4_000_000

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
        """Returns an answer's text, from the part of the context that it is."""
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
    """Returns the words of a context, and where each starts, int64 [words]."""
    found = [(m.group(), m.start()) for m in splitter.word.finditer(context)]
    words = tuple(word for word, _ in found)
    return words, np.array([start for _, start in found], "int64")


@dataclasses.dataclass(frozen=True, eq=False)
class Document:
    """One context; a view into `Documents`.

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
        """What the splitter found."""
        return split_words(self.context, self.splitter)[0]

    @functools.cached_property
    def first_piece(self) -> np.ndarray:
        """int64 [words], the number of pieces before each word."""
        starts = split_words(self.context, self.splitter)[1]
        return np.searchsorted(self.starts, starts)

    def span(self, first: int, last: int) -> tuple[int, int]:
        """Returns pieces `first` to `last` in characters; the end is
        exclusive.
        """
        return int(self.starts[first]), int(self.ends[last])

    def text(self, first: int, last: int) -> str:
        """Returns the text of pieces `first` to `last`, as the splitter spaces
        it.
        """
        start, end = self.span(first, last)
        return self.splitter.text(self.context[start:end])


@dataclasses.dataclass(frozen=True, eq=False)
class Documents:
    """D contexts, in arrays over the P pieces of all.

    Attributes:
      contexts: [D] texts.
      splitter: how they were split into words.
      ids, starts, ends: [P], as those of `Document`.
      splits: int64 [D + 1], where the pieces of each start.
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
        """Returns the pieces that fill spans of characters.

        Args:
          which: int64 [N], the document of each.
          spans: int64 [N, 2], first character and the one after the last.

        Returns:
          First and last piece of each, counted in its document, int64 [N],
          and whether they are those characters exactly, bool [N].
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
    """Tokenizes contexts; each different word once, or nearly.

    Args:
      tokenizer: the model's.
      contexts: texts.
      splitter: what a word is.
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
    """Returns pieces of each context, then ids, starts and ends of all
    pieces.
    """
    # No word goes over a line's end, so all contexts are split at once.
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

    # An empty word more, so that there is one.
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
