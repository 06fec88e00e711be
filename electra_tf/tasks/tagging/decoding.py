"""Scores of labels at words -> the labels, valid ones if need be."""

import numpy as np

from electra_tf.tasks.tagging.schemes import Grammar

# Numbers of float32 that a step of the search holds at once.
_CELLS = 1 << 22


def best_labels(
    scores: np.ndarray, splits: np.ndarray, grammar: Grammar | None
) -> np.ndarray:
    """The labels of N sentences whose scores add up to most.

    Args:
      scores: float32 [W, K], log-probabilities of all words' labels.
      splits: int64 [N + 1], where each sentence starts among the words.
      grammar: which sequences may be chosen; None for any.

    Returns:
      int64 [W]. Of labels with equal scores the first is taken.
    """
    best = scores.argmax(axis=-1) if len(scores) else np.zeros([0], "int64")
    if grammar is None:
        return best
    wrong = np.nonzero(~_valid(best, splits, grammar))[0]
    lengths = np.diff(splits)
    # By length, so that little of a batch is padding.
    wrong = wrong[np.argsort(lengths[wrong], kind="stable")]
    step = max(1, _CELLS // scores.shape[1] ** 2)
    for i in range(0, len(wrong), step):
        chosen = wrong[i : i + step]
        _search(scores, best, splits[chosen], lengths[chosen], grammar)
    return best


def _valid(
    labels: np.ndarray, splits: np.ndarray, grammar: Grammar
) -> np.ndarray:
    """bool [N]: which sentences are valid; empty ones are."""
    ok = np.ones([len(labels)], bool)
    ok[1:] = grammar.next[labels[:-1], labels[1:]]
    full = np.nonzero(np.diff(splits))[0]
    firsts, lasts = splits[:-1][full], splits[1:][full] - 1
    ok[firsts] = grammar.first[labels[firsts]]
    ok[lasts] &= grammar.last[labels[lasts]]
    sums = np.concatenate([[0], np.cumsum(ok)])
    return np.diff(sums[splits]) == np.diff(splits)


def _search(
    scores: np.ndarray,
    labels: np.ndarray,
    starts: np.ndarray,
    lengths: np.ndarray,
    grammar: Grammar,
) -> None:
    """Viterbi's search in some sentences, shortest first; fills `labels`."""

    def barred(allowed: np.ndarray) -> np.ndarray:
        return np.where(allowed, 0.0, -np.inf).astype("float32")

    between, first, last = map(
        barred, (grammar.next, grammar.first, grammar.last)
    )
    size, longest = len(starts), int(lengths[-1])
    back = np.zeros([longest, size, scores.shape[1]], "int32")
    total = first + scores[starts]  # [sentences, K]
    for t in range(1, longest):
        here = np.searchsorted(lengths, t, "right")  # those that go on
        paths = total[here:, :, None] + between
        back[t, here:] = paths.argmax(axis=1)
        total[here:] = paths.max(axis=1) + scores[starts[here:] + t]
    label = (total + last).argmax(axis=-1)
    for t in range(longest - 1, -1, -1):
        here = np.searchsorted(lengths, t, "right")
        rows = np.arange(here, size)
        labels[starts[here:] + t] = label[here:]
        label[here:] = back[t, rows, label[here:]]
