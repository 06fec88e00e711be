"""Words of sentences -> rows that the model reads; `tagging.features`."""

from typing import NamedTuple

import tensorflow as tf

from electra_tf.exporting.graphs import inputs
from electra_tf.text.tokenizer import Tokenizer, first_tokens


class WordRows(NamedTuple):
    """Rows, and the place where each of W words is tagged."""

    rows: inputs.Rows
    row: tf.Tensor  # int64 [W], -1 for a word without pieces
    position: tf.Tensor  # int64 [W], of its first piece in that row


def make_rows(
    tokenizer: Tokenizer, words: tf.RaggedTensor, max_length: int
) -> WordRows:
    """`[CLS] words [SEP]`; long sentences are seen through several rows.

    Args:
      tokenizer: the model's.
      words: string [B, (words)].
      max_length: tokens a row, specials included; at least 3.
    """
    room = max_length - 2
    pieces = tokenizer(words.flat_values)
    counts = tf.minimum(pieces.row_lengths(), room)
    pieces = first_tokens(pieces, counts)
    before = tf.concat([[0], tf.cumsum(counts)], axis=0)  # int64 [W + 1]
    first, end, own_first = _cut(words.row_splits, before, room)

    # The pieces of words that stand together stand together too.
    at = tf.ragged.range(tf.gather(before, first), tf.gather(before, end))
    ids = at.with_flat_values(tf.gather(pieces.flat_values, at.flat_values))

    word = tf.range(tf.size(counts, tf.int64))
    row = tf.searchsorted(own_first, word, side="right", out_type=tf.int64) - 1
    position = tf.gather(before, word) - tf.gather(
        before, tf.gather(first, row)
    )
    return WordRows(
        inputs.single_rows(tokenizer, ids),
        tf.where(counts > 0, row, -1),
        position + 1,
    )


def _cut(
    splits: tf.Tensor, before: tf.Tensor, room: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Cuts sentences between words; about a quarter is shared with the next.

    Args:
      splits: int64 [B + 1], where each sentence starts among all words.
      before: int64 [W + 1], the pieces before each word.
      room: pieces of a row.

    Returns:
      Of each row, in the order of the sentences, int64 [R]: the first word
      that is seen, the word after the last, and the first that is tagged
      there.
    """
    end = splits[1:]

    def array(dtype: tf.DType) -> tf.TensorArray:
        return tf.TensorArray(
            dtype, 1, dynamic_size=True, element_shape=splits[1:].shape
        )

    def step(
        i: tf.Tensor,
        start: tf.Tensor,
        done: tf.Tensor,
        starts: tf.TensorArray,
        stops: tf.TensorArray,
        used: tf.TensorArray,
    ) -> tuple:
        full = tf.gather(before, start) + room
        stop = tf.searchsorted(before, full, "right", out_type=tf.int64) - 1
        stop = tf.minimum(stop, end)
        starts, stops = starts.write(i, start), stops.write(i, stop)
        used = used.write(i, ~done)
        done |= stop >= end
        back = tf.gather(before, stop) - room // 4
        following = tf.searchsorted(before, back, out_type=tf.int64)
        following = tf.maximum(following, start + 1)
        start = tf.where(done, start, following)
        return i + 1, start, done, starts, stops, used

    *_, starts, stops, used = tf.while_loop(
        lambda i, start, done, *_: (i == 0) | ~tf.reduce_all(done),
        step,
        (
            0,
            splits[:-1],
            tf.zeros_like(end, tf.bool),
            array(tf.int64),
            array(tf.int64),
            array(tf.bool),
        ),
        parallel_iterations=1,
    )
    starts, stops, used = (
        tf.transpose(a.stack()) for a in (starts, stops, used)
    )
    # What two rows share is divided in the middle.
    own = tf.concat(
        [starts[:, :1], (starts[:, 1:] + stops[:, :-1] + 1) // 2], axis=1
    )
    return tuple(tf.boolean_mask(a, used) for a in (starts, stops, own))
