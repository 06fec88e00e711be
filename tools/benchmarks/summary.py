"""Summarises all results in one table."""

from collections.abc import Iterator, Sequence

from benchmarks import pretraining, report
from benchmarks.report import Benchmark, Side

_HEAD = (
    "| what | ours | best peer | times as fast (by round) | peak memory, of "
    "the peer's | of the matrix peak: square, own shapes |",
    "| --- | ---: | ---: | ---: | ---: | ---: |",
)


def table(found: Sequence[Benchmark]) -> str:
    """Returns a Markdown table: a row for each comparison, or lone side.

    Ours are compared with the best of the peers, and with the best of the same
    precision.
    """
    lines = list(_HEAD)
    missing = []
    for benchmark in found:
        lines += _rows(benchmark)
        missing += [
            f"{benchmark.name}, {name.removeprefix(report.LEFT_OUT).strip()} "
            f"({value})"
            for name, value in benchmark.facts.items()
            if name.startswith(report.LEFT_OUT)
        ]
    if missing:
        lines += ["", f"Did not start: {'; '.join(missing)}."]
    return "\n".join(lines)


def machine_line(found: Sequence[Benchmark], on: dict[str, str]) -> str:
    """Returns a sentence on dates, machine and versions of the results."""
    dates = sorted({b.parameters.get("measured", "") for b in found} - {""})
    when = " to ".join(dict.fromkeys([dates[0], dates[-1]])) if dates else ""
    facts = ", ".join(f"{name} {value}" for name, value in on.items())
    versions = dict.fromkeys(
        version
        for benchmark in found
        for pair in benchmark.pairs
        if (version := benchmark.side(pair[1]).version)
        and not version.startswith(("tensorflow", "offline"))
    )
    peers = f"; peers: {'; '.join(versions)}" if versions else ""
    return f"Measured {when}: {facts}{peers}."


def _rows(benchmark: Benchmark) -> Iterator[str]:
    for ratio in benchmark.leading():
        ours = benchmark.side(ratio["ours"])
        peer = benchmark.side(ratio["peer"])
        unit = ratio["unit"]
        named = benchmark.name
        if ours.name != "electra_tf":
            named += f": {ours.name}"
        share = benchmark.memory_ratio(ours.name, peer.name)
        yield _row(
            named,
            f"{_number(ours.median(unit))} {unit}"
            + (f", {ours.precision}" if ours.precision else ""),
            f"{_number(peer.median(unit))} ({named_with_version(peer)})",
            f"**{ratio['ratio']:.2f}** "
            f"({ratio['lowest']:.2f} to {ratio['highest']:.2f})",
            f"{share:.2f}" if share else "",
            _peak(benchmark, ours.name),
        )
    compared = {name for pair in benchmark.pairs for name in pair}
    for side in benchmark.sides:
        if side.name in compared:
            continue
        for unit in list(side.rates)[: 1 if benchmark.pairs else None]:
            memory = f"{side.memory:.0f} MB" if side.memory else ""
            yield _row(
                f"{benchmark.name}: {side.name}",
                f"{_number(side.median(unit))} {unit}",
                *("", "", memory, _peak(benchmark, side.name)),
            )


def named_with_version(peer: Side) -> str:
    """Returns a peer's name, its precision, and what it runs on."""
    if not peer.version or peer.version.startswith(("tensorflow", "offline")):
        return peer.spoken
    if peer.version.startswith(peer.spoken):
        return peer.version
    return f"{peer.spoken}; {peer.version}"


def _peak(benchmark: Benchmark, ours: str) -> str:
    shares = [
        benchmark.facts.get(pretraining.share_of(ours, which))
        for which in ("first", "second")
    ]
    if None in shares:
        return ""
    return ", ".join(f"{100 * share:.0f} %" for share in shares)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
