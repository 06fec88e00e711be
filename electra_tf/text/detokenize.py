"""Joins WordPiece tokens to readable text, in Python and in the graph.

`join` and `Detokenizer` give exactly the same text.
"""

import collections
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from electra_tf.text.vocab import Vocab


class Spacing(NamedTuple):
    """Punctuation marks without a space on one side."""

    before: frozenset[str]  # marks without a space before them
    after: frozenset[str]  # marks without a space after them


USUAL = Spacing(
    frozenset(".,!?;:%)]}\u2019\u201d\u00bb\u2026"),
    frozenset("([{\u2018\u201c\u00ab$£#@"),
)
QUOTE = '"'  # alternately opens and closes
NUMBER_MARKS = frozenset(".,:")  # without a space after them between digits
APOSTROPHES = frozenset("'\u2019")
CONTRACTIONS = {"s", "t", "m", "d", "ll", "re", "ve"}
# A mark must occur so often for its text to override the default.
_SEEN = 10
CJK_RANGES = (
    (0x2E80, 0x2FDF), (0x3000, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF), (0xFF00, 0xFFEF), (0x20000, 0x323AF),
)  # fmt: skip


def learn(texts: Iterable[str]) -> Spacing:
    """Learns how texts space their marks: hyphens, slashes, quotes.

    The side of a mark is that of most of its occurrences. Rare marks, and those
    on both sides of words, keep the default.

    Args:
      texts: texts like those to generate.
    """
    counts: dict[str, tuple[collections.Counter[str], ...]] = {
        side: (collections.Counter(), collections.Counter())
        for side in ("before", "after")
    }
    for text in texts:
        for i, mark in enumerate(text):
            if not _is_mark(mark):
                continue
            for side, at in (("before", i - 1), ("after", i + 1)):
                if 0 <= at < len(text):
                    counts[side][text[at].isspace()][mark] += 1
    found = []
    for side, usual in zip(("before", "after"), USUAL):
        glued, spaced = counts[side]
        decided = {m for m in glued | spaced if glued[m] + spaced[m] >= _SEEN}
        found.append(
            (usual - decided) | {m for m in decided if glued[m] > spaced[m]}
        )
    return Spacing(*found)


def _is_mark(character: str) -> bool:
    if character.isalnum() or character in (QUOTE, *APOSTROPHES):
        return False
    return unicodedata.category(character)[0] in "PS"


def join(tokens: Iterable[str], spacing: Spacing = USUAL) -> str:
    """Joins pieces into words and words into text.

    "##" pieces are joined to the previous piece. There is no space between two
    CJK characters, before closing and after opening punctuation, inside numbers
    (3.14) and contractions (don't). The tokens do not show where the spaces
    were, so this is a good guess, not the original text.

    Args:
      tokens: pieces in order.
      spacing: spacing of punctuation marks.
    """
    words: list[str] = []
    for token in tokens:
        if token.startswith("##") and len(token) > 2 and words:
            words[-1] += token[2:]
        else:
            words.append(token)
    text = ""
    open_quote = False
    for i, word in enumerate(words):
        before = words[i - 1] if i else ""
        glued = not i or _glued(words, i, spacing)
        if before == QUOTE and open_quote:
            glued = True
        if word == QUOTE:
            glued = glued or open_quote
            open_quote = not open_quote
        text += word if glued else " " + word
    return text


def _glued(words: Sequence[str], i: int, spacing: Spacing) -> bool:
    """Returns whether there is no space before word `i`, ignoring quotes."""
    before, word = words[i - 1], words[i]
    after = words[i + 1] if i + 1 < len(words) else ""
    if word in spacing.before or before in spacing.after:
        return True
    if is_cjk(before[-1]) and is_cjk(word[0]):
        return True
    if i > 1 and before in NUMBER_MARKS and word.isdigit():
        return words[i - 2].isdigit()
    if word in APOSTROPHES and before.isalpha():
        return after in CONTRACTIONS
    return before in APOSTROPHES and word in CONTRACTIONS and i > 1


def is_cjk(character: str) -> bool:
    """Returns whether a character's script is written without spaces."""
    code = ord(character)
    return any(low <= code <= high for low, high in CJK_RANGES)


class Detokenizer:
    """Joins rows of token ids to texts like `join`, without special tokens.

    Python's properties of a piece (digits, letters, CJK) are stored in tables
    over the vocabulary, and those of words are combined from their pieces.

    Args:
      vocab: vocabulary of the ids.
      spacing: spacing of punctuation marks; see `learn`.
    """

    def __init__(self, vocab: Vocab, spacing: Spacing = USUAL):
        self._spacing = spacing
        skipped = set(vocab.special_ids) - {vocab.unk_id}
        self._kept = np.array([i not in skipped for i in range(len(vocab))])
        self._inner = np.array(
            [t.startswith("##") and len(t) > 2 for t in vocab.tokens]
        )
        # Each piece as the beginning of a word, and as a later part.
        inner = [
            token[2:] if is_inner else token
            for token, is_inner in zip(vocab.tokens, self._inner)
        ]
        self._texts = np.array([vocab.tokens, inner], dtype=object)
        self._digits = _said(str.isdigit, vocab.tokens, inner)
        self._letters = _said(str.isalpha, vocab.tokens, inner)
        self._cjk_first = _said(
            lambda text: is_cjk(text[:1] or " "),
            vocab.tokens, inner,
        )  # fmt: skip
        self._cjk_last = _said(
            lambda text: is_cjk(text[-1:] or " "),
            vocab.tokens, inner,
        )  # fmt: skip

    def __call__(self, ids: tf.RaggedTensor) -> tf.Tensor:
        """Joins token ids, int32 [B, (tokens)], to texts, string [B]."""
        ids = tf.ragged.boolean_mask(
            ids, ids.with_flat_values(tf.gather(self._kept, ids.flat_values))
        )
        count, ids, row = ids.nrows(), ids.flat_values, ids.value_rowids()
        first = tf.concat([[True], row[1:] != row[:-1]], axis=0)[: tf.size(row)]
        inner = tf.gather(self._inner, ids) & ~first
        at = tf.stack([tf.cast(inner, tf.int32), ids], axis=1)

        # Pieces -> words.
        starts = tf.where(~inner)[:, 0]
        number = tf.cumsum(tf.cast(~inner, tf.int32)) - 1
        words = tf.strings.unsorted_segment_join(
            tf.gather_nd(tf.constant(self._texts, tf.string), at),
            number,
            tf.size(starts),
        )

        def of_all(table: np.ndarray) -> tf.Tensor:
            said = tf.cast(tf.gather_nd(table, at), tf.int32)
            return tf.math.segment_min(said, number) > 0

        last = tf.concat([starts[1:], [tf.size(ids, tf.int64)]], axis=0) - 1
        last = last[: tf.size(starts)]
        glued = self._glued(
            words,
            tf.gather(row, starts),
            of_all(self._digits),
            of_all(self._letters),
            tf.gather(tf.gather_nd(self._cjk_first, at), starts),
            tf.gather(tf.gather_nd(self._cjk_last, at), last),
        )
        words = tf.where(glued, words, tf.strings.join([" ", words]))
        return tf.strings.unsorted_segment_join(
            words, tf.gather(row, starts), count
        )

    def _glued(
        self,
        words: tf.Tensor,
        row: tf.Tensor,
        digits: tf.Tensor,
        letters: tf.Tensor,
        cjk_first: tf.Tensor,
        cjk_last: tf.Tensor,
    ) -> tf.Tensor:
        """Returns whether there is no space before each word; all are
        [words].
        """
        same = row[1:] == row[:-1]
        has_before = tf.concat([[False], same], axis=0)[: tf.size(row)]
        has_after = tf.concat([same, [False]], axis=0)[: tf.size(row)]

        def before(values: tf.Tensor) -> tf.Tensor:
            """Shifts `values` by one word; False for the first word of a
            row.
            """
            return tf.roll(values, 1, axis=0) & has_before

        def after(values: tf.Tensor) -> tf.Tensor:
            return tf.roll(values, -1, axis=0) & has_after

        contraction = _one_of(words, CONTRACTIONS)
        apostrophe = _one_of(words, APOSTROPHES)
        quote = words == QUOTE
        third = before(has_before)  # whether two words precede it
        # The rules of `_glued` in order; the first that matches decides.
        glued = _one_of(words, self._spacing.before)
        glued |= before(_one_of(words, self._spacing.after))
        glued |= before(cjk_last) & cjk_first
        decided = glued
        number = before(_one_of(words, NUMBER_MARKS))
        number &= third & digits
        glued |= ~decided & number & before(before(digits))
        decided |= number
        contracted = apostrophe & before(letters)
        glued |= ~decided & contracted & after(contraction)
        decided |= contracted
        glued |= ~decided & before(apostrophe) & contraction & third
        # Quotes alternately open and close.
        seen = tf.cumsum(tf.cast(quote, tf.int32), exclusive=True)
        begin = tf.searchsorted(row, row)  # start of each word's row
        inside = (seen - tf.gather(seen, begin)) % 2 == 1
        glued |= (before(quote) | quote) & inside
        return glued | ~has_before


def _said(
    of: Callable[[str], bool], tokens: Sequence[str], inner: Sequence[str]
) -> np.ndarray:
    """Applies a function to each piece as beginning and as later part, [2,
    V].
    """
    return np.array([[of(t) for t in tokens], [of(t) for t in inner]])


def _one_of(words: tf.Tensor, members: Iterable[str]) -> tf.Tensor:
    """Returns whether each word is one of `members`, bool [words]."""
    known = tf.constant(sorted(members), tf.string)
    return tf.reduce_any(words[:, tf.newaxis] == known[tf.newaxis], axis=1)
