"""Reads documents and summaries, and splits them into sentences and words."""

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.tasks import column_names, records
from electra_tf.tasks.features import Places
from electra_tf.tasks.records import read_table, text_in
from electra_tf.tasks.summarization.options import SummaryOptions
from electra_tf.text import sentences
from electra_tf.text.detokenize import is_cjk

# Sets of usual names for documents and summaries.
_USUAL = (
    ("article", "highlights"), ("article", "abstract"), ("article", "summary"),
    ("dialogue", "summary"), ("text", "summary"), ("content", "summary"),
    ("report", "summary"),
)  # fmt: skip
_HINT = "options.document_column and options.summary_column name them"
_AT_ONCE = 256  # documents split at a time
_WORD = re.compile(r"[^\W_]+")


class Span(NamedTuple):
    """Where a sentence stands in its text, in characters."""

    start: int
    end: int  # exclusive


def split_all(texts: Sequence[str], language: str = "en") -> list[list[Span]]:
    """Splits texts into sentences, without the space around them.

    Args:
      texts: the texts; they may be empty.
      language: their language; see `text.sentences.split`.
    """
    found: list[list[Span]] = []
    for start in range(0, len(texts), _AT_ONCE):
        some = [
            text.encode("utf-8", "replace")
            for text in texts[start : start + _AT_ONCE]
        ]
        places = sentences.split(tf.constant(some, tf.string), language)
        found += [
            [Span(*span) for span in zip(*row)]
            for row in zip(
                places.start_chars.to_list(), places.end_chars.to_list()
            )
        ]
    return found


def words(text: str) -> list[str]:
    """Returns a text's words in lower case, or characters if it has no
    spaces.
    """
    found: list[str] = []
    for match in _WORD.finditer(text.lower()):
        word = match.group()
        if not any(map(is_cjk, word)):
            found.append(word)
            continue
        run = ""
        for character in word:
            if is_cjk(character):
                found += [run, character] if run else [character]
                run = ""
            else:
                run += character
        found += [run] if run else []
    return found


def join(texts: Sequence[str]) -> str:
    """Joins sentences to one text, with spaces where the script has them."""
    joined = ""
    for text in texts:
        glued = not joined or is_cjk(joined[-1]) or is_cjk(text[0])
        joined += text if glued else f" {text}"
    return joined


@dataclasses.dataclass(frozen=True)
class Article:
    """A document with at least one sentence.

    Attributes:
      text: the document.
      spans: its sentences.
      titled: whether the first of them is a title.
      summary: the reference; None where unknown.
      place: "file:line", for messages.
    """

    text: str
    spans: tuple[Span, ...]
    titled: bool = False
    summary: str | None = None
    place: str = ""

    @functools.cached_property
    def texts(self) -> list[str]:
        """The sentences."""
        return [self.text[span.start : span.end] for span in self.spans]

    @property
    def candidates(self) -> range:
        """Numbers of the sentences that a summary may have."""
        titled = self.titled and len(self.spans) > 1
        return range(int(titled), len(self.spans))

    @functools.cached_property
    def words(self) -> list[list[str]]:
        """The words of each sentence."""
        return [words(text) for text in self.texts]


def with_columns(options: SummaryOptions, path: str) -> SummaryOptions:
    """Returns options that name the columns of a table; logs found ones.

    Raises:
      UserError: the file is unreadable.
    """
    there = records.names_in(path, options)
    keys = ("document_column", "summary_column")
    return column_names.with_usual(options, keys, _USUAL, there, path)


def read(path: str, options: SummaryOptions, summarized: bool) -> list[Article]:
    """Returns the documents of a file, in order.

    Args:
      path: JSON Lines, TSV or CSV, compressed or not.
      options: name the columns.
      summarized: whether summaries are required.

    Raises:
      UserError: the file is unreadable, or a column is missing, empty or not a
        text. File and line are named.
    """
    rows = list(read_table(path, options, options.document_column))
    texts = [
        text_in(record, options.document_column, place, _HINT)
        for record, place in rows
    ]
    found = []
    for (record, place), text, spans in zip(
        rows, texts, split_all(texts, options.language)
    ):
        _check(text, spans, place, options)
        summary = None
        if summarized or record.get(options.summary_column) not in (None, ""):
            summary = text_in(record, options.summary_column, place, _HINT)
        found.append(
            Article(text, tuple(spans), options.title_line, summary, place)
        )
    return found


def article(
    record: Mapping[str, Any],
    place: str,
    options: SummaryOptions,
    may_be_empty: bool = False,
) -> Article:
    """Makes a document from a record without a summary; see `read`.

    Args:
      record: column -> value.
      place: its place, for messages.
      options: options that name the column.
      may_be_empty: whether a text without a sentence is accepted.

    Raises:
      UserError: the column is missing, not a text, or has no sentence.
    """
    text = text_in(record, options.document_column, place, _HINT, may_be_empty)
    (spans,) = split_all([text], options.language)
    if not may_be_empty:
        _check(text, spans, place, options)
    return Article(text, tuple(spans), options.title_line, None, place)


def _check(
    text: str, spans: Sequence[Span], place: str, options: SummaryOptions
) -> None:
    if not spans:
        raise UserError(
            f"{place}: {options.document_column}: expected a text with a "
            f"sentence, got {text!r:.40}"
        )


def sentence_scores(
    places: Places, scores: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Returns the scores of each document's sentences.

    Args:
      places: where the sentences of N documents are.
      scores: scores of the tokens of each window, float32 [L].
    """
    found = np.array(
        [scores[r][p] for r, p in zip(places.row, places.position)], "float32"
    )
    return np.split(found, places.splits[1:-1])
