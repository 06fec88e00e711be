"""Writes README.md's tables of scores and speed from the results files."""

import json
import pathlib
from collections.abc import Iterator

from benchmarks import report, summary
from benchmarks.report import Benchmark

from documents.results import Results

# Rows of the short table of speeds: a benchmark, the row's title, and the
# precision of both sides (None: the best of any precision).
SPEEDS = (
    ("pretrain small, 32 x 128", "pre-training step, `small`, 32 x 128", None),
    ("pretrain base, 8 x 128", "pre-training step, `base`, 8 x 128", None),
    ("finetune small", "fine-tuning, `small`, SST-2", None),
    ("inference small", "inference, `small`, texts in batches of 32", None),
    ("inference small", "the same in float32", "float32"),
    ("inference small, a file", "a whole file of texts", None),
    ("inference small, one text", "one short text", None),
    ("tokenize, all cores", "tokenizing", None),
    ("build", "building examples, one core", None),
    ("questions", "SQuAD into windows", None),
)
_KINDS = ("pretrained", "random", "neighbours")


def scores(results: Results, *, full: bool) -> str:
    """Writes the scores of fine-tuning, as a table in Markdown.

    Args:
      results: with the file `tasks`.
      full: with the lowest and highest of the seeds, and the third column.
    """
    kinds = _KINDS if full else _KINDS[:2]
    heads = ["task", "pre-trained", "random weights"]
    if full:
        heads.append("random weights, with local_start and match_heads")
    lines = [
        _row(*heads, "constant prediction"),
        _row("---", *["---:"] * len(heads)),
    ]
    for entry in results.entries("tasks").values():
        if not full and "random" not in entry:
            continue
        cells = [_score(entry.get(kind), full) for kind in kinds]
        lines.append(_row(entry["task"], *cells, str(entry["constant"])))
    return "\n".join(lines)


def speeds(path: pathlib.Path) -> str:
    """Writes the chosen rows of a `results.json` as a table in Markdown."""
    found, on = report.from_json(json.loads(path.read_text(encoding="utf-8")))
    named = {one.name: one for one in found}
    lines = [
        _row("what", "electra_tf", "best peer", "times as fast (by round)"),
        _row("---", "---:", "---:", "---:"),
    ]
    for name, title, precision in SPEEDS:
        if name in named:
            lines += _speed(named[name], title, precision)
    dates = sorted(
        {one.parameters["measured"] for one in found if one.parameters}
    )
    lines += [
        "",
        f"{on['processor']}, {on['cores']} cores, TensorFlow "
        f"{on['tensorflow']}; measured "
        f"{' to '.join(dict.fromkeys([dates[0], dates[-1]]))}, medians of "
        "alternating rounds. Each row has the quickest of ours and of the "
        "peers that were measured, of any precision where none is named.",
    ]
    return "\n".join(lines)


def _speed(
    benchmark: Benchmark, title: str, precision: str | None
) -> Iterator[str]:
    """Yields the row of our best side of that precision, if there is one."""
    leading = benchmark.leading()
    if precision is not None:
        leading = [
            ratio
            for ratio in leading
            if benchmark.side(ratio["ours"]).precision
            == benchmark.side(ratio["peer"]).precision
            == precision
        ]
    if not leading:
        return
    unit = leading[0]["unit"]
    best = min if unit in benchmark.times else max
    ratio = best(
        leading, key=lambda one: benchmark.side(one["ours"]).median(unit)
    )
    ours, peer = benchmark.side(ratio["ours"]), benchmark.side(ratio["peer"])
    values = [
        f"{side.median(unit):,.3g}"
        if side.median(unit) < 1000
        else f"{side.median(unit):,.0f}"
        for side in (ours, peer)
    ]
    own = ours.spoken.removeprefix("electra_tf").lstrip(", ")
    yield _row(
        title,
        f"{values[0]} {unit}" + (f" ({own})" if own else ""),
        f"{values[1]} ({summary.named_with_version(peer)})",
        f"**{ratio['ratio']:.2f}** "
        f"({ratio['lowest']:.2f} to {ratio['highest']:.2f})",
    )


def _score(found: dict | None, full: bool) -> str:
    if found is None:
        return ""
    low, high = found["lowest"], found["highest"]
    if "median" not in found:
        text = f"{low}, {high}"
    elif full:
        text = f"{found['median']} ({low} to {high})"
    else:
        text = str(found["median"])
    return f"{text}, {found['note']}" if full and "note" in found else text


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
