"""Lists of words that are removed from texts: ours, or the user's.

Ours are function words, for what counts words (topics, search); a network
that reads sentences wants them left in.
"""

import pathlib

from electra_tf import files
from electra_tf.errors import UserError

_LISTS = pathlib.Path(__file__).parent / "stop_word_lists"


def languages() -> list[str]:
    """Those that there is a list of ours for."""
    return sorted(path.stem for path in _LISTS.glob("*.txt"))


def load(names: str) -> frozenset[str]:
    """The words, in lower case.

    Args:
      names: files, a word a line, or languages of ours; several are divided
        by commas. Lines that begin with # say something of the list.

    Raises:
      UserError: no such file, and no such language.
    """
    words: set[str] = set()
    for name in filter(None, (n.strip() for n in names.split(","))):
        if files.exists(name):
            text = files.read_text(name)
        elif name in languages():
            text = (_LISTS / f"{name}.txt").read_text("utf-8")
        else:
            raise UserError(
                f"--stop_words: {name}: no such file, and no list of ours "
                f"({', '.join(languages())})"
            )
        words |= {
            word.strip().lower()
            for word in text.split("\n")
            if not word.startswith("#")
        }
    return frozenset(words - {""})
