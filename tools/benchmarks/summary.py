"""One table of all that was measured."""

from collections.abc import Iterator, Sequence

from benchmarks import pretraining
from benchmarks.report import Benchmark

_HEAD = (
    "| what | ours | peer | ratio (by round) | peak memory, of the peer's "
    "| of the matrix peak: square, own shapes |",
    "| --- | ---: | ---: | ---: | ---: | ---: |",
)


def table(found: Sequence[Benchmark]) -> str:
    """Markdown: a row for each comparison, or side where there is none."""
    lines = list(_HEAD)
    for benchmark in found:
        lines += _rows(benchmark)
    return "\n".join(lines)


def machine_line(found: Sequence[Benchmark], on: dict[str, str]) -> str:
    """What was measured on what, and when."""
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
    for ratio in _leading(benchmark):
        ours, peer = ratio["ours"], ratio["peer"]
        unit = ratio["unit"]
        values = [
            _number(benchmark.side(name).median(unit)) for name in (ours, peer)
        ]
        if len(benchmark.pairs) == 1 and ours == "electra_tf":
            named = benchmark.name
        else:
            named = f"{benchmark.name}: {ours}"
        share = benchmark.memory_ratio(ours, peer)
        yield _row(
            named,
            f"{values[0]} {unit}",
            f"{values[1]} ({peer})",
            f"**{ratio['ratio']:.2f}** "
            f"({ratio['lowest']:.2f} to {ratio['highest']:.2f})",
            f"{share:.2f}" if share else "",
            _peak(benchmark),
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
                *("", "", memory, _peak(benchmark)),
            )


def _leading(benchmark: Benchmark) -> Iterator[dict]:
    """The first ratio of each pair."""
    seen = set()
    for ratio in benchmark.ratios():
        pair = ratio["ours"], ratio["peer"]
        if pair not in seen:
            seen.add(pair)
            yield ratio


def _peak(benchmark: Benchmark) -> str:
    shares = [
        benchmark.facts.get(name)
        for name in (pretraining.SHARE_OF_SQUARE, pretraining.SHARE_OF_SHAPES)
    ]
    if None in shares:
        return ""
    return ", ".join(f"{100 * share:.0f} %" for share in shares)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
