"""Writes the study's results: a table, and a plot of loss against FLOPs."""

import os
import pathlib
import statistics
import sys

# What the studies share.
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))

import results
import tasks
from results import Row

from electra_tf import files
from electra_tf.training.reporting import read_records

_REFERENCE = "electra"  # what the other methods are set beside
Unit = tuple[str, int, str]  # method, seed, measure

# Ways of scoring minimal pairs, and losses to plot.
_MINIMAL_PAIRS = "BLiMP,"  # their columns begin so
_PAIRS = ("pll", "pll_word", "replaced", "electric")
_LOSSES = {
    "mlm_loss": "generator: nats per masked token",
    "disc_loss": "discriminator: nats per token",
    "restored_loss": "restored: nats per predicted token",
    "cloze_loss": "cloze: nats per token",
}


def read(path: str | os.PathLike) -> dict[Unit, Row]:
    """Reads the finished units."""
    return results.read(
        path, lambda row: (row["method"], row["seed"], row["measure"])
    )


def columns(rows: dict[Unit, Row]) -> dict[str, dict[str, list[float]]]:
    """Returns title -> method -> the values of its seeds."""
    found: dict[str, dict[str, list[float]]] = {}

    def put(title: str, method: str, value: float | None) -> None:
        if value is not None:
            found.setdefault(title, {}).setdefault(method, []).append(value)

    for way in _PAIRS:
        for (method, _, name), row in rows.items():
            if name == "pairs":
                put(f"{_MINIMAL_PAIRS} {way}", method, row["scores"].get(way))
    for task, title in [*tasks.TITLES.items(), *tasks.FEW_TITLES.items()]:
        for (method, _, name), row in rows.items():
            if name == task:
                put(title, method, tasks.score(row))
    return found


def table(rows: dict[Unit, Row]) -> str:
    """Returns Markdown: a line for each method.

    A cell has the median of the seeds, and the lowest and highest. It is bold
    where all seeds are better, or all are worse, than every one of `electra`.
    The mean is of the medians of tasks with all their rows. The first lines are
    those of the best scores with few rows, which tell the methods apart.
    """
    found = columns(rows)
    trained: dict[str, list[Row]] = {}
    for (method, _, name), row in rows.items():
        if name == "pretrain":
            trained.setdefault(method, []).append(row)
    if not trained:
        return results.NOTHING
    fine_tuned = [t for t in tasks.TITLES.values() if t in found]
    few = [t for t in tasks.FEW_TITLES.values() if t in found]

    def mean(method: str) -> float | None:
        own = [found[t].get(method) for t in fine_tuned]
        if not own or None in own:
            return None
        return statistics.fmean(statistics.median(each) for each in own if each)

    means = {method: mean(method) for method in trained}

    def order(method: str) -> tuple[float, float]:
        own = [each for t in few for each in found[t].get(method, [])]
        score = statistics.median(own) if own else 0.0
        return -score, -(means[method] or 0.0)

    lines = [
        f"| method | seeds | steps | {' | '.join(found)} | mean of the tasks |",
        "| --- | ---: | ---: |" + " ---: |" * (1 + len(found)),
    ]
    for method in sorted(trained, key=order):
        cells = []
        for own in found.values():
            cell = results.spread_of_few(own.get(method, []))
            if _apart(own.get(method, []), own.get(_REFERENCE, [])):
                cell = f"**{cell}**"
            cells.append(cell)
        own_mean = means[method]
        cells.append("" if own_mean is None else f"{own_mean:.1f}")
        lines.append(
            f"| `{method}` | {len(trained[method])} | "
            f"{trained[method][0]['steps']:,} | {' | '.join(cells)} |"
        )
    return "\n".join(lines)


def conditions(rows: dict[Unit, Row]) -> str:
    """Returns a sentence: the operations of a run, and what was measured."""
    flops = [
        row["flops"] for (_, _, name), row in rows.items()
        if name == "pretrain" and row["steps"] > 1
    ]  # fmt: skip
    if not flops:
        return results.NOTHING
    pairs = [row["pairs"] for (_, _, name), row in rows.items()
             if name == "pairs"]  # fmt: skip
    text = (
        f"Each run took {statistics.median(flops):.1e} FLOPs, in the paper's "
        f"accounting ({len(flops)} runs, {min(flops):.2e} to {max(flops):.2e})."
    )
    if pairs:
        text += f" Minimal pairs: {min(pairs):,} of BLiMP's dev paradigms."
    return text


def _apart(values: list[float], others: list[float]) -> bool:
    """Returns whether the ranges of several seeds each do not meet."""
    if min(len(values), len(others)) < 2:
        return False
    return max(values) < min(others) or min(values) > max(others)


def held_out(run: str) -> list[Row]:
    """Returns the step and the losses of a run's evaluations."""
    return [
        {
            name: record[name] if name == "step" else round(record[name], 5)
            for name in ("step", *_LOSSES, "disc_auc")
            if record.get(name) is not None
        }
        for record in read_records(files.join(run, "metrics.jsonl"))
        if record["split"] == "validation"
    ]


def draw(path: str, rows: dict[Unit, Row]) -> bool:
    """Plots held-out losses against operations; False if there are none."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    curves: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for (method, seed, _), row in rows.items():
        if row.get("steps") == 1:  # a point alone, far from all curves
            continue
        for record in row.get("held_out", []):
            flops = record["step"] * row["step_flops"]
            for loss in _LOSSES:
                if record.get(loss) is not None:
                    own = curves.setdefault(loss, {})
                    own.setdefault(f"{method}, {seed}", []).append(
                        (flops, record[loss])
                    )
    if not curves:
        return False
    figure = Figure(figsize=(7 * len(curves), 6), layout="constrained")
    FigureCanvasAgg(figure)
    names = list(dict.fromkeys(n for own in curves.values() for n in own))
    methods = list(dict.fromkeys(name.rpartition(",")[0] for name in names))
    styles = ("-", "--", ":")
    for axes, (loss, own) in zip(
        figure.subplots(1, len(curves), squeeze=False)[0], curves.items()
    ):
        labelled = set()
        for name, points in own.items():
            method = name.rpartition(",")[0]
            place = methods.index(method)
            axes.plot(
                *zip(*points),
                color=f"C{place % 10}",
                ls=styles[place // 10 % len(styles)],
                label=None if method in labelled else method,
            )
            labelled.add(method)
        axes.set_xscale("log")
        axes.set_xlabel("floating point operations of the training")
        axes.set_ylabel(f"held-out loss, {_LOSSES[loss]}")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)
    return True


def write(output: str) -> None:
    """Writes table.md and loss.png of the units that are finished."""
    rows = read(files.join(output, "results.jsonl"))
    text = f"{conditions(rows)}\n\n{table(rows)}\n"
    files.write_text(files.join(output, "table.md"), text)
    draw(files.join(output, "loss.png"), rows)
