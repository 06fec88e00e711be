"""Measures how much of a text stripping accents changes, by script.

Importing this module imports neither TensorFlow nor NumPy.
"""

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

from electra_tf.text.unknown import script_of

# Scripts in which marks are accents, which readers can do without. In others
# marks are vowels, tones and consonants.
_ACCENTED = ("LATIN", "GREEK", "CYRILLIC", "COPTIC")
# A text counts as having a script from this share of its letters on, and as
# changed much from this share of them.
_PRESENT, _CHANGED = 0.01, 0.02
# A vocabulary counts as made with accents from this share of its tokens on.
_KEPT = 0.02
_PREFIX = "stripping"


def changes(text: str) -> Counter[str]:
    """Counts the letters of a text, and those that stripping changes.

    Args:
      text: the original text.

    Returns:
      "stripping SCRIPT letters" and "stripping SCRIPT changed" -> a number.
    """
    found: Counter[str] = Counter()
    for character, count in Counter(text).items():
        kind = unicodedata.category(character)
        if kind[0] not in "LM":
            continue
        script = "LATIN" if character < "\x80" else script_of(character)
        found[f"{_PREFIX} {script} letters"] += count
        if _is_changed(character):
            found[f"{_PREFIX} {script} changed"] += count
    return found


def vocabulary_warning(tokens: Sequence[str]) -> str | None:
    """Warns of a vocabulary with accents, where texts have them stripped.

    Args:
      tokens: the vocabulary's tokens.

    Returns:
      A sentence without its full stop; None where few tokens have accents.
    """
    kept = sum(
        any(map(_is_changed, token)) for token in tokens if not token.isascii()
    )
    if kept <= _KEPT * len(tokens):
        return None
    return (
        f"{kept:,} of {len(tokens):,} tokens of the vocabulary have accents, "
        "which stripped text never reaches: the vocabulary was made with "
        "accents; give --nostrip_accents"
    )


def _is_changed(character: str) -> bool:
    """Returns whether stripping drops or decomposes a character."""
    return (
        unicodedata.category(character) == "Mn"
        or unicodedata.normalize("NFD", character) != character
    )


def take(counts: Counter[str]) -> dict[str, int]:
    """Removes the counts of `changes` from `counts`."""
    names = [name for name in counts if name.startswith(f"{_PREFIX} ")]
    return {name: counts.pop(name) for name in names}


def warning(counts: Mapping[str, int]) -> str | None:
    """Warns of scripts that stripping accents harms; None where there are none.

    Args:
      counts: sums of the counts of `changes`.
    """
    letters: Counter[str] = Counter()
    changed: Counter[str] = Counter()
    for name, count in counts.items():
        script, what = name.removeprefix(f"{_PREFIX} ").rsplit(" ", 1)
        (letters if what == "letters" else changed)[script] += count
    total = letters.total()
    harmed = [
        f"{changed[script] / count:.0%} of the letters that are "
        f"{script.title()}"
        for script, count in letters.most_common()
        if script not in _ACCENTED
        and count > _PRESENT * total
        and changed[script] > _CHANGED * count
    ]
    if not harmed:
        return None
    return (
        f"stripping accents changes {', '.join(harmed)}: vowel signs are lost, "
        "or syllables split, and words change their meaning; give "
        "--nostrip_accents, here and wherever the vocabulary is used"
    )
