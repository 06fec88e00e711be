"""Turns scores of positions into answers: the best and the next best."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from electra_tf.models.task_heads import SpanOutput
from electra_tf.tasks.qa.features import Window


@dataclasses.dataclass(frozen=True)
class AnswerConfig:
    """Which answers are considered; defaults are the original's."""

    n_best_size: int = 20  # answers that are kept
    max_answer_length: int = 30  # in WordPieces


class Beam(NamedTuple):
    """The best K starts of one window, and M ends for each."""

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
    start: int  # in characters of the context
    end: int  # the character after it


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The answer to one question.

    Attributes:
      text: the best answer; "" where no span is valid.
      null_odds: the higher, the likelier there is no answer: compare with a
        threshold. None where the model does not predict it.
      n_best: the candidates, best first.
    """

    text: str
    null_odds: float | None
    n_best: tuple[Candidate, ...]


# The answer to a context without a token.
NOTHING = Prediction("", None, ())


def beam_tensors(spans: SpanOutput, size: int) -> dict[str, tf.Tensor]:
    """Reduces a span head's output to `Beam` tensors; runs in the graph.

    Args:
      spans: output of `QuestionAnswerer`, without a given start.
      size: number of starts and ends to keep from an independent head.

    Returns:
      The fields of `Beam`, [B, ...] each; those of ends are [B, M] where they
      are the same for all starts.
    """
    if spans.start_top_index is not None:
        log_probs = tf.nn.log_softmax(spans.start_logits)
        found = {
            "starts": spans.start_top_index,
            "start_scores": spans.start_top_log_probs,
            "ends": spans.end_top_index,
            "end_scores": spans.end_top_log_probs,
            # Questions without an answer are trained to start and end at [CLS];
            # the end follows from the start.
            "null_score": log_probs[:, 0],
        }
    else:
        size = tf.minimum(size, tf.shape(spans.start_logits)[1])
        start, end = spans.inside()
        found = {"null_score": start[:, 0] + end[:, 0]}
        found["start_scores"], found["starts"] = tf.nn.top_k(start, size)
        found["end_scores"], found["ends"] = tf.nn.top_k(end, size)
    if spans.impossible_logit is not None:
        found["impossible"] = spans.impossible_logit
    return found


def beam_of(row: Mapping[str, np.ndarray], answerable: bool) -> Beam:
    """Makes the beam of one window.

    Args:
      row: one row of `beam_tensors`, as arrays.
      answerable: whether the model was trained on questions without an answer;
        if not, its odds mean nothing.
    """
    starts, ends = row["starts"], row["ends"]
    shape = (len(starts), ends.shape[-1])
    null = impossible = None
    if answerable:
        null = float(row["null_score"])
        if "impossible" in row:
            impossible = float(row["impossible"])
    return Beam(
        starts,
        row["start_scores"],
        np.broadcast_to(ends, shape),
        np.broadcast_to(row["end_scores"], shape),
        impossible,
        null,
    )


def predict(
    windows: Sequence[Window], beams: Sequence[Beam], config: AnswerConfig
) -> Prediction:
    """Returns the answer to one question from all of its windows.

    Args:
      windows: the windows of one example, in order; at least one.
      beams: one for each window.
      config: which answers are considered.
    """
    scores, spans = [], []
    for window, beam in zip(windows, beams):
        score, first, last = _valid(window, beam, config)
        scores.append(score)
        spans.append(np.stack([first, last], axis=-1))
    score = np.concatenate(scores)
    span = np.concatenate(spans)
    document = windows[0].document
    best: dict[str, int] = {}  # the first of equal texts
    for i in np.argsort(-score, kind="stable"):
        if len(best) == config.n_best_size:
            break
        best.setdefault(document.text(*span[i]), i)
    chosen = list(best.values())
    weights = np.exp(score[chosen] - score[chosen[:1]])
    weights /= weights.sum()
    n_best = tuple(
        Candidate(text, float(score[i]), float(w), *document.span(*span[i]))
        for (text, i), w in zip(best.items(), weights)
    )
    return Prediction(
        n_best[0].text if n_best else "",
        _null_odds(beams, n_best[0].score if n_best else 0.0),
        n_best,
    )


def _valid(
    window: Window, beam: Beam, config: AnswerConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns score, first and last piece of all spans allowed as answer."""
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
    # The window where an answer is likeliest decides.
    logits = [b.impossible for b in beams if b.impossible is not None]
    if logits:
        return min(logits)
    null_scores = [b.null_score for b in beams if b.null_score is not None]
    return min(null_scores) - best if null_scores else None
