"""The words that are tagged: out of column files, and out of plain texts.

Column files are CoNLL's: a word and its tag a line, an empty line between
sentences. What is read keeps its place in the file, for messages.

The words of a plain text are about those of the Penn Treebank, on which most
English sets are made: punctuation by itself, "do n't" and "John 's", numbers,
hyphened words, abbreviations and addresses whole. Each Chinese or Japanese
character is a word.
"""

import dataclasses
import re
import unicodedata
from collections.abc import Sequence

from electra_tf.errors import UserError
from electra_tf.tasks.records import text_lines
from electra_tf.text import inputs

_DOCUMENT_START = "-DOCSTART-"
# Not Unicode's white space: words may hold such.
_WHITE_SPACE = re.compile("[ \t]+")
# CoNLL-U: "3-4" and "5.1" are no words of the sentence.
_WORD_NUMBER = re.compile("[0-9]+")

# Each character is looked at as one that stands for its kind, so that letters
# of all scripts, with their accents, are words.
LETTER, DIGIT, IDEOGRAPH, SPACE = "x", "0", "\u4e00", " "

ABBREVIATIONS = (
    "mr mrs ms dr prof st jr sr gen col sgt capt lt gov sen rep rev hon inc"
    " corp co ltd bros vs jan feb mar apr jun jul aug sep sept oct nov dec"
).split()
_WORD = re.compile(
    rf"""
    {IDEOGRAPH}
    | (?:https?://|www\.)[^ {IDEOGRAPH}]*[a-z0-9/]   # addresses
    | (?:[a-z]\.){{2,}}                               # U.S.
    | (?:{"|".join(ABBREVIATIONS)})\.(?=\ ?[a-z0-9])
    | no\.(?=\ ?[0-9])
    | [od]'[a-z0-9]{{2,}}                              # O'Brien
    | [a-z]+(?=n't(?![a-z0-9]))                       # do n't
    | n't(?![a-z0-9])
    | '(?:s|m|d|re|ve|ll)(?![a-z0-9])                 # John 's
    | [0-9]+(?:[.,:/][0-9]+)*[a-z]*(?:-[a-z0-9]+)*    # 1,000.5 10:30 5th
    | [@\#]?[a-z0-9_]+(?:[-.@&_/][a-z0-9_]+)*         # e-mail AT&T a@b.c
    | ([^ a-z0-9])\1*                                 # ... --
    """,
    re.VERBOSE,
)


class _Kinds(dict):
    """Code point -> the character that stands for its kind."""

    def __missing__(self, code: int) -> str:
        kind = self[code] = kind_of(chr(code))
        return kind


def kind_of(character: str) -> str:
    """The character that stands for this one's kind."""
    if character.isascii():
        if character.isspace() or not character.isprintable():
            return SPACE
        return character.lower()
    if character in "\u2019\u02bc\uff07":
        return "'"
    if character.isspace():
        return SPACE
    if _is_ideograph(ord(character)):
        return IDEOGRAPH
    category = unicodedata.category(character)
    if category == "Nd":
        return DIGIT
    if category == "Cc":
        return SPACE
    # Marks, and joiners inside words.
    return LETTER if category[0] in "LMN" or category == "Cf" else character


def _is_ideograph(code: int) -> bool:
    """The tokenizer's Chinese characters, and the kana."""
    return (
        0x3040 <= code <= 0x30FF
        or 0x3400 <= code <= 0x4DBF
        or 0x4E00 <= code <= 0x9FFF
        or 0xF900 <= code <= 0xFAFF
        or 0x20000 <= code <= 0x2FA1F
    )


_KINDS = _Kinds()


def split_words(text: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The words of a text, and the character at which each starts."""
    found = [m.span() for m in _WORD.finditer(text.translate(_KINDS))]
    words = tuple(text[start:end] for start, end in found)
    return words, tuple(start for start, _ in found)


@dataclasses.dataclass(frozen=True)
class Sentence:
    """Words, and their tags where they are known.

    Attributes:
      tokens: the words.
      tags: one for each, as the file has them.
      text: what they stand in; None where they came by themselves. Then they
        are thought of with a space between.
      starts: the character of `text` at which each begins.
      place: "file:line" of the first word.
    """

    tokens: tuple[str, ...]
    tags: tuple[str, ...] | None = None
    text: str | None = None
    starts: tuple[int, ...] | None = None
    place: str = ""


def read_columns(
    path: str,
    token_column: int | None = None,
    tag_column: int | None = None,
    separator: str | None = None,
    format: str = "auto",
) -> list[Sentence]:
    """The sentences of a column file, in order.

    Lines that begin with -DOCSTART- are passed over. In CoNLL-U (`.conllu`)
    so are comments, and lines whose number is a range or has a point.

    Args:
      path: the file; `.gz`, `.xz` and `.zst` too.
      token_column: of the words, from 0, or from -1 back; None is the first
        (in CoNLL-U the second).
      tag_column: of the tags; None is the last (in CoNLL-U the fourth,
        UPOS). The token column again, in a file that has but one: no tags.
      separator: between columns; None is white space (in CoNLL-U a tab).
      format: "conll" or "conllu"; "auto" takes it from the name.

    Raises:
      UserError: unreadable, ragged, without words; file and line are named.
    """
    conllu = format == "conllu"
    if format == "auto":
        conllu = inputs.plain_name(path).lower().endswith(".conllu")
    if conllu and separator is None:
        separator = "\t"
    columns = (
        (1 if conllu else 0) if token_column is None else token_column,
        (3 if conllu else -1) if tag_column is None else tag_column,
    )
    sentences: list[Sentence] = []
    rows: list[list[str]] = []
    first = width = width_line = 0

    def end() -> None:
        if rows:
            place = f"{path}:{first}"
            sentences.append(_sentence(rows, columns, place))
            rows.clear()

    for number, line in text_lines(path):
        if not line.strip(" \t") or line.startswith(_DOCUMENT_START):
            end()
            continue
        if conllu and line.startswith("#"):
            continue
        cells = (
            _WHITE_SPACE.split(line.strip(" \t"))
            if separator is None
            else line.split(separator)
        )
        if not width:
            width, width_line = len(cells), number
            _check(columns, width, f"{path}:{number}")
        if len(cells) != width:
            raise UserError(
                f"{path}:{number}: {_columns(len(cells))}, expected {width} "
                f"as in line {width_line}; mend it, or say which separator "
                "(options.separator) is between columns"
            )
        if conllu and not _WORD_NUMBER.fullmatch(cells[0]):
            continue
        if not cells[columns[1]] and not _same(columns, width):
            raise UserError(f"{path}:{number}: the tag is empty")
        if not rows:
            first = number
        rows.append(cells)
    end()
    if not sentences:
        raise UserError(f"{path}: holds no words")
    return sentences


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
    rows: Sequence[Sequence[str]], columns: tuple[int, int], place: str
) -> Sentence:
    tokens, tags = (tuple(row[c] for row in rows) for c in columns)
    known = not _same(columns, len(rows[0]))
    return Sentence(tokens, tags if known else None, place=place)
