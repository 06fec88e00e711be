"""Writes the study's results: a table, and a plot of loss against FLOPs."""

import statistics

import results
import tasks
from results import Row

from electra_tf import files
from electra_tf.training.reporting import read_records

Unit = tuple[str, int, str]  # method, seed, measure

# Ways of scoring minimal pairs, and losses to plot.
_PAIRS = ("pll", "pll_word", "replaced", "electric")
_LOSSES = {
    "mlm_loss": "generator: nats per masked token",
    "disc_loss": "discriminator: nats per token",
    "restored_loss": "restored: nats per predicted token",
    "cloze_loss": "cloze: nats per token",
}


def read(path: str) -> dict[Unit, Row]:
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
                put(f"BLiMP, {way}", method, row["scores"].get(way))
    for task, (_, title) in tasks.TASKS.items():
        for (method, _, name), row in rows.items():
            if name == task:
                put(title, method, tasks.score(row))
    return found


def spread(values: list[float]) -> str:
    """Returns "mean ± standard deviation"; only the value if there is one."""
    mean = f"{statistics.fmean(values):.1f}"
    if len(values) == 1:
        return mean
    return f"{mean} ± {statistics.stdev(values):.1f}"


def table(rows: dict[Unit, Row]) -> str:
    """Returns Markdown: a line for each method, best mean of tasks first."""
    found = columns(rows)
    trained: dict[str, list[Row]] = {}
    for (method, _, name), row in rows.items():
        if name == "pretrain":
            trained.setdefault(method, []).append(row)
    titles = list(found)
    lines = [
        "| method | seeds | steps | FLOPs | " + " | ".join(titles) + " |",
        "| --- | --- | --- | --- |" + " --- |" * len(titles),
    ]
    fine_tuned = [t for t in titles if not t.startswith("BLiMP")]

    def mean(method: str) -> float:
        own = [found[t][method] for t in fine_tuned if method in found[t]]
        return sum(map(statistics.fmean, own)) / max(1, len(own))

    for method in sorted(trained, key=mean, reverse=True):
        own = trained[method]
        cells = [
            spread(found[title][method]) if method in found[title] else ""
            for title in titles
        ]
        lines.append(
            f"| {method} | {len(own)} | {own[0]['steps']:,} | "
            f"{own[0]['flops']:.2e} | " + " | ".join(cells) + " |"
        )
    return "\n".join(lines) + "\n"


def draw(output: str, rows: dict[Unit, Row]) -> bool:
    """Plots loss.png: held-out losses against operations."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    curves: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for (method, seed, name), row in rows.items():
        if name != "pretrain":
            continue
        path = files.join(output, "runs", f"{method}-{seed}", "metrics.jsonl")
        for record in read_records(path):
            if record["split"] != "validation":
                continue
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
    figure.savefig(files.join(output, "loss.png"), dpi=110)
    return True


def write(output: str) -> None:
    """Writes table.md and loss.png of the units that are finished."""
    rows = read(files.join(output, "results.jsonl"))
    files.write_text(files.join(output, "table.md"), table(rows))
    draw(output, rows)
