"""What `score` writes: scores, ordered n-best lists, or lines worth keeping."""

import contextlib
import gzip
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.generation import nbest, scoring
from electra_tf.prediction import files as prediction_files

Row = Mapping[str, Any]
Rows = Callable[[], Iterable[Row]]  # they are read once or twice

SCORE_COLUMNS = ("text", "score", "mean", "tokens", "unknown")
RERANK_COLUMNS = ("id", "rank", "text", "total", "score", "other")


def row_of(found: scoring.Scored, per_token: bool) -> dict[str, Any]:
    """A score as it is written; the text's tokens if they are wanted."""
    row: dict[str, Any] = {
        "text": found.text,
        "score": _rounded(found.score),
        "mean": _rounded(found.mean),
        "tokens": len(found.tokens),
        "unknown": found.unknown,
    }
    if per_token:
        row["token_scores"] = [
            [token, _rounded(float(value))]
            for token, value in zip(found.tokens, found.log_probs)
        ]
    return row


def write(
    target: str | None, columns: Iterable[str], rows: Iterable[Row]
) -> int:
    """Writes rows as the file's name tells, or shows a table; counts them."""
    columns, count = list(columns), 0

    def counted() -> Iterator[bytes]:
        nonlocal count
        for row in rows:
            count += 1
            yield (prediction_files.dumps(row) + "\n").encode()

    if target:
        format_ = prediction_files.check_name(target, "--output")
        prediction_files.write_rows(target, format_, columns, counted())
        return count
    print("\t".join(columns))
    for row in rows:
        count += 1
        cells = [row.get(name) for name in columns]
        print("\t".join(_shown(cell) for cell in cells), flush=True)
    return count


def reranked(
    rows: Iterable[Row], weight: float, normalize: bool, source: str
) -> Iterator[list[dict[str, Any]]]:
    """N-best lists in their new order, best first.

    Args:
      rows: of the lines; `line`, and the score of the candidate in it.
      weight: of the model's score.
      normalize: order by the score a token, not the sum.
      source: the file, for messages.

    Raises:
      UserError: the file is no n-best file; see `generation.nbest`.
    """
    scores: dict[int, float | None] = {}

    def candidates() -> Iterator[nbest.Candidate]:
        for number, row in enumerate(rows, 1):
            found = nbest.parse(row["line"], number, source)
            if found is not None:
                scores[number] = row["mean" if normalize else "score"]
                yield found

    with _located(source):
        for some in nbest.lists(candidates()):
            own = [scores.pop(candidate.line) for candidate in some]
            yield [
                {
                    "id": ranked.candidate.list_id,
                    "rank": ranked.rank,
                    "text": ranked.candidate.text,
                    "total": _rounded(ranked.total),
                    "score": ranked.score,
                    "other": ranked.candidate.other,
                }
                for ranked in nbest.rerank(some, own, weight)
            ]


class Kept:
    """Counts of a text that is cleaned up.

    Attributes:
      lines: [before, after], those without tokens aside.
      tokens: the same.
      empty: lines without tokens, which are kept: they divide paragraphs.
      unknown: lines left out since the model does not know their tokens.
      threshold: the score a token from which on lines were kept.
    """

    def __init__(self, threshold: float, max_unknown_share: float):
        self.threshold = threshold
        self.lines, self.tokens = [0, 0], [0, 0]
        self.empty = self.unknown = 0
        self._most = max_unknown_share

    def keeps(self, row: Row) -> bool:
        """Counts a line, and says whether it stays."""
        if row["mean"] is None:
            self.empty += 1
            return True
        known = unknown_share(row) <= self._most
        self.unknown += not known
        stays = known and row["mean"] >= self.threshold
        for i in range(1 + stays):
            self.lines[i] += 1
            self.tokens[i] += row["tokens"]
        return stays

    def told(self) -> str:
        """Counts before and after, in a few lines."""
        before, after = self.lines
        share = 100 * after / max(1, before)
        return (
            f"before: {before:,} lines, {self.tokens[0]:,} tokens\n"
            f"after:  {after:,} lines ({share:.1f} %), {self.tokens[1]:,} "
            f"tokens\nleft out: {before - after - self.unknown:,} below "
            f"{self.threshold:.4f} a token, {self.unknown:,} of tokens that "
            f"the model does not know; {self.empty:,} empty lines stay"
        )


def unknown_share(row: Row) -> float:
    """[UNK] among the tokens of a line, 0 to 1."""
    return row["unknown"] / max(1, row["tokens"])


def threshold_of(
    rows: Iterable[Row], share: float, max_unknown_share: float
) -> float:
    """The score a token that `share` of the lines with tokens reach.

    Lines with too many unknown tokens count among them, and reach nothing.
    """
    count, means = 0, []
    for row in rows:
        if row["mean"] is not None:
            count += 1
            if unknown_share(row) <= max_unknown_share:
                means.append(row["mean"])
    wanted = min(round(share * count), len(means))
    return float(np.sort(means)[-wanted]) if wanted else float("inf")


def write_lines(target: str | None, lines: Iterable[str]) -> None:
    """Writes text lines, atomically; compressed where `.gz` says so."""
    if not target:
        for line in lines:
            print(line)
        return
    with files.atomic_write(target) as raw, contextlib.ExitStack() as stack:
        handle: Any = raw
        if target.endswith(".gz"):
            handle = stack.enter_context(
                gzip.GzipFile("", "wb", fileobj=raw, mtime=0)
            )
        for line in lines:
            handle.write(f"{line}\n".encode())


def note(text: str) -> None:
    """Tells something beside the output."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _located(source: str) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        text = str(error)
        if text.startswith(source):
            raise
        raise UserError(f"--input: {source}: {text}") from error


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return " ".join(value.split("\t"))
    return prediction_files.dumps(value)
