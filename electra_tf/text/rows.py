"""Makes rows of token ids from texts, in graph operations.

The rows are those of the tasks: `tasks.texts.task.pair_rows` for a text or a
pair, `tasks.ranking.pairs.pair_rows` for query and passage.
"""

from typing import NamedTuple

import tensorflow as tf

from electra_tf.text.tokenizer import Tokenizer
from electra_tf.text.truncation import first_tokens, fit, fitting


class Rows(NamedTuple):
    """The inputs of a network, padded to the longest row."""

    input_ids: tf.Tensor  # int32 [B, L]
    segment_ids: tf.Tensor  # int32 [B, L]
    lengths: tf.Tensor  # int32 [B], tokens of each row


def text_rows(tokenizer: Tokenizer, text: tf.Tensor, max_length: int) -> Rows:
    """Returns rows `[CLS] text [SEP]`, truncated to `max_length`.

    Args:
      tokenizer: the model's tokenizer.
      text: string [B], with any bytes.
      max_length: tokens in a row, special ones included.
    """
    (ids,) = fit([tokenizer(text)], max_length - 2)
    return single_rows(tokenizer, ids)


def pair_rows(
    tokenizer: Tokenizer, text: tf.Tensor, pair: tf.Tensor, max_length: int
) -> Rows:
    """Returns rows `[CLS] text [SEP] pair [SEP]`, truncated.

    Tokens are dropped at the end of the longer text, one by one, of the second
    where both are equally long. A pair without tokens gets no [SEP].

    Args:
      tokenizer: the model's tokenizer.
      text: string [B].
      pair: string [B].
      max_length: tokens in a row, special ones included; at least 3.
    """
    a, b = tokenizer(text), tokenizer(pair)
    *kept, closed = pair_kept(a, b, max_length)
    a, b = map(first_tokens, (a, b), kept)
    return paired_rows(tokenizer, a, b, closed)


def pair_kept(
    a: tf.RaggedTensor, b: tf.RaggedTensor, max_length: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns how `pair_rows` truncates two texts.

    Args:
      a: [B, (tokens)].
      b: [B, (tokens)].
      max_length: see `pair_rows`.

    Returns:
      int64 [B] each: number of tokens kept of `a` and of `b`, and 1 where a
      [SEP] follows `b`, or 0.
    """
    closed = tf.cast(b.row_lengths() > 0, tf.int64)
    first, second = fitting([a, b], max_length - 2 - closed)
    return first, second, closed


def query_rows(
    tokenizer: Tokenizer,
    query: tf.Tensor,
    passage: tf.Tensor,
    max_length: int,
    max_query_length: int,
) -> Rows:
    """Returns rows `[CLS] query [SEP] passage [SEP]`, passages truncated.

    Args:
      tokenizer: the model's tokenizer.
      query: string [B].
      passage: string [B].
      max_length: tokens in a row, special ones included.
      max_query_length: longest query, in tokens.
    """
    a, b = tokenizer(query), tokenizer(passage)
    kept = query_kept(a, b, max_length, max_query_length)
    a, b = map(first_tokens, (a, b), kept)
    return paired_rows(tokenizer, a, b, tf.ones_like(kept[0]))


def query_kept(
    a: tf.RaggedTensor,
    b: tf.RaggedTensor,
    max_length: int,
    max_query_length: int,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns how `query_rows` truncates two texts.

    Args:
      a: [B, (tokens)], the queries.
      b: [B, (tokens)], the passages.
      max_length: see `query_rows`.
      max_query_length: see `query_rows`.

    Returns:
      int64 [B] each: number of tokens kept of `a` and of `b`.
    """
    (query,) = fitting([a], max_query_length)
    return query, tf.minimum(b.row_lengths(), max_length - 3 - query)


def single_rows(tokenizer: Tokenizer, ids: tf.RaggedTensor) -> Rows:
    """Returns rows of one segment, [CLS] before them and [SEP] after.

    Args:
      tokenizer: the model's tokenizer.
      ids: int32 [B, (tokens)].
    """
    vocab = tokenizer.vocab
    one = tf.ones([ids.nrows(), 1], tf.int32)
    rows = tf.concat([one * vocab.cls_id, ids, one * vocab.sep_id], axis=1)
    input_ids = rows.to_tensor(vocab.pad_id)
    return Rows(input_ids, tf.zeros_like(input_ids), _lengths(rows))


def paired_rows(
    tokenizer: Tokenizer,
    a: tf.RaggedTensor,
    b: tf.RaggedTensor,
    closed: tf.Tensor,
) -> Rows:
    """Returns rows of two segments, `[CLS] a [SEP] b [SEP]`.

    Args:
      tokenizer: the model's tokenizer.
      a: int32 [B, (tokens)].
      b: int32 [B, (tokens)].
      closed: int64 [B], 1 where there is a [SEP] after `b`, or 0.
    """
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
