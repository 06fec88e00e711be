"""Whole words and spans of words as units of masking, in the graph.

A row's tokens are grouped into words, words into spans. Groups are put in a
random order and taken until the row's budget of tokens is spent. All shapes
are static but for the batch, all draws come from keyed numbers that are
indexed by the group, so a row's choice depends on its own tokens and key:
not on its neighbours, nor on how wide it is padded.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf


class Groups(NamedTuple):
    """Neighbouring tokens of a row, grouped; groups are numbered from 0.

    Attributes:
      number: [B, L] int32, each member's group; any group's elsewhere.
      begins: [B, L] int32, how many members stand before group j.
      lengths: [B, L] int32, how many members group j has; 0 past the last.
    """

    number: tf.Tensor
    begins: tf.Tensor
    lengths: tf.Tensor


def group(members: tf.Tensor, starts: tf.Tensor) -> Groups:
    """Cuts each stretch of members before every start.

    Args:
      members: [B, L] bool, the tokens that are in a group.
      starts: [B, L] bool, where a new group begins; one also begins after
        what is no member.
    """
    first = _firsts(members, starts)
    number = tf.cumsum(tf.cast(first, tf.int32), axis=1) - 1
    count = tf.cast(members, tf.int32)
    total = tf.reduce_sum(count, axis=1, keepdims=True)
    before = tf.cumsum(count, axis=1, exclusive=True)
    begins = _put(before, at=number, where=first, elsewhere=total)
    ends = tf.concat([begins[:, 1:], total], axis=1)
    return Groups(tf.maximum(number, 0), begins, ends - begins)


def _firsts(members: tf.Tensor, starts: tf.Tensor) -> tf.Tensor:
    """Where groups begin; arguments as in `group`."""
    inside = tf.pad(members[:, :-1], [[0, 0], [1, 0]])
    return members & (starts | ~inside)


def _put(
    values: tf.Tensor,
    at: tf.Tensor,
    where: tf.Tensor | bool,
    elsewhere: tf.Tensor | int,
) -> tf.Tensor:
    """A row's values at other columns of the row.

    Args:
      values: [B, L] int32.
      at: [B, L] int32, the column of each, distinct where it is put.
      where: [B, L] bool, which are put.
      elsewhere: [B, 1] int32, what stands where nothing is put.

    Returns:
      [B, L] int32.
    """
    batch, length = tf.shape(values)[0], values.shape[1]
    # What is not to be put goes to an extra column, cut off again.
    columns = tf.where(where, at, length)
    rows = tf.broadcast_to(tf.range(batch)[:, tf.newaxis], [batch, length])
    out = tf.tensor_scatter_nd_update(
        tf.broadcast_to(elsewhere, [batch, length + 1]),
        tf.stack([rows, columns], axis=-1),
        values,
    )
    return tf.ensure_shape(out[:, :length], values.shape)


class Chosen(NamedTuple):
    """The tokens to predict, and the unit that each belongs to.

    Attributes:
      tokens: [B, L] bool.
      unit: [B, L] int32, the number of each chosen token's unit; units are
        masked, or kept in view, as a whole.
    """

    tokens: tf.Tensor
    unit: tf.Tensor


def choose_words(
    candidates: tf.Tensor,
    starts: tf.Tensor,
    wanted: tf.Tensor,
    uniform: tf.Tensor,
) -> Chosen:
    """Draws words, all equally likely, until no more of them fits.

    A word that is longer than what is left of the budget is passed over, as
    in BERT's whole-word masking.

    Args:
      candidates: [B, L] bool, the tokens that may be chosen.
      starts: [B, L] bool, where words begin.
      wanted: [B] int32, the budget: the most tokens of each row.
      uniform: [B, L] float32 in [0, 1), the draw; indexed by the word.
    """
    words = group(candidates, starts)
    order, sizes = _shuffled(words, uniform)
    fitting = tf.cast(_fitting(sizes, wanted), tf.int32)
    taken = _put(fitting, at=order, where=True, elsewhere=0)
    tokens = tf.gather(taken, words.number, batch_dims=1) > 0
    return Chosen(tokens & candidates, words.number)


def _shuffled(
    groups: Groups, uniform: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """The groups' numbers in random order, [B, L], and their lengths."""
    priority = tf.where(groups.lengths > 0, uniform, -1.0)
    order = tf.math.top_k(priority, k=priority.shape[1]).indices
    return order, tf.gather(groups.lengths, order, batch_dims=1)


def _fitting(sizes: tf.Tensor, budget: tf.Tensor) -> tf.Tensor:
    """Which groups are taken, if each is that still fits, one by one.

    Each round takes, of the groups that would fit alone, those before the
    first that does not fit with the others. What is left is then shorter
    than that one, so rounds are few: two or three on ordinary text.

    Args:
      sizes: [B, L] int32, in the order of taking; 0 is no group.
      budget: [B] int32.

    Returns:
      [B, L] bool.
    """

    def fit(open_: tf.Tensor, left: tf.Tensor) -> tf.Tensor:
        return open_ & (sizes <= left)

    def more(_: tf.Tensor, open_: tf.Tensor, left: tf.Tensor) -> tf.Tensor:
        return tf.reduce_any(fit(open_, left))

    def take(
        taken: tf.Tensor, open_: tf.Tensor, left: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        open_ = fit(open_, left)
        total = tf.cumsum(tf.where(open_, sizes, 0), axis=1)
        now = open_ & (total <= left)
        left -= tf.reduce_sum(tf.where(now, sizes, 0), axis=1, keepdims=True)
        return taken | now, open_ & ~now, left

    start = (tf.zeros_like(sizes, tf.bool), sizes > 0, budget[:, tf.newaxis])
    return tf.while_loop(more, take, start)[0]


def choose_spans(
    candidates: tf.Tensor,
    starts: tf.Tensor,
    wanted: tf.Tensor,
    uniform: tf.Tensor,
    cuts: tf.Tensor,
    from_end: tf.Tensor,
) -> Chosen:
    """Draws spans of whole words, as in SpanBERT (Joshi et al., 2020).

    The original draws a span's length and its place, again and again, and
    drops what overlaps. Here the whole row is cut into spans of random
    length beforehand and some are drawn, all equally likely: the same
    lengths, no overlap, nothing to repeat. The last span is shortened to
    what is left of the budget, at its end or at its beginning; else the
    first words of a row, which never stand late in a span, were masked more
    often than others.

    Args:
      candidates: [B, L] bool, the tokens that may be chosen.
      starts: [B, L] bool, where words begin.
      wanted: [B] int32, the budget: the most tokens of each row.
      uniform: [B, L] float32 in [0, 1), the draw; indexed by the span.
      cuts: [B, L] int32, how many words the consecutive spans have.
      from_end: [B] bool, whether the last span keeps its end.
    """
    # A word over the budget can never be masked: spans end before it.
    words = group(candidates, starts)
    sizes = tf.gather(words.lengths, words.number, batch_dims=1)
    members = candidates & (sizes <= wanted[:, tf.newaxis])

    first = _firsts(members, starts)
    words = group(members, starts)
    next_span = tf.cumsum(cuts, axis=1)  # its first word
    begins_span = _put(
        tf.ones_like(cuts), next_span, next_span < cuts.shape[1], elsewhere=0
    )
    begins_span = tf.gather(begins_span, words.number, batch_dims=1)
    spans = group(members, first & (begins_span > 0))

    order, sizes = _shuffled(spans, uniform)
    before = tf.cumsum(sizes, axis=1, exclusive=True)
    before = _put(before, at=order, where=True, elsewhere=0)

    def of_word(values: tf.Tensor) -> tf.Tensor:
        return tf.gather(values, words.number, batch_dims=1)

    def of_span(values: tf.Tensor) -> tf.Tensor:
        return tf.gather(values, spans.number, batch_dims=1)

    # Tokens spent once this token's word is taken.
    offset = of_word(words.begins) - of_span(spans.begins)
    spent = of_span(before) + tf.where(
        from_end[:, tf.newaxis],
        of_span(spans.lengths) - offset,
        offset + of_word(words.lengths),
    )
    return Chosen(members & (spent <= wanted[:, tf.newaxis]), spans.number)


def span_lengths(
    uniform: tf.Tensor, geometric: float, longest: int
) -> tf.Tensor:
    """Numbers of words from a geometric distribution, cut off at the top.

    Args:
      uniform: float32 in [0, 1), any shape.
      geometric: p; length k has a share in proportion to p (1 - p)^(k - 1).
      longest: the greatest length.

    Returns:
      int32 from 1 to `longest`, of the same shape.
    """
    shares = geometric * (1.0 - geometric) ** np.arange(longest)
    # Compared with a table: a logarithm may differ between devices.
    table = (np.cumsum(shares) / shares.sum())[:-1].astype(np.float32)
    above = uniform[..., tf.newaxis] >= table
    return 1 + tf.reduce_sum(tf.cast(above, tf.int32), axis=-1)
