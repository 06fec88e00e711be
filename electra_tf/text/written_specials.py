"""Special tokens that stand in texts, as "[MASK]", read as these tokens."""

import re
from typing import NamedTuple

import tensorflow as tf
import tensorflow_text as tf_text

from electra_tf.text import normalize
from electra_tf.text.truncation import first_tokens
from electra_tf.text.vocab import SPECIALS, Vocab

_PATTERN = "|".join(re.escape(token) for token in SPECIALS)


class Pieces(NamedTuple):
    """Texts divided into special tokens and what stands between them.

    P is the number of pieces of all texts; all but `texts` are [P].

    Attributes:
      texts: string RaggedTensor [B, (pieces)].
      which: int64, the place in `SPECIALS`, or -1 for other pieces.
      sizes: int64, bytes of each piece.
      lengths: int64, characters of each.
      byte_starts: int64, where each begins in its text.
      char_starts: int64, where each begins in its text, in characters.
    """

    texts: tf.RaggedTensor
    which: tf.Tensor
    sizes: tf.Tensor
    lengths: tf.Tensor
    byte_starts: tf.Tensor
    char_starts: tf.Tensor

    def ids(self, vocab: Vocab) -> tf.Tensor:
        """Finds the id of each special token; [P] int32, others have any."""
        known = tf.constant(vocab.special_ids, tf.int32)
        return tf.gather(known, tf.maximum(self.which, 0))

    def joined(
        self,
        values: tf.RaggedTensor,
        of_specials: tf.Tensor,
        shift: tf.Tensor | None = None,
    ) -> tf.RaggedTensor:
        """Joins something said of the pieces' tokens to rows of the texts.

        Args:
          values: [P, (tokens)]; what it says of special tokens is left out.
          of_specials: [P], what is said of these instead.
          shift: [P], added to all values of a piece; None for nothing.

        Returns:
          [B, (tokens)].
        """
        special = self.which >= 0
        lengths = values.row_lengths()
        others = first_tokens(
            values, tf.where(special, tf.zeros_like(lengths), lengths)
        )
        specials = tf.RaggedTensor.from_row_lengths(
            tf.boolean_mask(of_specials, special), tf.cast(special, tf.int64)
        )
        rows = tf.concat([others, specials], axis=1)
        flat = rows.flat_values
        if shift is not None:
            flat += tf.gather(shift, normalize.row_numbers(rows))
        return tf.RaggedTensor.from_row_splits(
            flat, tf.gather(rows.row_splits, self.texts.row_splits)
        )


def apart(texts: tf.Tensor) -> Pieces:
    """Divides texts, string [B], at special tokens."""
    pieces, begins, _ = tf_text.regex_split_with_offsets(
        texts, _PATTERN, _PATTERN
    )
    flat = pieces.flat_values
    same = flat[:, tf.newaxis] == tf.constant(SPECIALS)
    which = tf.where(
        tf.reduce_any(same, axis=1),
        tf.argmax(tf.cast(same, tf.int32), axis=1),
        tf.constant(-1, tf.int64),
    )
    lengths = tf.strings.unicode_decode(flat, "UTF-8").row_lengths()
    before = tf.concat([[0], tf.cumsum(lengths)], axis=0)
    first = tf.gather(pieces.row_starts(), normalize.row_numbers(pieces))
    return Pieces(
        pieces,
        which,
        tf.cast(tf.strings.length(flat), tf.int64),
        lengths,
        begins.flat_values,
        before[:-1] - tf.gather(before, first),
    )
