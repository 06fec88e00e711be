"""Measures the memory of a large build: the same text over and over."""

import argparse
import glob
import math
import os
import pathlib
import sys
import tempfile
from collections.abc import Iterator

from benchmarks import inputs, memory, workers
from benchmarks.report import Benchmark, Side

# Seconds between two memory readings, and how many a report keeps.
_SECONDS, _LOOKS = 1.0, 400


def measure(args: argparse.Namespace) -> list[Benchmark]:
    """Measures MB/s of a build with workers, and its memory over time."""
    with inputs.prepared(args) as (lines, vocab, _):
        names = sorted(glob.glob(args.input)) if args.input else [lines]
        with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
            megabytes = repeat(names, pathlib.Path(folder), args.gigabytes)
            settings = {
                "vocab": vocab,
                "lines": os.path.join(folder, "*.txt"),
                "max_seq_length": args.max_seq_length,
                "num_workers": args.workers,
                "scratch": args.scratch,
            }
            side = ("ours_builder.py", settings, sys.executable)
            with workers.started({"electra_tf": side}) as running:
                worker = running["electra_tf"]
                with memory.watched(worker.pid, _SECONDS) as series:
                    reply = worker.ask({"do": "build"})
    version = worker.facts["version"]
    rates = {"MB/s": [megabytes / reply["seconds"]]}
    side = Side("electra_tf", version, rates)
    facts = {"text, MB": megabytes}
    if len(series) >= 4:
        side.memory = max(found for _, found in series)
        facts["more memory in the last quarter than in the second, MB"] = (
            memory.growth(series)
        )
    kept = list(thinned(series))
    return [
        Benchmark(
            "build-memory",
            f"{megabytes / 1e3:.1f} GB of text (the same files over and over), "
            f"{args.max_seq_length} tokens an example, {args.workers} workers; "
            "memory is that of all processes together (PSS)",
            [side],
            facts=facts,
            parameters={
                "measure": "build-memory",
                "workers": args.workers,
                "megabytes": megabytes,
            },
            series={
                "seconds": [round(at, 1) for at, _ in kept],
                "MB": [round(found, 1) for _, found in kept],
            },
        )
    ]


def repeat(names: list[str], folder: pathlib.Path, gigabytes: float) -> float:
    """Links to the files repeatedly; returns the total size in MB.

    Args:
      names: text files.
      folder: where the links go.
      gigabytes: the least amount of text; repetitions are whole.
    """
    size = sum(os.path.getsize(name) for name in names)
    if not size:
        sys.exit("benchmark: the text is empty")
    times = math.ceil(gigabytes * 1e9 / size)
    for time in range(times):
        for i, name in enumerate(names):
            link = folder / f"{time:05d}-{i:05d}.txt"
            link.symlink_to(os.path.abspath(name))
    return times * size / 1e6


def thinned(series: memory.Series) -> Iterator[tuple[float, float]]:
    """Yields the highest reading of each stretch, for a small report."""
    step = max(1, len(series) // _LOOKS)
    for i in range(0, len(series), step):
        yield max(series[i : i + step], key=lambda look: look[1])
