"""Cutting rows of tokens to the room there is, as graph operations."""

from collections.abc import Sequence

import tensorflow as tf


def first_tokens(tokens: tf.RaggedTensor, counts: tf.Tensor) -> tf.RaggedTensor:
    """The beginning of each row.

    Args:
      tokens: [B, (tokens)], int32 or another type.
      counts: int64 [B], how many of each row; no more than it has.
    """
    starts = tokens.row_starts()
    at = tf.ragged.range(starts, starts + counts)
    return at.with_flat_values(tf.gather(tokens.flat_values, at.flat_values))


def fit(
    segments: Sequence[tf.RaggedTensor], room: int | tf.Tensor
) -> list[tf.RaggedTensor]:
    """Cuts the end of the longer segment until all fit into `room`.

    Where both are equally long it is the second that loses a token.

    Args:
      segments: one or two, each [B, (tokens)].
      room: tokens that all segments of a row have together; a number, or
        int64 [B].
    """
    first = segments[0].row_lengths()
    if len(segments) == 1:
        return [first_tokens(segments[0], tf.minimum(first, room))]
    second = segments[1].row_lengths()
    kept = tf.minimum(first, tf.maximum(-(-room // 2), room - second))
    return [
        first_tokens(segments[0], kept),
        first_tokens(segments[1], tf.minimum(second, room - kept)),
    ]
