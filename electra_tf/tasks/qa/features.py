"""Makes windows of tokens from questions on a text, as the original does.

A text longer than the model reads is split into windows that overlap. Each
token belongs to the window that shows most around it: only there may an answer
start.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from electra_tf.tasks.features import (
    Features,
    Pieces,
    join_pairs,
    ranges,
    tokenize_all,
)
from electra_tf.tasks.qa.examples import (
    QAExample,
    answer_span,
    contexts_of,
    locate_answer,
)
from electra_tf.tasks.qa.options import QAFeatureConfig
from electra_tf.tasks.qa.words import (
    WORDS,
    Document,
    Documents,
    Splitter,
    make_documents,
)
from electra_tf.text.tokenizer import Tokenizer
from electra_tf.text.vocab import Vocab


@dataclasses.dataclass(frozen=True, eq=False)
class Window:
    """A question and the part of its text that the model sees at once.

    It is a view into `Windows`.

    Attributes:
      example: number of its example.
      index: its number among that example's windows.
      question: int32 [q] ids.
      document: the whole text.
      start: first piece of the text in the window.
      length: number of pieces of the text in the window.
      starts: int64 [W], `start` of all windows of the example.
      lengths: int64 [W], `length` of all windows of the example.
      answer_start: position of the answer's first token in the input; 0, the
        [CLS], where the window does not hold all of it.
      answer_end: position of its last token, or 0.
      impossible: in training, whether the question is unanswerable.
    """

    example: int
    index: int
    question: np.ndarray
    document: Document
    start: int
    length: int
    starts: np.ndarray
    lengths: np.ndarray
    answer_start: int = 0
    answer_end: int = 0
    impossible: bool = False

    @property
    def offset(self) -> int:
        """Position in the input of the text's first piece."""
        return len(self.question) + 2

    @property
    def size(self) -> int:
        """Number of tokens of the input, special ones included."""
        return self.offset + self.length + 1

    @property
    def max_context(self) -> np.ndarray:
        """Whether no other window shows more around a piece, bool [length].

        The best window is the one with most pieces on the shorter side; ties go
        to a longer window, then to an earlier one.
        """
        if len(self.starts) == 1:
            return np.ones([self.length], bool)
        seen = np.arange(self.start, self.start + self.length)
        left = seen - self.starts[:, None]  # [W, length]
        right = self.lengths[:, None] - 1 - left
        poorer = np.minimum(left, right)
        score = poorer + 0.01 * self.lengths[:, None]
        score[poorer < 0] = -1.0  # not in that window
        return score.argmax(axis=0) == self.index


@dataclasses.dataclass(frozen=True, eq=False)
class Windows:
    """N windows of E examples, in the examples' order, as arrays.

    Attributes:
      documents: the texts.
      document: int64 [E], the number of each example's text.
      questions: int32, the kept ids of all questions.
      question_splits: int64 [E + 1], where the ids of each question start.
      splits: int64 [E + 1], where the windows of each example start.
      example, index, start, length, answer_start, answer_end: int64 [N], and
      impossible: bool [N], as those of `Window`.
    """

    documents: Documents
    document: np.ndarray
    questions: np.ndarray
    question_splits: np.ndarray
    splits: np.ndarray
    example: np.ndarray
    index: np.ndarray
    start: np.ndarray
    length: np.ndarray
    answer_start: np.ndarray
    answer_end: np.ndarray
    impossible: np.ndarray

    def __len__(self) -> int:
        return len(self.example)

    def __getitem__(self, row: int) -> Window:
        example = int(self.example[row])  # IndexError ends an iteration
        own = slice(self.splits[example], self.splits[example + 1])
        question = slice(*self.question_splits[example : example + 2])
        return Window(
            example=example,
            index=int(self.index[row]),
            question=self.questions[question],
            document=self.documents[self.document[example]],
            start=int(self.start[row]),
            length=int(self.length[row]),
            starts=self.start[own],
            lengths=self.length[own],
            answer_start=int(self.answer_start[row]),
            answer_end=int(self.answer_end[row]),
            impossible=bool(self.impossible[row]),
        )

    def of(self, example: int) -> list[Window]:
        """Returns the windows of one example."""
        return [
            self[row]
            for row in range(self.splits[example], self.splits[example + 1])
        ]


def make_windows(
    tokenizer: Tokenizer,
    examples: Sequence[QAExample],
    config: QAFeatureConfig,
    training: bool,
    splitter: Splitter = WORDS,
) -> Windows:
    """Returns all windows of `examples`, in their order.

    A context without a token has no window.

    Args:
      tokenizer: the model's.
      examples: questions. In training each must be impossible or have an
        answer that `locate_answer` finds.
      config: lengths.
      training: whether to locate the answers.
      splitter: splits the contexts into words.

    Raises:
      ValueError: an answer cannot be located, in training.
    """
    contexts, document = contexts_of(examples)
    documents = make_documents(tokenizer, contexts, splitter)
    found = tokenize_all(tokenizer, [e.question for e in examples])
    kept = np.minimum(found.count, config.max_query_length)
    questions = found.table[ranges(found.start, found.start + kept)[0]]
    question_splits = np.concatenate([[0], np.cumsum(kept)])
    asked = np.diff(question_splits)  # [E] tokens

    room = config.max_seq_length - 3 - asked
    step = np.minimum(room, config.doc_stride)
    total = np.diff(documents.splits)[document]
    more = np.maximum(total - room, 0)
    counts = np.where(total > 0, 1 - (-more // step), 0)
    example = np.repeat(np.arange(len(examples)), counts)
    index, _ = ranges(np.zeros_like(counts), counts)
    start = index * step[example]
    length = np.minimum(room[example], total[example] - start)

    first = last = np.zeros_like(start)
    impossible = np.zeros(start.shape, bool)
    if training:
        spans = _answer_pieces(
            tokenizer, examples, documents, document, splitter
        )[example]
        first, last = spans[:, 0] - start, spans[:, 1] - start
        held = (first >= 0) & (first <= last) & (last < length)
        offset = asked[example] + 2
        first = np.where(held, first + offset, 0)
        last = np.where(held, last + offset, 0)
        impossible = np.array([e.impossible for e in examples], bool)[example]
    return Windows(
        documents, document, questions, question_splits,
        np.concatenate([[0], np.cumsum(counts)]),
        example, index, start, length, first, last, impossible,
    )  # fmt: skip


def _answer_pieces(
    tokenizer: Tokenizer,
    examples: Sequence[QAExample],
    documents: Documents,
    document: np.ndarray,
    splitter: Splitter,
) -> np.ndarray:
    """Returns first and last piece (inclusive) of the answers, int64 [E, 2].

    These are the pieces that cover exactly the answer's characters. Where an
    answer begins or ends inside a piece, they are what the original trains on:
    in the words that contain the answer, the first run of pieces that equals
    the tokenized answer, or else all pieces of those words. -1 for unanswerable
    questions.
    """
    exact = [None if e.impossible else answer_span(e) for e in examples]
    at = np.array([span or (0, 0) for span in exact], "int64").reshape(-1, 2)
    first, last, found = documents.pieces_at(document, at)
    found &= np.array([span is not None for span in exact], bool)
    pieces = np.where(found[:, None], np.stack([first, last], axis=-1), -1)

    others = [
        i for i, e in enumerate(examples) if not (found[i] or e.impossible)
    ]
    known = tokenize_all(tokenizer, [examples[i].target or "" for i in others])
    for n, i in enumerate(others):
        words = locate_answer(examples[i], splitter)
        if words is None:
            raise ValueError(f"{examples[i].question_id}: answer not found")
        answer = known.table[known.start[n] : known.start[n] + known.count[n]]
        pieces[i] = _pieces_in_words(documents[document[i]], words, answer)
    return pieces


def _pieces_in_words(
    document: Document, words: tuple[int, int], answer: np.ndarray
) -> tuple[int, int]:
    """Returns first and last piece of an answer within some words.

    The words may be wider than the answer: "(1895-1943)." for "1895".
    """
    first = int(document.first_piece[words[0]])
    after = words[1] + 1
    last = len(document.ids)
    if after < len(document.first_piece):
        last = int(document.first_piece[after])
    size = len(answer)
    if size and last - first >= size:
        runs = np.lib.stride_tricks.sliding_window_view(
            document.ids[first:last], size
        )
        same = np.flatnonzero((runs == answer).all(axis=1))
        if len(same):
            return first + int(same[0]), first + int(same[0]) + size - 1
    return first, last - 1


def window_features(windows: Windows, vocab: Vocab) -> Features:
    """Returns windows as rows of tokens, without targets.

    Args:
      windows: N windows.
      vocab: the tokenizer's vocabulary.
    """
    of, documents = windows.example, windows.documents
    asked = Pieces(
        windows.questions,
        windows.question_splits[of],
        np.diff(windows.question_splits)[of],
    )
    seen = Pieces(
        documents.ids,
        documents.splits[windows.document[of]] + windows.start,
        windows.length,
    )
    paired = np.ones([len(windows)], bool)
    made = join_pairs(vocab, asked, seen, asked.count, seen.count, paired)
    return dataclasses.replace(made, examples=of)


def targets(windows: Windows) -> dict[str, np.ndarray]:
    """Returns the targets:

    `start_positions`, `end_positions`, `is_impossible`.
    """
    return {
        "start_positions": windows.answer_start.astype("int32"),
        "end_positions": windows.answer_end.astype("int32"),
        "is_impossible": windows.impossible.astype("int32"),
    }
