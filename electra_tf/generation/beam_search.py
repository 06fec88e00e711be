"""Searches by beams over any model that scores next tokens.

One beam is greedy search. It runs in the graph, as a `tf.while_loop` without
XLA, so that it can be exported. A source's search does not depend on others in
its batch: it ends when as many hypotheses as beams have ended and no unfinished
one scores better, or at the longest length; further iterations for others do
not change it.

Shapes: B sources, K beams, R = B * K rows, V vocabulary, T longest target.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from electra_tf.generation.settings import SearchConfig

_NEVER = float("-inf")


class Hypotheses(NamedTuple):
    """The best hypotheses of each source, best first.

    Those that ended come before those truncated at the longest length. If there
    are fewer than K, the rest have a score of -inf.
    """

    ids: tf.Tensor  # int32 [B, K, T], filled with the end's id
    lengths: tf.Tensor  # int32 [B, K], tokens without the end
    scores: tf.Tensor  # float32 [B, K], log probability over the penalty


# (ids int32 [R], position int32, cache) -> ([R, V] logits, cache). The rows of
# a source are consecutive.
Step = Callable[[tf.Tensor, tf.Tensor, Any], tuple[tf.Tensor, Any]]


def search(
    step: Step,
    cache: Any,
    shapes: Any,
    batch: tf.Tensor,
    config: SearchConfig,
    start_id: int,
    end_id: int,
    banned: tf.Tensor | None = None,
) -> Hypotheses:
    """Searches the best continuations of the start token.

    Args:
      step: scores the next tokens of all rows.
      cache: state of the rows for `step`, before the first step: nested tensors
        [R, ...].
      shapes: a `tf.TensorShape` for each of them, with None for growing axes.
      batch: B, int32; may be 0.
      config: see `SearchConfig`.
      start_id: the token before the first.
      end_id: the token that ends a hypothesis.
      banned: bool [V], tokens that are never generated.
    """
    beams, length = config.beam_size, config.max_length
    state = _State(
        tokens=tf.fill([batch, beams, length], end_id),
        # At first all beams of a source are the same.
        log_probs=tf.tile([[0.0] + [_NEVER] * (beams - 1)], [batch, 1]),
        ended=tf.fill([batch, beams, length], end_id),
        ended_lengths=tf.zeros([batch, beams], tf.int32),
        ended_scores=tf.fill([batch, beams], _NEVER),
        done=tf.zeros([batch], tf.bool),
    )

    def open_(position: tf.Tensor, state: _State, cache: Any) -> tf.Tensor:
        return (position < length) & ~tf.reduce_all(state.done)

    def body(position: tf.Tensor, state: _State, cache: Any) -> tuple:
        last = state.tokens[:, :, tf.maximum(position - 1, 0)]
        last = tf.where(position == 0, start_id, last)
        logits, cache = step(tf.reshape(last, [-1]), position, cache)
        log_probs = tf.nn.log_softmax(tf.cast(logits, tf.float32))
        if banned is not None:
            log_probs = tf.where(banned, _NEVER, log_probs)
        if config.no_repeat_ngram:
            log_probs = _without_repeats(
                log_probs, tf.reshape(state.tokens, [-1, length]), position,
                config.no_repeat_ngram,
            )  # fmt: skip
        state, origin = _advance(state, log_probs, position, config, end_id)
        if beams > 1:
            rows = tf.range(batch)[:, tf.newaxis] * beams + origin
            rows = tf.reshape(rows, [-1])
            cache = tf.nest.map_structure(lambda x: tf.gather(x, rows), cache)
        return position + 1, state, cache

    fixed = tf.nest.map_structure(lambda x: x.shape, state)
    position, state, _ = tf.while_loop(
        open_,
        body,
        (tf.constant(0), state, cache),
        shape_invariants=(tf.TensorShape([]), fixed, shapes),
        parallel_iterations=1,
    )
    return _best(state, position, config)


class _State(NamedTuple):
    """The state before a step."""

    tokens: tf.Tensor  # int32 [B, K, T], unfinished hypotheses
    log_probs: tf.Tensor  # float32 [B, K]
    ended: tf.Tensor  # int32 [B, K, T], the best ended ones
    ended_lengths: tf.Tensor  # int32 [B, K], without the end
    ended_scores: tf.Tensor  # float32 [B, K], -inf where there is none
    done: tf.Tensor  # bool [B], whether the search has ended


def _advance(
    state: _State,
    log_probs: tf.Tensor,
    position: tf.Tensor,
    config: SearchConfig,
    end_id: int,
) -> tuple[_State, tf.Tensor]:
    """Returns the next state, and the previous beams of its beams, [B, K].

    Of the 2 K best candidates at most K end, one for each beam, so that K can
    continue. Those that end are kept if they are among the K best.
    """
    beams, vocab = config.beam_size, log_probs.shape[-1]
    log_probs = tf.reshape(log_probs, [-1, beams, vocab])
    totals = state.log_probs[:, :, tf.newaxis] + log_probs
    totals, flat = tf.nn.top_k(
        tf.reshape(totals, [-1, beams * vocab]), min(2 * beams, beams * vocab)
    )  # [B, C]
    origin, token = flat // vocab, flat % vocab
    ends = token == end_id
    here = tf.range(config.max_length) == position  # [T]

    # Candidates that continue.
    going, chosen = tf.nn.top_k(tf.where(ends, _NEVER, totals), beams)
    next_origin = tf.gather(origin, chosen, batch_dims=1)
    tokens = tf.where(
        here,
        tf.gather(token, chosen, batch_dims=1)[:, :, tf.newaxis],
        tf.gather(state.tokens, next_origin, batch_dims=1),
    )

    # Candidates that end: the best of them and of the previous ones.
    counts = ends[:, :beams] & tf.math.is_finite(totals[:, :beams])
    counts &= ~state.done[:, tf.newaxis]
    penalty = _penalty(position + 1, config)
    scores = totals[:, :beams] / penalty
    all_scores = tf.concat(
        [state.ended_scores, tf.where(counts, scores, _NEVER)], axis=1
    )
    best_scores, best = tf.nn.top_k(all_scores, beams)
    new = tf.gather(state.tokens, origin[:, :beams], batch_dims=1)
    ended = tf.concat([state.ended, new], axis=1)
    new_lengths = tf.zeros_like(state.ended_lengths) + position
    lengths = tf.concat([state.ended_lengths, new_lengths], axis=1)
    # Done if none continues, or none would be among the best if it ended now.
    worst, hope = best_scores[:, -1], going[:, 0]
    done = tf.math.is_finite(worst) & (hope / penalty <= worst)
    done |= ~tf.math.is_finite(hope)
    return _State(
        tokens,
        going,
        tf.gather(ended, best, batch_dims=1),
        tf.gather(lengths, best, batch_dims=1),
        best_scores,
        state.done | done,
    ), next_origin


def _best(
    state: _State, position: tf.Tensor, config: SearchConfig
) -> Hypotheses:
    """Returns the ended hypotheses, then the truncated ones."""
    beams = config.beam_size
    cut = state.log_probs / _penalty(position, config)
    cut = tf.where(state.done[:, tf.newaxis], _NEVER, cut)
    scores = tf.concat([state.ended_scores, cut], axis=1)  # [B, 2 K]
    exists = tf.cast(tf.math.is_finite(scores), tf.int32)
    has_ended = tf.constant([[1] * beams + [0] * beams])
    # Both halves are already sorted by score.
    order = tf.argsort(
        exists * (1 + has_ended), direction="DESCENDING", stable=True
    )[:, :beams]
    lengths = tf.concat(
        [state.ended_lengths, tf.zeros_like(state.ended_lengths) + position],
        axis=1,
    )
    ids = tf.concat([state.ended, state.tokens], axis=1)
    return Hypotheses(
        tf.gather(ids, order, batch_dims=1),
        tf.gather(lengths, order, batch_dims=1),
        tf.gather(scores, order, batch_dims=1),
    )


def _penalty(length: tf.Tensor, config: SearchConfig) -> tf.Tensor:
    """Returns the penalty of a length in tokens, end included."""
    length = tf.cast(length, tf.float32)
    return tf.pow((5.0 + length) / 6.0, config.length_penalty)


def _without_repeats(
    log_probs: tf.Tensor, tokens: tf.Tensor, position: tf.Tensor, n: int
) -> tf.Tensor:
    """Sets -inf where a token would complete an n-gram that occurs already.

    Args:
      log_probs: log-probabilities, [R, V].
      tokens: int32 [R, T], of which the first `position` are generated.
      position: int32 scalar.
      n: length of n-grams.
    """
    length = tokens.shape[1]
    if length < n:
        return log_probs
    windows = length - n + 1
    # A window repeats if its first n - 1 tokens equal the last ones.
    same = tf.range(windows) <= position - n
    same = tf.repeat(same[tf.newaxis], tf.shape(tokens)[0], axis=0)
    for i in range(n - 1):
        last = tokens[:, tf.maximum(position - (n - 1) + i, 0)]
        same &= tokens[:, i : i + windows] == last[:, tf.newaxis]
    completed = tokens[:, n - 1 :]  # [R, windows]
    rows = tf.repeat(
        tf.range(tf.shape(tokens)[0])[:, tf.newaxis], windows, axis=1
    )
    return tf.tensor_scatter_nd_min(
        log_probs,
        tf.stack([rows, completed], axis=-1),
        tf.where(same, _NEVER, float("inf")),
    )
