"""Scores of positions -> the best answer; `qa.answers` as a graph."""

from typing import NamedTuple

import tensorflow as tf

from electra_tf.exporting.graphs import spans
from electra_tf.exporting.graphs.parts import Tensors
from electra_tf.exporting.graphs.qa_windows import ContextPieces, Windows
from electra_tf.tasks.qa.answers import AnswerConfig
from electra_tf.tasks.qa.words import Splitter
from electra_tf.text.normalize import row_numbers


class Candidates(NamedTuple):
    """C spans that may be answers: by question, the best first.

    Attributes:
      splits: int64 [B + 1], where those of each question start.
      score: float32 [C].
      first: int64 [C], number of the first piece among those of all contexts.
      last: int64 [C], of the last piece.
    """

    splits: tf.Tensor
    score: tf.Tensor
    first: tf.Tensor
    last: tf.Tensor


class Best(NamedTuple):
    """The best answer to each of B questions.

    Attributes:
      found: bool [B], whether there is any.
      text: string [B].
      score: float32 [B], of the model; 0 where there is none.
      probability: float32 [B], among the n best; 0 where there is none.
      first: int64 [B], as `Candidates`'s; 0 where there is none.
      last: int64 [B].
    """

    found: tf.Tensor
    text: tf.Tensor
    score: tf.Tensor
    probability: tf.Tensor
    first: tf.Tensor
    last: tf.Tensor


def candidates(
    windows: Windows,
    pieces: ContextPieces,
    beams: Tensors,
    max_answer_length: int,
) -> Candidates:
    """The valid spans of all beams.

    Args:
      windows: N of them.
      pieces: of the contexts.
      beams: `starts` int32 [N, K] and `start_scores` float32, `ends` int32
        [N, K, M] and `end_scores` float32; -1 for what is no position.
      max_answer_length: in pieces.
    """
    ends = tf.cast(beams["ends"], tf.int64)
    starts = tf.cast(beams["starts"], tf.int64)[:, :, tf.newaxis]
    starts = tf.broadcast_to(starts, tf.shape(ends))

    def of_window(values: tf.Tensor) -> tf.Tensor:
        return values[:, tf.newaxis, tf.newaxis]

    first = starts - of_window(windows.offset)
    last = ends - of_window(windows.offset)
    length, size = of_window(windows.length), last - first + 1
    keep = (first >= 0) & (last < length) & (size > 0)
    keep = tf.where(keep & (size <= max_answer_length))  # [C, 3]
    score = beams["start_scores"][:, :, tf.newaxis] + beams["end_scores"]
    score = tf.gather_nd(score, keep)
    window = keep[:, 0]
    example = tf.gather(windows.example, window)
    start = tf.gather(windows.start, window)
    first = tf.gather_nd(first, keep) + start
    last = tf.gather_nd(last, keep) + start
    own = windows.shows_most(example, first) == tf.gather(windows.index, window)

    # By score, then by question; of equal ones the earlier stays before.
    order = tf.where(own)[:, 0]
    for key, direction in ((-score, "ASCENDING"), (example, "ASCENDING")):
        found = tf.argsort(
            tf.gather(key, order), direction=direction, stable=True
        )
        order = tf.gather(order, found)
    example = tf.gather(example, order)
    before = tf.gather(pieces.ids.row_starts(), example)
    questions = tf.range(pieces.ids.nrows() + 1)
    return Candidates(
        tf.searchsorted(example, questions, out_type=tf.int64),
        tf.gather(score, order),
        tf.gather(first, order) + before,
        tf.gather(last, order) + before,
    )


def best(
    contexts: tf.Tensor,
    pieces: ContextPieces,
    found: Candidates,
    splitter: Splitter,
    config: AnswerConfig,
) -> Best:
    """The best answers, and their shares among the n best.

    Of candidates with equal texts the first counts. They are looked at some
    at a time, until there are enough different ones.

    Args:
      contexts: string [B].
      pieces: theirs.
      found: the candidates.
      splitter: the task's.
      config: how many are kept.
    """
    n_best, at_once = config.n_best_size, 2 * config.n_best_size
    starts, ends = found.splits[:-1], found.splits[1:]
    score = tf.concat([found.score, [0.0]], axis=0)  # one at least
    highest = tf.gather(score, starts)  # [B]; of an empty one, any

    def texts_of(at: tf.RaggedTensor) -> tf.RaggedTensor:
        """[B, (candidates)] -> their texts."""

        def bytes_of(which: tf.Tensor, offsets: tf.RaggedTensor):
            piece = tf.gather(which, at.flat_values)
            return at.with_flat_values(tf.gather(offsets.flat_values, piece))

        cut = spans.cut(
            contexts,
            bytes_of(found.first, pieces.start_bytes),
            bytes_of(found.last, pieces.end_bytes),
        )
        if splitter.space is None:
            return cut
        return cut.with_flat_values(
            tf.strings.regex_replace(
                cut.flat_values, splitter.space.pattern, " "
            )
        )

    def look(
        start: tf.Tensor, texts: tf.Tensor, total: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        at = tf.ragged.range(start, tf.minimum(start + at_once, ends))
        some = texts_of(at).to_tensor("", shape=[None, at_once])
        every = tf.concat([texts, some], axis=1)  # [B, n_best + at_once]
        number = tf.reshape(
            tf.unique(tf.reshape(every, [-1])).idx, tf.shape(every)
        )
        same = number[:, :, tf.newaxis] == number[:, tf.newaxis]
        size = n_best + at_once
        earlier = tf.range(size)[:, tf.newaxis] > tf.range(size)
        new = (every != "") & ~tf.reduce_any(same & earlier, axis=2)
        rank = tf.cumsum(tf.cast(new, tf.int32), axis=1)
        new &= rank <= n_best
        values = at.with_flat_values(
            tf.gather(score, at.flat_values)
            - tf.gather(highest, row_numbers(at))
        ).to_tensor(float("-inf"), shape=[None, at_once])
        added = tf.where(new[:, n_best:], tf.exp(values), 0.0)
        texts = tf.ragged.boolean_mask(every, new).to_tensor(
            "", shape=[None, n_best]
        )
        start = tf.minimum(start + at_once, ends)
        return start, texts, total + tf.reduce_sum(added, axis=1)

    empty = tf.fill([tf.size(starts), n_best], "")
    _, texts, total = tf.while_loop(
        lambda start, texts, _: tf.reduce_any(
            (texts[:, -1] == "") & (start < ends)
        ),
        look,
        (starts, empty, tf.zeros_like(highest)),
        parallel_iterations=1,
    )
    some = starts < ends
    at = tf.where(some, starts, tf.size(found.score, tf.int64))

    def piece(values: tf.Tensor) -> tf.Tensor:
        return tf.gather(tf.concat([values, [0]], axis=0), at)

    return Best(
        some,
        texts[:, 0],
        tf.where(some, highest, 0.0),
        tf.where(some, 1.0 / tf.where(some, total, 1.0), 0.0),
        piece(found.first),
        piece(found.last),
    )
