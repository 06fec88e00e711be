"""Texts -> the terms by which they are found.

Words without case, accents and endings (Snowball's stems). Chinese and
Japanese, which have no spaces, by their characters and pairs of neighbours.
Measured: on SQuAD's questions stems find the paragraph among the first five
1.5 to 2 points more often than WordPieces or plain words do, and leaving stop
words out does not help; for Chinese, pairs are well above the words of a
segmenter and above single characters.
"""

import logging
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

from electra_tf.errors import UserError

NO_STEMS = "none"

# Han with its extensions and compatibility forms, kana.
_UNSPACED = (
    "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
_RUN = re.compile(rf"([{_UNSPACED}]+)|[^\W_{_UNSPACED}]+")
_ACCENT = re.compile("[\u0300-\u036f]")


def package(name: str) -> Any:
    """A package of the extra `retrieval`.

    Raises:
      UserError: it is not installed.
    """
    try:
        found = __import__(name)
    except ImportError as error:
        raise UserError(
            f"looking through documents needs the package {name}: pip install "
            "'electra-tf[retrieval]'"
        ) from error
    if name == "bm25s":
        logging.getLogger(name).setLevel(logging.WARNING)
    return found


class Terms:
    """Makes terms of texts.

    Attributes:
      language: whose endings are left out; `NO_STEMS` for nobody's.
    """

    def __init__(self, language: str = "english"):
        """Looks the language up.

        Raises:
          UserError: there is no stemmer for it.
        """
        self.language = language
        self._stems = None
        if language != NO_STEMS:
            stemmer = package("Stemmer")
            known = stemmer.algorithms()
            if language not in known:
                raise UserError(
                    f"--language={language}: no stemmer for it; expected "
                    f"{NO_STEMS} or one of {', '.join(sorted(known))}"
                )
            self._stems = stemmer.Stemmer(language).stemWords

    def __call__(self, text: str) -> list[str]:
        """The terms of a text, in order, as often as they occur."""
        found = list(_terms(plain(text)))
        return found if self._stems is None else self._stems(found)


def plain(text: str) -> str:
    """`text` without case, accents and widths of characters."""
    if text.isascii():
        return text.lower()
    text = unicodedata.normalize("NFKD", text.casefold())
    return unicodedata.normalize("NFKC", _ACCENT.sub("", text))


def _terms(text: str) -> Iterator[str]:
    for match in _RUN.finditer(text):
        run = match[0]
        if match[1] is None:
            yield run
            continue
        yield from run
        for i in range(len(run) - 1):
            yield run[i : i + 2]
