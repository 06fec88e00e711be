"""Pieces of texts by byte offsets, as graph operations."""

import tensorflow as tf

from electra_tf.text.normalize import row_numbers


def cut(
    texts: tf.Tensor, starts: tf.RaggedTensor, ends: tf.RaggedTensor
) -> tf.RaggedTensor:
    """The bytes of each text from `starts` to `ends`.

    Takes time and memory in proportion to the bytes that are cut out, and to
    those before the last of them; a substring operation would copy each text
    once for every piece.

    Args:
      texts: string [B].
      starts: int64 [B, (pieces)], offsets of bytes.
      ends: int64 [B, (pieces)], exclusive.

    Returns:
      String RaggedTensor [B, (pieces)].
    """
    used = tf.maximum(tf.reduce_max(ends, axis=1), 0)
    texts = tf.strings.substr(texts, tf.zeros_like(used), used)
    single = tf.strings.bytes_split(texts)
    row = tf.gather(single.row_starts(), row_numbers(starts))
    at = tf.ragged.range(starts.flat_values + row, ends.flat_values + row)
    joined = tf.strings.unsorted_segment_join(
        tf.gather(single.flat_values, at.flat_values),
        row_numbers(at),
        at.nrows(),
    )
    return starts.with_flat_values(joined)
