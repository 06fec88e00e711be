"""Measures how often a model prefers the acceptable sentence of a pair."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from electra_tf.config import Setting
from electra_tf.errors import UserError
from electra_tf.recipes import lines
from electra_tf.recipes.arguments import checked

if TYPE_CHECKING:
    from electra_tf.generation.scoring import Chosen
    from electra_tf.prediction.minimal_pairs import Accuracy, Column, Pair

Counts = Mapping[tuple[str, str], "Accuracy"]

_CHUNK = 4096  # sentences that are sorted by length at a time
_SUMMARY, _PAIRS, _PLOT = "accuracy.json", "pairs.jsonl", "accuracy.png"


@dataclasses.dataclass(frozen=True)
class PairAccuracies:
    """The result of `minimal_pairs`.

    Attributes:
      accuracy: method -> per cent of the pairs, the mean of the paradigms;
        a tie is half right.
      of_phenomena: the same as mean of the phenomena; empty where the input
        names none.
      ties: method -> number of pairs with equal scores.
      pairs: number of pairs.
      alike: number of pairs with the same tokens, which are ties for any model.
      paradigms: method -> (phenomenon, paradigm) -> counts.
      output: the folder that was written, if one was.
    """

    accuracy: Mapping[str, float]
    of_phenomena: Mapping[str, float]
    ties: Mapping[str, int]
    pairs: int
    alike: int
    paradigms: Mapping[str, Counts]
    output: str | None = None

    def __str__(self) -> str:
        """Returns a table: phenomena, their paradigms, and the means."""
        methods = list(self.paradigms)
        head = [f"{'':<46} {'pairs':>6}"]
        head += [f"{name:>9} {'ties':>6}" for name in methods]
        shown = [" ".join(head)]
        first = self.paradigms[methods[0]]
        names = dict.fromkeys(phenomenon for phenomenon, _ in first)
        for phenomenon in names:
            own = [key for key in first if key[0] == phenomenon]
            if phenomenon:
                shown.append(self._line(phenomenon, own))
            indent = "  " if phenomenon else ""
            shown += [self._line(f"{indent}{key[1]}", [key]) for key in own]
        shown.append(self._line("mean of the paradigms", list(first)))
        if self.of_phenomena:
            cells = [f"{self.of_phenomena[m]:9.2f} {'':>6}" for m in methods]
            label = f"mean of the {len(names)} phenomena"
            shown.append(f"{label:<46} {'':>6} {' '.join(cells)}".rstrip())
        return "\n".join([*shown, *filter(None, [self.output])])

    def _line(self, label: str, keys: Sequence[tuple[str, str]]) -> str:
        cells = []
        for counts in self.paradigms.values():
            own = [counts[key] for key in keys]
            mean = sum(each.percent for each in own) / len(own)
            cells.append(f"{mean:9.2f} {sum(each.ties for each in own):6,}")
        pairs = sum(each.pairs for each in own)
        return f"{label:<46.46} {pairs:6,} {' '.join(cells)}"


@checked
def minimal_pairs(
    model: str,
    input: str,
    output: str | None = None,
    *,
    method: str | Sequence[str] = "auto",
    normalize: bool = False,
    first_line: Literal["bad", "good"] = "bad",
    good_column: str | None = None,
    bad_column: str | None = None,
    paradigm_column: str | None = None,
    phenomenon_column: str | None = None,
    max_seq_length: int | None = None,
    vocab: str | None = None,
    batch_tokens: Annotated[int, Setting(at_least=1)] = 8192,
    precision: Literal["auto", "float32", "bfloat16_products"] = "float32",
    overwrite: bool = False,
    progress: bool = True,
) -> PairAccuracies:
    """Measures how often a model prefers the better sentence of two.

        electra-tf minimal-pairs --model=RUN --input='blimp/*.jsonl' \\
            --method=pll,replaced --output=blimp_accuracy

    A minimal pair is an acceptable sentence and a similar one that is not; the
    model is right where the acceptable one scores higher. Equal scores count as
    half, so that a model which distinguishes nothing has 50 per cent. Each
    paradigm is counted, and the means of the paradigms and of the phenomena are
    reported.

    Input: BLiMP's JSON Lines; tables with columns good and bad, and perhaps
    uid (or paradigm) and phenomenon, or without a header these in the order
    paradigm, phenomenon, good, bad; Zorro's form, two lines a pair. All may be
    compressed.

    Methods are those of electra-tf score, and the models any that it takes:
    pll, pll_word, electric, replaced.

    --output is a folder: accuracy.json, pairs.jsonl with each pair's scores,
    accuracy.png.

    Args:
      model: run of pretrain, model directory, checkpoint of another format or
        handle
      input: files of pairs; globs, separated by commas
      output: folder to write
      method: one method, or several separated by commas; auto, as in electra-tf
        score; all, each that the model has the networks for
      normalize: compare scores per token, where the sentences of a pair differ
        in length
      first_line: which sentence is the first of two lines without columns
      good_column: column of acceptable sentences, if it has another name
      bad_column: column of the others
      paradigm_column: column of paradigms
      phenomenon_column: column of phenomena
      max_seq_length: tokens read at once; those of the pre-training by default
      vocab: vocabulary, if the model has none
      batch_tokens: tokens in a batch
      precision: bfloat16_products is faster on CPUs with instructions for it,
        and rounds scores to three digits; auto takes it there
      overwrite: replace an existing output
      progress: whether to report progress on stderr

    Returns:
      The accuracies.

    Raises:
      UserError: the model or file is missing, it has no pairs, or the model has
        no network for a method.
    """
    from electra_tf import files
    from electra_tf.prediction import files as prediction_files
    from electra_tf.prediction import minimal_pairs as pairs_
    from electra_tf.training import precision as precisions

    prediction_files.check_output(output, overwrite, folder=True)
    given: dict[Column, str | None] = {
        "good": good_column,
        "bad": bad_column,
        "paradigm": paradigm_column,
        "phenomenon": phenomenon_column,
    }
    columns = {
        name: value for name, value in given.items() if value is not None
    }
    paths = files.expand(input)
    pairs = [
        pair
        for path in paths
        for pair in pairs_.read(path, columns, first_line)
    ]
    note = lines.note_on(progress)
    note(f"{len(pairs):,} pairs in {len(paths)} file(s)")
    chosen = _methods(model, method)
    numbers = precisions.resolved(precision)
    rows: list[dict[str, Any]] = [
        dataclasses.asdict(pair) | {"scores": {}} for pair in pairs
    ]
    counts: dict[str, Counts] = {}
    seconds: dict[str, float] = {}
    alike = 0
    for name in chosen:
        start = time.monotonic()
        verdicts, alike = _judged(
            model, name, pairs, rows, normalize, progress,
            max_seq_length=max_seq_length, vocab=vocab,
            batch_tokens=batch_tokens,
            bfloat16=numbers == precisions.PRODUCTS,
        )  # fmt: skip
        counts[name] = pairs_.by_paradigm(pairs, verdicts)
        seconds[name] = round(time.monotonic() - start, 1)
        note(f"{name}: {seconds[name]:.0f} s")
    if alike:
        note(f"{alike:,} pairs are the same tokens to the model: ties")
    found = PairAccuracies(
        accuracy={name: _mean(own) for name, own in counts.items()},
        of_phenomena={
            name: _mean_of_phenomena(own)
            for name, own in counts.items()
            if all(phenomenon for phenomenon, _ in own)
        },
        ties={
            name: sum(each.ties for each in own.values())
            for name, own in counts.items()
        },
        pairs=len(pairs),
        alike=alike,
        paradigms=counts,
        output=output,
    )
    if output:
        about = {
            "model": model,
            "input": paths,
            "normalize": normalize,
            "precision": numbers,
        }
        files.make_directory(output)
        lines.write(files.join(output, _PAIRS), (), rows)
        title = f"{model}: {len(pairs):,} minimal pairs"
        files.write_bytes(files.join(output, _PLOT), pairs_.draw(title, counts))
        files.write_text(
            files.join(output, _SUMMARY), _summary(found, about, seconds)
        )
    return found


def _methods(model: str, method: str | Sequence[str]) -> list["Chosen"]:
    """Returns the wanted methods that the model supports, each once."""
    from electra_tf.generation import loading, scoring

    wanted = method.split(",") if isinstance(method, str) else list(method)
    wanted = [name.strip() for name in wanted if name.strip()]
    path, config = loading.describe(model)
    if wanted == ["all"]:
        wanted = []
        if loading.has_generator(config):
            wanted += ["pll"] if config.is_two_tower else ["pll", "pll_word"]
        if config.gives_energies:
            wanted.append("electric")
        elif loading.has_critic(config):
            wanted.append("replaced")
        wanted = wanted or ["auto"]
    if not wanted:
        raise UserError("--method: expected at least one")
    found = [scoring.choose_method(path, config, each) for each in wanted]  # type: ignore[arg-type]
    return list(dict.fromkeys(found))


def _judged(
    model: str,
    method: "Chosen",
    pairs: Sequence["Pair"],
    rows: Sequence[dict[str, Any]],
    normalize: bool,
    progress: bool,
    **options: Any,
) -> tuple[list[float], int]:
    """Scores both sentences of each pair, repeated sentences once.

    Args:
      model: see the recipe.
      method: scoring method.
      pairs: all pairs.
      rows: a mapping for each pair, to which its scores are added.
      normalize: see the recipe.
      progress: see the recipe.
      **options: options of the scorer.

    Returns:
      The result of `judge` for each pair, and the number with the same tokens.
    """
    from electra_tf.generation.scoring import Scored, Scorer
    from electra_tf.prediction.minimal_pairs import judge
    from electra_tf.recipes.progress import RowProgress

    scorer = Scorer.from_pretrained(model, method, **options)
    texts = list(
        dict.fromkeys(text for pair in pairs for text in (pair.good, pair.bad))
    )
    line = RowProgress(sum(map(len, texts)), progress)
    line.update(0, 0)
    scores: dict[str, Scored] = {}
    taken = 0
    for start in range(0, len(texts), _CHUNK):
        some = texts[start : start + _CHUNK]
        scores |= zip(some, scorer.score(some))
        taken += sum(map(len, some))
        line.update(start + len(some), taken)
    line.close()

    def score(text: str, place: str) -> float:
        found = scores[text].mean if normalize else scores[text].score
        if found is None or found != found:
            what = (
                "no tokens"
                if found is None
                else ("a score that is not a number")
            )
            raise UserError(f"{place}: the model has {what} for '{text:.60}'")
        return found

    verdicts, alike = [], 0
    for pair, row in zip(pairs, rows):
        good, bad = (score(text, pair.place) for text in (pair.good, pair.bad))
        verdicts.append(judge(good, bad))
        alike += scores[pair.good].tokens == scores[pair.bad].tokens
        row["scores"][method] = [round(good, 6), round(bad, 6)]
    return verdicts, alike


def _mean(counts: Counts) -> float:
    return sum(each.percent for each in counts.values()) / len(counts)


def _mean_of_phenomena(counts: Counts) -> float:
    own: dict[str, list[float]] = {}
    for (phenomenon, _), each in counts.items():
        own.setdefault(phenomenon, []).append(each.percent)
    return sum(sum(x) / len(x) for x in own.values()) / len(own)


def _summary(
    found: PairAccuracies,
    about: Mapping[str, Any],
    seconds: Mapping[str, float],
) -> str:
    """Returns the content of accuracy.json: all counts, by method."""
    import json

    methods = {}
    for name, counts in found.paradigms.items():
        paradigms = [
            {
                "phenomenon": phenomenon,
                "paradigm": paradigm,
                "accuracy": round(each.percent, 4),
                "pairs": each.pairs,
                "ties": each.ties,
            }
            for (phenomenon, paradigm), each in counts.items()
        ]
        methods[name] = {
            "accuracy": round(found.accuracy[name], 4),
            "mean_of_phenomena": (
                round(found.of_phenomena[name], 4)
                if name in found.of_phenomena
                else None
            ),
            "ties": found.ties[name],
            "seconds": seconds[name],
            "paradigms": paradigms,
        }
    content = {
        **about,
        "pairs": found.pairs,
        "same_tokens": found.alike,
        "methods": methods,
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
