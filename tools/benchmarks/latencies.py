"""Plots a server's latencies and rates by the number of its clients."""

import io
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np


def plot(
    path: str,
    milliseconds: Mapping[int, Sequence[float]],
    rates: Mapping[int, float],
    offline: float,
) -> None:
    """Draws a PNG: latencies on the left, rates on the right.

    Args:
      path: of the picture.
      milliseconds: clients at the same time -> latency of each request.
      rates: clients -> requests/s.
      offline: sentences/s without a server.
    """
    # Without pyplot: no display and no global state.
    from matplotlib.figure import Figure

    clients = sorted(milliseconds)
    places = np.arange(len(clients))
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for share, colour in ((50, "tab:blue"), (90, "tab:cyan"), (99, "tab:red")):
        values = [np.percentile(milliseconds[n], share) for n in clients]
        left.plot(places, values, "o-", color=colour, label=f"p{share}")
        for place, value in zip(places, values):
            left.annotate(
                f"{value:.0f}", (place, value), (0, 6),
                textcoords="offset points", ha="center", fontsize=8,
            )  # fmt: skip
    left.set(ylabel="milliseconds", title="latency of a request")
    left.margins(y=0.15)
    left.set_ylim(bottom=0)
    left.legend(frameon=False)
    bars = right.bar(places, [rates[n] for n in clients], color="tab:blue")
    right.bar_label(bars, fmt="%.0f", fontsize=8)
    right.axhline(offline, color="black", linestyle="--", linewidth=1)
    right.text(
        -0.4, offline, f"without a server: {offline:.0f}",
        va="bottom", fontsize=8,
    )  # fmt: skip
    right.set(ylabel="sentences/s", title="rate")
    right.set_ylim(top=1.15 * max(offline, *rates.values()))
    for axes in (left, right):
        axes.set_xticks(places, [str(n) for n in clients])
        axes.set_xlabel("clients at the same time")
        axes.spines[["top", "right"]].set_visible(False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    pathlib.Path(path).write_bytes(picture.getvalue())
