"""Plots a run: learning curves, and a classifier's confusion matrix."""

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from electra_tf import files
from electra_tf.training import reporting
from electra_tf.training.reporting import read_records

# Above so many labels, counts and then names are left out of the plot.
_COUNTED, _NAMED = 25, 80
_NAME_LENGTH = 24
# Fonts with Chinese, Japanese and Korean letters, in the order of preference.
_EASTERN = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "PingFang SC",
    "Heiti SC",
    "Microsoft YaHei",
    "SimHei",
    "Arial Unicode MS",
)


def confusion_counts(
    truths: Sequence[str], predicted: Sequence[str], labels: Sequence[str]
) -> np.ndarray:
    """Counts predictions, int64 [labels, labels]: rows are truths.

    Columns are predictions. Answers that are not labels are left out.
    """
    number = {label: i for i, label in enumerate(labels)}
    matrix = np.zeros([len(labels)] * 2, "int64")
    for truth, answer in zip(truths, predicted):
        if truth in number and answer in number:
            matrix[number[truth], number[answer]] += 1
    return matrix


def draw_confusion(
    truths: Sequence[str],
    predicted: Sequence[str],
    labels: Sequence[str],
    title: str = "",
) -> bytes:
    """Plots the counts as a PNG; colours are shares of each row.

    Args:
      truths: N labels.
      predicted: N labels.
      labels: their order on both axes.
      title: title, which is followed by the number of right predictions.
    """
    # A figure without pyplot: no display and no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    matrix = confusion_counts(truths, predicted, labels)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = min(14.0, 3.5 + 0.45 * len(labels))
    figure = Figure(figsize=(side + 1.0, side), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    if len(labels) <= _COUNTED:
        _write_counts(axes, matrix, shares)
    names = [_short(label) for label in labels]
    if len(labels) <= _NAMED:
        places = range(len(labels))
        families = _families()
        upright = max(map(len, names), default=0) > 4 or len(labels) > 12
        axes.set_xticks(
            places, names, rotation=45 if upright else 0,
            ha="right" if upright else "center", rotation_mode="anchor",
            fontfamily=families,
        )  # fmt: skip
        axes.set_yticks(places, names, fontfamily=families)
    else:
        axes.set_xticks([])
        axes.set_yticks([])
    axes.set_xlabel("prediction")
    axes.set_ylabel("truth")
    right = int(np.trace(matrix))
    title = f"{title}: " if title else ""
    axes.set_title(
        f"{title}{right:,} of {int(matrix.sum()):,} correct", fontsize=10
    )
    bar = figure.colorbar(image, ax=axes, shrink=0.8)
    bar.set_label("share of the true label's examples")
    picture = io.BytesIO()
    with warnings.catch_warnings():
        # Warnings about names in scripts that no installed font has.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(picture, format="png", dpi=120)
    return picture.getvalue()


def _write_counts(axes: Any, matrix: np.ndarray, shares: np.ndarray) -> None:
    size = 11 if len(matrix) <= 8 else 7
    for (row, column), count in np.ndenumerate(matrix):
        axes.text(
            column,
            row,
            f"{count:,}",
            ha="center",
            va="center",
            fontsize=size,
            color="white" if shares[row, column] > 0.6 else "black",
        )


def _families() -> list[str]:
    """Returns the default font, and installed fonts for letters that it
    lacks.
    """
    from matplotlib import font_manager

    here = set(font_manager.get_font_names())
    return ["DejaVu Sans", *(name for name in _EASTERN if name in here)]


def _short(label: str) -> str:
    if len(label) <= _NAME_LENGTH:
        return label
    return label[: _NAME_LENGTH - 1] + "…"


def draw_curves(run_dir: str, epoch_steps: float | None = None) -> list[float]:
    """Plots loss, scores and examples/s over the steps.

    Args:
      run_dir: directory of a trial.
      epoch_steps: steps of an epoch; see `reporting.write_plots`.
    """
    records = read_records(files.join(run_dir, "metrics.jsonl"))
    scores = [
        name
        for name, value in next(
            (r for r in records if r["split"] == "validation"), {}
        ).items()
        if name not in ("step", "split", "time", "loss")
        and "/" not in name
        and isinstance(value, int | float)
        and abs(value) <= 100  # not a count
    ]
    reporting.write_plots(
        records,
        [
            reporting.PlotGroup("loss", ("loss",), "loss per example"),
            reporting.PlotGroup("scores", tuple(scores), "score (percent)"),
        ],
        files.join(run_dir, "plots"),
        epoch_steps,
    )
    return [
        r["examples_per_second"]
        for r in records
        if r.get("examples_per_second")
    ]


def write_plots(output: str, summary: Mapping[str, Any]) -> None:
    """Writes plots/learning_curves.png, and copies the best confusion
    matrix.
    """
    curves = {}
    for trial in summary["trials"]:
        run_dir = files.join(output, f"trial_{trial['trial']}")
        points = [
            (record["step"], record[summary["metric"]])
            for record in read_records(files.join(run_dir, "metrics.jsonl"))
            if record["split"] == "validation"
            and record.get(summary["metric"]) is not None
        ]
        if points:
            name = f"trial {trial['trial']}, seed {trial['seed']}"
            curves[name] = (points, trial["chosen_step"])
    if curves:
        constant = summary["baseline"].get(summary["selected_on"], {})
        files.write_bytes(
            files.join(output, "plots", "learning_curves.png"),
            _draw_trials(summary, curves, constant.get(summary["metric"])),
        )
    best = files.join(
        output, f"trial_{summary['best_trial']}", "plots",
        "confusion_matrix.png",
    )  # fmt: skip
    if files.exists(best):
        files.write_bytes(
            files.join(output, "plots", "confusion_matrix.png"),
            files.read_bytes(best),
        )


def _draw_trials(
    summary: Mapping[str, Any],
    curves: Mapping[str, tuple[list[tuple[int, float]], int]],
    constant: float | None,
) -> bytes:
    # A figure without pyplot: no display and no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    # Steps are integers, and a run may have only a few.
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for number, (name, (points, chosen)) in enumerate(curves.items()):
        colour = f"C{number}"
        axes.plot(*zip(*points), marker="o", ms=4, color=colour, label=name)
        for step, value in points:
            if step == chosen:  # the chosen weights
                axes.plot(step, value, "o", ms=10, mfc="none", color=colour)
    if constant is not None:
        axes.axhline(
            constant, color="0.5", linestyle=":", label="constant prediction"
        )
    axes.set_title(f"{summary['task']} (circles: the selected weights)")
    axes.set_xlabel("training step (updates)")
    axes.set_ylabel(f"{summary['selected_on']} {summary['metric']} (percent)")
    trial = summary["trials"][0]
    reporting.count_epochs(
        axes,
        [step for step, _ in next(iter(curves.values()))[0]],
        trial["steps"] / trial["epochs"] if trial.get("epochs") else None,
    )
    axes.grid(True, alpha=0.25)
    axes.legend(fontsize=8)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    return picture.getvalue()
