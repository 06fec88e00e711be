"""Truncates rows of tokens to the room that there is."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import tensorflow as tf

Side: TypeAlias = Literal["right", "left"]


def first_tokens(tokens: tf.RaggedTensor, counts: tf.Tensor) -> tf.RaggedTensor:
    """Returns the beginning of each row.

    Args:
      tokens: [B, (tokens)], int32 or another type.
      counts: int64 [B], number of tokens to keep in each row, at most its
        length.
    """
    return cut(tokens, counts)


def cut(
    tokens: tf.RaggedTensor, counts: tf.Tensor, side: Side = "right"
) -> tf.RaggedTensor:
    """Keeps the beginning of each row, or the end of it.

    Args:
      tokens: [B, (tokens)] of any type, or [B, (tokens), N].
      counts: int64 [B], number of tokens to keep in each row, at most its
        length.
      side: the side where tokens are lost.
    """
    starts = tokens.row_starts()
    if side == "left":
        starts = tokens.row_limits() - counts
    at = tf.ragged.range(starts, starts + counts)
    return at.with_flat_values(tf.gather(tokens.flat_values, at.flat_values))


def fitting(
    segments: Sequence[tf.RaggedTensor], room: int | tf.Tensor
) -> list[tf.Tensor]:
    """Counts the tokens of each segment that fit into `room`.

    Args:
      segments: see `fit`.
      room: see `fit`.

    Returns:
      int64 [B] for each segment.
    """
    room = tf.cast(room, tf.int64)
    first = segments[0].row_lengths()
    if len(segments) == 1:
        return [tf.minimum(first, room)]
    second = segments[1].row_lengths()
    kept = tf.minimum(first, tf.maximum(-(-room // 2), room - second))
    return [kept, tf.minimum(second, room - kept)]


def fit(
    segments: Sequence[tf.RaggedTensor],
    room: int | tf.Tensor,
    side: Side = "right",
) -> list[tf.RaggedTensor]:
    """Truncates the longer segment until all fit into `room`.

    Where both are equally long, the second loses a token.

    Args:
      segments: one or two, each [B, (tokens)].
      room: most tokens of all segments of a row together; a number, or int64
        [B].
      side: the side where tokens are lost: the end, or the beginning ("left").
    """
    kept = fitting(segments, room)
    return [cut(segment, n, side) for segment, n in zip(segments, kept)]
