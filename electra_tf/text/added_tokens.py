"""Tokens that stay whole, such as entity markers: texts are split at them."""

import re
from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf
import tensorflow_text as tf_text

from electra_tf.text import normalize


class Pieces(NamedTuple):
    """Texts in pieces, of which some are tokens.

    Attributes:
      texts: string [pieces]; "" where the piece is a token.
      spelled: string [pieces], as they stand, tokens too.
      tokens: int32 [pieces], the id of a token; -1 where there is text.
      rows: int64 [batch + 1], the row splits of the pieces.
      starts: int64 [pieces], in bytes of the whole text.
    """

    texts: tf.Tensor
    spelled: tf.Tensor
    tokens: tf.Tensor
    rows: tf.Tensor
    starts: tf.Tensor

    def before(self, lengths: tf.Tensor) -> tf.Tensor:
        """Sums lengths within each row: where the pieces start.

        Args:
          lengths: int64 [pieces].

        Returns:
          int64 [pieces]; 0 for the first of each row.
        """
        sums = tf.cumsum(lengths, exclusive=True)
        of_rows = tf.RaggedTensor.from_row_splits(sums, self.rows)
        first = tf.gather(self.rows, normalize.row_numbers(of_rows))
        return sums - tf.gather(sums, first)

    def whole(
        self, values: tf.RaggedTensor, of_tokens: tf.Tensor
    ) -> tf.RaggedTensor:
        """Puts what was made of the pieces together again.

        Args:
          values: [pieces, (tokens)], made of `texts`.
          of_tokens: [pieces], what stands for a piece that is a token.

        Returns:
          [batch, (tokens)].
        """
        is_token = self.tokens >= 0
        splits = tf.cumsum(tf.cast(is_token, tf.int64))
        alone = tf.RaggedTensor.from_row_splits(
            tf.boolean_mask(of_tokens, is_token),
            tf.concat([[tf.constant(0, tf.int64)], splits], axis=0),
        )
        # Of the two, one is empty.
        values = tf.concat([values, alone], axis=1)
        return tf.RaggedTensor.from_row_splits(values, self.rows).merge_dims(
            1, 2
        )


class Splitter:
    """Splits texts at tokens; of two that begin together the longer counts.

    Args:
      tokens: as they stand in the texts -> their ids; at least one.
    """

    def __init__(self, tokens: Mapping[str, int]):
        longest_first = sorted(tokens, key=lambda token: (-len(token), token))
        self._pattern = "|".join(map(re.escape, longest_first))
        self._texts = longest_first
        self._ids = [tokens[text] for text in longest_first]

    def __call__(self, texts: tf.Tensor) -> Pieces:
        """string [batch] -> its pieces."""
        found, starts, _ = tf_text.regex_split_with_offsets(
            texts, self._pattern, self._pattern
        )
        pieces = found.flat_values
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
            tf.where(token >= 0, "", pieces),
            pieces,
            token,
            found.row_splits,
            starts.flat_values,
        )
