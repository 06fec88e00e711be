"""Where words begin in text that has no spaces between them, as Chinese.

A segmenter is a package of its own, installed by those who need it. This
file calls it, and carries what it says over to tokens.
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

# Of the tokens that begin words, the share of Chinese characters from which
# on a vocabulary is one for Chinese. BERT's for Chinese has 0.64, its English
# one 0.01.
_CHINESE_SHARE = 0.3

_log = logging.getLogger(__name__)


def check(name: str) -> str:
    """Returns the version of the package that segmenter `name` stands for.

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
    """Looks whether pieces ("##ing") can tell words from tokens.

    In Chinese every character is a token, and none a piece: this is said in
    the log, since such text is seldom pure.

    Args:
      vocab: the vocabulary.
      source: where the examples are, for messages.

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
            # Of its regular expressions, and of its use of setuptools.
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
    # Otherwise its dictionary is read from a cache that any user of the
    # machine, or another version, may have left in the common folder.
    with tempfile.TemporaryDirectory(prefix="electra_tf-") as folder:
        tokenizer.tmp_dir = folder
        tokenizer.initialize()
    return tokenizer.cut


@functools.cache
def segmenter(name: str) -> "Segmenter":
    """Returns the segmenter of that name, made once: its dictionary takes a
    second.
    """
    return Segmenter(name)


class Segmenter:
    """Cuts lines into words.

    Args:
      name: one of `SEGMENTERS`.

    Raises:
      UserError: see `check`.
    """

    def __init__(self, name: str):
        check(name)
        self._cut = _jieba_cut()

    def words(self, line: bytes) -> list[bytes]:
        """Returns the words of a line of UTF-8; joined, they are the line.

        White space and punctuation are words too.
        """
        # Bytes that are not UTF-8 come back as they are.
        text = line.decode("utf-8", "surrogateescape")
        return [
            word.encode("utf-8", "surrogateescape") for word in self._cut(text)
        ]

    def cut(self, text: str) -> list[str]:
        """As `words`, of a text."""
        return list(self._cut(text))

    def word_starts(
        self,
        lines: Sequence[bytes],
        row_splits: np.ndarray,
        start_bytes: np.ndarray,
    ) -> np.ndarray:
        """Returns which tokens begin a word.

        A token belongs to the word in which it begins; the first token of a
        line, and of each word that has any, begins a word.

        Args:
          lines: UTF-8.
          row_splits: int64 [lines + 1], where each line's tokens begin.
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
