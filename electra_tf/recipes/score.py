"""Scores sentences by a pre-trained model."""

import contextlib
import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from electra_tf.config import Setting
from electra_tf.errors import UserError
from electra_tf.recipes import lines, spread
from electra_tf.recipes.arguments import checked

if TYPE_CHECKING:
    from electra_tf.generation import scoring

Rows = Callable[[], Iterable[lines.Row]]  # rows are read once or twice
Share = Annotated[float, Setting(at_least=0, at_most=1)]

_CHUNK = 512  # lines that are sorted by length at a time
_RERANK_COLUMNS = ("id", "rank", "text", "total", "score", "other")
_WEIGHT, _MAX_UNKNOWN_SHARE = 1.0, 0.5  # defaults


@dataclasses.dataclass(frozen=True)
class Scores:
    """The result of `score`.

    Attributes:
      method: the scoring method.
      summary: a summary of all scores, in words.
      count: number of lines, or of candidates.
      mean: mean score per token over all lines; None where none has a token,
        and for n-best lists and cleaned texts.
      lists: number of n-best lists; None for other input.
      kept: number of lines with tokens that were kept; None where all were.
      threshold: lowest score per token of lines that were kept, or None.
      output: the file that was written, if one was.
      best: the file with the best of each list, if one was written.
      columns: keys of `rows`; empty where these are lines of text.
      rows: a mapping for each line; empty where a file was written.
    """

    method: str
    summary: str
    count: int
    mean: float | None = None
    lists: int | None = None
    kept: int | None = None
    threshold: float | None = None
    output: str | None = None
    best: str | None = None
    columns: Sequence[str] = ()
    rows: Sequence[lines.Row] = ()

    def __str__(self) -> str:
        shown = []
        if not self.output and self.columns:
            shown = [lines.table(self.columns, self.rows)]
        elif not self.output:
            shown = [row["text"] for row in self.rows]
        return "\n".join([*shown, *filter(None, (self.output, self.best))])


@checked
def score(
    model: str,
    input: str,
    output: str | None = None,
    *,
    method: Literal["auto", "pll", "pll_word", "electric", "replaced"] = "auto",
    per_token: bool = False,
    rerank: bool = False,
    weight: float = _WEIGHT,
    normalize: bool = False,
    best: str | None = None,
    keep_above: float | None = None,
    keep_share: Share | None = None,
    max_unknown_share: Share = _MAX_UNKNOWN_SHARE,
    max_seq_length: int | None = None,
    vocab: str | None = None,
    batch_tokens: Annotated[int, Setting(at_least=1)] = 8192,
    overwrite: bool = False,
    runner: Literal["local", "beam"] = "local",
    beam_args: str = "",
    num_workers: Annotated[int, Setting(at_least=1)] = 1,
    rows_per_shard: Annotated[int, Setting(at_least=1)] = spread.ROWS_PER_SHARD,
    progress: bool = True,
) -> Scores:
    """Scores sentences by how probable a pre-trained model finds them.

        electra-tf score --model=RUN --input=TEXT.txt --output=SCORES.jsonl

    A score is a log-probability in nats, higher is better; `mean` is the score
    per token. Methods: pll, the generator's pseudo-log-likelihood, with a pass
    for each token; pll_word, the same with the rest of the token's word masked;
    electric, one pass of a model that was pre-trained with
    objective.kind=electric; replaced, one pass of a discriminator, which
    predicts for each token whether it was replaced. Empty lines have no score.

    --rerank orders n-best lists: lines of id, candidate and perhaps another
    score, by tabs, those of one id together. The order is by other score plus
    --weight times ours; --best writes the first of each list.

    --keep_above and --keep_share clean up a text: --output is then the text
    without lines of low score per token, and the counts are printed.

    Without --output the scores are printed. Interrupted at any moment and
    started again with the same arguments, it resumes.

    --runner=beam is as predict's: of x/s.jsonl the files are
    x/s-00000-of-00002.jsonl and so on, and x/s.manifest.json. With --rerank
    or --keep_... the workers score, and this process writes one output.

    Args:
      model: run of pretrain, model directory, checkpoint of another format or
        handle
      input: text, one sentence a line; .gz too
      output: file to write: .jsonl, .tsv or .csv; a text with --keep_...
      method: scoring method; auto is electric for a model of that objective,
        else pll if there is a generator, else replaced
      per_token: write the score of each token too
      rerank: order the n-best lists in the input
      weight: weight of our score, added to the other one
      normalize: rerank by the score per token
      best: file for the best of each list (TSV)
      keep_above: keep lines with at least this score per token
      keep_share: keep this share of the lines, the best ones
      max_unknown_share: leave out lines with a larger share of [UNK] tokens;
        with --keep_...
      max_seq_length: tokens read at once; those of the pre-training by default
      vocab: vocabulary, if the model has none
      batch_tokens: tokens in a batch
      overwrite: replace an existing output
      runner: this process, or Apache Beam
      beam_args: Beam's own flags in one string; without, Beam runs on this
        machine
      num_workers: Beam's processes on this machine, unless --beam_args say
        otherwise; each uses one core
      rows_per_shard: lines of an output file of --runner=beam; rounded up to
        whole groups of 512
      progress: whether to report progress and the summary on stderr.

    Returns:
      The scores, or the files that have them.

    Raises:
      UserError: arguments do not go together, the model or file is missing, or
        the input has no n-best lists.
    """
    from electra_tf.generation import scored_lines
    from electra_tf.prediction import held, resumable

    keeps = keep_above is not None or keep_share is not None
    spread.check_used(
        runner, beam_args=beam_args, num_workers=num_workers,
        rows_per_shard=rows_per_shard,
    )  # fmt: skip
    _check_together(
        keep_above, keep_share, max_unknown_share, per_token, rerank, best,
        weight, normalize,
    )  # fmt: skip
    on_beam = runner == "beam"
    _check_files(None if on_beam else input, output, best, keeps, overwrite)
    arguments: dict[str, Any] = {
        "model": model, "method": method, "vocab": vocab,
        "max_seq_length": max_seq_length, "batch_tokens": batch_tokens,
        "per_token": per_token, "lists": input if rerank else None,
    }  # fmt: skip
    if on_beam:
        paths = _inputs_on_beam(input, output, rerank)
    answers = scored_lines.load(**arguments)
    scorer, answer = answers.scorer, answers.answer

    def finished(rows: Rows) -> Scores:
        if rerank:
            lists = _reranked(rows(), weight, normalize, input)
            found = _write_lists(lists, output, best)
        elif keeps:
            threshold = keep_above
            if threshold is None:
                threshold = _threshold(
                    rows(), keep_share or 0.0, max_unknown_share
                )
            kept = _Kept(threshold, max_unknown_share)
            found = _write_kept(rows, output, kept)
        else:
            columns = [*scored_lines.COLUMNS, *["token_scores"] * per_token]
            found = _write_scores(rows(), output, columns, scorer.method)
        lines.note_on(progress)(found.summary)
        return dataclasses.replace(found, method=scorer.method)

    if not output:
        whole = resumable.answer_in_memory(input, answer, _CHUNK)
        return finished(lambda: whole)
    about = {
        "model": model,
        "per_token": per_token,
        "rerank": rerank,
        "batch_tokens": batch_tokens,
        "method": scorer.method,
        "max_seq_length": scorer.max_length,
        "weights": resumable.weights_digest([scorer.network]),
        **resumable.tokenizer_settings(scorer.tokenizer, vocab),
    }
    if on_beam:
        how = spread.Spread(
            beam_args, num_workers, rows_per_shard, overwrite,
            lines.note_on(progress),
        )  # fmt: skip
        spread_out: dict[str, Any] = {
            "load": held.Loader("electra_tf.generation.scored_lines:load",
                arguments),
            "read": held.Loader("electra_tf.prediction.resumable:read_lines",
                {}),
            "group": _CHUNK, "about": about, "loaded": lambda: answers,
        }  # fmt: skip
        if not (rerank or keeps):
            return _scored(paths, output, how, scorer.method, spread_out)
        about["inputs"] = [resumable.identity(path) for path in paths]
        with spread.answered_lines(paths, output, how, **spread_out) as found:
            return finished(
                lambda: (
                    json.loads(line)
                    for number in range(len(paths))
                    for line in found(number)
                )
            )
    with lines.answered(
        input, output, answer, about, chunk=_CHUNK, progress=progress
    ) as rows:
        return finished(rows)


def _inputs_on_beam(source: str, output: str | None, rerank: bool) -> list[str]:
    """Returns the input files on Beam, after checking them and the output."""
    if not output:
        raise UserError("--runner=beam: give --output, the file to write")
    paths = spread.inputs(source)
    for path in paths:
        lines.check_text_input(path)
    if rerank and len(paths) > 1:
        raise UserError(
            f"--rerank: {source} is {len(paths)} files; expected one"
        )
    return paths


def _scored(
    paths: Sequence[str],
    output: str,
    how: spread.Spread,
    method: str,
    spread_out: dict[str, Any],
) -> Scores:
    """Scores files on Beam, in shards."""
    from electra_tf.prediction import files as prediction_files
    from electra_tf.prediction import held

    write = held.Loader(
        "electra_tf.prediction.files:write_rows",
        {"format": prediction_files.check_name(output, "--output")},
    )
    found = spread.answered(
        paths, output, how, write=write, last=(), **spread_out
    )
    total = _Total(
        found.rows, found.sums.get("score", 0.0),
        int(found.sums.get("tokens", 0)),
    )  # fmt: skip
    how.note(total.summary(method))
    return Scores(
        method,
        total.summary(method),
        found.rows,
        mean=total.mean,
        output=found.files,
    )


@dataclasses.dataclass
class _Total:
    """Counts lines, and sums over them."""

    count: int
    score: float
    tokens: int

    @property
    def mean(self) -> float | None:
        return self.score / self.tokens if self.tokens else None

    def summary(self, method: str) -> str:
        score = "nothing to score"
        if self.mean is not None:
            score = f"{self.mean:.4f} a token"
        return (
            f"{self.count:,} lines, {self.tokens:,} tokens, {method}: {score}"
        )


def _check_together(
    keep_above: float | None,
    keep_share: float | None,
    max_unknown_share: float,
    per_token: bool,
    rerank: bool,
    best: str | None,
    weight: float,
    normalize: bool,
) -> None:
    """Refuses arguments that do not go together."""
    given = {"keep_above": keep_above, "keep_share": keep_share}
    keeps = [name for name, value in given.items() if value is not None]
    if len(keeps) == 2:
        raise UserError("--keep_above and --keep_share: give one of them")
    if keeps and rerank:
        raise UserError(f"--{keeps[0]}: not with --rerank; give one of them")
    if keeps and per_token:
        raise UserError(f"--per_token: --{keeps[0]} writes text alone")
    if rerank and per_token:
        raise UserError("--per_token: not with --rerank; give one of them")
    if best and not rerank:
        raise UserError("--best: only with --rerank")
    if not rerank and weight != _WEIGHT:
        raise UserError(f"--weight={weight:g}: only with --rerank")
    if not rerank and normalize:
        raise UserError("--normalize: only with --rerank")
    if not keeps and max_unknown_share != _MAX_UNKNOWN_SHARE:
        raise UserError(
            f"--max_unknown_share={max_unknown_share:g}: only with "
            "--keep_above or --keep_share"
        )


def _check_files(
    source: str | None,
    output: str | None,
    best: str | None,
    keeps: bool,
    overwrite: bool,
) -> None:
    """Checks paths before anything large is loaded."""
    from electra_tf.prediction import files as prediction_files

    if source is not None:
        prediction_files.check_input(source)
        lines.check_text_input(source)
    prediction_files.check_output(output, overwrite)
    if output and keeps:
        lines.check_text_name(output)
    elif output:
        prediction_files.check_name(output, "--output")
    if best:
        prediction_files.check_name(best, "--best")
        prediction_files.check_output(best, overwrite, "--best")


def _write_scores(
    rows: Iterable[lines.Row],
    output: str | None,
    columns: Sequence[str],
    method: str,
) -> Scores:
    """Writes the scores of lines, and sums them up."""
    total = _Total(0, 0.0, 0)

    def summed() -> Iterator[lines.Row]:
        for row in rows:
            total.score += row["score"] or 0.0
            total.tokens += row["tokens"]
            yield row

    total.count, shown = _written(output, columns, summed())
    return Scores(
        method,
        total.summary(method),
        total.count,
        mean=total.mean,
        output=output,
        columns=columns,
        rows=shown,
    )


def _written(
    output: str | None, columns: Sequence[str], rows: Iterable[lines.Row]
) -> tuple[int, Sequence[lines.Row]]:
    """Writes rows, or keeps them to be shown; returns them and their number."""
    if output:
        return lines.write(output, columns, rows), ()
    shown = list(rows)
    return len(shown), shown


def _write_lists(
    lists: Iterable[list[dict[str, Any]]], output: str | None, best: str | None
) -> Scores:
    """Writes n-best lists, and optionally the best of each."""
    first: list[dict[str, Any]] = []

    def flat() -> Iterator[lines.Row]:
        for ranked in lists:
            first.append({name: ranked[0][name] for name in ("id", "text")})
            yield from ranked

    count, shown = _written(output, _RERANK_COLUMNS, flat())
    if best:
        lines.write(best, ("id", "text"), first)
    return Scores(
        "",
        f"{count:,} candidates in {len(first):,} lists",
        count,
        lists=len(first),
        output=output,
        best=best,
        columns=_RERANK_COLUMNS,
        rows=shown,
    )


def _reranked(
    rows: Iterable[lines.Row], weight: float, normalize: bool, source: str
) -> Iterator[list[dict[str, Any]]]:
    """Yields n-best lists in their new order, best first.

    Args:
      rows: mappings with `line`, and the score of its candidate.
      weight: weight of the model's score.
      normalize: whether to order by the score per token, not the sum.
      source: the file, for messages.

    Raises:
      UserError: the file has no n-best lists; see `scoring.candidate_lists`.
    """
    from electra_tf.generation import scored_lines, scoring

    scores: dict[int, float | None] = {}

    def candidates() -> Iterator["scoring.Candidate"]:
        for number, row in enumerate(rows, 1):
            found = scoring.parse_candidate(row["line"], number, source)
            if found is not None:
                scores[number] = row["mean" if normalize else "score"]
                yield found

    with _located(source):
        for some in scoring.candidate_lists(candidates()):
            own = [scores.pop(candidate.line) for candidate in some]
            yield [
                {
                    "id": ranked.candidate.list_id,
                    "rank": ranked.rank,
                    "text": ranked.candidate.text,
                    "total": scored_lines.rounded(ranked.total),
                    "score": ranked.score,
                    "other": ranked.candidate.other,
                }
                for ranked in scoring.rerank(some, own, weight)
            ]


@contextlib.contextmanager
def _located(source: str) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        text = str(error)
        if text.startswith(source):
            raise
        raise UserError(f"--input: {source}: {text}") from error


@dataclasses.dataclass
class _Kept:
    """Decides which lines of a text are kept, and counts them.

    Attributes:
      threshold: lowest score per token of lines that are kept.
      max_unknown_share: largest share of [UNK] in a line that is kept.
      texts: numbers of lines [before, after], except those without tokens.
      tokens: numbers of tokens [before, after].
      empty: number of lines without tokens, which are kept: they separate
        paragraphs.
      unknown: number of lines left out for their [UNK] tokens.
    """

    threshold: float
    max_unknown_share: float
    texts: list[int] = dataclasses.field(default_factory=lambda: [0, 0])
    tokens: list[int] = dataclasses.field(default_factory=lambda: [0, 0])
    empty: int = 0
    unknown: int = 0

    def keeps(self, row: lines.Row) -> bool:
        """Counts a line, and returns whether it is kept."""
        if row["mean"] is None:
            self.empty += 1
            return True
        known = _unknown_share(row) <= self.max_unknown_share
        self.unknown += not known
        stays = known and row["mean"] >= self.threshold
        for i in range(1 + stays):
            self.texts[i] += 1
            self.tokens[i] += row["tokens"]
        return stays

    def __str__(self) -> str:
        before, after = self.texts
        share = 100 * after / max(1, before)
        return (
            f"before: {before:,} lines, {self.tokens[0]:,} tokens\n"
            f"after:  {after:,} lines ({share:.1f} %), {self.tokens[1]:,} "
            f"tokens\nleft out: {before - after - self.unknown:,} below "
            f"{self.threshold:.4f} a token, {self.unknown:,} of tokens that "
            f"the model does not know; {self.empty:,} empty lines stay"
        )


def _write_kept(rows: Rows, output: str | None, kept: _Kept) -> Scores:
    """Writes the kept lines of a text."""
    chosen: Iterable[lines.Row] = (row for row in rows() if kept.keeps(row))
    shown: list[lines.Row] = []
    if output:
        lines.write_lines(output, (row["text"] for row in chosen))
    else:
        shown = [{"text": row["text"]} for row in chosen]
    return Scores(
        "",
        str(kept),
        kept.empty + kept.texts[0],
        kept=kept.texts[1],
        threshold=kept.threshold,
        output=output,
        rows=shown,
    )


def _unknown_share(row: lines.Row) -> float:
    """Returns the share of [UNK] among the tokens of a line, 0 to 1."""
    return row["unknown"] / max(1, row["tokens"])


def _threshold(
    rows: Iterable[lines.Row], share: float, max_unknown_share: float
) -> float:
    """Returns the score per token that `share` of the lines with tokens reach.

    Lines with too many unknown tokens count among the lines, but never reach
    it.
    """
    count, means = 0, []
    for row in rows:
        if row["mean"] is not None:
            count += 1
            if _unknown_share(row) <= max_unknown_share:
                means.append(row["mean"])
    wanted = min(round(share * count), len(means))
    return sorted(means)[-wanted] if wanted else math.inf
