"""Finds words in text without spaces between them, such as Chinese.

A segmenter is a separate package, installed by those who need it. This module
calls it, and maps its words to tokens.
"""

import functools
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from electra_tf.errors import UserError
from electra_tf.text.vocab import Vocab

SEGMENTERS = ("jieba",)

# A vocabulary is Chinese from this share of Chinese characters among the tokens
# that begin words. BERT's Chinese one has 0.64, its English one 0.01.
_CHINESE_SHARE = 0.3

_log = logging.getLogger(__name__)


def check(name: str) -> str:
    """Returns the version of a segmenter's package.

    Raises:
      UserError: no such segmenter, or its package is not installed.
    """
    if name not in SEGMENTERS:
        raise UserError(
            f"--word_segmenter={name}: unknown; expected "
            f"{' or '.join(SEGMENTERS)}"
        )
    return _jieba().__version__


def check_pieces(vocab: Vocab, source: str) -> None:
    """Checks whether pieces ("##ing") show where words begin.

    In Chinese every character is a token, and none is a piece: this is only
    logged, since such text is seldom purely Chinese.

    Args:
      vocab: the vocabulary.
      source: the examples, for messages.

    Raises:
      UserError: the vocabulary has no pieces at all.
    """
    advice = (
        f"set masking.unit=token, or build {source} again with "
        f"--word_segmenter={SEGMENTERS[0]}"
    )
    if not any(vocab.continues):
        raise UserError(
            "masking.unit=whole_word: the vocabulary has no pieces (##...), "
            f"so every token is a word; {advice}"
        )
    whole = [
        token
        for token, continues in zip(vocab.tokens, vocab.continues)
        if not continues
    ]
    chinese = sum("\u4e00" <= token <= "\u9fff" for token in whole)
    if chinese > _CHINESE_SHARE * len(whole):
        _log.warning(
            "masking.unit=whole_word: this is a Chinese vocabulary, and in "
            "Chinese text every character is a word of its own here: %s",
            advice,
        )


def _jieba() -> Any:
    try:
        with warnings.catch_warnings():
            # Its warnings about regular expressions and setuptools.
            warnings.simplefilter("ignore")
            import jieba
    except ImportError as error:
        raise UserError(
            "--word_segmenter=jieba needs the package jieba: pip install jieba"
        ) from error
    jieba.setLogLevel(logging.WARNING)
    return jieba


def _jieba_cut() -> Callable[[str], Iterator[str]]:
    tokenizer = _jieba().Tokenizer()
    # Otherwise it reads its dictionary from a cache in the common folder, which
    # any user of the machine, or another version, may have left.
    with tempfile.TemporaryDirectory(prefix="electra_tf-") as folder:
        tokenizer.tmp_dir = folder
        tokenizer.initialize()
    return tokenizer.cut


@functools.cache
def segmenter(name: str) -> "Segmenter":
    """Returns a segmenter, made once: loading its dictionary takes a second."""
    return Segmenter(name)


class Segmenter:
    """Splits lines into words.

    Args:
      name: one of `SEGMENTERS`.

    Raises:
      UserError: see `check`.
    """

    def __init__(self, name: str):
        check(name)
        self._cut = _jieba_cut()

    def words(self, line: bytes) -> list[bytes]:
        """Splits a line of UTF-8 into words, which joined give the line.

        White space and punctuation are words too.
        """
        # Bytes that are not UTF-8 are returned unchanged.
        text = line.decode("utf-8", "surrogateescape")
        return [
            word.encode("utf-8", "surrogateescape") for word in self._cut(text)
        ]

    def cut(self, text: str) -> list[str]:
        """Splits a text like `words`."""
        return list(self._cut(text))

    def word_starts(
        self,
        lines: Sequence[bytes],
        row_splits: np.ndarray,
        start_bytes: np.ndarray,
    ) -> np.ndarray:
        """Returns which tokens begin a word.

        A token belongs to the word in which it begins; the first token of a
        line, and of each word with tokens, begins a word.

        Args:
          lines: UTF-8.
          row_splits: int64 [lines + 1], where the tokens of each line begin.
          start_bytes: int64 [tokens], where each token begins in its line.

        Returns:
          bool [tokens].
        """
        sizes = np.array([len(line) for line in lines], np.int64)
        before_line = np.cumsum(sizes) - sizes
        lengths = [len(word) for line in lines for word in self.words(line)]
        ends = np.cumsum(lengths, dtype=np.int64)
        place = start_bytes + np.repeat(before_line, np.diff(row_splits))
        word = np.searchsorted(ends, place, side="right")
        return np.diff(word, prepend=-1) > 0
