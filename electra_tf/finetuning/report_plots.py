"""The pictures of a run of several trials."""

import io
from collections.abc import Mapping
from typing import Any

from electra_tf import files
from electra_tf.training.reporting import read_records


def write(output: str, summary: Mapping[str, Any]) -> None:
    """Draws plots/learning_curves.png; brings the best confusion matrix."""
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
            _draw(summary, curves, constant.get(summary["metric"])),
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


def _draw(
    summary: Mapping[str, Any],
    curves: Mapping[str, tuple[list[tuple[int, float]], int]],
    constant: float | None,
) -> bytes:
    # A figure of its own, without pyplot: no display and no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for number, (name, (points, chosen)) in enumerate(curves.items()):
        colour = f"C{number}"
        axes.plot(*zip(*points), marker="o", ms=4, color=colour, label=name)
        for step, value in points:
            if step == chosen:  # the weights that were kept
                axes.plot(step, value, "o", ms=10, mfc="none", color=colour)
    if constant is not None:
        axes.axhline(
            constant, color="0.5", linestyle=":", label="constant answer"
        )
    axes.set_title(f"{summary['task']} (circles: the weights that were kept)")
    axes.set_xlabel("training step (updates)")
    axes.set_ylabel(f"{summary['selected_on']} {summary['metric']} (percent)")
    axes.grid(True, alpha=0.25)
    axes.legend(fontsize=8)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    return picture.getvalue()
