"""Rows of token ids out of texts, as graph operations.

The same rows as those of the tasks: `tasks.texts.features.pair_rows` for a
text or a pair, `tasks.ranking.features.pair_rows` for query and passage.
"""

from typing import NamedTuple

import tensorflow as tf

from electra_tf.text.tokenizer import Tokenizer, first_tokens, fit


class Rows(NamedTuple):
    """What a network reads, padded to the longest row."""

    input_ids: tf.Tensor  # int32 [B, L]
    segment_ids: tf.Tensor  # int32 [B, L]
    lengths: tf.Tensor  # int32 [B], tokens of each row


def as_many(a: tf.Tensor, b: tf.Tensor, names: str) -> list[tf.Tensor]:
    """The two texts of each row; refuses more of one than of the other.

    Args:
      a: string [B].
      b: string [B].
      names: of both, for the message of the InvalidArgumentError.
    """
    check = tf.debugging.assert_equal(
        tf.size(a),
        tf.size(b),
        message=f"{names}: expected as many of one as of the other",
    )
    with tf.control_dependencies([check]):
        return [tf.identity(a), tf.identity(b)]


def text_rows(tokenizer: Tokenizer, text: tf.Tensor, max_length: int) -> Rows:
    """`[CLS] text [SEP]`, cut to `max_length`.

    Args:
      tokenizer: the model's.
      text: string [B], whatever bytes.
      max_length: tokens a row, specials included.
    """
    (ids,) = fit([tokenizer(text)], max_length - 2)
    return single_rows(tokenizer, ids)


def pair_rows(
    tokenizer: Tokenizer, text: tf.Tensor, pair: tf.Tensor, max_length: int
) -> Rows:
    """`[CLS] text [SEP] pair [SEP]`; what is too long is cut.

    Tokens go at the end of the longer text, one by one, the second's where
    both are equally long. A pair without tokens gets no [SEP].

    Args:
      tokenizer: the model's.
      text: string [B].
      pair: string [B].
      max_length: tokens a row, specials included; at least 3.
    """
    a, b = tokenizer(text), tokenizer(pair)
    paired = tf.cast(b.row_lengths() > 0, tf.int64)
    return _paired_rows(
        tokenizer, *fit([a, b], max_length - 2 - paired), paired
    )


def query_rows(
    tokenizer: Tokenizer,
    query: tf.Tensor,
    passage: tf.Tensor,
    max_length: int,
    max_query_length: int,
) -> Rows:
    """`[CLS] query [SEP] passage [SEP]`; the passage has what room is left.

    Args:
      tokenizer: the model's.
      query: string [B].
      passage: string [B].
      max_length: tokens a row, specials included.
      max_query_length: tokens of the query.
    """
    a, b = tokenizer(query), tokenizer(passage)
    most = tf.constant(max_query_length, tf.int64)
    a_kept = tf.minimum(a.row_lengths(), most)
    b_kept = tf.minimum(b.row_lengths(), max_length - 3 - a_kept)
    return _paired_rows(
        tokenizer,
        first_tokens(a, a_kept),
        first_tokens(b, b_kept),
        tf.ones_like(a_kept),
    )


def single_rows(tokenizer: Tokenizer, ids: tf.RaggedTensor) -> Rows:
    """Rows of one segment, [CLS] before them and [SEP] after.

    Args:
      tokenizer: the model's.
      ids: int32 [B, (tokens)].
    """
    vocab = tokenizer.vocab
    one = tf.ones([ids.nrows(), 1], tf.int32)
    rows = tf.concat([one * vocab.cls_id, ids, one * vocab.sep_id], axis=1)
    input_ids = rows.to_tensor(vocab.pad_id)
    return Rows(input_ids, tf.zeros_like(input_ids), _lengths(rows))


def _paired_rows(
    tokenizer: Tokenizer,
    a: tf.RaggedTensor,
    b: tf.RaggedTensor,
    closed: tf.Tensor,
) -> Rows:
    """Rows of two segments; [SEP] after the second where `closed` is 1."""
    vocab = tokenizer.vocab
    one = tf.ones([a.nrows(), 1], tf.int32)
    end = tf.RaggedTensor.from_row_lengths(
        tf.fill([tf.reduce_sum(closed)], vocab.sep_id), closed
    )
    rows = tf.concat(
        [one * vocab.cls_id, a, one * vocab.sep_id, b, end], axis=1
    )
    input_ids = rows.to_tensor(vocab.pad_id)
    lengths = _lengths(rows)
    at = tf.range(tf.shape(input_ids)[1])[tf.newaxis]
    second = tf.cast(a.row_lengths(), tf.int32)[:, tf.newaxis] + 2
    inside = (at >= second) & (at < lengths[:, tf.newaxis])
    return Rows(input_ids, tf.cast(inside, tf.int32), lengths)


def _lengths(rows: tf.RaggedTensor) -> tf.Tensor:
    return tf.cast(rows.row_lengths(), tf.int32)
