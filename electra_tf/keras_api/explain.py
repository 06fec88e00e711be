"""Explains which tokens a prediction rests on; see `models.attributions`."""

import dataclasses
import html
import logging
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from electra_tf import columns, files
from electra_tf.errors import UserError
from electra_tf.models.attributions import STEPS, integrated_gradients
from electra_tf.models.task_networks import SequenceClassifier
from electra_tf.tasks.texts.targets import Target

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Explanation:
    """The contribution of each token of a text to an output.

    In a notebook it shows its tokens in colours; `print` shows numbers.

    Attributes:
      tokens: the row's tokens, special ones included.
      scores: float32 [tokens], the contribution of each to the output.
      spans: first and end character of each token in its text; (0, 0) for the
        special tokens.
      label: the class, or its number where it has no name; None for a
        regression.
      output: the class's logit, or the number.
      baseline: the output with [PAD] in place of all but special tokens.
      probability: probability of the class; None for a regression.
      error: distance of the scores' sum from output - baseline, relative to the
        larger of that difference and 1.
      tolerance: largest `error` that is accepted.
    """

    tokens: tuple[str, ...]
    scores: np.ndarray
    spans: tuple[tuple[int, int], ...]
    label: str | None
    output: float
    baseline: float
    probability: float | None
    error: float
    tolerance: float

    @property
    def complete(self) -> bool:
        """Whether the scores add up to output - baseline, within tolerance."""
        return self.error <= self.tolerance

    def __repr__(self) -> str:
        return f"<Explanation of {self._heading()}: {len(self.tokens)} tokens>"

    def __str__(self) -> str:
        width = max(map(len, self.tokens), default=0)
        lines = [
            f"{token:{width}} {score:+.3f}"
            for token, score in zip(self.tokens, self.scores)
        ]
        return "\n".join([self._heading(), *lines, self._sum()])

    def _heading(self) -> str:
        heading = "output" if self.label is None else str(self.label)
        heading += f" {self.output:+.3f}"
        if self.probability is not None:
            heading += f" (probability {self.probability:.3f})"
        return heading

    def _sum(self) -> str:
        return (
            f"sum {float(np.sum(self.scores)):+.3f}, output - baseline "
            f"{self.output - self.baseline:+.3f}: error {self.error:.2%}"
        )

    def _repr_html_(self) -> str:
        largest = float(np.max(np.abs(self.scores), initial=0.0)) or 1.0
        words: list[str] = []
        for token, score in zip(self.tokens, self.scores):
            piece = token.startswith("##") and len(token) > 2
            shown = html.escape(token[2:] if piece else token)
            space = "" if piece or not words else " "
            words.append(
                f'{space}<span style="{_colour(float(score) / largest)}" '
                f'title="{score:+.4f}">{shown}</span>'
            )
        legend = " ".join(
            f'<span style="{_colour(share)}">{text}</span>'
            for share, text in (
                (-1.0, "against"),
                (0.0, "no part"),
                (1.0, "for"),
            )
        )
        return (
            '<div style="background:#fff;color:#111;padding:8px;'
            'line-height:1.9;font-family:sans-serif">'
            f"<div><b>{html.escape(self._heading())}</b></div>"
            f"<div>{''.join(words)}</div>"
            f'<div style="font-size:85%">{legend} &middot; '
            f"{html.escape(self._sum())}</div></div>"
        )

    def to_html(self, path: str | None = None) -> str:
        """Makes an HTML page of the explanation.

        Args:
          path: where to write it; None to write nothing.

        Returns:
          The page.
        """
        return _page([self], path)


class Explanations(tuple[Explanation, ...]):
    """Several explanations; a notebook shows them one below the other."""

    def __repr__(self) -> str:
        return f"<{len(self)} explanations>"

    def __str__(self) -> str:
        return "\n\n".join(map(str, self))

    def _repr_html_(self) -> str:
        return "".join(one._repr_html_() for one in self)

    def to_html(self, path: str | None = None) -> str:
        """Makes an HTML page of all; see `Explanation.to_html`."""
        return _page(self, path)


def explain(
    model: Any,
    texts: str | Sequence[str],
    pairs: str | Sequence[str] | None = None,
    *,
    target: str | int | None = None,
    steps: int = STEPS,
    tolerance: float = 0.05,
) -> Any:
    """Finds what each token adds to a classifier's output.

        explanation = electra_tf.explain(model, "A charming film.")
        explanation  # in a notebook: the text in colours
        print(explanation)

    Args:
      model: a `TextClassifier` or `TextRegressor`, what `electra_tf.load`
        gives of a model for texts, or such a network with a `tokenizer`.
      texts: a text, or several.
      pairs: their second texts, of a task on pairs.
      target: the label, or its number, whose logit is explained; None takes the
        largest logit's.
      steps: number of points on the line from baseline to text; more are more
        exact.
      tolerance: the error above which a warning is logged.

    Returns:
      An `Explanation`; for several texts `Explanations`.

    Raises:
      UserError: the model is not a classifier or regressor of texts, it has no
        such label, there are no texts, or it reads pairs and these are none.
    """
    network = getattr(model, "network", model)
    tokenizer = getattr(model, "tokenizer", None)
    if not isinstance(network, SequenceClassifier) or tokenizer is None:
        raise UserError(
            f"explain: {type(model).__name__} is not a classifier of texts "
            "with a tokenizer; expected a TextClassifier, or "
            "electra_tf.load(RUN)"
        )
    if steps < 1:
        raise UserError(f"steps: {steps}; expected at least 1")
    tokenizer = getattr(tokenizer, "graph_tokenizer", tokenizer)
    task = getattr(model, "task", None)
    length = network.config.max_positions
    if task is not None:  # what its answers are of
        length = min(length, task.options.max_seq_length)
    chosen = _number(network, target)
    found = [
        _explained(
            network, tokenizer, getattr(task, "target", None), length,
            text, pair, chosen, steps, tolerance,
        )
        for text, pair in _given(task, texts, pairs)
    ]  # fmt: skip
    return found[0] if isinstance(texts, str) else Explanations(found)


def _given(task: Any, texts: Any, pairs: Any) -> list[tuple[str, str | None]]:
    """Returns the texts with their second ones, as the task reads them.

    Raises:
      UserError: there are no texts, or the task reads none such: pairs for a
        task on single texts, or the other way round.
    """
    firsts = _listed(texts, "texts")
    seconds = [None] * len(firsts) if pairs is None else _listed(pairs, "pairs")
    if not firsts:
        raise UserError("texts: expected at least one, got none")
    if len(seconds) != len(firsts):
        raise UserError(
            f"pairs: {len(seconds)} for {len(firsts)} texts; give one for each"
        )
    given = list(zip(firsts, seconds))
    if task is not None:
        for number, (text, pair) in enumerate(given):
            item = text if pair is None else (text, pair)
            task.asked(task.record(item), f"texts[{number}]")
    return given


def _listed(texts: Any, name: str) -> list[Any]:
    given = columns.listed(texts)
    several = isinstance(given, Iterable) and not isinstance(given, str)
    table = columns.names(texts) is not None
    found = list(given) if several and not table else [given]
    if not all(isinstance(text, str) for text in found):
        raise UserError(
            f"{name}: expected a text or a list of texts, got {texts!r:.40}"
        )
    return found


def _number(
    network: SequenceClassifier, target: str | int | None
) -> int | None:
    """Returns the number of the output to explain."""
    labels = network.head_config.labels or ()
    if isinstance(target, str):
        if target not in labels:
            raise UserError(
                f"target: {target!r} is none of {', '.join(labels) or 'them'}"
            )
        return list(labels).index(target)
    if target is None:
        return None
    count = network.head_config.num_labels
    if target not in range(count):
        raise UserError(f"target: {target!r}; expected 0 to {count - 1}")
    return int(target)


def _explained(
    network: SequenceClassifier,
    tokenizer: Any,
    said: Target | None,
    length: int,
    text: str,
    pair: str | None,
    target: int | None,
    steps: int,
    tolerance: float,
) -> Explanation:
    vocab = tokenizer.vocab
    if pair is not None and not tokenizer([pair]).flat_values.shape[0]:
        pair = None  # as tasks read it
    seconds = None if pair is None else [pair]
    rows = tokenizer.encode([text], seconds, return_offsets=True)
    if rows["input_ids"].shape[1] > length:
        rows = tokenizer.encode([text], seconds, length, return_offsets=True)
    ids, segments = rows["input_ids"][0], rows["segment_ids"][0]
    found = integrated_gradients(
        network,
        ids,
        segments,
        tf.constant(np.isin(ids.numpy(), [vocab.cls_id, vocab.sep_id])),
        vocab.pad_id,
        -1 if target is None else target,
        steps,
    )
    error = float(found.error)
    if error > tolerance:
        _log.warning(
            "explain: the sum of the scores differs from the output by %.1f "
            "%%, more than %.1f %%; take more than %d steps",
            100 * error, 100 * tolerance, steps,
        )  # fmt: skip
    chosen, label, probability = int(found.target), None, None
    labels = network.head_config.labels
    if labels or network.head_config.num_labels > 1:
        label = labels[chosen] if labels else str(chosen)
        shares = tf.nn.softmax(found.logits)
        if said is not None:
            shares = said.outputs(found.logits)["probabilities"]
        probability = float(shares[chosen])
    scale, offset = (said.scale, said.offset) if said else (1.0, 0.0)
    return Explanation(
        tokens=tuple(vocab.tokens[i] for i in ids.numpy()),
        scores=found.scores.numpy() * np.float32(scale),
        spans=tuple((int(a), int(b)) for a, b in rows["offsets"][0].numpy()),
        label=label,
        output=float(found.output) * scale + offset,
        baseline=float(found.baseline) * scale + offset,
        probability=probability,
        error=error,
        tolerance=tolerance,
    )


def _colour(share: float) -> str:
    """Returns a colour: blue for a positive score, orange for a negative one.

    Args:
      share: the score relative to the largest, -1 to 1.
    """
    red, green, blue = (31, 119, 230) if share >= 0 else (240, 130, 20)
    depth = 0.6 * math.sqrt(min(abs(share), 1.0))
    return (
        f"background:rgba({red},{green},{blue},{depth:.2f});color:#111;"
        "border-radius:3px;padding:1px 2px"
    )


def _page(parts: Sequence[Explanation], path: str | None) -> str:
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        "<title>Explanation</title></head><body>"
        + "<hr>".join(part._repr_html_() for part in parts)
        + "</body></html>\n"
    )
    if path is not None:
        files.write_text(path, page)
    return page
