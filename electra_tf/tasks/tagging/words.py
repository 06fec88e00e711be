"""Finds the words to tag in plain texts.

Words are about those of the Penn Treebank, which most English sets follow:
punctuation is separate, "do n't" and "John 's" are split, and numbers,
hyphenated words, abbreviations and addresses are whole. Each Chinese or
Japanese character is a word.
"""

import dataclasses
import re
import unicodedata

# The pattern sees each character as a representative of its kind, so that
# letters of all scripts, with their accents, form words.
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
    """Maps a code point to the representative of its kind."""

    def __missing__(self, code: int) -> str:
        kind = self[code] = kind_of(chr(code))
        return kind


def kind_of(character: str) -> str:
    """Returns the representative of a character's kind."""
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
    """Returns whether a code is a Chinese character or kana."""
    return (
        0x3040 <= code <= 0x30FF
        or 0x3400 <= code <= 0x4DBF
        or 0x4E00 <= code <= 0x9FFF
        or 0xF900 <= code <= 0xFAFF
        or 0x20000 <= code <= 0x2FA1F
    )


_KINDS = _Kinds()


def split_words(text: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Returns the words of a text, and each one's first character."""
    found = [m.span() for m in _WORD.finditer(text.translate(_KINDS))]
    words = tuple(text[start:end] for start, end in found)
    return words, tuple(start for start, _ in found)


@dataclasses.dataclass(frozen=True)
class Sentence:
    """A sentence: its words, and their tags where known.

    Attributes:
      tokens: the words.
      tags: one for each word, as the file spells them.
      text: the text that contains them; None where only words were given, which
        count as joined by spaces.
      starts: each word's first character in `text`.
      place: "file:line" of the first word.
      lines: line of each word, where they are not consecutive.
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
        """Returns a word's place, "file:line", or the sentence's place."""
        path, _, line = self.place.rpartition(":")
        if self.lines is not None:
            return f"{path}:{self.lines[word]}"
        if self.counted and line.isdigit():
            return f"{path}:{int(line) + word}"
        return self.place
