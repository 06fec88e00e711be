"""N-best lists: candidates in a new order."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

from electra_tf.errors import UserError


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One answer of a recogniser or translator.

    Attributes:
      list_id: the utterance or sentence that it is for.
      text: the answer.
      other: the score that came with it; the higher the better.
      line: of the file that it is from, for messages.
    """

    list_id: str
    text: str
    other: float | None = None
    line: int = 0


@dataclasses.dataclass(frozen=True)
class Ranked:
    """A candidate in its place.

    Attributes:
      candidate: which.
      rank: 1 is the best.
      score: the model's; None of a text without tokens.
      total: what it is ordered by; None as `score`.
    """

    candidate: Candidate
    rank: int
    score: float | None
    total: float | None


def parse(line: str, number: int, source: str) -> Candidate | None:
    """A line of an n-best file: id, candidate and perhaps a score, by tabs.

    Args:
      line: without its line feed.
      number: from 1.
      source: the file, for messages.

    Returns:
      The candidate; None for an empty line.

    Raises:
      UserError: another number of fields, or a score that is no number.
    """
    if not line.strip():
        return None
    fields = line.split("\t")
    if len(fields) not in (2, 3):
        raise UserError(
            f"{source}:{number}: expected id, candidate and perhaps a score, "
            f"divided by tabs; got {len(fields)} field(s)"
        )
    other = None
    if len(fields) == 3:
        try:
            other = float(fields[2])
        except ValueError:
            other = float("nan")
        if other != other:
            raise UserError(
                f"{source}:{number}: the score '{fields[2]}' is no number"
            )
    return Candidate(fields[0], fields[1], other, number)


def lists(candidates: Iterable[Candidate]) -> Iterator[list[Candidate]]:
    """Candidates that follow one another with the same id.

    Raises:
      UserError: an id comes again after another one, or a list has scores
        for some candidates alone; the line is told.
    """
    seen: set[str] = set()
    current: list[Candidate] = []
    for candidate in candidates:
        if current and candidate.list_id != current[0].list_id:
            yield _checked(current)
            seen.add(current[0].list_id)
            current = []
        if candidate.list_id in seen:
            raise UserError(
                f"line {candidate.line}: the id '{candidate.list_id}' comes "
                "again after another; sort the file by id"
            )
        current.append(candidate)
    if current:
        yield _checked(current)


def rerank(
    candidates: Sequence[Candidate],
    scores: Sequence[float | None],
    weight: float = 1.0,
) -> list[Ranked]:
    """Orders one list: other score + weight * model's score, best first.

    With no other scores the model's alone decide (shallow fusion as Salazar
    et al. 2020, section 3, rescore with it).

    Args:
      candidates: of one list.
      scores: the model's, the higher the better; None sorts last.
      weight: of the model's score beside the other one.

    Returns:
      All candidates; equal ones stay in their order.
    """
    found = []
    for candidate, score in zip(candidates, scores, strict=True):
        total = score
        if score is not None and candidate.other is not None:
            total = candidate.other + weight * score
        found.append((candidate, score, total))
    found.sort(key=lambda x: (x[2] is None, -(x[2] or 0.0)))
    return [Ranked(c, i, s, t) for i, (c, s, t) in enumerate(found, 1)]


def _checked(candidates: list[Candidate]) -> list[Candidate]:
    given = [c.other is not None for c in candidates]
    if any(given) and not all(given):
        line = candidates[given.index(False)].line
        raise UserError(
            f"line {line}: has no score, and other candidates of "
            f"'{candidates[0].list_id}' have one"
        )
    return candidates
