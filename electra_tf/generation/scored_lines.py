"""Scores the lines of a file, for output files."""

from collections.abc import Callable, Sequence
from typing import Any

from electra_tf.generation import scoring

COLUMNS = ("text", "score", "mean", "tokens", "unknown")


class Lines:
    """Scores lines; see `prediction.resumable.Answers`.

    Args:
      scorer: scores texts.
      per_token: whether to return the score of each token.
      lists: the n-best file of the lines; None where lines are texts.
    """

    def __init__(
        self, scorer: scoring.Scorer, per_token: bool, lists: str | None
    ):
        self.scorer = scorer
        self._answer = _answer(scorer, per_token, lists)
        columns = [*COLUMNS, *["token_scores"] * per_token]
        self._columns = columns if lists is None else ["line", *columns]
        self._sums = {"score": 0.0, "tokens": 0}

    def answer(self, some: Sequence[str], number: int) -> list[dict[str, Any]]:
        """Returns a mapping for each line."""
        found = self._answer(some, number)
        for row in found:
            self._sums["score"] += row["score"] or 0.0
            self._sums["tokens"] += row["tokens"]
        return found

    def head(self) -> dict[str, Any]:
        """Returns the summary of the lines since the last call."""
        sums, self._sums = self._sums, {"score": 0.0, "tokens": 0}
        return {
            "inputs": self._columns, "outputs": [], "errors": 0,
            "first_error": None, "sums": sums,
        }  # fmt: skip


def load(
    model: str,
    method: Any,
    per_token: bool = False,
    lists: str | None = None,
    **options: Any,
) -> Lines:
    """Loads a `Lines`.

    Args:
      model: see `Scorer.from_pretrained`.
      method: see `Scorer.from_pretrained`.
      per_token: see `Lines`.
      lists: see `Lines`.
      **options: options of `Scorer.from_pretrained`.

    Raises:
      UserError: the model is missing, or does not support the method.
    """
    scorer = scoring.Scorer.from_pretrained(model, method, **options)
    return Lines(scorer, per_token, lists)


def _answer(
    scorer: scoring.Scorer, per_token: bool, lists: str | None
) -> Callable[[Sequence[str], int], list[dict[str, Any]]]:
    """Returns a function that scores lines, or the candidates in `lists`."""

    def answer(some: Sequence[str], number: int) -> list[dict[str, Any]]:
        if lists is None:
            return [_row(found, per_token) for found in scorer.score(some)]
        candidates = [
            scoring.parse_candidate(line, number + i, lists)
            for i, line in enumerate(some)
        ]
        found = scorer.score([c.text if c else "" for c in candidates])
        return [
            {"line": line, **_row(one, False)} for line, one in zip(some, found)
        ]

    return answer


def _row(found: scoring.Scored, per_token: bool) -> dict[str, Any]:
    """Formats a score for output, with tokens if wanted."""
    row: dict[str, Any] = {
        "text": found.text,
        "score": rounded(found.score),
        "mean": rounded(found.mean),
        "tokens": len(found.tokens),
        "unknown": found.unknown,
    }
    if per_token:
        row["token_scores"] = [
            [token, rounded(float(value))]
            for token, value in zip(found.tokens, found.log_probs)
        ]
    return row


def rounded(value: float | None) -> float | None:
    """Rounds a score for output."""
    return None if value is None else round(value, 6)
