"""The parts of `score`: what its flags ask for, and what is done then."""

import math
from collections.abc import Sequence
from typing import Any

from absl import flags

from electra_tf import files
from electra_tf.cli import score_outputs as outputs
from electra_tf.errors import UserError
from electra_tf.generation import nbest, scoring
from electra_tf.prediction import files as prediction_files
from electra_tf.prediction import resumable

CHUNK = 512  # lines that are sorted by length together
size = files.size


def check(flags_: flags.FlagValues) -> None:
    """Refuses flags that do not go together, before anything is loaded.

    Raises:
      UserError: the flag is named.
    """
    keeps = [
        name
        for name in ("keep_above", "keep_share")
        if getattr(flags_, name) is not None
    ]
    if len(keeps) == 2:
        raise UserError("--keep_above and --keep_share: give one of them")
    if keeps and flags_.rerank:
        raise UserError(f"--{keeps[0]}: not with --rerank; give one of them")
    if keeps and flags_.per_token:
        raise UserError(f"--per_token: --{keeps[0]} writes text alone")
    if flags_.rerank and flags_.per_token:
        raise UserError("--per_token: not with --rerank; give one of them")
    if flags_.best and not flags_.rerank:
        raise UserError("--best: only with --rerank")
    for name in ("weight", "keep_above"):
        value = getattr(flags_, name)
        if value is not None and not math.isfinite(value):
            raise UserError(f"--{name}={value}: expected a finite number")
    prediction_files.check_input(flags_.input)
    prediction_files.check_output(flags_.output, flags_.overwrite)
    if flags_.output and not keeps:
        prediction_files.check_name(flags_.output, "--output")
    if flags_.best:
        prediction_files.check_name(flags_.best, "--best")
        if files.exists(flags_.best) and not flags_.overwrite:
            raise UserError(f"--best: {flags_.best} is there already")


def answer(
    scorer: scoring.Scorer, flags_: flags.FlagValues
) -> resumable.Answer:
    """What scores lines, or the candidates in them."""

    def score(lines: Sequence[str], number: int) -> list[dict[str, Any]]:
        if not flags_.rerank:
            return [
                outputs.row_of(found, flags_.per_token)
                for found in scorer.score(lines)
            ]
        candidates = [
            nbest.parse(line, number + i, flags_.input)
            for i, line in enumerate(lines)
        ]
        found = scorer.score([c.text if c else "" for c in candidates])
        return [
            {"line": line, **outputs.row_of(one, False)}
            for line, one in zip(lines, found)
        ]

    return score


def write(flags_: flags.FlagValues, rows: outputs.Rows, method: str) -> int:
    """Writes what the flags ask for; tells of it."""
    if flags_.rerank:
        _write_lists(flags_, rows)
    elif flags_.keep_above is not None or flags_.keep_share is not None:
        _write_kept(flags_, rows)
    else:
        _write_scores(flags_, rows, method)
    return 0


def _write_scores(
    flags_: flags.FlagValues, rows: outputs.Rows, method: str
) -> None:
    columns = list(outputs.SCORE_COLUMNS)
    if flags_.per_token:
        columns.append("token_scores")
    total, tokens = 0.0, 0

    def summed() -> Any:
        nonlocal total, tokens
        for row in rows():
            total += row["score"] or 0.0
            tokens += row["tokens"]
            yield row

    count = outputs.write(flags_.output, columns, summed())
    mean = f"{total / tokens:.4f} a token" if tokens else "nothing to score"
    outputs.note(f"{count:,} lines, {tokens:,} tokens, {method}: {mean}")
    if flags_.output:
        print(flags_.output)


def _write_lists(flags_: flags.FlagValues, rows: outputs.Rows) -> None:
    best: list[dict[str, Any]] = []
    lists = 0

    def flat() -> Any:
        nonlocal lists
        for ranked in outputs.reranked(
            rows(), flags_.weight, flags_.normalize, flags_.input
        ):
            lists += 1
            if flags_.best:
                best.append({k: ranked[0][k] for k in ("id", "text")})
            yield from ranked

    count = outputs.write(flags_.output, outputs.RERANK_COLUMNS, flat())
    if flags_.best:
        outputs.write(flags_.best, ("id", "text"), best)
    outputs.note(f"{count:,} candidates in {lists:,} lists")
    for path in filter(None, (flags_.output, flags_.best)):
        print(path)


def _write_kept(flags_: flags.FlagValues, rows: outputs.Rows) -> None:
    threshold = flags_.keep_above
    if threshold is None:
        threshold = outputs.threshold_of(
            rows(), flags_.keep_share, flags_.max_unknown_share
        )
    kept = outputs.Kept(threshold, flags_.max_unknown_share)
    outputs.write_lines(
        flags_.output, (row["text"] for row in rows() if kept.keeps(row))
    )
    outputs.note(kept.told())
    if flags_.output:
        print(flags_.output)
