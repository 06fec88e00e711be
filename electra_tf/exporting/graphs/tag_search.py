"""Scores of labels at words -> labels; `tasks.tagging.answers` as a graph."""

import numpy as np
import tensorflow as tf

from electra_tf.tasks.tagging.schemes import Grammar


def first_best(scores: tf.Tensor, axis: int) -> tf.Tensor:
    """int32 place of the highest score, the first of equal ones.

    Args:
      scores: float32.
      axis: along which.
    """
    # The operation argmax does not say which of equal ones it takes.
    highest = tf.reduce_max(scores, axis=axis, keepdims=True)
    size = tf.shape(scores)[axis]
    shape = [1] * scores.shape.rank
    shape[axis] = -1
    place = tf.reshape(tf.range(size), shape)
    found = tf.reduce_min(tf.where(scores == highest, place, size), axis=axis)
    return tf.minimum(found, size - 1)


def best_labels(
    scores: tf.Tensor, splits: tf.Tensor, grammar: Grammar | None
) -> tf.Tensor:
    """The labels of B sentences whose scores add up to most.

    Args:
      scores: float32 [W, K], log-probabilities of all words' labels.
      splits: int64 [B + 1], where each sentence starts among the words.
      grammar: which sequences may be chosen; None for any.

    Returns:
      int32 [W]. Of labels with equal scores the first is taken.
    """
    best = first_best(scores, axis=1)
    if grammar is None:
        return best
    wrong = tf.where(~_valid(best, splits, grammar))[:, 0]
    return tf.cond(
        tf.size(wrong) > 0,
        lambda: _search(scores, best, splits, wrong, grammar),
        lambda: best,
    )


def _valid(labels: tf.Tensor, splits: tf.Tensor, grammar: Grammar) -> tf.Tensor:
    """bool [B]: which sentences are valid; empty ones are."""
    size = len(grammar.first)
    # What stands before and after a sentence is one label more.
    follows = np.ones([size + 1, size + 1], bool)
    follows[:size, :size] = grammar.next
    follows[size, :size] = grammar.first
    follows[:size, size] = grammar.last
    before, after = neighbours(labels, splits, size)
    ok = tf.gather_nd(tf.constant(follows), tf.stack([before, labels], -1))
    ok &= tf.gather_nd(tf.constant(follows), tf.stack([labels, after], -1))
    bad = tf.cumsum(tf.cast(~ok, tf.int32))
    bad = tf.concat([[0], bad], axis=0)
    return tf.gather(bad, splits[1:]) == tf.gather(bad, splits[:-1])


def neighbours(
    labels: tf.Tensor, splits: tf.Tensor, outside: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """The labels before and after each, `outside` at sentences' ends.

    Args:
      labels: int32 [W].
      splits: int64 [B + 1].
      outside: what stands there.

    Returns:
      int32 [W], int32 [W].
    """
    cuts = tf.tensor_scatter_nd_update(
        tf.zeros([tf.size(labels) + 1], tf.bool),
        splits[:, tf.newaxis],
        tf.ones_like(splits, tf.bool),
    )
    ends = tf.constant([outside])
    before = tf.concat([ends, labels], axis=0)[:-1]
    after = tf.concat([labels, ends], axis=0)[1:]
    return (
        tf.where(cuts[:-1], outside, before),
        tf.where(cuts[1:], outside, after),
    )


def _search(
    scores: tf.Tensor,
    labels: tf.Tensor,
    splits: tf.Tensor,
    wrong: tf.Tensor,
    grammar: Grammar,
) -> tf.Tensor:
    """`labels` with those of some sentences by Viterbi's search.

    Args:
      scores: float32 [W, K].
      labels: int32 [W].
      splits: int64 [B + 1].
      wrong: int64 [S], which sentences; none of them is empty.
      grammar: what is valid.
    """

    def barred(allowed: np.ndarray) -> tf.Tensor:
        return tf.constant(np.where(allowed, 0.0, -np.inf), tf.float32)

    between, first, last = map(
        barred, (grammar.next, grammar.first, grammar.last)
    )
    lengths = tf.gather(splits[1:] - splits[:-1], wrong)
    order = tf.argsort(lengths, stable=True)  # shortest first
    lengths = tf.gather(lengths, order)
    starts = tf.gather(splits, tf.gather(wrong, order))
    longest = tf.cast(lengths[-1], tf.int32)
    size = len(grammar.first)

    def go_on(t: tf.Tensor) -> tf.Tensor:
        """The first sentence that has a word number t."""
        t = tf.cast(t, tf.int64)[tf.newaxis]
        return tf.searchsorted(lengths, t, side="right")[0]

    def array(shape: list[int | None]) -> tf.TensorArray:
        return tf.TensorArray(
            tf.int32,
            longest,
            element_shape=shape,
            infer_shape=False,
            clear_after_read=False,
        )

    def step(
        t: tf.Tensor, total: tf.Tensor, back: tf.TensorArray
    ) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray]:
        here = go_on(t)
        paths = total[here:, :, tf.newaxis] + between
        back = back.write(t, first_best(paths, axis=1))
        at = starts[here:] + tf.cast(t, tf.int64)
        reached = tf.reduce_max(paths, axis=1) + tf.gather(scores, at)
        total = tf.concat([total[:here], reached], axis=0)
        return t + 1, tf.ensure_shape(total, [None, size]), back

    total = tf.ensure_shape(first + tf.gather(scores, starts), [None, size])
    _, total, back = tf.while_loop(
        lambda t, *_: t < longest,
        step,
        (1, total, array([None, size])),
        parallel_iterations=1,
    )
    label = first_best(total + last, axis=1)

    def unwind(
        t: tf.Tensor, label: tf.Tensor, found: tf.TensorArray
    ) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray]:
        here = go_on(t)
        found = found.write(t, label[here:])
        behind = tf.cond(
            t > 0,
            lambda: tf.gather(back.read(t), label[here:], batch_dims=1),
            lambda: label[here:],
        )
        return t - 1, tf.concat([label[:here], behind], axis=0), found

    _, _, found = tf.while_loop(
        lambda t, *_: t >= 0,
        unwind,
        (longest - 1, label, array([None])),
        parallel_iterations=1,
    )
    # Word by word, the sentences that have it.
    word = tf.range(tf.cast(longest, tf.int64))
    here = tf.cast(tf.searchsorted(lengths, word, side="right"), tf.int64)
    sentence = tf.ragged.range(
        here, tf.fill(tf.shape(here), tf.size(lengths, tf.int64))
    )
    number = tf.repeat(word, sentence.row_lengths())
    at = tf.gather(starts, sentence.flat_values) + number
    return tf.tensor_scatter_nd_update(
        labels, at[:, tf.newaxis], found.concat()
    )
