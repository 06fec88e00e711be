"""A picture of the server over the requests: memory, handles, rate."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any


def draw(
    rows: Sequence[Mapping[str, Any]],
    path: pathlib.Path,
    title: str,
    marks: Mapping[str, Sequence[float]] = {},
) -> None:
    """Writes a PNG.

    Args:
      rows: of `metrics.jsonl`.
      path: of the PNG.
      title: above it.
      marks: what happened -> the seconds at which it did.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(3, 1, figsize=(9, 8), sharex=True)
    seconds = [row["seconds"] for row in rows]
    shown = [
        ("resident memory, MB", "rss_mb", "tab:blue"),
        ("requests a second", "rate", "tab:green"),
    ]
    for axis, (label, key, colour) in zip(axes, shown):
        axis.plot(seconds, [row.get(key) for row in rows], color=colour)
        axis.set_ylabel(label)
        axis.set_ylim(bottom=0)
    for key, colour in (("threads", "tab:red"), ("fds", "tab:purple")):
        values = [row.get(key) for row in rows]
        axes[2].plot(seconds, values, color=colour, label=key)
    axes[2].set_ylabel("threads, open files")
    axes[2].set_ylim(bottom=0)
    axes[2].legend(loc="lower right")
    axes[2].set_xlabel("seconds")
    for number, (name, times) in enumerate(marks.items()):
        for axis in axes:
            for index, time in enumerate(times):
                axis.axvline(
                    time,
                    color=f"C{number + 5}",
                    linestyle=":",
                    label=name if axis is axes[0] and not index else None,
                )
    if marks:
        axes[0].legend(loc="lower right")
    for axis in axes:
        axis.grid(alpha=0.3)
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
