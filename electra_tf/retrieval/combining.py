"""How good an answer is: how well its passage fits, and how sure the reader."""

from collections.abc import Sequence

import numpy as np

from electra_tf.errors import UserError


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
