"""Makes the signature of question answering: question and context to answer.

Contexts become windows of tokens as in `tasks.qa.features`, and scores of
positions become the best answer as in `tasks.qa.answers`.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from electra_tf.exporting.graphs import inputs, slices, steps
from electra_tf.exporting.graphs.inputs import (
    Forward,
    Signatures,
    Tensors,
)
from electra_tf.exporting.graphs.slices import Read
from electra_tf.exporting.graphs.word_splitting import (
    PLACES,
    Words,
    cut_spans,
    split_runs,
)
from electra_tf.prediction.predictor import Predictor
from electra_tf.tasks.qa.answers import AnswerConfig
from electra_tf.tasks.qa.features import QAFeatureConfig
from electra_tf.tasks.qa.task import QuestionAnswering
from electra_tf.tasks.qa.words import Splitter
from electra_tf.text import rows as text_rows
from electra_tf.text.normalize import row_numbers
from electra_tf.text.rows import Rows
from electra_tf.text.tokenizer import Offsets, Tokenizer
from electra_tf.text.truncation import first_tokens

_WINDOWS = 256  # windows whose spans are processed at a time


class Windows(NamedTuple):
    """N windows of B questions, in the questions' order; int64.

    Attributes:
      splits: [B + 1], where the windows of each question start.
      example: [N], the question of each window.
      index: [N], its number among the question's windows.
      start: [N], first piece of the context in the window.
      length: [N], number of its pieces.
      offset: [N], position of the first piece in the row.
      step: [B], distance of consecutive windows, in pieces.
      room: [B], room of a window, in pieces.
      total: [B], number of pieces of the context.
    """

    splits: tf.Tensor
    example: tf.Tensor
    index: tf.Tensor
    start: tf.Tensor
    length: tf.Tensor
    offset: tf.Tensor
    step: tf.Tensor
    room: tf.Tensor
    total: tf.Tensor

    def shows_most(self, example: tf.Tensor, piece: tf.Tensor) -> tf.Tensor:
        """Returns the window with most context of a piece:
        `Window.max_context`.

        Args:
          example: int64 [C], the question of the piece.
          piece: int64 [C], number of the piece in its context.

        Returns:
          int64 [C], `index` of that window.
        """
        step = tf.gather(self.step, example)[:, tf.newaxis]
        room = tf.gather(self.room, example)[:, tf.newaxis]
        total = tf.gather(self.total, example)[:, tf.newaxis]
        counts = self.splits[1:] - self.splits[:-1]
        last = tf.gather(counts, example)[:, tf.newaxis] - 1
        piece = piece[:, tf.newaxis]
        most = tf.maximum(tf.reduce_max((self.room - 1) // self.step), 0)
        latest = tf.minimum(piece // step, last)
        window = latest - tf.range(most, -1, -1)[tf.newaxis]  # [C, most + 1]
        left = piece - window * step
        length = tf.minimum(room, total - window * step)
        poorer = tf.minimum(left, length - 1 - left)
        # Computed as there: in float64, the first of equal ones.
        score = tf.cast(poorer, tf.float64)
        score += 0.01 * tf.cast(length, tf.float64)
        seen = (poorer >= 0) & (window >= 0)
        score = tf.where(seen, score, -1.0)
        best = tf.reduce_max(score, axis=1, keepdims=True)
        return tf.reduce_min(tf.where(score == best, window, last), axis=1)


def context_pieces(
    tokenizer: Tokenizer, contexts: tf.Tensor, splitter: Splitter
) -> Offsets:
    """Tokenizes contexts word by word, like `qa.words.make_documents`.

    Args:
      tokenizer: the model's tokenizer.
      contexts: string [B], with any bytes.
      splitter: the task's splitter.
    """

    def reader(texts: tf.Tensor) -> Read:
        words = split_runs(texts, splitter)
        return Read(_pieces(tokenizer, words)._asdict(), words.num_chars)

    # An added token with ideographs must stay whole.
    found = slices.read(
        contexts, reader,
        {"ids": tf.int32, **dict.fromkeys(PLACES, tf.int64)},
        between_ideographs=not tokenizer.vocab.added,
    )  # fmt: skip
    return Offsets(**found)


def _pieces(tokenizer: Tokenizer, words: Words) -> Offsets:
    """Tokenizes the words of contexts, with positions in the contexts."""
    found = tokenizer.tokenize_with_offsets(words.text.flat_values)
    of_word = row_numbers(found.ids)
    splits = tf.gather(found.ids.row_splits, words.text.row_splits)

    def of_context(values: tf.RaggedTensor) -> tf.RaggedTensor:
        return tf.RaggedTensor.from_row_splits(
            values.flat_values, splits, validate=False
        )

    def shifted(
        values: tf.RaggedTensor, starts: tf.RaggedTensor
    ) -> tf.RaggedTensor:
        values = of_context(values)
        place = tf.gather(starts.flat_values, of_word)
        return values.with_flat_values(values.flat_values + place)

    return Offsets(
        of_context(found.ids),
        shifted(found.start_bytes, words.start_bytes),
        shifted(found.end_bytes, words.start_bytes),
        shifted(found.start_chars, words.start_chars),
        shifted(found.end_chars, words.start_chars),
    )


def make_windows(
    tokenizer: Tokenizer,
    questions: tf.Tensor,
    pieces: Offsets,
    config: QAFeatureConfig,
) -> tuple[Rows, Windows]:
    """Makes the windows and their rows; a context without a piece has none.

    A row is `[CLS] question [SEP] part of the context [SEP]`.

    Args:
      tokenizer: the model's tokenizer.
      questions: string [B].
      pieces: pieces of the contexts.
      config: lengths.
    """
    question = tokenizer(questions)
    asked = tf.minimum(question.row_lengths(), config.max_query_length)
    question = first_tokens(question, asked)
    room = config.max_seq_length - 3 - asked
    step = tf.minimum(room, config.doc_stride)
    total = pieces.ids.row_lengths()
    more = tf.maximum(total - room, 0)
    counts = tf.where(total > 0, 1 + (more + step - 1) // step, 0)

    index = tf.ragged.range(counts)
    example = row_numbers(index)
    index = index.flat_values
    start = index * tf.gather(step, example)
    length = tf.minimum(
        tf.gather(room, example), tf.gather(total, example) - start
    )
    first = tf.gather(pieces.ids.row_starts(), example) + start
    seen = tf.ragged.range(first, first + length)
    seen = seen.with_flat_values(
        tf.gather(pieces.ids.flat_values, seen.flat_values)
    )
    offset = tf.gather(asked, example) + 2
    rows = text_rows.paired_rows(
        tokenizer, tf.gather(question, example), seen, tf.ones_like(length)
    )
    return rows, Windows(
        tf.concat([[0], tf.cumsum(counts)], axis=0),
        example, index, start, length, offset, step, room, total,
    )  # fmt: skip


class Candidates(NamedTuple):
    """C spans that may be answers, by question, best first.

    Attributes:
      splits: int64 [B + 1], where the spans of each question start.
      score: float32 [C].
      first: int64 [C], number of the first piece among all contexts' pieces.
      last: int64 [C], number of the last piece.
    """

    splits: tf.Tensor
    score: tf.Tensor
    first: tf.Tensor
    last: tf.Tensor


class Best(NamedTuple):
    """The best answer to each of B questions.

    Attributes:
      found: bool [B], whether there is an answer.
      text: string [B].
      score: float32 [B], score of the model; 0 where there is none.
      probability: float32 [B], among the n best; 0 where there is none.
      first: int64 [B], as in `Candidates`; 0 where there is none.
      last: int64 [B].
    """

    found: tf.Tensor
    text: tf.Tensor
    score: tf.Tensor
    probability: tf.Tensor
    first: tf.Tensor
    last: tf.Tensor


def find_candidates(
    windows: Windows,
    pieces: Offsets,
    beams: Tensors,
    max_answer_length: int,
) -> Candidates:
    """Finds the valid spans of all beams.

    Args:
      windows: N windows.
      pieces: pieces of the contexts.
      beams: `starts` int32 [N, K] and `start_scores` float32, `ends` int32
        [N, K, M] and `end_scores` float32; -1 for what is no position.
      max_answer_length: longest answer, in pieces.
    """

    def own(start: tf.Tensor, end: tf.Tensor) -> Tensors:
        """Returns the spans for which no other window has more context."""
        ends = tf.cast(beams["ends"][start:end], tf.int64)
        starts = tf.cast(beams["starts"][start:end], tf.int64)
        starts = tf.broadcast_to(starts[:, :, tf.newaxis], tf.shape(ends))

        def of_window(values: tf.Tensor) -> tf.Tensor:
            return values[start:end, tf.newaxis, tf.newaxis]

        first = starts - of_window(windows.offset)
        last = ends - of_window(windows.offset)
        length, size = of_window(windows.length), last - first + 1
        keep = (first >= 0) & (last < length) & (size > 0)
        keep = tf.where(keep & (size <= max_answer_length))  # [C, 3]
        score = beams["start_scores"][start:end, :, tf.newaxis]
        score += beams["end_scores"][start:end]
        window = keep[:, 0] + tf.cast(start, tf.int64)
        before = tf.gather(windows.start, window)
        example = tf.gather(windows.example, window)
        first = tf.gather_nd(first, keep) + before
        shown = windows.shows_most(example, first)
        found = {
            "score": tf.gather_nd(score, keep),
            "example": example,
            "first": first,
            "last": tf.gather_nd(last, keep) + before,
        }
        best = shown == tf.gather(windows.index, window)
        return {name: value[best] for name, value in found.items()}

    specs = dict.fromkeys(
        ("example", "first", "last"), tf.TensorSpec([None], tf.int64)
    )
    specs["score"] = tf.TensorSpec([None])
    owned = inputs.in_parts(
        own, tf.size(windows.index), _WINDOWS, specs, at_once=1
    )
    score, example = owned["score"], owned["example"]
    first, last = owned["first"], owned["last"]

    # By score, then by question; equal ones keep their order.
    order = tf.argsort(-score, stable=True)
    order = tf.gather(order, tf.argsort(tf.gather(example, order), stable=True))
    example = tf.gather(example, order)
    before = tf.gather(pieces.ids.row_starts(), example)
    questions = tf.range(pieces.ids.nrows() + 1)
    return Candidates(
        tf.searchsorted(example, questions, out_type=tf.int64),
        tf.gather(score, order),
        tf.gather(first, order) + before,
        tf.gather(last, order) + before,
    )


def best_answers(
    contexts: tf.Tensor,
    pieces: Offsets,
    found: Candidates,
    splitter: Splitter,
    config: AnswerConfig,
) -> Best:
    """Chooses the best answers, with probabilities among the n best.

    Among candidates with equal texts the first counts. They are processed in
    parts, until there are enough distinct ones.

    Args:
      contexts: string [B].
      pieces: pieces of the contexts.
      found: the candidates.
      splitter: the task's splitter.
      config: number of answers to keep.
    """
    n_best, at_once = config.n_best_size, 2 * config.n_best_size
    starts, ends = found.splits[:-1], found.splits[1:]
    score = tf.concat([found.score, [0.0]], axis=0)  # never empty
    highest = tf.gather(score, starts)  # [B]; any value for an empty one

    def texts_of(at: tf.RaggedTensor) -> tf.RaggedTensor:
        """Returns the texts of candidates [B, (candidates)]."""

        def bytes_of(which: tf.Tensor, offsets: tf.RaggedTensor):
            piece = tf.gather(which, at.flat_values)
            return at.with_flat_values(tf.gather(offsets.flat_values, piece))

        cut = cut_spans(
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


def signatures(predictor: Predictor) -> Signatures:
    """Makes `serving_default`: `question` and `context`, string [B], to
    answers.

    All outputs are [B]:

    - `answer` string, "" for none; its place in the context: `start` and `end`
      int64 in characters, `start_byte` and `end_byte` in bytes, ends exclusive,
      -1 for no answer;
    - `score` float32, the best span's probability among the best ones;
    - `no_answer` float32, the odds that there is none, to be compared with the
      task's threshold; 0 where the model does not predict it.

    Args:
      predictor: a predictor of question answering.
    """

    task, tokenizer = predictor.task, predictor.tokenizer
    assert isinstance(task, QuestionAnswering)
    config = task.options.features()

    def prepare(
        question: tf.Tensor, context: tf.Tensor
    ) -> tuple[Rows, tuple[tf.Tensor, Offsets, Windows]]:
        question, context = inputs.as_many(
            question, context, "question and context"
        )
        pieces = context_pieces(tokenizer, context, task.splitter)
        rows, windows = make_windows(tokenizer, question, pieces, config)
        return rows, (context, pieces, windows)

    def answer(rest: Any, beams: Tensors) -> Tensors:
        context, pieces, windows = rest
        return _answers(predictor, context, pieces, windows, beams)

    return steps.signatures(
        steps.Steps(prepare, *_forward(predictor), answer),
        "question", "context",
    )  # fmt: skip


def _answers(
    predictor: Predictor,
    context: tf.Tensor,
    pieces: Offsets,
    windows: Windows,
    beams: Tensors,
) -> Tensors:
    task = predictor.task
    assert isinstance(task, QuestionAnswering)
    options, splitter = task.options, task.splitter
    config = AnswerConfig(options.n_best_size, options.max_answer_length)
    found = find_candidates(windows, pieces, beams, config.max_answer_length)
    best = best_answers(context, pieces, found, splitter, config)
    odds = _null_odds(predictor, windows, beams, best.score)
    answered = best.found
    if odds is not None:
        answered &= ~(odds > task.threshold)
    else:
        odds = tf.zeros_like(best.score)

    def place(offsets: tf.RaggedTensor, piece: tf.Tensor) -> tf.Tensor:
        values = tf.concat([offsets.flat_values, [-1]], axis=0)
        none = tf.size(offsets.flat_values, tf.int64)
        return tf.gather(values, tf.where(answered, piece, none))

    return {
        "answer": tf.where(answered, best.text, ""),
        "start": place(pieces.start_chars, best.first),
        "end": place(pieces.end_chars, best.last),
        "start_byte": place(pieces.start_bytes, best.first),
        "end_byte": place(pieces.end_bytes, best.last),
        "score": best.probability,
        "no_answer": tf.cast(odds, tf.float32),
    }


def _forward(
    predictor: Predictor,
) -> tuple[Forward, dict[str, tf.TensorSpec]]:
    """Returns a function that computes `beam_tensors` of windows, in one shape.

    Where a window is shorter than a beam, -1 means no position.
    """
    task, network = predictor.task, predictor.network
    size = task.options.beam_size
    if network.head_config.kind == "joint_span":
        size = network.head_config.beam_size
    specs = {
        "starts": tf.TensorSpec([None, size], tf.int32),
        "start_scores": tf.TensorSpec([None, size]),
        "ends": tf.TensorSpec([None, size, size], tf.int32),
        "end_scores": tf.TensorSpec([None, size, size]),
        "null_score": tf.TensorSpec([None]),
    }
    if network.head_config.answerable:
        specs["impossible"] = tf.TensorSpec([None])

    outputs_of = inputs.task_outputs(predictor)

    def forward(*rows: tf.Tensor) -> Tensors:
        found = outputs_of(*rows)
        number = tf.shape(found["starts"])[1]
        for name in ("ends", "end_scores"):
            if found[name].shape.rank == 2:  # the same for all starts
                found[name] = tf.repeat(
                    found[name][:, tf.newaxis], number, axis=1
                )
        missing = [0, size - number]
        for name in ("starts", "ends"):
            by = [[0, 0], missing, missing][: found[name].shape.rank]
            found[name] = tf.pad(found[name], by, constant_values=-1)
        for name in ("start_scores", "end_scores"):
            by = [[0, 0], missing, missing][: found[name].shape.rank]
            found[name] = tf.pad(found[name], by)
        return found

    return forward, specs


def _null_odds(
    predictor: Predictor, windows: Windows, beams: Tensors, score: tf.Tensor
) -> tf.Tensor | None:
    """Returns the odds of no answer, float64 [B], like `qa.answers`."""
    assert isinstance(predictor.task, QuestionAnswering)
    if not predictor.task.unanswerable:
        return None
    is_given = "impossible" in beams
    of_window = tf.cast(
        beams["impossible" if is_given else "null_score"], tf.float64
    )
    # The window where an answer is likeliest decides.
    least = tf.math.unsorted_segment_min(
        of_window, windows.example, tf.size(score)
    )
    odds = least if is_given else least - tf.cast(score, tf.float64)
    some = windows.splits[1:] > windows.splits[:-1]
    return tf.where(some, odds, 0.0)
