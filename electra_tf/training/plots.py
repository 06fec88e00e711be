"""Curves from the records of metrics.jsonl, as PNG files."""

import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import Any

from electra_tf import files

_STYLES = {
    "train": {"linestyle": "-", "alpha": 0.75, "linewidth": 1.2},
    "validation": {
        "linestyle": "--",
        "marker": "o",
        "markersize": 4,
        "linewidth": 1.6,
    },
}
_SPLIT_NAMES = {"train": "training", "validation": "held-out"}


@dataclasses.dataclass(frozen=True)
class PlotGroup:
    """One figure: metrics that share a unit."""

    name: str  # the file's name without .png, and the title
    metrics: tuple[str, ...]  # keys in metrics.jsonl
    label: str  # vertical axis, with its unit
    log_scale: bool = False  # logarithmic vertical axis


def write_plots(
    records: Sequence[Mapping[str, Any]],
    groups: Sequence[PlotGroup],
    directory: str,
) -> list[str]:
    """Draws training and held-out curves of each group over the steps.

    Args:
      records: as `reporting.read_records` gives them.
      groups: the figures; one that has no values is not drawn.
      directory: where `<name>.png` goes.

    Returns:
      The paths written.
    """
    paths = []
    for group in groups:
        figure = _draw(records, group)
        if figure is not None:
            picture = io.BytesIO()
            figure.savefig(picture, format="png", dpi=120)
            path = files.join(directory, f"{group.name}.png")
            files.write_bytes(path, picture.getvalue())
            paths.append(path)
    return paths


def _draw(records: Sequence[Mapping[str, Any]], group: PlotGroup) -> Any:
    # Figures of their own, without pyplot: no display and no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    drawn = 0
    for number, metric in enumerate(group.metrics):
        for split, style in _STYLES.items():
            points = [
                (record["step"], record[metric])
                for record in records
                if record["split"] == split
                and isinstance(record.get(metric), int | float)
                and (record[metric] > 0 or not group.log_scale)
            ]
            if points:
                drawn += 1
                if len(points) == 1:  # a line of one point does not show
                    style = style | {"marker": "o", "markersize": 4}
                axes.plot(
                    *zip(*points),
                    color=f"C{number}",
                    label=f"{metric} ({_SPLIT_NAMES[split]})",
                    **style,
                )
    if not drawn:
        return None
    if group.log_scale:
        _label_log_axis(axes)
    axes.set_title(group.name.replace("_", " "))
    axes.set_xlabel("training step (updates)")
    axes.set_ylabel(group.label)
    axes.grid(True, which="both", alpha=0.25)
    axes.legend(fontsize=8)
    return figure


def _label_log_axis(axes: Any) -> None:
    """Plain numbers on a logarithmic axis, within one decade too."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
