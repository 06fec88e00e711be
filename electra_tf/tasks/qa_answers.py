"""Scores of positions -> answers in words, the best and the next best."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from electra_tf.models.task_heads import SpanOutput
from electra_tf.tasks.qa_features import Window


@dataclasses.dataclass(frozen=True)
class AnswerConfig:
    """Which answers are thought of; the original's defaults."""

    n_best_size: int = 20  # answers that are kept
    max_answer_length: int = 30  # in WordPieces


class Beam(NamedTuple):
    """What the model says on one window; K starts, M ends for each."""

    starts: np.ndarray  # [K] int, positions in the input
    start_scores: np.ndarray  # [K] float32
    ends: np.ndarray  # [K, M] int
    end_scores: np.ndarray  # [K, M] float32
    impossible: float | None = None  # logit; above 0: no answer here
    null_score: float | None = None  # score of [CLS] as the answer


class Candidate(NamedTuple):
    """One of the n best answers."""

    text: str
    score: float  # start's and end's, added
    probability: float  # among the candidates


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What is answered to one question.

    Attributes:
      text: the best answer; "" where no span is valid.
      null_odds: the higher, the likelier there is no answer: compare with a
        threshold. None where the model cannot tell.
      n_best: the candidates, best first.
    """

    text: str
    null_odds: float | None
    n_best: tuple[Candidate, ...]


def joint_beams(spans: SpanOutput) -> list[Beam]:
    """The beams of a batch from a joint head, one for each of its rows.

    Args:
      spans: of `QuestionAnswerer`, without a given start.
    """
    impossible = spans.impossible_logit
    rows = zip(
        spans.start_top_index.numpy(),
        spans.start_top_log_probs.numpy(),
        spans.end_top_index.numpy(),
        spans.end_top_log_probs.numpy(),
    )
    if impossible is None:
        return [Beam(*row) for row in rows]
    return [
        Beam(*row, impossible=float(logit))
        for row, logit in zip(rows, impossible.numpy())
    ]


def independent_beam(
    start_logits: np.ndarray, end_logits: np.ndarray, size: int
) -> Beam:
    """The beam of a head whose ends do not depend on starts.

    Args:
      start_logits: [L] float32 of one window.
      end_logits: [L] float32.
      size: starts and ends to keep.
    """
    starts = np.argsort(-start_logits, kind="stable")[:size]
    ends = np.argsort(-end_logits, kind="stable")[:size]
    shape = (len(starts), len(ends))
    return Beam(
        starts,
        start_logits[starts],
        np.broadcast_to(ends, shape),
        np.broadcast_to(end_logits[ends], shape),
        null_score=float(start_logits[0] + end_logits[0]),
    )


def predict(
    windows: Sequence[Window], beams: Sequence[Beam], config: AnswerConfig
) -> Prediction:
    """The answer to one question from all of its windows.

    Args:
      windows: of one example, in order; at least one.
      beams: one for each.
      config: which answers count.
    """
    scores, spans = [], []
    for window, beam in zip(windows, beams):
        score, first, last = _valid(window, beam, config)
        scores.append(score)
        spans.append(np.stack([first, last], axis=-1))
    score = np.concatenate(scores)
    span = np.concatenate(spans)
    document = windows[0].document
    found: dict[str, float] = {}
    for i in np.argsort(-score, kind="stable"):
        if len(found) == config.n_best_size:
            break
        found.setdefault(document.text(*span[i]), float(score[i]))
    best = list(found.items())
    weights = np.exp([s - best[0][1] for _, s in best])
    n_best = tuple(
        Candidate(text, s, float(w / weights.sum()))
        for (text, s), w in zip(best, weights)
    )
    return Prediction(
        n_best[0].text if n_best else "",
        _null_odds(beams, n_best[0].score if n_best else 0.0),
        n_best,
    )


def _valid(
    window: Window, beam: Beam, config: AnswerConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Score, first and last piece of the spans that may be an answer."""
    first = np.broadcast_to(beam.starts[:, None], beam.ends.shape)
    first = first - window.offset
    last = beam.ends - window.offset
    inside = (first >= 0) & (first < window.length)
    own = np.zeros(first.shape, bool)
    own[inside] = window.max_context[first[inside]]
    size = last - first + 1
    keep = own & (last < window.length) & (size > 0)
    keep &= size <= config.max_answer_length
    score = beam.start_scores[:, None] + beam.end_scores
    return score[keep], first[keep] + window.start, last[keep] + window.start


def _null_odds(beams: Sequence[Beam], best: float) -> float | None:
    # The window that believes most in an answer decides.
    if beams[0].impossible is not None:
        return min(b.impossible for b in beams)
    if beams[0].null_score is not None:
        return min(b.null_score for b in beams) - best
    return None
