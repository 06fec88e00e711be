"""Texts -> terms -> BM25 over passages, by bm25s; in memory or on disk.

    <index>/about.json   of which documents, and how they were divided
    <index>/bm25s/...    what bm25s writes

The passages themselves are read from the documents each time.

Terms are words without case, accents and endings (Snowball's stems). Chinese
and Japanese, which have no spaces, by their characters and pairs of
neighbours. Measured: on SQuAD's questions stems find the paragraph among the
first five 1.5 to 2 points more often than WordPieces or plain words do, and
leaving stop words out does not help; for Chinese, pairs are well above the
words of a segmenter and above single characters.
"""

import json
import logging
import pathlib
import re
import tempfile
import unicodedata
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.retrieval import passages as passages_lib

NO_STEMS = "none"
_ABOUT, _BM25 = "about.json", "bm25s"
_VERSION = 1
# Lucene's; of those tried on SQuAD's questions the best, by a little.
_K1, _B = 1.2, 0.75
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


class Found(NamedTuple):
    """A passage that shares terms with a question."""

    passage: passages_lib.Passage
    score: float  # BM25


class Index:
    """Finds passages.

    Attributes:
      passages: all of them.
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
          terms: makes terms of them, and of questions.
          bm25: the index of these passages, if it was made before.
        """
        self.passages = passages
        self._terms = terms
        self._bm25 = _built(passages, terms) if bm25 is None else bm25

    def search(self, question: str, count: int) -> list[Found]:
        """The passages that fit best, best first; those that fit at all.

        Args:
          question: a text; without a term that is known, nothing is found.
          count: passages at most.
        """
        # In a fixed order, so that sums of floats are the same each time.
        known = self._bm25.get_tokens_ids(sorted(self._terms(question)))
        if not known:
            return []
        scores = self._bm25.get_scores_from_ids(known)
        best = np.argsort(-scores, kind="stable")[:count]
        return [
            Found(self.passages[i], float(scores[i]))
            for i in best
            if scores[i] > 0
        ]

    def save(self, path: str, about: Mapping[str, Any]) -> None:
        """Writes the index; it appears whole or not at all.

        Args:
          path: a directory; one that is there is replaced.
          about: what `load` compares.
        """
        partial = f"{path.rstrip('/')}.tmp-{uuid.uuid4().hex[:8]}"
        try:
            with tempfile.TemporaryDirectory() as folder:
                self._bm25.save(folder, show_progress=False)
                for file in sorted(pathlib.Path(folder).iterdir()):
                    target = files.join(partial, _BM25, file.name)
                    files.write_bytes(target, file.read_bytes())
            text = json.dumps(about, ensure_ascii=False, indent=1)
            files.write_text(files.join(partial, _ABOUT), f"{text}\n")
            files.remove(path)
            files.rename(partial, path)
        except BaseException:
            files.remove(partial)
            raise


def about(
    documents: passages_lib.Documents, terms: Terms, **settings: Any
) -> dict[str, Any]:
    """What decides an index: the documents, and how they are divided."""
    return {
        "version": _VERSION,
        "language": terms.language,
        **settings,
        "files": documents.digests,
    }


def load(
    path: str,
    passages: Sequence[passages_lib.Passage],
    terms: Terms,
    expected: Mapping[str, Any],
) -> Index:
    """An index that `save` wrote.

    Args:
      path: its directory.
      passages: of the documents as they are now.
      terms: makes terms of questions.
      expected: of these documents; see `about`.

    Raises:
      UserError: it is of other documents or settings, damaged, or no index.
    """
    check_is_index(path)
    place = files.join(path, _ABOUT)
    damaged = UserError(
        f"--index: {path}: is damaged; give --overwrite to make it again"
    )
    try:
        found = dict(json.loads(files.read_text(place)))
    except (ValueError, TypeError, UserError) as error:
        raise damaged from error
    changed = _changed(found, expected)
    if changed:
        raise UserError(
            f"--index: {path}: was made from other documents or settings "
            f"({changed}); give --overwrite to make it again"
        )
    with tempfile.TemporaryDirectory() as folder:
        inside = files.join(path, _BM25)
        try:
            for name in files.list_directory(inside):
                content = files.read_bytes(files.join(inside, name))
                (pathlib.Path(folder) / name).write_bytes(content)
            bm25 = package("bm25s").BM25.load(folder, show_progress=False)
            whole = bm25.scores["num_docs"] == len(passages)
        except (OSError, ValueError, KeyError, EOFError, UserError) as error:
            raise damaged from error
    if not whole:
        raise damaged
    return Index(passages, terms, bm25)


def check_is_index(path: str) -> None:
    """Keeps what is no index from being read, or replaced.

    Raises:
      UserError: it is something else.
    """
    if not files.exists(files.join(path, _ABOUT)):
        raise UserError(
            f"--index: {path}: is there, and no index (it has no {_ABOUT}); "
            "name another directory"
        )


def _built(passages: Sequence[passages_lib.Passage], terms: Terms) -> Any:
    bm25 = package("bm25s").BM25(k1=_K1, b=_B)
    rows = [terms(passage.text) for passage in passages]
    if not any(rows):
        raise UserError(
            "--documents: no words in them that could be looked for"
        )
    bm25.index(rows, show_progress=False)
    return bm25


def _changed(found: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """What is not as it was, in a few words; "" if all is."""
    for name in expected:
        if name != "files" and found.get(name) != expected[name]:
            return f"{name}: {found.get(name)}, now {expected[name]}"
    before, now = dict(found.get("files") or {}), expected["files"]
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            if name not in now:
                return f"{name} is gone"
            return f"{name} is {'changed' if name in before else 'new'}"
    return ""


def combined(
    retrieval: Sequence[float], reading: Sequence[float], weight: float
) -> np.ndarray:
    """The share of each answer among all answers to one question.

    A softmax over `(1 - weight) * retrieval + weight * reading`: the weighted
    product of two distributions over the passages, each a softmax of its
    scores. Added like this, with scores as they are, BM25 and a reader answer
    together in BERTserini (Yang et al. 2019).

    Args:
      retrieval: of each answer's passage: BM25, or a ranking model's logit.
      reading: of each answer: the reader's score of its span.
      weight: of the reading, 0 to 1.

    Returns:
      float64, one for each, that add up to 1.

    Raises:
      UserError: `weight` is no such number.
    """
    if not 0 <= weight <= 1:
        raise UserError(f"--reading_weight={weight}: expected 0 to 1")
    scores = np.asarray(retrieval, "float64") * (1 - weight)
    scores = scores + np.asarray(reading, "float64") * weight
    if not len(scores):
        return scores
    shares = np.exp(scores - scores.max())
    return shares / shares.sum()
