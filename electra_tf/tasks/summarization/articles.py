"""Documents and their summaries: out of files, in sentences, in words."""

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from electra_tf.errors import UserError
from electra_tf.tasks import column_names, records
from electra_tf.tasks.features import Places
from electra_tf.tasks.records import read_table, text_in
from electra_tf.tasks.summarization.options import SummaryOptions
from electra_tf.text.detokenize import is_cjk

# What documents and summaries are called together.
_USUAL = (
    ("article", "highlights"), ("article", "abstract"), ("article", "summary"),
    ("dialogue", "summary"), ("text", "summary"), ("content", "summary"),
    ("report", "summary"),
)  # fmt: skip
_HINT = "options.document_column and options.summary_column name them"
# sentencex keeps a quotation in one piece, however many sentences it has.
# Blanks in place of the marks do not change places in the text.
_QUOTES = str.maketrans(dict.fromkeys('"“”„‟«»「」『』', " "))
# An opening mark at a sentence's end belongs to the next one: a mark that
# opens, or one that may do either right before the next sentence.
_OPENING = re.compile(r"\s*(?:[“„‟«「『(（\[【]+\s*|(?<=\s)[\"'‘]+)$")  # noqa: RUF001
_WORD = re.compile(r"[^\W_]+")


class Span(NamedTuple):
    """Where a sentence stands in its text, in characters."""

    start: int
    end: int  # exclusive


def split(text: str, language: str = "en") -> list[Span]:
    """The sentences of a text in their order, without the space around them.

    By sentencex, and inside quotations too. An empty line ends a sentence;
    what holds no letter and no digit is none.

    Args:
      text: may be empty.
      language: of it, as "en", for its abbreviations; the marks of all
        scripts are known to every language.

    Raises:
      UserError: no sentencex.
    """
    try:
        import sentencex
    except ImportError as error:
        raise UserError(
            "summaries need sentencex: pip install 'electra-tf[seq2seq]'"
        ) from error
    bounds = [
        (found["start_index"], found["end_index"])
        for found in sentencex.get_sentence_boundaries(
            language, text.translate(_QUOTES)
        )
    ]
    spans: list[Span] = []
    begin = 0
    for start, end in bounds:
        begin = min(begin, start)
        opening = _OPENING.search(text, begin, end)
        stop = opening.start() if opening and end < len(text) else end
        part = text[begin:stop]
        if _WORD.search(part):
            first = begin + len(part) - len(part.lstrip())
            last = begin + len(part.rstrip())
            if spans and _goes_on(text, spans[-1].end, first):
                first = spans.pop().start
            spans.append(Span(first, last))
        begin = stop
    return spans


def _goes_on(text: str, end: int, start: int) -> bool:
    """Whether a sentence goes on after a quotation in it: "So?" she said."""
    return text[end - 1] in "\"'”’»" and text[start].islower()  # noqa: RUF001


def words(text: str) -> list[str]:
    """Its words in lower case; of scripts without spaces, the characters."""
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
    """Sentences as one text, with spaces where the script has them."""
    joined = ""
    for text in texts:
        glued = not joined or is_cjk(joined[-1]) or is_cjk(text[0])
        joined += text if glued else f" {text}"
    return joined


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
        return [words(text) for text in self.texts]


def with_columns(options: SummaryOptions, path: str) -> SummaryOptions:
    """Returns options that name the columns of a table; told if found.

    Raises:
      UserError: unreadable.
    """
    there = records.names_in(path, options)
    keys = ("document_column", "summary_column")
    return column_names.with_usual(options, keys, _USUAL, there, path)


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
    rows = read_table(path, options, options.document_column)
    return [
        article(record, place, options, summarized) for record, place in rows
    ]


def article(
    record: Mapping[str, Any],
    place: str,
    options: SummaryOptions,
    summarized: bool,
) -> Article:
    """A record as a document; see `read`."""
    text = text_in(record, options.document_column, place, _HINT)
    spans = split(text, options.language)
    if not spans:
        raise UserError(
            f"{place}: {options.document_column}: expected a text with a "
            f"sentence, got {text!r:.40}"
        )
    summary = None
    if summarized or record.get(options.summary_column) not in (None, ""):
        summary = text_in(record, options.summary_column, place, _HINT)
    return Article(text, tuple(spans), options.title_line, summary, place)


def sentence_scores(
    places: Places, scores: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """The scores of each document's sentences.

    Args:
      places: of N documents.
      scores: float32 [L] of the tokens of each window.
    """
    found = np.array(
        [scores[r][p] for r, p in zip(places.row, places.position)], "float32"
    )
    return np.split(found, places.splits[1:-1])
