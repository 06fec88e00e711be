"""Questions on contexts -> windows of tokens; `qa.features` as a graph."""

from typing import NamedTuple

import tensorflow as tf

from electra_tf.exporting.graphs import inputs
from electra_tf.exporting.graphs.word_splitting import split_runs
from electra_tf.tasks.qa.features import QAFeatureConfig
from electra_tf.tasks.qa.words import Splitter
from electra_tf.text.normalize import row_numbers
from electra_tf.text.tokenizer import Tokenizer, first_tokens


class ContextPieces(NamedTuple):
    """WordPieces of B contexts; each a RaggedTensor [B, (pieces)].

    Ends are exclusive, and offsets int64 in the context.
    """

    ids: tf.RaggedTensor  # int32
    start_bytes: tf.RaggedTensor
    end_bytes: tf.RaggedTensor
    start_chars: tf.RaggedTensor
    end_chars: tf.RaggedTensor


class Windows(NamedTuple):
    """N windows of B questions, in the order of these; int64 but for `rows`.

    Attributes:
      rows: `[CLS] question [SEP] part of the context [SEP]`.
      splits: [B + 1], where the windows of each question start.
      example: [N], the question that each is of.
      index: [N], which of its windows it is.
      start: [N], first piece of the context that is seen.
      length: [N], how many are.
      offset: [N], position in the row of the first piece that is seen.
      step: [B], pieces between two windows.
      room: [B], pieces of the context that a window has room for.
      total: [B], pieces of the context.
    """

    rows: inputs.Rows
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
        """The window that shows most around a piece: `Window.max_context`.

        Args:
          example: int64 [C], whose context the piece is of.
          piece: int64 [C], in its context.

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
        # Reckoned as there: in float64, the first of equal ones.
        score = tf.cast(poorer, tf.float64)
        score += 0.01 * tf.cast(length, tf.float64)
        seen = (poorer >= 0) & (window >= 0)
        score = tf.where(seen, score, -1.0)
        best = tf.reduce_max(score, axis=1, keepdims=True)
        return tf.reduce_min(tf.where(score == best, window, last), axis=1)


def context_pieces(
    tokenizer: Tokenizer, contexts: tf.Tensor, splitter: Splitter
) -> ContextPieces:
    """The pieces of contexts, word by word: `qa.documents.make_documents`.

    Args:
      tokenizer: the model's.
      contexts: string [B], whatever bytes.
      splitter: the task's.
    """
    words = split_runs(contexts, splitter)
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

    return ContextPieces(
        of_context(found.ids),
        shifted(found.start_bytes, words.start_bytes),
        shifted(found.end_bytes, words.start_bytes),
        shifted(found.start_chars, words.start_chars),
        shifted(found.end_chars, words.start_chars),
    )


def make_windows(
    tokenizer: Tokenizer,
    questions: tf.Tensor,
    pieces: ContextPieces,
    config: QAFeatureConfig,
) -> Windows:
    """The windows; a context without a piece has none.

    Args:
      tokenizer: the model's.
      questions: string [B].
      pieces: of the contexts.
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
    return Windows(
        _rows(tokenizer, tf.gather(question, example), seen, offset),
        tf.concat([[0], tf.cumsum(counts)], axis=0),
        example, index, start, length, offset, step, room, total,
    )  # fmt: skip


def _rows(
    tokenizer: Tokenizer,
    question: tf.RaggedTensor,
    seen: tf.RaggedTensor,
    offset: tf.Tensor,
) -> inputs.Rows:
    vocab = tokenizer.vocab
    one = tf.ones([question.nrows(), 1], tf.int32)
    cls, sep = one * vocab.cls_id, one * vocab.sep_id
    rows = tf.concat([cls, question, sep, seen, sep], axis=1)
    input_ids = rows.to_tensor(vocab.pad_id)
    lengths = rows.row_lengths()[:, tf.newaxis]
    at = tf.range(tf.shape(input_ids, tf.int64)[1])[tf.newaxis]
    second = (at >= offset[:, tf.newaxis]) & (at < lengths)
    return inputs.Rows(
        input_ids,
        tf.cast(second, tf.int32),
        tf.cast(lengths[:, 0], tf.int32),
    )
