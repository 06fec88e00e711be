"""Holds the results of benchmarks; writes them as Markdown and as JSON."""

import dataclasses
import importlib.metadata
import os
import platform
import statistics
from collections.abc import Mapping
from typing import Any

LEFT_OUT = "not measured:"
PACKAGES = ("tensorflow", "tensorflow-text", "keras", "tokenizers", "numpy")


@dataclasses.dataclass
class Side:
    """Holds the measurements of one side.

    Attributes:
      name: as the table shows it.
      version: the software it runs on.
      rates: unit -> one measurement a round.
      memory: the peak memory of its process, MB; None if not measured.
      precision: of its matrix products; empty where it does not matter.
    """

    name: str
    version: str
    rates: dict[str, list[float]]
    memory: float | None = None
    precision: str = ""

    def median(self, unit: str) -> float:
        """Returns the median over the rounds."""
        return statistics.median(self.rates[unit])

    @property
    def spoken(self) -> str:
        """The side's name, with the precision where the name lacks it."""
        if not self.precision or self.precision in self.name:
            return self.name
        return f"{self.name}, {self.precision}"


@dataclasses.dataclass
class Benchmark:
    """Holds one comparison of sides.

    Attributes:
      name: the subcommand, with the varied parameters.
      settings: a description of what was measured.
      sides: ours and peers, in the order they ran in.
      pairs: (ours, peer) names whose ratio is of interest.
      facts: further lines, name -> value.
      compared: the units of which ratios are taken; all where empty.
      parameters: the varied parameters, for plots and further arithmetic.
      series: measurements over time.
      times: units where less is better; their ratios are the peer's value
        over ours, so that a ratio above 1 always means that ours is better.
    """

    name: str
    settings: str
    sides: list[Side]
    pairs: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    compared: tuple[str, ...] = ()
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    series: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    times: tuple[str, ...] = ()

    def side(self, name: str) -> Side:
        """Returns the side of that name."""
        return next(side for side in self.sides if side.name == name)

    def ratios(self) -> list[dict[str, Any]]:
        """Returns, for each pair and unit, ratios of medians and of rounds."""
        return [
            self._ratio(ours, peer, unit)
            for ours, peer in self.pairs
            for unit in self.compared or self.side(ours).rates
            if unit in self.side(ours).rates and unit in self.side(peer).rates
        ]

    def leading(self) -> list[dict[str, Any]]:
        """Returns the ratios to quote: each of ours against its best peer.

        The best is chosen by the first compared unit. If it has another
        precision, the ratio to the best peer of our precision is added.
        """
        found = []
        for ours in dict.fromkeys(pair[0] for pair in self.pairs):
            peers = [self.side(peer) for own, peer in self.pairs if own == ours]
            precision = self.side(ours).precision
            alike = [peer for peer in peers if peer.precision == precision]
            unit = next(iter(self.compared or self.side(ours).rates))
            best = [
                self._best(chosen, unit) for chosen in (peers, alike) if chosen
            ]
            found += [
                self._ratio(ours, peer, unit) for peer in dict.fromkeys(best)
            ]
        return found

    def _best(self, sides: list[Side], unit: str) -> str:
        best = min if unit in self.times else max
        return best(sides, key=lambda side: side.median(unit)).name

    def _ratio(self, ours: str, peer: str, unit: str) -> dict[str, Any]:
        a, b = self.side(ours), self.side(peer)
        if unit in self.times:
            a, b = b, a
        rounds = [x / y for x, y in zip(a.rates[unit], b.rates[unit])]
        return {
            "ours": ours,
            "peer": peer,
            "unit": unit,
            "ratio": a.median(unit) / b.median(unit),
            "lowest": min(rounds),
            "highest": max(rounds),
        }

    def memory_ratio(self, ours: str, peer: str) -> float | None:
        """Returns our peak memory as a share of a peer's; None if unknown."""
        a, b = self.side(ours).memory, self.side(peer).memory
        return a / b if a and b else None


def peak_memory(replies: list[dict[str, Any]]) -> float | None:
    """Returns a side's peak memory in MB; None if the system reports none."""
    return max(reply["peak_bytes"] for reply in replies) / 1e6 or None


def left_out(missing: Mapping[str, str]) -> dict[str, str]:
    """Returns facts about peers that did not start: name -> the reason."""
    return {f"{LEFT_OUT} {name}": reason for name, reason in missing.items()}


def machine() -> dict[str, str]:
    """Returns the processor, the cores this process may use, and versions."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as handle:
            for line in handle:
                if line.startswith("model name"):
                    model = line.partition(":")[2].strip()
                    break
    except OSError:
        pass
    cores = (
        len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count()
    )
    found = {
        "processor": model,
        "cores": str(cores),
        "system": platform.platform(),
        "python": platform.python_version(),
    }
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "absent"
    return found


def to_json(benchmarks: list[Benchmark], on: dict[str, str]) -> dict[str, Any]:
    """Returns all results as JSON data, with medians and ratios added."""
    return {
        "machine": on,
        "benchmarks": [
            {
                **dataclasses.asdict(benchmark),
                "medians": {
                    side.name: {unit: side.median(unit) for unit in side.rates}
                    for side in benchmark.sides
                },
                "ratios": benchmark.ratios(),
            }
            for benchmark in benchmarks
        ],
    }


def from_json(found: dict[str, Any]) -> tuple[list[Benchmark], dict[str, str]]:
    """Returns the arguments of `to_json` from its result."""
    names = {field.name for field in dataclasses.fields(Benchmark)}
    benchmarks = []
    for one in found["benchmarks"]:
        known = {name: one[name] for name in names if name in one}
        known["sides"] = [Side(**side) for side in one["sides"]]
        known["pairs"] = [tuple(pair) for pair in one["pairs"]]
        known["compared"] = tuple(one["compared"])
        known["times"] = tuple(one.get("times", ()))
        benchmarks.append(Benchmark(**known))
    return benchmarks, found["machine"]


def to_markdown(benchmarks: list[Benchmark], on: dict[str, str]) -> str:
    """Returns tables of medians (lowest to highest), then ratios and facts.

    Only the ratios to quote are shown; `to_json` has all.
    """
    lines = [", ".join(f"{name} {value}" for name, value in on.items())]
    for benchmark in benchmarks:
        units = list(dict.fromkeys(u for s in benchmark.sides for u in s.rates))
        lines += ["", f"### {benchmark.name}", "", benchmark.settings, ""]
        columns = list(units)
        if any(side.memory for side in benchmark.sides):
            columns.append("peak memory, MB")
        lines.append(f"| side | {' | '.join(columns)} | precision | version |")
        lines.append("| --- |" + " ---: |" * len(columns) + " --- | --- |")
        for side in benchmark.sides:
            cells = [_cell(side.rates.get(unit)) for unit in units]
            if len(columns) > len(units):
                cells.append(f"{side.memory:.0f}" if side.memory else "")
            lines.append(
                f"| {side.name} | {' | '.join(cells)} | {side.precision} "
                f"| {side.version} |"
            )
        quoted = {(r["ours"], r["peer"]) for r in benchmark.leading()}
        ratios = [
            ratio
            for ratio in benchmark.ratios()
            if (ratio["ours"], ratio["peer"]) in quoted
        ]
        if ratios:
            lines.append("")
        for ratio in ratios:
            lines.append(
                f"- {ratio['ours']} / {ratio['peer']}, {ratio['unit']}"
                f"{', times as fast' * (ratio['unit'] in benchmark.times)}: "
                f"**{ratio['ratio']:.2f}** "
                f"({ratio['lowest']:.2f} to {ratio['highest']:.2f} by round)"
            )
        for ours, peer in benchmark.pairs:
            share = benchmark.memory_ratio(ours, peer)
            if share and (ours, peer) in quoted:
                lines.append(f"- {ours} / {peer}, peak memory: **{share:.2f}**")
        for name, value in benchmark.facts.items():
            lines.append(f"- {name}: {_number(value)}")
    return "\n".join(lines)


def _cell(values: list[float] | None) -> str:
    if not values:
        return ""
    median = _number(statistics.median(values))
    return f"{median} ({_number(min(values))} to {_number(max(values))})"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
