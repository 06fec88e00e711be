"""Small question-answering files, and outputs of models with right answers."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from electra_tf.tasks.features import Features
from electra_tf.tasks.qa.features import Windows, targets, window_features

TEXT = "the cat sat on a mat , she ran with the dog to his house and was good"


def question(name: str, answer: str | None, text: str = TEXT) -> dict[str, Any]:
    """Returns one of SQuAD's `qas`; without an answer it is impossible."""
    if answer is None:
        return {
            "id": name, "question": "which cat?", "answers": [],
            "is_impossible": True,
        }  # fmt: skip
    place = {"text": answer, "answer_start": text.index(answer)}
    return {"id": name, "question": "who ran?", "answers": [place]}


def squad(qas: Sequence[dict[str, Any]], context: str = TEXT) -> dict[str, Any]:
    """Returns the questions in SQuAD's format, about one context."""
    return {"data": [{"paragraphs": [{"context": context, "qas": list(qas)}]}]}


def write(path: pathlib.Path, content: Any) -> str:
    """Writes JSON; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return str(path)


def knowing(
    features: Features, spans: Sequence[tuple[str, str, float] | None]
) -> list[dict[str, np.ndarray]]:
    """Returns a task's `outputs` for a model that is sure of its answers.

    Args:
      features: features without targets.
      spans: for each example, its answer, the next best answer, and the logit
        of being unanswerable; None for no valid answer.
    """
    windows: Windows = features.extra
    rows = []
    for window in windows:
        wanted = spans[window.example]
        found = [(0, 0)]
        for text in (wanted or ())[:2]:
            at = window.document.context.index(text)
            first = int(np.searchsorted(window.document.starts, at))
            last = int(
                np.searchsorted(window.document.ends, at + len(text), "right")
            )
            shift = window.offset - window.start
            found.append((first + shift, last - 1 + shift))
        starts = np.array([start for start, _ in found])
        ends = np.tile([end for _, end in found], (len(found), 1))
        scores = np.full(ends.shape, -50.0, "float32")
        for i in range(1, len(found)):
            scores[i, i] = -float(i)
        rows.append(
            {
                "starts": starts,
                "start_scores": np.zeros(len(starts), "float32"),
                "ends": ends,
                "end_scores": scores,
                "null_score": np.float32(-3.0),
                "impossible": np.float32(wanted[2] if wanted else 9.0),
            }
        )
    return rows


def window_arrays(windows, vocab, length=None):
    """Returns windows as model inputs and targets, int32.

    They are padded to `length`, or to the longest window if None.
    """
    features = dataclasses.replace(
        window_features(windows, vocab), rows=targets(windows)
    )
    return features.batch(np.arange(len(windows)), length)
