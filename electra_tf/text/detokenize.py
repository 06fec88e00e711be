"""WordPiece tokens back into readable text."""

from collections.abc import Iterable

_NO_SPACE_BEFORE = set(".,!?;:%)]}\u2019\u201d\u00bb\u2026")
_NO_SPACE_AFTER = set("([{\u2018\u201c\u00ab$£#@")
_APOSTROPHES = "'\u2019"
_CONTRACTIONS = {"s", "t", "m", "d", "ll", "re", "ve"}
_CJK_RANGES = (
    (0x2E80, 0x2FDF), (0x3000, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF), (0xFF00, 0xFFEF), (0x20000, 0x323AF),
)  # fmt: skip


def join(tokens: Iterable[str]) -> str:
    """Joins pieces into words and words into text.

    "##" pieces are glued to what precedes them. There is no space between
    two CJK characters, before closing and after opening punctuation, inside
    numbers (3.14) and contractions (don't). The tokens do not say where the
    spaces were, so this is a good guess, not the original text.
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
        glued = not i or _glued(words, i)
        if before == '"' and open_quote:
            glued = True
        if word == '"':
            glued = glued or open_quote
            open_quote = not open_quote
        text += word if glued else " " + word
    return text


def _glued(words: list[str], i: int) -> bool:
    """Whether no space stands before word `i`, quotes apart."""
    before, word = words[i - 1], words[i]
    after = words[i + 1] if i + 1 < len(words) else ""
    if word in _NO_SPACE_BEFORE or before in _NO_SPACE_AFTER:
        return True
    if _is_cjk(before[-1]) and _is_cjk(word[0]):
        return True
    if i > 1 and before in ".,:" and word.isdigit():
        return words[i - 2].isdigit()
    if word in _APOSTROPHES and before.isalpha():
        return after in _CONTRACTIONS
    return before in _APOSTROPHES and word in _CONTRACTIONS and i > 1


def _is_cjk(character: str) -> bool:
    code = ord(character)
    return any(low <= code <= high for low, high in _CJK_RANGES)
