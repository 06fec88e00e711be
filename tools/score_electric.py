"""Compares Electric's scores of one pass with those of many passes.

  tools/score_electric.py --input='held_out/*.txt' --model=ELECTRIC_RUN

Sentences are scored by minus their energies, in one pass, and by the same
model's normalised probabilities, for which the sum over the vocabulary is
estimated at each token with --num_candidates passes. It prints the rank
correlations of both scores: of sums, of means and of tokens (sums correlate
already because sentences differ in length), and the time of each.
"""

import argparse
import random
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from scipy import stats
from spoil_sentences import sentences

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.generation import loading, rows
from electra_tf.generation.scoring import Scorer

_ROWS_AT_ONCE = 256


class NormalizedScorer:
    """Scores texts by Electric's log p(token | context), with an estimated Z.

    Electric models p(token | context) as exp(-energy) / Z(context), and its
    training drives Z towards 1 (Clark et al. 2020b, sections 2.1 and 2.3).
    `Scorer` assumes Z = 1, in one pass. Here Z is estimated with many passes.

    Z = E over q of exp(-energy) / q, where q is the noise distribution of the
    two-tower generator at the token's position. The expectation is a mean over
    tokens at even steps of q's cumulative distribution, half a step off its
    ends: without random numbers, and with less variance than sampling.

    Attributes:
      num_candidates: tokens of the vocabulary that Z is estimated from: the
        number of passes for each token of a text.
      max_length: the longest text in tokens, specials included.
    """

    def __init__(
        self, path: str, num_candidates: int = 16, vocab: str | None = None
    ):
        """Loads both networks of an Electric model.

        Args:
          path: as `Scorer.from_pretrained` takes it.
          num_candidates: the more, the better the estimate.
          vocab: a vocabulary file, where there is none beside the model.

        Raises:
          UserError: the model is not Electric with a two-tower generator.
        """
        path, config = loading.describe(path)
        if not config.gives_energies:
            raise UserError(
                f"{path}: was not pre-trained with objective.kind=electric"
            )
        self.num_candidates = num_candidates
        self._noise: Any = loading.load_generator(path, vocab)
        self._network: Any = loading.load_discriminator(path, vocab)
        self.tokenizer = self._network.tokenizer
        self.max_length = loading.longest(self._network)
        matrix = tf.TensorSpec([None, None], tf.int32)
        self._log_q = tf.function(
            lambda ids, mask: tf.nn.log_softmax(
                self._noise(ids, mask, training=False).logits
            ),
            input_signature=[matrix] * 2,
            autograph=False,
        )
        self._energies = tf.function(
            lambda ids, mask: self._network(ids, mask, training=False).logits,
            input_signature=[matrix] * 2,
            autograph=False,
        )

    def score(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Returns the log-probabilities of each text's tokens.

        Returns:
          For each text a float32 array [tokens].

        Raises:
          UserError: a text is longer than `max_length`.
        """
        vocab = self.tokenizer.vocab
        room = self.max_length - loading.SPECIALS
        found = []
        for number, ids in enumerate(self.tokenizer(list(texts)).to_list(), 1):
            if len(ids) > room:
                raise UserError(
                    f"text {number}: {len(ids)} tokens, and the model reads "
                    f"{room} at once"
                )
            found.append(self._score([vocab.cls_id, *ids, vocab.sep_id]))
        return found

    def _score(self, row: list[int]) -> np.ndarray:
        """Returns the log-probabilities [tokens] of a row with specials."""
        length = rows.padded_length(len(row), self.max_length)
        batch = rows.padded([row], np.zeros([1], "int64"), length)
        count = len(row) - loading.SPECIALS
        places = 1 + np.arange(count)
        log_q = self._log_q(*batch[1:]).numpy()[0, 1 : 1 + count]  # [n, V]
        energy = self._energies(*batch[1:]).numpy()[0, 1 : 1 + count]
        tokens = _even_steps(log_q, self.num_candidates)  # [n, K]
        # One row for each place and candidate, with the candidate there.
        place = np.repeat(places, self.num_candidates)
        log_weights = np.empty([len(place)])
        for start in range(0, len(place), _ROWS_AT_ONCE):
            here = place[start : start + _ROWS_AT_ONCE]
            each = np.arange(len(here))
            ids = np.repeat(batch.input_ids, len(here), 0)
            ids[each, here] = tokens.ravel()[start : start + _ROWS_AT_ONCE]
            mask = np.repeat(batch.input_mask, len(here), 0)
            there = self._energies(ids, mask).numpy()
            log_weights[start : start + _ROWS_AT_ONCE] = -there[each, here]
        log_weights = log_weights.reshape(tokens.shape)
        log_weights -= np.take_along_axis(log_q, tokens, 1)
        log_z = np.logaddexp.reduce(log_weights, axis=1)
        log_z -= np.log(self.num_candidates)
        return (-energy - log_z).astype("float32")


def _even_steps(log_q: np.ndarray, count: int) -> np.ndarray:
    """Returns [n, count] tokens at even steps of cumulative probabilities.

    Args:
      log_q: [n, V] log-probabilities.
      count: tokens of a row.
    """
    cumulative = np.cumsum(np.exp(log_q.astype("float64")), axis=1)
    steps = (np.arange(count) + 0.5) / count
    found = [np.searchsorted(c, steps * c[-1]) for c in cumulative]
    return np.array(found, "int64").reshape(-1, count)


def compare(
    model: str, texts: list[str], num_candidates: int
) -> dict[str, float]:
    """Returns rank correlations, seconds, and the statistics of log Z."""
    one = Scorer.from_pretrained(model, "electric")
    many = NormalizedScorer(model, num_candidates)
    lengths = many.tokenizer(texts).row_lengths().numpy() + loading.SPECIALS
    texts = [t for t, n in zip(texts, lengths) if n <= many.max_length]
    for scorer in (one, many):
        scorer.score(texts[:1])  # traces, which is not timed
    start = time.perf_counter()
    quick = [found.log_probs for found in one.score(texts)]
    between = time.perf_counter()
    slow = many.score(texts)
    end = time.perf_counter()
    sums = [[x.sum() for x in found] for found in (quick, slow)]
    means = [[x.mean() for x in found] for found in (quick, slow)]
    log_z = np.concatenate(quick) - np.concatenate(slow)
    return {
        "sentences": len(texts),
        "spearman of sums": stats.spearmanr(*sums).statistic,
        "spearman of means": stats.spearmanr(*means).statistic,
        "spearman of tokens": stats.spearmanr(
            np.concatenate(quick), np.concatenate(slow)
        ).statistic,
        "mean log Z": log_z.mean(),
        "deviation of log Z": log_z.std(),
        "seconds, one pass": between - start,
        "seconds, many": end - between,
        "times as fast": (end - between) / (between - start),
    }


def main() -> int:
    """Samples sentences, compares the scores, and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--input", required=True, help="text files, globs")
    parser.add_argument("--model", required=True)
    parser.add_argument("--num_sentences", type=int, default=200)
    parser.add_argument("--num_candidates", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        text = "\n".join(
            files.read_text(path) for path in files.expand(options.input)
        )
        known = sentences(text)
        if len(known) < options.num_sentences:
            raise UserError(f"--input: holds {len(known)} sentences")
        texts = random.Random(options.seed).sample(known, options.num_sentences)
        found = compare(options.model, texts, options.num_candidates)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    for name, value in found.items():
        print(f"{name:<20} {value:10.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
