"""Is Electric's score in one pass what its many passes would say?

  tools/score_electric.py --input='held_out/*.txt' --model=ELECTRIC_RUN

Sentences are scored by minus their energies, in one pass, and by the same
model's normalised probabilities, for which the sum over the vocabulary is
estimated at each token with --num_candidates passes. Told are the rank
correlations of both scores, of sums and a token (sums agree for long and
short sentences alone), and how long each took.
"""

import argparse
import random
import sys
import time

import numpy as np
from scipy import stats
from score_pairs import sentences

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.generation import loading
from electra_tf.generation.scoring import NormalizedScorer, Scorer


def compare(
    model: str, texts: list[str], num_candidates: int
) -> dict[str, float]:
    """Rank correlations, seconds, and the mean of log Z."""
    one = Scorer.from_pretrained(model, "electric")
    many = NormalizedScorer(model, num_candidates)
    lengths = many.tokenizer(texts).row_lengths().numpy() + loading.SPECIALS
    texts = [t for t, n in zip(texts, lengths) if n <= many.max_length]
    for scorer in (one, many):
        scorer.score(texts[:1])  # traced
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
    """Draws sentences, compares, prints."""
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
