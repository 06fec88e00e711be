"""Documents and their summaries, out of the rows of files."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from electra_tf.errors import UserError
from electra_tf.tasks import records
from electra_tf.tasks.summarization import sentences
from electra_tf.tasks.summarization.options import SummaryOptions
from electra_tf.tasks.summarization.sentences import Span


@dataclasses.dataclass(frozen=True)
class Article:
    """A document with a sentence or more.

    Attributes:
      text: the document.
      spans: its sentences.
      titled: whether the first of them is a title.
      summary: the reference; None where it is not known.
      place: where it stands, "file:line".
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
        """Numbers of the sentences that a summary may hold."""
        titled = self.titled and len(self.spans) > 1
        return range(int(titled), len(self.spans))

    @functools.cached_property
    def words(self) -> list[list[str]]:
        """Of each sentence."""
        return [sentences.words(text) for text in self.texts]


def read(path: str, options: SummaryOptions, summarized: bool) -> list[Article]:
    """The documents of a file, in order.

    Args:
      path: JSON Lines, TSV or CSV; `.gz` and so on too.
      options: name the columns.
      summarized: whether summaries must be there.

    Raises:
      UserError: unreadable; a column is missing, is no text, or is empty.
        File and line are named.
    """
    return [
        article(record, place, options, summarized)
        for record, place in records.read_records(path)
    ]


def article(
    record: Mapping[str, Any],
    place: str,
    options: SummaryOptions,
    summarized: bool,
) -> Article:
    """A record as a document; see `read`."""
    text = _text(record, options.document_column, place)
    spans = sentences.split(text, options.language)
    if not spans:
        raise UserError(
            f"{place}: {options.document_column}: expected a text with a "
            f"sentence, got {text!r:.40}"
        )
    summary = None
    if summarized or record.get(options.summary_column) not in (None, ""):
        summary = _text(record, options.summary_column, place)
    return Article(text, tuple(spans), options.title_line, summary, place)


def _text(record: Mapping[str, Any], column: str, place: str) -> str:
    if column not in record:
        there = ", ".join(f"'{name:.30}'" for name in list(record)[:12])
        raise UserError(
            f"{place}: no column '{column}'; there are {there or 'none'} "
            "(options.document_column and options.summary_column name them)"
        )
    value = record[column]
    if not isinstance(value, str):
        raise UserError(
            f"{place}: {column}: expected a text, got {value!r:.40}"
        )
    if not value.strip():
        raise UserError(f"{place}: {column}: the text is empty")
    return value
