"""Splits texts at added tokens, such as entity markers, which stay whole."""

import logging
import re
from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf
import tensorflow_text as tf_text

from electra_tf.text import normalize

_log = logging.getLogger(__name__)


class Pieces(NamedTuple):
    """Texts split into pieces, some of which are tokens.

    Attributes:
      texts: string [pieces]; "" for a piece that is a token.
      spelled: string [pieces], the original spelling, also of tokens.
      tokens: int32 [pieces], the id of a token; -1 for text.
      splits: int64 [batch + 1], row splits of the pieces.
    """

    texts: tf.Tensor
    spelled: tf.Tensor
    tokens: tf.Tensor
    splits: tf.Tensor

    def sizes(self) -> tf.Tensor:
        """Counts the bytes of each piece; int64 [pieces]."""
        return tf.cast(tf.strings.length(self.spelled), tf.int64)

    def lengths(self) -> tf.Tensor:
        """Counts the characters of each piece; int64 [pieces].

        The count is the same as without tokens: `tf.strings.length` counts
        bytes that are not text differently.
        """
        return tf.strings.unicode_decode(self.spelled, "UTF-8").row_lengths()

    def before(self, lengths: tf.Tensor) -> tf.Tensor:
        """Sums lengths within each text, to get the starts of pieces.

        Args:
          lengths: int64 [pieces].

        Returns:
          int64 [pieces]; 0 for the first of each text.
        """
        sums = tf.cumsum(lengths, exclusive=True)
        rows = tf.RaggedTensor.from_row_splits(sums, self.splits)
        first = tf.gather(self.splits, normalize.row_numbers(rows))
        return sums - tf.gather(sums, first)

    def joined(
        self,
        values: tf.RaggedTensor,
        of_tokens: tf.Tensor,
        shift: tf.Tensor | None = None,
    ) -> tf.RaggedTensor:
        """Joins values of pieces to rows of texts.

        Args:
          values: [pieces, (tokens)], values of `texts`.
          of_tokens: [pieces], values of pieces that are tokens.
          shift: [pieces], added to all of `values`; None adds nothing.

        Returns:
          [batch, (tokens)].
        """
        if shift is not None:
            rows = normalize.row_numbers(values)
            values = values.with_flat_values(
                values.flat_values + tf.gather(shift, rows)
            )
        is_token = self.tokens >= 0
        alone = tf.RaggedTensor.from_row_lengths(
            tf.boolean_mask(of_tokens, is_token), tf.cast(is_token, tf.int64)
        )
        # One of the two is empty.
        found = tf.concat([values, alone], axis=1)
        return tf.RaggedTensor.from_row_splits(
            found.flat_values, tf.gather(found.row_splits, self.splits)
        )

    def rejoined(self) -> tf.Tensor:
        """Joins the pieces in their original spelling; string [batch]."""
        rows = tf.RaggedTensor.from_row_splits(self.spelled, self.splits)
        return tf.strings.reduce_join(rows, axis=-1)


class Splitter:
    """Splits texts at tokens; the longer of two that begin together wins.

    Args:
      tokens: spelling in texts -> id; without tokens the object is false and
        cannot be called.
    """

    def __init__(self, tokens: Mapping[str, int]):
        longest_first = sorted(tokens, key=lambda token: (-len(token), token))
        self._pattern = "|".join(map(re.escape, longest_first))
        self._texts = longest_first
        self._ids = [tokens[text] for text in longest_first]

    def __bool__(self) -> bool:
        return bool(self._texts)

    def __call__(self, texts: tf.Tensor) -> Pieces:
        """Splits texts, string [batch], into pieces."""
        # The operation takes NUL as the end of a text. No token has one.
        found, starts, ends = tf_text.regex_split_with_offsets(
            tf.strings.regex_replace(texts, r"\x00", "\x01"),
            self._pattern,
            self._pattern,
        )
        pieces = found.flat_values
        spelled = tf.strings.substr(
            tf.gather(texts, normalize.row_numbers(found)),
            starts.flat_values,
            ends.flat_values - starts.flat_values,
        )
        equal = pieces[:, tf.newaxis] == tf.constant(self._texts)
        token = tf.gather(
            tf.constant([*self._ids, -1], tf.int32),
            tf.where(
                tf.reduce_any(equal, axis=1),
                tf.argmax(equal, axis=1, output_type=tf.int32),
                len(self._ids),
            ),
        )
        return Pieces(
            tf.where(token >= 0, "", spelled),
            spelled,
            token,
            found.row_splits,
        )


def as_normalised(
    tokens: Mapping[str, int], lower_case: bool, strip_accents: bool
) -> dict[str, int]:
    """Returns added tokens in normalised spelling -> ids.

    Of several with one spelling the first is found, as in transformers; the
    others are named in a warning.

    Args:
      tokens: those to find in normalised text -> ids.
      lower_case: setting of the tokenizer.
      strip_accents: setting of the tokenizer.
    """
    if not tokens:
        return {}
    given = sorted(tokens, key=tokens.__getitem__)
    with tf.init_scope():
        texts = normalize.normalize(
            tf.constant(given), lower_case, strip_accents
        ).numpy()
    found: dict[str, str] = {}
    for text, token in zip(texts, given):
        first = found.setdefault(text.decode(), token)
        if first != token:
            _log.warning(
                "the added tokens %r and %r are one in normalised text: it is "
                "read as %r, and the other is never found",
                first,
                token,
                first,
            )
    return {text: tokens[token] for text, token in found.items() if text}
