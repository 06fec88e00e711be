"""Questions on a text -> windows of tokens, as the original makes them.

A text longer than the model reads is seen through windows that overlap. Each
token belongs to the window that shows most around it; answers may start there
alone.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from electra_tf.errors import UserError
from electra_tf.tasks.qa_examples import QAExample, locate_answer, split_words
from electra_tf.text.tokenizer import Tokenizer
from electra_tf.text.vocab import Vocab


@dataclasses.dataclass(frozen=True)
class QAFeatureConfig:
    """How questions are cut; the original's defaults for SQuAD."""

    max_seq_length: int = 512  # tokens a window, question and specials too
    doc_stride: int = 128  # tokens between the starts of two windows
    max_query_length: int = 64  # tokens of a question that are kept

    def __post_init__(self) -> None:
        for name in ("doc_stride", "max_query_length"):
            if getattr(self, name) < 1:
                raise UserError(
                    f"{name}: expected at least 1, got {getattr(self, name)}"
                )
        if self.max_seq_length < self.max_query_length + 4:
            raise UserError(
                f"max_seq_length: expected at least {self.max_query_length} "
                "(max_query_length) and 4 more for special tokens and the "
                f"text, got {self.max_seq_length}"
            )


@dataclasses.dataclass(frozen=True, eq=False)
class Document:
    """A context in words and WordPieces.

    Attributes:
      words: what stands between white space.
      ids: int32 [pieces].
      word_of: int64 [pieces], the word of each piece.
      first_piece: int64 [words], the number of pieces before each word.
      starts: int64 [pieces], first character of the piece in its word.
      ends: int64 [pieces], the character after it.
    """

    words: tuple[str, ...]
    ids: np.ndarray
    word_of: np.ndarray
    first_piece: np.ndarray
    starts: np.ndarray
    ends: np.ndarray

    def text(self, first: int, last: int) -> str:
        """The text of pieces `first` to `last`; white space is one space."""
        start, end = int(self.word_of[first]), int(self.word_of[last])
        words = list(self.words[start : end + 1])
        words[-1] = words[-1][: self.ends[last]]
        words[0] = words[0][self.starts[first] :]
        return " ".join(words)


@dataclasses.dataclass(frozen=True, eq=False)
class Window:
    """A question and the part of its text that the model sees at once.

    Attributes:
      example: which example it is of.
      index: which of that example's windows it is.
      question: int32 [q] ids.
      document: the whole text.
      start: first piece of the text that is seen.
      length: how many are.
      max_context: bool [length]: no other window shows more around it.
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
    max_context: np.ndarray
    answer_start: int = 0
    answer_end: int = 0
    impossible: bool = False

    @property
    def offset(self) -> int:
        """Position in the input of the first piece that is seen."""
        return len(self.question) + 2

    @property
    def size(self) -> int:
        """Tokens of the input, special ones included."""
        return self.offset + self.length + 1


def make_documents(
    tokenizer: Tokenizer, contexts: Sequence[str]
) -> list[Document]:
    """Tokenizes contexts; each different word once.

    Args:
      tokenizer: the model's.
      contexts: texts.
    """
    numbers: dict[str, int] = {}
    split = [split_words(context)[0] for context in contexts]
    words = [
        np.array([numbers.setdefault(w, len(numbers)) for w in row], "int64")
        for row in split
    ]
    table = tokenizer.tokenize_with_offsets([*numbers, ""])
    ids = table.ids.flat_values.numpy()
    starts = table.start_chars.flat_values.numpy()
    ends = table.end_chars.flat_values.numpy()
    splits = table.ids.row_splits.numpy()

    documents = []
    for row, numbered in zip(split, words):
        pieces = splits[numbered + 1] - splits[numbered]
        first = np.cumsum(pieces) - pieces
        word_of = np.repeat(np.arange(len(row)), pieces)
        where = np.arange(len(word_of)) + (splits[numbered] - first)[word_of]
        documents.append(
            Document(row, ids[where], word_of, first, starts[where],
                     ends[where])
        )  # fmt: skip
    return documents


def make_windows(
    tokenizer: Tokenizer,
    examples: Sequence[QAExample],
    config: QAFeatureConfig,
    training: bool,
) -> list[Window]:
    """All windows of `examples`, in their order.

    A context without a token has no window.

    Args:
      tokenizer: the model's.
      examples: questions. In training each must be impossible or have an
        answer that `locate_answer` finds.
      config: lengths.
      training: whether answers are looked for.

    Raises:
      ValueError: in training, an answer that cannot be found.
    """
    contexts = list(dict.fromkeys(e.context for e in examples))
    documents = dict(zip(contexts, make_documents(tokenizer, contexts)))
    questions = _rows(tokenizer, [e.question for e in examples])
    # The answers' own tokens, to find them among the context's.
    answers = _rows(
        tokenizer, [e.answers[0] if e.answers else "" for e in examples]
    )
    windows: list[Window] = []
    for i, example in enumerate(examples):
        document = documents[example.context]
        span = None
        if training and not example.impossible:
            words = locate_answer(example)
            if words is None:
                raise ValueError(f"{example.question_id}: answer not found")
            span = _answer_pieces(document, words, answers[i])
        question = questions[i][: config.max_query_length]
        windows += _windows(
            i, question, document, span, config,
            impossible=training and example.impossible,
        )  # fmt: skip
    return windows


def _rows(tokenizer: Tokenizer, texts: Sequence[str]) -> list[np.ndarray]:
    ids = tokenizer([*texts, ""])  # an empty one, so that there is one
    return np.split(ids.flat_values.numpy(), ids.row_splits.numpy()[1:-1])


def _answer_pieces(
    document: Document, words: tuple[int, int], answer: np.ndarray
) -> tuple[int, int]:
    """First and last piece (inclusive) of an answer inside some words.

    The words may be wider than the answer: "(1895-1943)." for "1895". The
    first run of pieces that are the answer's is it; all where there is none.
    """
    first = int(document.first_piece[words[0]])
    after = words[1] + 1
    last = len(document.ids)
    if after < len(document.words):
        last = int(document.first_piece[after])
    size = len(answer)
    if size:
        for start in range(first, last - size + 1):
            if np.array_equal(document.ids[start : start + size], answer):
                return start, start + size - 1
    return first, last - 1


def _windows(
    number: int,
    question: np.ndarray,
    document: Document,
    span: tuple[int, int] | None,
    config: QAFeatureConfig,
    impossible: bool,
) -> list[Window]:
    total = len(document.ids)
    room = config.max_seq_length - len(question) - 3
    step = min(room, config.doc_stride)
    starts = [0] if total else []
    while starts and starts[-1] + room < total:
        starts.append(starts[-1] + step)
    lengths = [min(room, total - start) for start in starts]
    best = _best_windows(np.array(starts), np.array(lengths), total)
    offset = len(question) + 2

    windows = []
    for index, (start, length) in enumerate(zip(starts, lengths)):
        place = (0, 0)
        if span and start <= span[0] and span[1] < start + length:
            place = (span[0] - start + offset, span[1] - start + offset)
        window = Window(
            example=number,
            index=index,
            question=question,
            document=document,
            start=start,
            length=length,
            max_context=best[start : start + length] == index,
            answer_start=place[0],
            answer_end=place[1],
            impossible=impossible,
        )
        windows.append(window)
    return windows


def _best_windows(
    starts: np.ndarray, lengths: np.ndarray, total: int
) -> np.ndarray:
    """The window that shows each piece best: int64 [total].

    That is the one with most pieces on the poorer side; a longer window wins
    by a little, then an earlier one.
    """
    best = np.zeros([total], "int64")
    score = np.full([total], -1.0)
    for index, (start, length) in enumerate(zip(starts, lengths)):
        seen = slice(start, start + length)
        left = np.arange(length)
        here = np.minimum(left, length - 1 - left) + 0.01 * length
        better = here > score[seen]
        best[seen][better] = index
        score[seen][better] = here[better]
    return best


def window_arrays(
    windows: Sequence[Window], vocab: Vocab, length: int | None = None
) -> dict[str, np.ndarray]:
    """Windows as the model's inputs and the loss's targets.

    Args:
      windows: N windows.
      vocab: the tokenizer's.
      length: tokens a row; the longest window's where None.

    Returns:
      int32 arrays: `input_ids`, `input_mask`, `segment_ids` [N, length], and
      `start_positions`, `end_positions`, `is_impossible` [N].
    """
    if length is None:
        length = max((w.size for w in windows), default=0)
    rows = len(windows)
    ids = np.full([rows, length], vocab.pad_id, "int32")
    mask = np.zeros([rows, length], "int32")
    segments = np.zeros([rows, length], "int32")
    for i, window in enumerate(windows):
        offset, end = window.offset, window.size - 1
        seen = slice(window.start, window.start + window.length)
        ids[i, 0] = vocab.cls_id
        ids[i, 1 : offset - 1] = window.question
        ids[i, [offset - 1, end]] = vocab.sep_id
        ids[i, offset:end] = window.document.ids[seen]
        mask[i, : end + 1] = 1
        segments[i, offset : end + 1] = 1
    return {
        "input_ids": ids,
        "input_mask": mask,
        "segment_ids": segments,
        "start_positions": np.array([w.answer_start for w in windows], "int32"),
        "end_positions": np.array([w.answer_end for w in windows], "int32"),
        "is_impossible": np.array([w.impossible for w in windows], "int32"),
    }
