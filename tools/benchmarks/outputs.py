"""Writes the folder of `tools/benchmark.py all`, and renews a document."""

import json
import os
import pathlib
import shutil
import time
from collections.abc import Sequence

from benchmarks import plan, plots, report, sections, summary
from benchmarks.report import Benchmark

RESULTS, REPORT = "results.json", "report.md"
# Sections of the document.
MEASURED, PLANNED = "benchmark", "plan"
PICTURES = {
    "pretrain.png": "Speed, memory and share of the matrix-product peak of "
    "pre-training steps",
    "growth.png": "How the cost of a step grows with the batch, the sequence "
    "and the model",
    "data.png": "Building examples with one and two workers, the memory of a "
    "large build, and reading against the step",
    "http.png": "Latency and rate of a served classifier",
}


def record(
    folder: pathlib.Path,
    name: str,
    found: Sequence[Benchmark],
    order: Sequence[str],
) -> None:
    """Replaces the recorded results of a measure by new ones.

    Args:
      folder: of the results.
      name: of the measure.
      found: the new results.
      order: names of all measures, in the order to write them.
    """
    known: list[Benchmark] = []
    if (folder / RESULTS).exists():
        known, _ = load(folder / RESULTS)
    for benchmark in found:
        benchmark.parameters["measured"] = time.strftime("%Y-%m-%d")
        benchmark.parameters["load"] = round(os.getloadavg()[0], 1)
    kept = [one for one in known if one.parameters["measure"] != name]
    every = sorted(
        [*kept, *found],
        key=lambda one: order.index(one.parameters["measure"]),
    )
    text = json.dumps(report.to_json(every, report.machine()), indent=1)
    _write(folder / RESULTS, text + "\n")


def load(path: pathlib.Path) -> tuple[list[Benchmark], dict[str, str]]:
    """Reads the recorded results, and the machine they were measured on."""
    return report.from_json(json.loads(path.read_text(encoding="utf-8")))


def render(folder: pathlib.Path, document: str | None = None) -> str:
    """Writes tables and plots of the recorded results; returns the summary.

    Args:
      folder: with results.json; report.md and plots are written there.
      document: its marked sections are renewed; plots and results are copied
        into the folder beside it that has its name.
    """
    found, on = load(folder / RESULTS)
    table = summary.table(found)
    details = report.to_markdown(found, on)
    _write(folder / REPORT, f"{table}\n\n{details}\n")
    plots.draw(found, folder)
    if document is None:
        return table
    path = pathlib.Path(document)
    beside = path.with_suffix("")
    beside.mkdir(exist_ok=True)
    shown = [name for name in PICTURES if (folder / name).exists()]
    for name in [*shown, RESULTS]:
        if (folder / name).resolve() != (beside / name).resolve():
            shutil.copyfile(folder / name, beside / name)
    text = path.read_text(encoding="utf-8")
    parts = [summary.machine_line(found, on), table]
    parts += [f"![{PICTURES[n]}]({beside.name}/{n})" for n in shown]
    text = sections.replaced(text, MEASURED, "\n\n".join(parts))
    text = sections.replaced(text, PLANNED, plan.tables(found))
    _write(path, text)
    return table


def _write(path: pathlib.Path, text: str) -> None:
    """Writes under another name first, so that no half file is seen."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
