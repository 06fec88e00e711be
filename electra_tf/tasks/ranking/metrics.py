"""MRR, nDCG and MAP of ranked passages, in percent.

Ties: of passages with equal scores the less relevant stand first, so that
equal scores gain nothing. Queries without a relevant passage among their
candidates tell nothing of a ranking, and are left out of the means.
"""

from collections.abc import Iterable

import numpy as np

CUTOFF = 10  # of MRR and nDCG


def ranking_scores(
    queries: Iterable[tuple[np.ndarray, np.ndarray]], relevant_from: float
) -> dict[str, float]:
    """Means over queries.

    Args:
      queries: of each, its candidates' scores [n] and relevances [n].
      relevant_from: the least relevance that MRR and MAP count as relevant.

    Returns:
      `mrr@10`, `ndcg@10` and `map`; empty where no query counts.
    """
    rows = []
    for scores, relevance in queries:
        ranked = relevance[np.lexsort((relevance, -scores))]
        relevant = ranked >= relevant_from
        if relevant.any():
            rows.append(
                (
                    reciprocal_rank(relevant),
                    normalised_gain(ranked),
                    average_precision(relevant),
                )
            )
    if not rows:
        return {}
    means = 100 * np.mean(rows, axis=0)
    names = (f"mrr@{CUTOFF}", f"ndcg@{CUTOFF}", "map")
    return dict(zip(names, map(float, means)))


def reciprocal_rank(relevant: np.ndarray) -> float:
    """1 / the rank of the first relevant passage; 0 below the cut-off.

    Args:
      relevant: bool [n], best first.
    """
    ranks = np.nonzero(relevant[:CUTOFF])[0]
    return float(1 / (ranks[0] + 1)) if len(ranks) else 0.0


def average_precision(relevant: np.ndarray) -> float:
    """Mean, over relevant passages, of the share of relevant ones up to it.

    Args:
      relevant: bool [n], best first, one true at least.
    """
    ranks = np.nonzero(relevant)[0]
    return float(np.mean(np.arange(1, len(ranks) + 1) / (ranks + 1)))


def normalised_gain(relevance: np.ndarray) -> float:
    """nDCG with gains 2^relevance - 1 and discounts log2(1 + rank).

    Args:
      relevance: float [n], best first; below 0 counts as 0.
    """
    best = _gain(np.sort(relevance)[::-1])
    return _gain(relevance) / best if best else 0.0


def _gain(relevance: np.ndarray) -> float:
    kept = np.maximum(relevance[:CUTOFF], 0)
    return float(
        np.sum((np.exp2(kept) - 1) / np.log2(np.arange(2, len(kept) + 2)))
    )
