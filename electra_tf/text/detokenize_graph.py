"""Token ids into readable text as graph operations, as `detokenize.join`.

Byte for byte the same text: what Python says of a piece (digits, letters, CJK)
is kept in tables of the vocabulary, and what it says of words is put together
from their pieces.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import tensorflow as tf

from electra_tf.text import detokenize
from electra_tf.text.detokenize import USUAL, Spacing
from electra_tf.text.vocab import Vocab


class Detokenizer:
    """Rows of token ids -> texts; special tokens are left out.

    Args:
      vocab: of the ids.
      spacing: of punctuation marks; see `detokenize.learn`.
    """

    def __init__(self, vocab: Vocab, spacing: Spacing = USUAL):
        self._spacing = spacing
        skipped = set(vocab.special_ids) - {vocab.unk_id}
        self._kept = np.array([i not in skipped for i in range(len(vocab))])
        self._inner = np.array(
            [t.startswith("##") and len(t) > 2 for t in vocab.tokens]
        )
        # Each piece as the beginning of a word, and as a part further in.
        inner = [
            token[2:] if is_inner else token
            for token, is_inner in zip(vocab.tokens, self._inner)
        ]
        self._texts = np.array([vocab.tokens, inner], dtype=object)
        self._digits = _said(str.isdigit, vocab.tokens, inner)
        self._letters = _said(str.isalpha, vocab.tokens, inner)
        self._cjk_first = _said(
            lambda text: detokenize.is_cjk(text[:1] or " "),
            vocab.tokens, inner,
        )  # fmt: skip
        self._cjk_last = _said(
            lambda text: detokenize.is_cjk(text[-1:] or " "),
            vocab.tokens, inner,
        )  # fmt: skip

    def __call__(self, ids: tf.RaggedTensor) -> tf.Tensor:
        """int32 [B, (tokens)] -> string [B]."""
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
        """Whether no space stands before each word; all are [words]."""
        same = row[1:] == row[:-1]
        has_before = tf.concat([[False], same], axis=0)[: tf.size(row)]
        has_after = tf.concat([same, [False]], axis=0)[: tf.size(row)]

        def before(values: tf.Tensor) -> tf.Tensor:
            """Of the word before; False where there is none."""
            return tf.roll(values, 1, axis=0) & has_before

        def after(values: tf.Tensor) -> tf.Tensor:
            return tf.roll(values, -1, axis=0) & has_after

        contraction = _one_of(words, detokenize.CONTRACTIONS)
        apostrophe = _one_of(words, detokenize.APOSTROPHES)
        quote = words == detokenize.QUOTE
        third = before(has_before)  # two words stand before it
        # As in `detokenize`, one rule after another; the first that is met.
        glued = _one_of(words, self._spacing.before)
        glued |= before(_one_of(words, self._spacing.after))
        glued |= before(cjk_last) & cjk_first
        decided = glued
        number = before(_one_of(words, detokenize.NUMBER_MARKS))
        number &= third & digits
        glued |= ~decided & number & before(before(digits))
        decided |= number
        contracted = apostrophe & before(letters)
        glued |= ~decided & contracted & after(contraction)
        decided |= contracted
        glued |= ~decided & before(apostrophe) & contraction & third
        # Quotes open and close in turn.
        seen = tf.cumsum(tf.cast(quote, tf.int32), exclusive=True)
        begin = tf.searchsorted(row, row)  # of the row that each word is in
        inside = (seen - tf.gather(seen, begin)) % 2 == 1
        glued |= (before(quote) | quote) & inside
        return glued | ~has_before


def _said(
    of: Callable[[str], bool], tokens: Sequence[str], inner: Sequence[str]
) -> np.ndarray:
    """bool [2, V], what a function says of each piece in both places."""
    return np.array([[of(t) for t in tokens], [of(t) for t in inner]])


def _one_of(words: tf.Tensor, members: Iterable[str]) -> tf.Tensor:
    """bool [words]."""
    known = tf.constant(sorted(members), tf.string)
    return tf.reduce_any(words[:, tf.newaxis] == known[tf.newaxis], axis=1)
