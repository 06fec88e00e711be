"""Plots the results of `tools/benchmark.py all`."""

import io
import pathlib
from collections.abc import Sequence
from typing import Any

from benchmarks import pretraining
from benchmarks.report import Benchmark, Side

OURS, PEER = "electra_tf", "its best peer"
_COLOURS = {"tiny": "tab:green", "small": "tab:blue", "base": "tab:red"}
_STYLES = {OURS: "o-", PEER: "s--"}


def draw(found: Sequence[Benchmark], folder: pathlib.Path) -> list[str]:
    """Draws every plot that there are results for.

    Args:
      found: the results.
      folder: where the PNGs go.

    Returns:
      The names of the PNGs.
    """
    steps = _of(found, "pretrain")
    figures = {}
    if steps:
        figures["pretrain.png"] = _pretraining(steps)
        figures["growth.png"] = _growth(_together(steps))
    data = [
        (draw_panel, chosen)
        for measure, draw_panel in (
            ("build", _build),
            ("build-memory", _memory),
            ("input", _input),
        )
        if (chosen := _of(found, measure))
    ]
    if data:
        figures["data.png"] = _panels(data)
    for name, figure in figures.items():
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=100)
        (folder / name).write_bytes(picture.getvalue())
    return list(figures)


def _of(found: Sequence[Benchmark], measure: str) -> list[Benchmark]:
    return [
        b
        for b in found
        if b.parameters.get("measure") == measure
        # Such steps do more work: not comparable with the others.
        and not b.parameters.get("recompute")
    ]


def _figure(width: float, height: float, columns: int, **shared: Any) -> Any:
    # Without pyplot: no display and no global state.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False, **shared)[0]
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _best(benchmark: Benchmark) -> dict[str, Side]:
    """Returns the quickest of ours and of the peers, by examples/s."""
    ours = {pair[0] for pair in benchmark.pairs} or {benchmark.sides[0].name}
    peers = {pair[1] for pair in benchmark.pairs}
    return {
        kind: max(
            (side for side in benchmark.sides if side.name in names),
            key=lambda side: side.median("examples/s"),
        )
        for kind, names in ((OURS, ours), (PEER, peers))
        if names
    }


def _ratios(benchmark: Benchmark) -> list[dict]:
    """Returns the ratio of the best sides, and of the same precision."""
    leading = benchmark.leading()
    if not leading:
        return []
    best = {kind: side.name for kind, side in _best(benchmark).items()}
    alike = [
        ratio
        for ratio in leading
        if benchmark.side(ratio["ours"]).precision
        == benchmark.side(ratio["peer"]).precision
    ][:1]
    first = [r for r in leading if r["ours"] == best[OURS]][:1]
    return first + [ratio for ratio in alike if ratio not in first]


# --- training steps --------------------------------------------------------


def _pretraining(steps: Sequence[Benchmark]) -> Any:
    """Plots three panels, with a row for each shape of a step."""
    height = 1.3 + 0.34 * len(steps)
    figure, (speed, memory, peak) = _figure(10, height, 3, sharey=True)
    places = range(len(steps))
    labels = [
        "{size} {batch_size} x {seq_length}".format(**b.parameters)
        for b in steps
    ]
    colours = [_COLOURS.get(b.parameters["size"], "tab:gray") for b in steps]
    ratios = [_ratios(b) for b in steps]
    for place, (b, found) in enumerate(zip(steps, ratios)):
        if not found:
            speed.text(0, place, " no peer", va="center", fontsize=7)
        for i, ratio in enumerate(found):
            at = place + 0.2 * (2 * i - 1) * (len(found) > 1)
            speed.barh(
                at, ratio["ratio"], 0.38 if len(found) > 1 else 0.7,
                color=colours[place], alpha=0.4 if i else 1.0,
            )  # fmt: skip
            ends = [ratio["lowest"], ratio["highest"]]
            speed.plot(ends, [at, at], color="black", linewidth=1)
            label = f" {ratio['ratio']:.2f}: {b.side(ratio['peer']).spoken}"
            speed.text(ends[1], at, label, va="center", fontsize=6)
    speed.axvline(1, color="black", linestyle=":", linewidth=1)
    speed.set_yticks(places, labels)
    speed.invert_yaxis()
    speed.set_xlim(0, 1.7 * max(1.0, *_ends(ratios)))
    light = any(len(found) > 1 for found in ratios)
    speed.set(
        xlabel="steps/s, times the best peer's"
        + ("\n(light: both in float32)" if light else ""),
        title="speed",
    )
    for kind, offset, alpha in ((OURS, -0.2, 1.0), (PEER, 0.2, 0.4)):
        best = [_best(b).get(kind) for b in steps]
        sizes = [(side.memory or 0) / 1e3 if side else 0 for side in best]
        memory.barh(
            [place + offset for place in places], sizes, 0.38,
            color=colours, alpha=alpha,
        )  # fmt: skip
    memory.set(
        xlabel="GB at its highest\n(dark: electra_tf, light: its best peer)",
        title="memory",
    )
    for which, marker, label in (
        ("first", "D", "2048³"),
        ("second", "o", "its own shapes"),
    ):
        name = pretraining.share_of(pretraining.OURS, which)
        peak.plot(
            [100 * b.facts[name] for b in steps], places, marker,
            color="black", fillstyle="none" if marker == "D" else "full",
            label=label, markersize=5,
        )  # fmt: skip
    peak.set_xlim(0, 100)
    peak.grid(axis="x", alpha=0.3)
    peak.legend(
        title="peak of products", fontsize=8, title_fontsize=8,
        loc="lower left",
    )  # fmt: skip
    peak.set(
        xlabel="% of the measured peak, in float32", title="matrix products"
    )
    figure.suptitle(_measured(steps), fontsize=7)
    return figure


def _ends(ratios: Sequence[Sequence[dict]]) -> list[float]:
    return [ratio["highest"] for found in ratios for ratio in found] or [1.0]


def _measured(steps: Sequence[Benchmark]) -> str:
    """Returns the names of the best sides, and what they run on."""
    best = [side for b in steps for side in _best(b).values()]
    versions = {side.spoken: side.version for side in best}
    return "\n".join(f"{name}: {on}" for name, on in versions.items())


def _together(steps: Sequence[Benchmark]) -> list[Benchmark]:
    """Returns those of the day with most: they can share a line."""
    days: dict[str, list[Benchmark]] = {}
    for b in steps:
        days.setdefault(b.parameters.get("measured", ""), []).append(b)
    return max(days.values(), key=len)


def _growth(steps: Sequence[Benchmark]) -> Any:
    """Plots time per token by batch, by length and by parameters."""
    figure, (batch, length, size) = _figure(10, 3.9, 3)
    panels = (
        (batch, "batch_size", "sequences of 128 in a batch", _at_128(steps)),
        (length, "seq_length", "tokens a sequence", _as_many_tokens(steps)),
    )
    for axes, key, label, chosen in panels:
        for name in dict.fromkeys(b.parameters["size"] for b in chosen):
            own = [b for b in chosen if b.parameters["size"] == name]
            for kind, style in _STYLES.items():
                points = sorted(
                    (b.parameters[key], _microseconds(b, kind))
                    for b in own
                    if kind in _best(b)
                )
                if points:
                    axes.plot(
                        *zip(*points), style, color=_COLOURS.get(name),
                        label=f"{name}, {kind}", markersize=4,
                    )  # fmt: skip
        _logarithmic(axes, sorted({b.parameters[key] for b in chosen}))
        axes.set_xlabel(label)
    batch.set(ylabel="microseconds a token", title="batch")
    length.set(title="length, in batches of as many tokens")
    at_best = {
        name: _at_128([b for b in steps if b.parameters["size"] == name])
        for name in dict.fromkeys(b.parameters["size"] for b in steps)
    }
    for kind, style in _STYLES.items():
        points = sorted(
            (
                own[0].parameters["parameters"] / 1e6,
                min(_microseconds(b, kind) for b in own),
            )
            for own in at_best.values()
            if own and all(kind in _best(b) for b in own)
        )
        if points:
            size.plot(
                *zip(*points), style, color="black", label=kind, markersize=4
            )
    millions = sorted(
        {round(b.parameters["parameters"] / 1e6) for b in _at_128(steps)}
    )
    _logarithmic(size, millions)
    size.set(
        xlabel="million parameters, both networks", title="model, best batch"
    )
    # Below all panels: inside, it would cover lines.
    figure.legend(
        *batch.get_legend_handles_labels(),
        loc="outside lower center", ncols=6, fontsize=7,
    )  # fmt: skip
    size.legend(fontsize=7)
    figure.suptitle(_measured(steps), fontsize=7)
    return figure


def _at_128(steps: Sequence[Benchmark]) -> list[Benchmark]:
    return [b for b in steps if b.parameters["seq_length"] == 128]


def _as_many_tokens(steps: Sequence[Benchmark]) -> list[Benchmark]:
    """Returns, of each size, the batches of the most common token count."""
    groups: dict[tuple[str, int], list[Benchmark]] = {}
    for b in steps:
        tokens = b.parameters["batch_size"] * b.parameters["seq_length"]
        groups.setdefault((b.parameters["size"], tokens), []).append(b)
    best: dict[str, list[Benchmark]] = {}
    for (size, _), own in groups.items():
        if len(own) > len(best.get(size, [])):
            best[size] = own
    return [b for own in best.values() for b in own]


def _microseconds(benchmark: Benchmark, kind: str) -> float:
    rate = _best(benchmark)[kind].median("examples/s")
    return 1e6 / rate / benchmark.parameters["seq_length"]


def _logarithmic(axes: Any, ticks: Sequence[float]) -> None:
    """Makes both axes logarithmic, with plain numbers at the given ticks."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_formatter(NullFormatter())
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.grid(True, which="major", alpha=0.25)


# --- data ------------------------------------------------------------------


def _panels(data: Sequence[tuple]) -> Any:
    figure, axes = _figure(3.4 * len(data), 3.4, len(data))
    for one, (draw_panel, chosen) in zip(axes, data):
        draw_panel(one, chosen)
    return figure


def _build(axes: Any, found: Sequence[Benchmark]) -> None:
    sides = found[0].sides
    labels = [s.name.replace("electra_tf, ", "") for s in sides]
    values = [side.median("MB/s") for side in sides]
    colours = ["tab:blue" if "worker" in n else "tab:gray" for n in labels]
    axes.bar(range(len(sides)), values, color=colours)
    for place, value in enumerate(values):
        # Inside of high bars: above them is the dotted line.
        inside = {"va": "top", "color": "white"}
        above = {"va": "bottom", "color": "black"}
        how = inside if value > 0.2 * max(values) else above
        axes.text(place, value, f"{value:.3g}", ha="center", fontsize=9, **how)
    axes.plot([0.6, 1.4], [2 * values[0]] * 2, "k:", label="twice 1 worker")
    axes.set_xticks(range(len(sides)), labels, fontsize=8)
    axes.legend(fontsize=8, loc="lower right" if len(sides) < 3 else "best")
    axes.set(ylabel="MB/s of text", title="building examples")
    axes.margins(y=0.12)


def _memory(axes: Any, found: Sequence[Benchmark]) -> None:
    for benchmark in found:
        axes.plot(benchmark.series["seconds"], benchmark.series["MB"])
        gigabytes = benchmark.parameters["megabytes"] / 1e3
        workers = benchmark.parameters["workers"]
        axes.set_title(f"{gigabytes:.1f} GB of text, {workers} workers")
    axes.set_ylim(bottom=0)
    axes.set(xlabel="seconds", ylabel="MB, all processes (PSS)")


def _input(axes: Any, found: Sequence[Benchmark]) -> None:
    names = [side.name for side in found[0].sides]
    width = 0.8 / len(names)
    for i, name in enumerate(names):
        places = [at + (i - 1) * width for at in range(len(found))]
        values = [b.side(name).median("batches/s") for b in found]
        bars = axes.bar(places, values, width, label=name)
        texts = [f"{v:.0f}" if v >= 10 else f"{v:.2g}" for v in values]
        axes.bar_label(bars, texts, fontsize=6)
    labels = [
        "{size}\n{batch_size} x {seq_length}".format(**b.parameters)
        for b in found
    ]
    axes.set_xticks(range(len(found)), labels, fontsize=8)
    axes.set_yscale("log")
    axes.set_ylim(top=100 * axes.get_ylim()[1])  # room for the legend
    axes.legend(fontsize=7, loc="upper right")
    axes.set(ylabel="batches/s", title="input against the step")
