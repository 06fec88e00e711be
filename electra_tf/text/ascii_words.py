"""The ids of a plain ASCII text, without a call of TensorFlow.

A call takes longer than all else that is done to a short sentence. These are
the ids that the tokenizer's graph gives; a text that is not plain is left to
it.

Importing this module imports neither TensorFlow nor NumPy.
"""

import functools
import re
from collections.abc import Sequence

from electra_tf.text.vocab import MAX_CHARS_PER_WORD

_PLAIN = re.compile(r"[ -~\t\n\r]*")
_WORDS = re.compile(r"[0-9A-Za-z]+|[!-~]")  # punctuation by itself


class AsciiWords:
    """Text -> ids: the longest piece first, word by word.

    Args:
      tokens: in the order of their ids; "##" marks what continues a word.
      unknown: the id of words that have no pieces.
      lower_case: whether text is lower-cased.
    """

    def __init__(self, tokens: Sequence[str], unknown: int, lower_case: bool):
        self._tokens = tokens
        self._unknown = unknown
        self._lower_case = lower_case

    # Made when a text comes: most tokenizers are never asked here.
    @functools.cached_property
    def _ids(self) -> dict[str, int]:
        return {token: i for i, token in enumerate(self._tokens)}

    @functools.cached_property
    def _longest(self) -> int:
        return max(map(len, self._tokens))

    def __call__(self, text: str) -> list[int] | None:
        """Returns the ids; None of a text that is not plain."""
        if not _PLAIN.fullmatch(text):
            return None
        if self._lower_case:
            text = text.lower()
        found: list[int] = []
        for word in _WORDS.findall(text):
            whole = self._ids.get(word)
            if len(word) > MAX_CHARS_PER_WORD:
                found.append(self._unknown)
            elif whole is not None:
                found.append(whole)
            else:
                found += self._pieces(word)
        return found

    def _pieces(self, word: str) -> list[int]:
        found: list[int] = []
        start, mark = 0, ""
        while start < len(word):
            end = min(len(word), start + self._longest)
            while end > start:
                number = self._ids.get(mark + word[start:end])
                if number is not None:
                    break
                end -= 1
            else:
                return [self._unknown]
            found.append(number)
            start, mark = end, "##"
        return found
