"""Which tokens an answer rests on: integrated gradients, `explain`.

The attribution of a token is the integral of the output's gradient along the
straight line from a baseline, where [PAD] stands in the token's place, to its
own embedding (Sundararajan et al. 2017). Attributions add up to the difference
of both outputs; how nearly is said.
"""

import dataclasses
import html
import logging
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.models.task_networks import SequenceClassifier

_AT_ONCE = 2048  # tokens in one pass
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What an output for a text rests on.

    In a notebook it shows its tokens in colours; `print` shows numbers.

    Attributes:
      tokens: the row's tokens, special ones included.
      scores: float32 [tokens], what each adds to the output.
      spans: where each token is in its own text, in characters; (0, 0) for
        the special tokens.
      label: the class, or its number where it has no name; None of a number.
      output: the class's logit, or the number.
      baseline: the same with [PAD] in place of all tokens but the specials.
      probability: of the class; None of a number.
      error: how far the sum of the scores is from output - baseline, as a
        share of the larger of that difference and of 1.
      tolerance: what `error` may be.
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
        """Whether the scores add up to what they explain."""
        return self.error <= self.tolerance

    def __repr__(self) -> str:
        return f"<Explanation of {self._told()}: {len(self.tokens)} tokens>"

    def __str__(self) -> str:
        width = max(map(len, self.tokens), default=0)
        lines = [
            f"{token:{width}} {score:+.3f}"
            for token, score in zip(self.tokens, self.scores)
        ]
        return "\n".join([self._told(), *lines, self._sum()])

    def _told(self) -> str:
        told = "output" if self.label is None else str(self.label)
        told += f" {self.output:+.3f}"
        if self.probability is not None:
            told += f" (probability {self.probability:.3f})"
        return told

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
            f"<div><b>{html.escape(self._told())}</b></div>"
            f"<div>{''.join(words)}</div>"
            f'<div style="font-size:85%">{legend} &middot; '
            f"{html.escape(self._sum())}</div></div>"
        )

    def to_html(self, path: str | None = None) -> str:
        """Makes a page of it.

        Args:
          path: where to write it; None to write nothing.

        Returns:
          The page.
        """
        return _page([self], path)


class Explanations(tuple[Explanation, ...]):
    """Several explanations; a notebook shows one below the other."""

    def __repr__(self) -> str:
        return f"<{len(self)} explanations>"

    def __str__(self) -> str:
        return "\n\n".join(map(str, self))

    def _repr_html_(self) -> str:
        return "".join(one._repr_html_() for one in self)

    def to_html(self, path: str | None = None) -> str:
        """Makes a page of them; see `Explanation.to_html`."""
        return _page(self, path)


def explain(
    model: Any,
    texts: str | Sequence[str],
    pairs: str | Sequence[str] | None = None,
    *,
    target: str | int | None = None,
    steps: int = 24,
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
      target: the label, or its number, whose logit is explained; the one with
        the largest where None.
      steps: points on the line from baseline to text; more are more exact.
      tolerance: the error from which on a warning is logged.

    Returns:
      An `Explanation`; for several texts `Explanations`.

    Raises:
      UserError: no classifier of texts, no such label, or nothing to explain.
    """
    network = getattr(model, "network", model)
    tokenizer = getattr(model, "tokenizer", None)
    if not isinstance(network, SequenceClassifier) or tokenizer is None:
        raise UserError(
            f"explain: {type(model).__name__} is no classifier of texts with "
            "a tokenizer; expected a TextClassifier, or electra_tf.load(RUN)"
        )
    if steps < 1:
        raise UserError(f"steps: {steps}; expected at least 1")
    tokenizer = getattr(tokenizer, "graph_tokenizer", tokenizer)
    chosen = _number(network, target)
    one = isinstance(texts, str)
    firsts = [texts] if isinstance(texts, str) else list(texts)
    seconds = [pairs] if isinstance(pairs, str) else pairs
    if seconds is not None and len(seconds) != len(firsts):
        raise UserError(
            f"pairs: {len(seconds)} for {len(firsts)} texts; give one for each"
        )
    found = [
        _explained(
            network, tokenizer, text, seconds[i] if seconds else None,
            chosen, steps, tolerance,
        )
        for i, text in enumerate(firsts)
    ]  # fmt: skip
    return found[0] if one else Explanations(found)


def _number(
    network: SequenceClassifier, target: str | int | None
) -> int | None:
    """The number of the output that is asked for."""
    labels = network.head_config.labels or ()
    if isinstance(target, str):
        if target not in labels:
            raise UserError(
                f"target: {target!r} is none of {', '.join(labels) or 'them'}"
            )
        return list(labels).index(target)
    count = network.head_config.num_labels
    if target is not None and not 0 <= target < count:
        raise UserError(f"target: {target}; expected 0 to {count - 1}")
    return target


def _explained(
    network: SequenceClassifier,
    tokenizer: Any,
    text: str,
    pair: str | None,
    target: int | None,
    steps: int,
    tolerance: float,
) -> Explanation:
    vocab = tokenizer.vocab
    room = network.config.max_positions
    rows = tokenizer.encode(
        [text], None if pair is None else [pair], return_offsets=True
    )
    if rows["input_ids"].shape[1] > room:
        rows = tokenizer.encode(
            [text], None if pair is None else [pair], room, return_offsets=True
        )
    ids, segments = rows["input_ids"][0], rows["segment_ids"][0]
    table = tf.convert_to_tensor(network.encoder.embeddings.word_embeddings)
    own = tf.cast(tf.gather(table, ids), tf.float32)
    fixed = np.isin(ids.numpy(), [vocab.cls_id, vocab.sep_id])
    base = tf.where(
        fixed[:, None], own, tf.cast(table[vocab.pad_id], "float32")
    )
    difference = own - base

    ends = _outputs(network, tf.stack([base, own]), segments)
    if target is None:
        target = int(tf.argmax(ends[1]))
    # Gauss and Legendre's points, from -1 to 1, and their weights.
    points, weights = np.polynomial.legendre.leggauss(steps)
    points = ((points + 1) / 2).astype("float32")[:, None, None]
    weights = (weights / 2).astype("float32")[:, None, None]
    total = tf.zeros_like(own)
    at_once = max(1, _AT_ONCE // ids.shape[0])
    for i in range(0, steps, at_once):
        line = base + points[i : i + at_once] * difference
        with tf.GradientTape() as tape:
            tape.watch(line)
            output = tf.reduce_sum(_outputs(network, line, segments)[:, target])
        gradient = tape.gradient(output, line)
        total += tf.reduce_sum(gradient * weights[i : i + at_once], axis=0)
    scores = tf.reduce_sum(total * difference, axis=1).numpy()

    before, after = float(ends[0, target]), float(ends[1, target])
    rest = abs(float(np.sum(scores, dtype=np.float64)) - (after - before))
    error = rest / max(abs(after - before), 1.0)
    if error > tolerance:
        _log.warning(
            "explain: scores add up to the output but for %.1f %%, more than "
            "%.1f %%; take more than %d steps",
            100 * error, 100 * tolerance, steps,
        )  # fmt: skip
    labels = network.head_config.labels or ()
    count = ends.shape[1]
    return Explanation(
        tokens=tuple(vocab.tokens[i] for i in ids.numpy()),
        scores=scores,
        spans=tuple((int(a), int(b)) for a, b in rows["offsets"][0].numpy()),
        label=(labels[target] if labels else str(target))
        if count > 1
        else None,
        output=after,
        baseline=before,
        probability=float(tf.nn.softmax(ends[1])[target])
        if count > 1
        else None,
        error=error,
        tolerance=tolerance,
    )


def _outputs(
    network: SequenceClassifier, vectors: tf.Tensor, segments: tf.Tensor
) -> tf.Tensor:
    """Logits of rows of vectors that stand in place of the tokens'.

    Args:
      network: the classifier.
      vectors: float32 [B, L, E].
      segments: int32 [L].

    Returns:
      float32 [B, labels].
    """
    found = network(
        inputs_embeds=vectors,
        segment_ids=tf.broadcast_to(segments, tf.shape(vectors)[:2]),
        training=False,
    )
    return tf.cast(found.logits, tf.float32)


def _colour(share: float) -> str:
    """Blue for what speaks for the output, orange for what speaks against.

    Args:
      share: -1 to 1, of the largest score.
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
