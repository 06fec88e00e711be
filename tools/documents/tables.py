"""The tables of README.md: scores and speed, from the results files."""

import json
import pathlib

from benchmarks import report
from benchmarks.report import Benchmark

from documents.results import Results

# What the short table of speeds shows: a benchmark, our side, its unit, the
# peer, and how the row reads.
SPEEDS = (
    ("pretrain small, 32 x 128", "electra_tf", "transformers",
     "pre-training step, `small`, 32 x 128"),
    ("pretrain base, 8 x 128", "electra_tf", "transformers",
     "pre-training step, `base`, 8 x 128"),
    ("finetune small", "electra_tf", "Trainer, longest",
     "fine-tuning, `small`, SST-2"),
    ("inference small", "electra_tf, an export", "torch",
     "inference, `small`, texts in"),
    ("inference small", "electra_tf, an export", "ONNX Runtime",
     "the same"),
    ("tokenize, all cores", "electra_tf", "tokenizers", "tokenizing"),
    ("build", "electra_tf, 1 worker", "plain Python",
     "building examples, one core"),
    ("questions", "electra_tf", "plain Python", "SQuAD into windows"),
)  # fmt: skip
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
        heads.append("random weights that begin on neighbours and equal words")
    lines = [
        _row(*heads, "constant answer"),
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
        _row("what", "electra_tf", "peer", "ratio (by round)"),
        _row("---", "---:", "---:", "---:"),
    ]
    for name, ours, peer, title in SPEEDS:
        lines.append(_speed(named[name], ours, peer, title))
    dates = sorted(
        {one.parameters["measured"] for one in found if one.parameters}
    )
    lines += [
        "",
        f"{on['processor']}, {on['cores']} cores, TensorFlow "
        f"{on['tensorflow']}, float32; measured {dates[-1]}, medians of "
        "alternating rounds.",
    ]
    return "\n".join(lines)


def _speed(benchmark: Benchmark, ours: str, peer: str, title: str) -> str:
    for ratio in benchmark.ratios():
        if (ratio["ours"], ratio["peer"]) == (ours, peer):
            break
    else:
        raise SystemExit(f"write_docs: {benchmark.name} has no {ours}, {peer}")
    unit = ratio["unit"]
    values = [
        f"{benchmark.side(side).median(unit):,.3g}".replace(",", " ")
        if benchmark.side(side).median(unit) < 1000
        else f"{benchmark.side(side).median(unit):,.0f}"
        for side in (ours, peer)
    ]
    return _row(
        title,
        f"{values[0]} {unit}",
        f"{values[1]} ({peer})",
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
