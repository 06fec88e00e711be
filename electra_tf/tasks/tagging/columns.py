"""Reads column files: a word and its tag on a line, blank line per sentence.

CoNLL-U, comments and a column that numbers the words are recognised by content.
"""

import collections
import dataclasses
import logging
import re
from collections.abc import Sequence

from electra_tf.errors import UserError
from electra_tf.tasks.records import text_lines
from electra_tf.tasks.tagging.schemes import (
    OUTSIDE,
    from_brackets,
    looks_like_spans,
)
from electra_tf.tasks.tagging.words import Sentence
from electra_tf.text import inputs

_log = logging.getLogger(__name__)
_DOCUMENT_START = "-DOCSTART-"
# Marks of CoNLL-2012 that are not words.
_DOCUMENT_MARKS = ("#begin document", "#end document", "###MEDLINE:")
# CoNLL-2012: word and named entity; the columns after these vary.
_ONTONOTES = (3, 10)
_LANGUAGE = re.compile("[a-z]{2,3}(-[a-z]+)*:")  # WikiANN's prefix of words
# Only ASCII white space: words may contain Unicode's.
_WHITE_SPACE = re.compile("[ \t]+")
# CoNLL-U: lines "3-4" and "5.1" are not words of the sentence.
_WORD_NAMES = ("word", "words", "token", "tokens")
_TAG_NAMES = ("tag", "tags", "label", "labels", "ner", "ner_tag", "ner_tags")
_WORD_NUMBER = re.compile("[0-9]+")
_ANY_NUMBER = re.compile("[0-9]+([-.][0-9]+)?")
_CONLLU_WIDTH = 10
_SURVEYED = 20_000  # lines that are inspected before a file is read


@dataclasses.dataclass(frozen=True)
class _Survey:
    """What the first lines of a file look like.

    Attributes:
      conllu: whether it is CoNLL-U.
      width: the usual number of columns; 0 for a file without words.
      tags: values in the last column of lines that do not begin with "#".
      numbered: whether the first column numbers the words of sentences.
      tabbed: whether only tabs separate columns, and words contain spaces.
      ontonotes: whether it has the form of CoNLL-2012.
    """

    conllu: bool
    width: int
    tags: frozenset[str]
    numbered: bool
    tabbed: bool = False
    ontonotes: bool = False


def read_columns(
    path: str,
    token_column: int | None = None,
    tag_column: int | None = None,
    separator: str | None = None,
    format: str = "auto",
    comment: str | None = None,
) -> list[Sentence]:
    """Returns the sentences of a column file, in order.

    Lines that begin with -DOCSTART- and comments are skipped, in CoNLL-U also
    lines whose number is a range or has a point.

    Args:
      path: the file; `.gz`, `.xz` and `.zst` are accepted.
      token_column: number of the words' column, from 0, or from -1 backwards;
        None is the first that does not number the words (in CoNLL-U the
        second).
      tag_column: number of the tags' column; None is the last (in CoNLL-U the
        fourth, UPOS). In a file with a single column it is the token column,
        and there are no tags.
      separator: between columns; None is white space (in CoNLL-U a tab).
      format: "conll" or "conllu"; "auto" detects it by name or content.
      comment: prefix of comments. None takes lines before a sentence that begin
        with "#" and white space and are not a word with its tag; "" means that
        there are no comments.

    Raises:
      UserError: the file is unreadable, has no words, or its lines differ in
        columns; file and line are named.
    """
    survey = _survey(path, separator)
    conllu = format == "conllu"
    if format == "auto":
        named = inputs.plain_name(path).lower().endswith(".conllu")
        conllu = named or survey.conllu
    if conllu and separator is None:
        separator = "\t"
    if separator is None and survey.tabbed:
        separator = "\t"
    ontonotes = survey.ontonotes and token_column is None
    if ontonotes:
        token_column, last = _ONTONOTES
        tag_column = last if tag_column is None else tag_column
    numbered = survey.numbered and not conllu and token_column is None
    if numbered:
        _log.warning(
            "%s: the first column numbers the words; taking the second for "
            "them (options.token_column=1)", path,
        )  # fmt: skip
    columns = (
        int(conllu or numbered) if token_column is None else token_column,
        (3 if conllu else -1) if tag_column is None else tag_column,
    )
    sentences: list[Sentence] = []
    rows: list[list[str]] = []
    numbers: list[int] = []
    width = width_line = 0

    def end() -> None:
        if rows:
            sentences.append(_sentence(rows, columns, path, numbers))
            rows.clear()
            numbers.clear()

    for number, line in text_lines(path):
        if not line.strip(" \t") or line.startswith(_DOCUMENT_START):
            end()
            continue
        cells = _cells(line, separator)
        if line[0] == "#" and (
            (conllu and comment is None)
            or _is_comment(line, cells, survey, comment, bool(rows))
        ):
            continue
        if comment and line.startswith(comment):
            continue
        if ontonotes:
            cells = cells[: _ONTONOTES[1] + 1]
        if not width and _names_columns(cells, columns):
            _log.warning(
                "%s:%d: skipped, as it names the columns", path, number
            )
            continue
        if not width:
            width, width_line = len(cells), number
            _check(columns, width, f"{path}:{number}")
        if len(cells) != width:
            raise UserError(
                f"{path}:{number}: {_columns(len(cells))}, expected {width} as "
                f"in line {width_line}; correct it, or give the separator that "
                "(options.separator) is between columns, or the beginning of "
                "comments (options.comment)"
            )
        if conllu and not _WORD_NUMBER.fullmatch(cells[0]):
            continue
        if not cells[columns[1]] and not _same(columns, width):
            raise UserError(f"{path}:{number}: the tag is empty")
        rows.append(cells)
        numbers.append(number)
    end()
    if not sentences:
        raise UserError(f"{path}: holds no words")
    return _without_language(_without_brackets(sentences), path)


def _without_brackets(sentences: list[Sentence]) -> list[Sentence]:
    """Converts CoNLL-2012's tags of brackets to BIO."""
    tags = [from_brackets(sentence.tags or ()) for sentence in sentences]
    if None in tags or not any(set(found or ()) - {OUTSIDE} for found in tags):
        return sentences
    return [
        dataclasses.replace(sentence, tags=tuple(found or ()))
        for sentence, found in zip(sentences, tags)
    ]


def _without_language(sentences: list[Sentence], path: str) -> list[Sentence]:
    """Removes WikiANN's prefix of words, such as "en:"."""
    found = _LANGUAGE.match(sentences[0].tokens[0])
    if found is None or not all(
        token.startswith(found[0])
        for sentence in sentences
        for token in sentence.tokens
    ):
        return sentences
    size = len(found[0])
    if all(len(t) == size for s in sentences for t in s.tokens):
        return sentences
    _log.warning("%s: '%s' before every word is left out", path, found[0])
    return [
        dataclasses.replace(s, tokens=tuple(t[size:] for t in s.tokens))
        for s in sentences
    ]


def _names_columns(cells: Sequence[str], columns: tuple[int, int]) -> bool:
    """Returns whether a first line is a header such as "word tag"."""
    try:
        word, tag = (cells[column].lower() for column in columns)
    except IndexError:
        return False
    return word in _WORD_NAMES and tag in _TAG_NAMES


def _cells(line: str, separator: str | None) -> list[str]:
    if separator is not None:
        return line.split(separator)
    # Usually one space or tab separates: this path is several times as fast.
    cells = line.split("\t" if "\t" in line else " ")
    if "" in cells or (" " in line and "\t" in line):
        return _WHITE_SPACE.split(line.strip(" \t"))
    return cells


def _is_comment(
    line: str,
    cells: Sequence[str],
    survey: _Survey,
    comment: str | None,
    inside: bool,
) -> bool:
    """Returns whether a line that begins with "#" is a comment."""
    if comment is not None:
        return bool(comment) and line.startswith(comment)
    if line.startswith(_DOCUMENT_MARKS):
        return True
    if inside or line.lstrip("#")[:1] not in (" ", "\t"):
        return False  # a hashtag, or the word "#"
    if not survey.width:
        return False
    if len(cells) != survey.width:
        return True
    return cells[-1] not in survey.tags and not looks_like_spans(cells[-1])


def _survey(path: str, separator: str | None) -> _Survey:
    widths: collections.Counter[int] = collections.Counter()
    tags: set[str] = set()
    numbers: list[str] = []
    conllu = lines = sentences = 0
    tabs: set[int] = set()
    ontonotes = False
    numbered = True

    def end() -> None:
        nonlocal numbered, sentences
        if numbers:
            sentences += len(numbers) > 1
            numbered &= numbers == [str(i + 1) for i in range(len(numbers))]
            numbers.clear()

    for number, line in text_lines(path):
        if number > _SURVEYED:
            numbers.clear()  # the last sentence may be incomplete
            break
        ontonotes |= line.startswith("#begin document")
        if not line.strip(" \t") or line.startswith(_DOCUMENT_START):
            end()
        elif not line.startswith("#"):
            tabs.add(line.count("\t"))
            cells = _cells(line, separator)
            widths[len(cells)] += 1
            tags.add(cells[-1])
            numbers.append(cells[0])
            tabbed = line.split("\t")
            lines += 1
            conllu += len(tabbed) == _CONLLU_WIDTH and bool(
                _ANY_NUMBER.fullmatch(tabbed[0])
            )
    end()
    width = widths.most_common(1)[0][0] if widths else 0
    return _Survey(
        bool(lines) and conllu == lines,
        width,
        frozenset(tags),
        numbered and sentences > 0 and width > 2,
        len(widths) > 1 and len(tabs) == 1 and 0 not in tabs,
        ontonotes and min(widths, default=0) > _ONTONOTES[1],
    )


def _check(columns: tuple[int, int], width: int, place: str) -> None:
    for name, column in zip(("token_column", "tag_column"), columns):
        if not -width <= column < width:
            raise UserError(
                f"{place}: {_columns(width)}, and options.{name} is {column}; "
                f"expected {-width} to {width - 1}"
            )


def _columns(count: int) -> str:
    return "1 column" if count == 1 else f"{count} columns"


def _same(columns: tuple[int, int], width: int) -> bool:
    return (columns[0] - columns[1]) % width == 0


def _sentence(
    rows: Sequence[Sequence[str]],
    columns: tuple[int, int],
    path: str,
    numbers: Sequence[int],
) -> Sentence:
    tokens, tags = (tuple(row[c] for row in rows) for c in columns)
    known = not _same(columns, len(rows[0]))
    lines = tuple(numbers)
    regular = lines[-1] - lines[0] == len(lines) - 1
    return Sentence(
        tokens,
        tags if known else None,
        place=f"{path}:{lines[0]}",
        lines=None if regular else lines,
    )
