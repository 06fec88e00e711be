"""The words that are tagged, and how they are found in plain texts.

The words of a plain text are about those of the Penn Treebank, on which most
English sets are made: punctuation by itself, "do n't" and "John 's", numbers,
hyphened words, abbreviations and addresses whole. Each Chinese or Japanese
character is a word.
"""

import dataclasses
import re
import unicodedata

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
    """Returns the character that stands for this one's kind."""
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
    """Returns the tokenizer's Chinese characters, and the kana."""
    return (
        0x3040 <= code <= 0x30FF
        or 0x3400 <= code <= 0x4DBF
        or 0x4E00 <= code <= 0x9FFF
        or 0xF900 <= code <= 0xFAFF
        or 0x20000 <= code <= 0x2FA1F
    )


_KINDS = _Kinds()


def split_words(text: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Returns the words of a text, and the character at which each starts."""
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
      lines: of each word, where they do not follow one another.
      counted: whether each word has a line of its own.
    """

    tokens: tuple[str, ...]
    tags: tuple[str, ...] | None = None
    text: str | None = None
    starts: tuple[int, ...] | None = None
    place: str = ""
    lines: tuple[int, ...] | None = None
    counted: bool = True

    def place_of(self, word: int) -> str:
        """Says where a word stands, "file:line" or the sentence's place."""
        path, _, line = self.place.rpartition(":")
        if self.lines is not None:
            return f"{path}:{self.lines[word]}"
        if self.counted and line.isdigit():
            return f"{path}:{int(line) + word}"
        return self.place
