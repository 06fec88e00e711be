"""Estimates hours and cost of the paper's runs, and of many predictions.

It computes with counts, vendors' peaks and assumptions, which are named as
such: the time of a step is the operations of its matrix products, divided by
the peak of the chips and by the share of it that is reached. The time of
predictions is that measured on one machine's cores, times the number of
sentences: they are independent, so more cores are proportionally faster.
"""

import argparse
import dataclasses
import pathlib
import re
from collections.abc import Sequence

from benchmarks import flops
from benchmarks.report import Benchmark
from electra_tf import config
from electra_tf.errors import UserError
from electra_tf.keras_api.settings import PretrainSettings

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "configs/pretrain"
_LENGTH = re.compile(r"^#.*--max_seq_length=(\d+)", re.MULTILINE)

# Assumed, not measured: the share of the peak that training reaches,
# communication included. Well-tuned BERT training is in this range.
UTILISATION = (0.30, 0.45)
# Assumed: dollars for an hour of a chip, on demand in the United States;
# Google Cloud's prices of 2024 (a2-highgpu-1g; TPU v4), not updated since.
PRICES_OF = "2024"
GPU_PRICE, TPU_PRICE = 3.67, 3.22

# Assumed: dollars for an hour of a core, on demand.
CORE_PRICE = 0.04
SENTENCES = (10**6, 10**7, 10**8, 10**9, 10**10)
_PER_CORE = "sentences per CPU second"

# From the paper's Table 1: config -> (hardware, chips, peak TFLOP/s of one,
# days). It does not give the precision; the original's code uses 32 bits on a
# GPU, and TPUs multiply in 16.
PAPER = {
    "small": ("1 V100 (32-bit peak)", 1, 15.7, 4.0),
    "base": ("16 TPU v3 (16-bit peak)", 16, 123.0, 4.0),
}


@dataclasses.dataclass(frozen=True)
class Machine:
    """Describes chips that train together; peaks: dense 16-bit products."""

    name: str
    chip: str
    chips: int
    teraflops: float  # of one chip, from its vendor
    price: float  # dollars an hour for one chip


def machines(gpu_price: float, tpu_price: float) -> list[Machine]:
    """Returns the machines of the plan; a v4-32 has 32 cores on 16 chips."""
    return [
        Machine("1 A100", "A100", 1, 312.0, gpu_price),
        Machine("8 A100", "A100", 8, 312.0, gpu_price),
        Machine("TPU v4-32", "TPU v4", 16, 275.0, tpu_price),
    ]


@dataclasses.dataclass(frozen=True)
class Run:
    """Describes a pre-training run, as its config defines it."""

    name: str
    size: str
    settings: PretrainSettings
    seq_length: int

    @property
    def steps(self) -> int:
        """The number of updates."""
        return self.settings.train.num_train_steps

    @property
    def step_gflop(self) -> float:
        """GFLOP of the matrix products of a step."""
        settings, generator = self.settings, self.settings.generator
        model = settings.model
        return flops.step_gflop(
            flops.step_shapes(
                model,
                model.generator(
                    generator.hidden_fraction, generator.layers_fraction
                ),
                settings.train.batch_size,
                self.seq_length,
                settings.masking.slots(self.seq_length),
            )
        )

    @property
    def teraflop(self) -> float:
        """TFLOP of the matrix products of the whole run."""
        return self.steps * self.step_gflop / 1e3

    def hours(self, teraflops: float) -> float:
        """Returns the run's hours at this speed (reached TFLOP/s)."""
        return self.teraflop / teraflops / 3600

    def sequences_per_second(self, teraflops: float) -> float:
        """Returns the sequences/s the input must deliver at this speed."""
        steps = 1e3 * teraflops / self.step_gflop
        return steps * self.settings.train.batch_size


def runs() -> list[Run]:
    """Returns the paper's runs (Table 6); large has 400K or 1.75M steps."""
    found = []
    for name, size, overrides in (
        ("small", "small", []),
        ("base", "base", []),
        ("large, 400K", "large", []),
        ("large, 1.75M", "large", ["train.num_train_steps=1750000"]),
    ):
        path = str(CONFIGS / f"{size}.yaml")
        settings = config.resolve(PretrainSettings, path, overrides)
        found.append(Run(name, size, settings, seq_length(path)))
    return found


def seq_length(path: str) -> int:
    """Returns the sequence length that a config's opening comment names.

    Raises:
      UserError: it names none.
    """
    found = _LENGTH.search(pathlib.Path(path).read_text(encoding="utf-8"))
    if found is None:
        raise UserError(
            f"{path}: its opening lines name no --max_seq_length; give the flag"
        )
    return int(found.group(1))


def add_flags(flags: argparse.ArgumentParser) -> None:
    """Adds the flags of the assumptions."""
    flags.add_argument(
        "--utilisation", default=",".join(map(str, UTILISATION)),
        metavar="LOW,HIGH",
        help="assumed share of the peak that training reaches (%(default)s)",
    )  # fmt: skip
    for name, default in (("gpu", GPU_PRICE), ("tpu", TPU_PRICE)):
        flags.add_argument(
            f"--{name}_price", type=float, default=default,
            help="assumed dollars for an hour of a chip (%(default)s, of "
            f"{PRICES_OF})",
        )  # fmt: skip
    flags.add_argument(
        "--core_price", type=float, default=CORE_PRICE,
        help="assumed dollars for an hour of a core (%(default)s)",
    )  # fmt: skip


def shares(text: str) -> tuple[float, float]:
    """Parses two shares: "0.3,0.45" -> (0.3, 0.45).

    Raises:
      UserError: these are not two shares.
    """
    try:
        low, high = sorted(float(part) for part in text.split(","))
    except ValueError:
        low = high = 0.0
    if not 0 < low <= high <= 1:
        raise UserError(
            f"--utilisation: expected two shares as in 0.3,0.45, got '{text}'"
        )
    return low, high


def tables(
    measured: Sequence[Benchmark] = (),
    utilisation: tuple[float, float] = UTILISATION,
    gpu_price: float = GPU_PRICE,
    tpu_price: float = TPU_PRICE,
    core_price: float = CORE_PRICE,
) -> str:
    """Returns Markdown tables: plan, paper's runs, and measured machine.

    Args:
      measured: results of the benchmark; the last tables need its `pretrain`
        and its `inference`.
      utilisation: the assumed range.
      gpu_price: dollars an hour, assumed.
      tpu_price: the same for one TPU chip.
      core_price: the same for a core.
    """
    planned = runs()
    known = machines(gpu_price, tpu_price)
    parts = [
        _planned(planned, known, utilisation),
        _papers(planned),
        _measured(planned, measured),
        _predictions(measured, core_price),
    ]
    return "\n\n".join(part for part in parts if part)


def _planned(
    planned: Sequence[Run],
    known: Sequence[Machine],
    utilisation: tuple[float, float],
) -> str:
    low, high = utilisation
    base = next(run for run in planned if run.name == "base")
    modest = _paper_share(base)
    lines = [
        f"| run | steps | products, TFLOP | machine | hours at {high:.0%} to "
        f"{low:.0%} of the peak | dollars | sequences/s "
        f"| hours at {modest:.0%}, as the paper's base |",
        "| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for run in planned:
        for machine in known:
            peak = machine.chips * machine.teraflops
            hours = [run.hours(share * peak) for share in (high, low)]
            rates = [run.sequences_per_second(s * peak) for s in (low, high)]
            each = machine.chips * machine.price
            lines.append(
                f"| {run.name} | {run.steps:,} | {run.teraflop:.2e} "
                f"| {machine.name} | {_range(hours)} "
                f"| {_range([each * h for h in hours])} | {_range(rates)} "
                f"| {_range([run.hours(modest * peak)])} |"
            )
    chips = {m.chip: (m.teraflops, m.price) for m in known}
    said = "; ".join(
        f"{name} {peak:.0f} TFLOP/s in 16 bits and {price:.2f} dollars an hour"
        for name, (peak, price) in chips.items()
    )
    assumed = f"For each chip: {said} (assumed, prices of {PRICES_OF})."
    return "\n".join([*lines, "", assumed])


def _paper_share(run: Run) -> float:
    """Returns the share of the peak that the paper's own run reached."""
    _, chips, peak, days = PAPER[run.name]
    return run.teraflop / (days * 86400) / (chips * peak)


def _papers(planned: Sequence[Run]) -> str:
    lines = [
        "| run | in the paper | TFLOP/s of each chip | of its peak |",
        "| --- | --- | ---: | ---: |",
    ]
    for run in planned:
        if run.name in PAPER:
            hardware, _, peak, days = PAPER[run.name]
            share = _paper_share(run)
            lines.append(
                f"| {run.name} | {days:g} days on {hardware} "
                f"| {share * peak:.1f} | {share:.0%} |"
            )
    return "\n".join(lines)


def _measured(planned: Sequence[Run], measured: Sequence[Benchmark]) -> str:
    """Returns the table of days on the benchmark's machine, at its speed."""
    lines = [
        "| run | measured here, at best | days |",
        "| --- | --- | ---: |",
    ]
    for run in planned:
        reached = [
            (side.median("GFLOP/s"), benchmark)
            for benchmark in measured
            if benchmark.parameters.get("measure") == "pretrain"
            and benchmark.parameters["size"] == run.size
            for side in benchmark.sides
            if side.name.startswith("electra_tf")
        ]
        if reached:
            rate, best = max(reached, key=lambda one: one[0])
            at = f"{best.parameters['batch_size']} x "
            at += str(best.parameters["seq_length"])
            days = run.hours(rate / 1e3) / 24
            lines.append(
                f"| {run.name} | {rate:.0f} GFLOP/s ({at}) | {days:,.0f} |"
            )
    return "\n".join(lines) if len(lines) > 2 else ""


def _predictions(measured: Sequence[Benchmark], core_price: float) -> str:
    """Returns the table of hours of predictions, at the measured speed."""
    lines = [
        "| predictions | sentences an hour and core | sentences "
        "| hours of a core | days of 100 cores | dollars |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    known = {benchmark.name for benchmark in measured}
    for benchmark in measured:
        for side in benchmark.sides:
            if (
                benchmark.parameters.get("measure") != "inference"
                or not side.name.startswith("electra_tf")
                or "by HTTP" in benchmark.name
                or f"{benchmark.name}, a file" in known
                or _PER_CORE not in side.rates
            ):
                continue
            of_core = 3600 * side.median(_PER_CORE)
            size = benchmark.name.removeprefix("inference ")
            size = size.removesuffix(", a file")
            name = f"{size}, {side.name.removeprefix('electra_tf, ')}"
            for count in SENTENCES:
                hours = count / of_core
                lines.append(
                    f"| {name} | {of_core:,.0f} | {count:,} "
                    f"| {_range([hours])} | {_range([hours / 2400])} "
                    f"| {_range([hours * core_price])} |"
                )
    if len(lines) == 2:
        return ""
    assumed = (
        "Rates are of the benchmark's short sentences, the model loaded; "
        f"{core_price:.2f} dollars for an hour of a core are assumed."
    )
    return "\n".join([*lines, "", assumed])


def _range(values: Sequence[float]) -> str:
    found = [
        f"{value:,.0f}" if value >= 9.95 else f"{value:.2g}"
        for value in sorted(values)
    ]
    return " to ".join(dict.fromkeys(found))
