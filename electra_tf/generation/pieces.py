"""Which tokens may be written, and where pieces of words may stand."""

import unicodedata

import numpy as np

from electra_tf.text import detokenize
from electra_tf.text.vocab import SPECIALS, Vocab


class Pieces:
    """The tokens of a vocabulary as a writer has to know them.

    Attributes:
      banned: bool [V], never written: special tokens, [UNK], [unused1] and
        its like, pieces without text or of characters that are words by
        themselves, and rows of the token table that no token has.
      continues: bool [V], "##ing": goes on with the word before it.
      carries: bool [V], what such a piece may follow.
    """

    def __init__(self, vocab: Vocab, size: int):
        """Looks at each token once.

        Args:
          vocab: the vocabulary.
          size: V, rows of the token table, at least the tokens' number.
        """
        self.banned = np.ones([size], bool)
        self.continues = np.zeros([size], bool)
        self.carries = np.zeros([size], bool)
        for i, token in enumerate(vocab.tokens):
            continues = vocab.continues[i] and len(token) > 2
            body = token[2:] if continues else token
            in_word = _in_word(body[-1])
            self.continues[i] = continues
            self.carries[i] = in_word
            self.banned[i] = (
                token in SPECIALS
                or (len(token) > 2 and token[0] == "[" and token[-1] == "]")
                or any(_unwritable(c) for c in body)
                or (continues and not all(map(_in_word, body)))
            )

    def broken(self, ids: np.ndarray, before: np.ndarray) -> np.ndarray:
        """Where a piece goes on with a word that is not there.

        Args:
          ids: int [B, N], what was written.
          before: bool [B], whether a word may go on from what stands before.

        Returns:
          bool [B, N].
        """
        carried = np.concatenate(
            [before[:, None], self.carries[ids[:, :-1]]], axis=1
        )
        return self.continues[ids] & ~carried


def _in_word(character: str) -> bool:
    """Whether the tokenizer leaves it inside of words."""
    kind = unicodedata.category(character)[0]
    return kind in "LNM" and not detokenize.is_cjk(character)


def _unwritable(character: str) -> bool:
    """White space, controls, and what Unicode has not assigned."""
    kind = unicodedata.category(character)[0]
    return kind in "CZ" or character.isspace()
