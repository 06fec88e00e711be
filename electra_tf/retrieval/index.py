"""Indexes passages by their terms, and searches them by BM25 (bm25s).

Terms are words without case, accents and endings (Snowball's stems). Texts in
scripts without spaces, as Chinese, Japanese and Thai, have characters and pairs
of neighbouring characters as terms. Measured: on SQuAD's questions stems find
the paragraph among the first five 1.5 to 2 points more often than WordPieces or
plain words do, and leaving stop words out does not help; for Chinese, pairs are
well above the words of a segmenter and above single characters.
"""

import collections
import logging
import pathlib
import re
import tempfile
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from electra_tf.errors import UserError
from electra_tf.retrieval import passages as passages_lib
from electra_tf.retrieval.passages import UNSPACED

NO_STEMS = "none"
# Lucene's variant: slightly the best of those tried on SQuAD's questions.
_K1, _B = 1.2, 0.75
_LOOKED_AT = 2000  # characters that the script is detected by
# Marks of Indic scripts are not letters to `re`, but parts of words.
_MARKS = "\u0900-\u0963\u0966-\u0dff"
_RUN = re.compile(f"([{UNSPACED}]+)|(?:[^\\W_{UNSPACED}]|[{_MARKS}])+")
# Latin, Greek and Cyrillic accents, vowel points of Hebrew and Arabic.
_ACCENT = re.compile(
    "[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u0640\u064b-\u065f\u0670]"
)


def package(name: str) -> Any:
    """Imports a package of the extra `retrieval`.

    Raises:
      UserError: the package is not installed.
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
      language: language of the stemmer; `NO_STEMS` for none.
    """

    def __init__(self, language: str = "english"):
        """Finds the stemmer of the language.

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
        """Returns the terms of a text, in order, as often as they occur."""
        found = list(_terms(plain(text)))
        return found if self._stems is None else self._stems(found)


def plain(text: str) -> str:
    """Normalises case, accents and widths of characters."""
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


class Found(NamedTuple):
    """A passage that shares terms with a question."""

    passage: passages_lib.Passage
    score: float  # BM25


class Index:
    """Finds passages by a question's terms.

    Attributes:
      passages: all passages.
    """

    def __init__(
        self,
        passages: Sequence[passages_lib.Passage],
        terms: Terms,
        bm25: Any = None,
    ):
        """Indexes passages.

        Args:
          passages: at least one.
          terms: makes terms of passages and questions.
          bm25: an existing index of these passages, if any.
        """
        self.passages = passages
        self._terms = terms
        if bm25 is None:
            bm25 = built([terms_of(passage, terms) for passage in passages])
        self._bm25 = bm25

    def search(self, question: str, count: int) -> list[Found]:
        """Returns the passages that share terms with a question, best first.

        Among passages with the same text, as in copies of a file, only the
        first is returned.

        Args:
          question: a text; without a known term nothing is found.
          count: most passages to return.
        """
        # Sorted, so that sums of floats are always the same.
        known = self._bm25.get_tokens_ids(sorted(self._terms(question)))
        if not known:
            return []
        scores = self._bm25.get_scores_from_ids(known)
        found: dict[str, Found] = {}  # the first of equal texts
        for i in np.argsort(-scores, kind="stable"):
            if len(found) == count or scores[i] <= 0:
                break
            passage = self.passages[i]
            found.setdefault(passage.text, Found(passage, float(scores[i])))
        return list(found.values())


def script_of(text: str) -> str:
    """Returns the script of most letters of a text; "" where it has none.

    Args:
      text: a text; only its beginning is used.
    """
    found = collections.Counter(
        unicodedata.name(character, "").split(" ")[0].title()
        for character in text[:_LOOKED_AT]
        if character.isalpha()
    )
    name = found.most_common(1)[0][0] if found else ""
    return {"Cjk": "Chinese", "Hiragana": "Japanese"}.get(name, name)


def terms_of(passage: passages_lib.Passage, terms: Terms) -> list[str]:
    """Returns the terms of a passage and of its heading."""
    found = terms(passage.text)
    if passage.heading and passage.heading not in passage.text:
        found += terms(passage.heading)
    return found


def built(rows: Sequence[Sequence[str]]) -> Any:
    """Makes the BM25 of passages.

    Args:
      rows: the terms of each passage.

    Raises:
      UserError: there are no terms.
    """
    bm25 = package("bm25s").BM25(k1=_K1, b=_B)
    if not any(rows):
        raise UserError("--documents: they have no words to search for")
    bm25.index(rows, show_progress=False)
    return bm25


def dumped(bm25: Any) -> dict[str, bytes]:
    """Returns the files that bm25s writes: name -> content."""
    with tempfile.TemporaryDirectory() as folder:
        bm25.save(folder, show_progress=False)
        return {
            file.name: file.read_bytes()
            for file in sorted(pathlib.Path(folder).iterdir())
        }


def restored(content: Mapping[str, bytes], count: int) -> Any:
    """Loads BM25 from the files of `dumped`; None if incomplete.

    Args:
      content: name -> content.
      count: expected number of passages.
    """
    if not content:
        return None
    try:
        with tempfile.TemporaryDirectory() as folder:
            for name, data in content.items():
                (pathlib.Path(folder) / name).write_bytes(data)
            bm25 = package("bm25s").BM25.load(folder, show_progress=False)
        whole = bm25.scores["num_docs"] == count
    except (OSError, ValueError, KeyError, EOFError):
        return None
    return bm25 if whole else None


def combined(
    retrieval: Sequence[float], reading: Sequence[float], weight: float
) -> np.ndarray:
    """Computes the probability of each answer among those to one question.

    It is a softmax over `(1 - weight) * retrieval + weight * reading`: the
    weighted product of two distributions over the passages, each a softmax of
    its scores. BERTserini (Yang et al. 2019) adds the raw scores of BM25 and a
    reader in this way.

    Args:
      retrieval: score of each answer's passage: BM25, or a ranking model's
        logit.
      reading: score of each answer's span, by the reader.
      weight: weight of the reading, 0 to 1.

    Returns:
      Probabilities, float64, that add up to 1.

    Raises:
      UserError: `weight` is not between 0 and 1.
    """
    if not 0 <= weight <= 1:
        raise UserError(f"--reading_weight={weight}: expected 0 to 1")
    scores = np.asarray(retrieval, "float64") * (1 - weight)
    scores = scores + np.asarray(reading, "float64") * weight
    if not len(scores):
        return scores
    shares = np.exp(scores - scores.max())
    return shares / shares.sum()
