"""WordPiece tokens back into readable text."""

import collections
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Spacing(NamedTuple):
    """Punctuation marks beside which there is no space."""

    before: frozenset[str]  # none before these
    after: frozenset[str]  # none after these


USUAL = Spacing(
    frozenset(".,!?;:%)]}\u2019\u201d\u00bb\u2026"),
    frozenset("([{\u2018\u201c\u00ab$£#@"),
)
QUOTE = '"'  # opens and closes in turn
NUMBER_MARKS = frozenset(".,:")  # no space after them between digits
APOSTROPHES = frozenset("'\u2019")
CONTRACTIONS = {"s", "t", "m", "d", "ll", "re", "ve"}
# A mark must be seen so often before its text decides over the usual.
_SEEN = 10
_CJK_RANGES = (
    (0x2E80, 0x2FDF), (0x3000, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF), (0xFF00, 0xFFEF), (0x20000, 0x323AF),
)  # fmt: skip


def learn(texts: Iterable[str]) -> Spacing:
    """How texts space their marks: hyphens, slashes, quotes of a language.

    A mark's side is as most of its occurrences are. Marks that are rare, and
    those that stand on either side of words, are as usual.

    Args:
      texts: such as the model is to write.
    """
    counts = {
        side: (collections.Counter(), collections.Counter())
        for side in ("before", "after")
    }
    for text in texts:
        for i, mark in enumerate(text):
            if not _is_mark(mark):
                continue
            for side, at in (("before", i - 1), ("after", i + 1)):
                if 0 <= at < len(text):
                    counts[side][text[at].isspace()][mark] += 1
    found = []
    for side, usual in zip(("before", "after"), USUAL):
        glued, spaced = counts[side]
        decided = {m for m in glued | spaced if glued[m] + spaced[m] >= _SEEN}
        found.append(
            (usual - decided) | {m for m in decided if glued[m] > spaced[m]}
        )
    return Spacing(*found)


def _is_mark(character: str) -> bool:
    if character.isalnum() or character in (QUOTE, *APOSTROPHES):
        return False
    return unicodedata.category(character)[0] in "PS"


def join(tokens: Iterable[str], spacing: Spacing = USUAL) -> str:
    """Joins pieces into words and words into text.

    "##" pieces are glued to what precedes them. There is no space between
    two CJK characters, before closing and after opening punctuation, inside
    numbers (3.14) and contractions (don't). The tokens do not say where the
    spaces were, so this is a good guess, not the original text.

    Args:
      tokens: pieces in order.
      spacing: of punctuation marks.
    """
    words: list[str] = []
    for token in tokens:
        if token.startswith("##") and len(token) > 2 and words:
            words[-1] += token[2:]
        else:
            words.append(token)
    text = ""
    open_quote = False
    for i, word in enumerate(words):
        before = words[i - 1] if i else ""
        glued = not i or _glued(words, i, spacing)
        if before == QUOTE and open_quote:
            glued = True
        if word == QUOTE:
            glued = glued or open_quote
            open_quote = not open_quote
        text += word if glued else " " + word
    return text


def _glued(words: Sequence[str], i: int, spacing: Spacing) -> bool:
    """Whether no space stands before word `i`, quotes apart."""
    before, word = words[i - 1], words[i]
    after = words[i + 1] if i + 1 < len(words) else ""
    if word in spacing.before or before in spacing.after:
        return True
    if is_cjk(before[-1]) and is_cjk(word[0]):
        return True
    if i > 1 and before in NUMBER_MARKS and word.isdigit():
        return words[i - 2].isdigit()
    if word in APOSTROPHES and before.isalpha():
        return after in CONTRACTIONS
    return before in APOSTROPHES and word in CONTRACTIONS and i > 1


def is_cjk(character: str) -> bool:
    """Whether it is of a script written without spaces."""
    code = ord(character)
    return any(low <= code <= high for low, high in _CJK_RANGES)
