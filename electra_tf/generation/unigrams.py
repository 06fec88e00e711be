"""Words by how often they occur: what a model has to be better than."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.generation import pieces
from electra_tf.models import randomness
from electra_tf.text.tokenizer import Tokenizer
from electra_tf.text.vocab import Vocab


def count(tokenizer: Tokenizer, texts: Iterable[str]) -> Counter[str]:
    """How often each token occurs in texts."""
    found: Counter[int] = Counter()
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == 1024:
            found.update(tokenizer(batch).flat_values.numpy().tolist())
            batch = []
    if batch:
        found.update(tokenizer(batch).flat_values.numpy().tolist())
    return Counter({tokenizer.vocab.tokens[i]: n for i, n in found.items()})


class Table:
    """Draws tokens by their counts, pieces only where they go on."""

    def __init__(self, vocab: Vocab, counts: Mapping[str, int]):
        """Takes the counts of tokens that may be written.

        Raises:
          UserError: of none of them.
        """
        self._pieces = pieces.Pieces(vocab, len(vocab))
        weights = np.array([counts.get(t, 0) for t in vocab.tokens], "float64")
        weights[self._pieces.banned] = 0
        whole = np.where(self._pieces.continues, 0, weights)
        if not whole.sum():
            raise UserError(
                "--counts_from: holds no word that the model may write"
            )
        self._any, self._whole = np.cumsum(weights), np.cumsum(whole)

    def draw(
        self, numbers: Sequence[int], length: int, seed: int
    ) -> np.ndarray:
        """int64 [samples, length] token ids.

        Args:
          numbers: of the samples.
          length: tokens of each.
          seed: any integer.
        """
        found = np.zeros([len(numbers), length], "int64")
        if not len(numbers):
            return found
        keys = randomness.example_keys(tf.constant(numbers, tf.int64), seed)
        uniform = randomness.uniform(keys, length).numpy()
        carried = np.zeros([len(numbers)], bool)
        for i in range(length):
            for may_continue, table in ((0, self._whole), (1, self._any)):
                here = carried == bool(may_continue)
                found[here, i] = np.searchsorted(
                    table, uniform[here, i] * table[-1], side="right"
                )
            carried = self._pieces.carries[found[:, i]]
        return found
