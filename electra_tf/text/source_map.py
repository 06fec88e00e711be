"""Maps the characters of normalised texts to the original ones."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from electra_tf.text import normalize


class SourceMap(NamedTuple):
    """Offsets in the original texts of a flat batch, int64.

    Attributes:
      characters: [normalised characters] -> the source character's number.
      start_bytes, end_bytes, start_chars, end_chars: [source characters] ->
        its offsets in its row, including stripped accents that follow it.
    """

    characters: tf.Tensor
    start_bytes: tf.Tensor
    end_bytes: tf.Tensor
    start_chars: tf.Tensor
    end_chars: tf.Tensor


def of_texts(
    texts: tf.Tensor,
    normalized: Callable[[tf.Tensor], tf.Tensor],
    strip_accents: bool,
) -> SourceMap:
    """Finds the source of each character of a normalised batch.

    Args:
      texts: the original texts, string [batch].
      normalized: a function that normalises strings [n].
      strip_accents: whether that function drops accents.
    """
    codes, starts = tf.strings.unicode_decode_with_offsets(texts, "UTF-8")
    row = normalize.row_numbers(codes)
    # Normalisation works by character, except for the final sigma, which is one
    # character too.
    distinct, which = tf.unique(codes.flat_values)
    characters = tf.strings.unicode_encode(distinct[:, tf.newaxis], "UTF-8")
    produced = tf.gather(
        tf.strings.length(
            normalized(characters),
            unit="UTF8_CHAR",
        ),
        which,
    )
    start_chars = tf.range(tf.size(row, tf.int64)) - tf.gather(
        codes.row_starts(), row
    )
    # A stripped accent belongs to the character before it.
    follows = tf.zeros_like(row, tf.bool)
    if strip_accents:
        mark = tf.gather(normalize.is_stripped_mark(characters), which)
        follows = mark & (start_chars > 0)
    group = tf.cumsum(tf.cast(~follows, tf.int64)) - 1
    next_start = tf.concat([starts.flat_values[1:], [0]], axis=0)
    last_of_row = tf.concat([row[1:] != row[:-1], [True]], axis=0)
    row_end = tf.cast(tf.strings.length(texts), tf.int64)
    end_bytes = tf.where(
        last_of_row[: tf.size(row)],
        tf.gather(row_end, row),
        next_start[: tf.size(row)],
    )
    return SourceMap(
        tf.repeat(tf.range(tf.size(row, tf.int64)), produced),
        starts.flat_values,
        tf.gather(tf.math.segment_max(end_bytes, group), group),
        start_chars,
        tf.gather(tf.math.segment_max(start_chars + 1, group), group),
    )
