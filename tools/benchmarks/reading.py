"""Measures the input pipeline against what a training step consumes."""

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator

from benchmarks import inputs, pretraining, workers
from benchmarks.report import Benchmark, Side

READ, MASK, STEP = "batches read", "batches read and masked", "training step"


def measure(args: argparse.Namespace) -> list[Benchmark]:
    """Measures batches/s of the input and of the step, for each size."""
    with _examples(args) as data:
        return [
            _measure_size(args, size, data) for size in args.size.split(",")
        ]


@contextlib.contextmanager
def _examples(args: argparse.Namespace) -> Iterator[str]:
    """Yields a directory that build-data made of the text."""
    from electra_tf import build_data

    with (
        inputs.prepared(args) as (lines, vocab, _),
        tempfile.TemporaryDirectory() as folder,
    ):
        output = os.path.join(folder, "data")
        build_data(
            lines, vocab, output, max_seq_length=args.seq_length, progress=False
        )
        yield output


def _measure_size(args: argparse.Namespace, size: str, data: str) -> Benchmark:
    stepping = pretraining.settings(args, size) | {"precision": "float32"}
    reading = {name: stepping[name] for name in ("batch_size", "seq_length")}
    sides = {
        "input": ("ours_reader.py", reading | {"data": data}, sys.executable),
        STEP: ("ours_pretrain.py", stepping, sys.executable),
    }
    steps = args.steps or pretraining.STEPS.get(size, 1)
    asked = [
        (READ, "input", {"do": "read", "count": args.batches}),
        (MASK, "input", {"do": "mask", "count": args.batches}),
        (STEP, STEP, {"do": "steps", "count": steps}),
    ]
    rates: dict[str, list[float]] = {name: [] for name, *_ in asked}
    busy: dict[str, list[float]] = {name: [] for name, *_ in asked}
    with workers.started(sides, pretraining.environment(args)) as running:
        for _ in range(args.rounds):
            for name, side, request in asked:
                reply = running[side].ask(request)
                rates[name].append(request["count"] / reply["seconds"])
                busy[name].append(request["count"] / reply["cpu_seconds"])
        version = running[STEP].facts["version"]
    share = statistics.median(busy[STEP]) / statistics.median(busy[READ])
    return Benchmark(
        f"input {size}",
        f"batches of {args.batch_size} x {args.seq_length} from examples on "
        "disk, shuffled, on all cores; masking is part of the step, and shown "
        "apart",
        [
            Side(
                name,
                version,
                {
                    "batches/s": rates[name],
                    "batches per CPU second": busy[name],
                },
            )
            for name in rates
        ],
        [(READ, STEP), (MASK, STEP)],
        {"processor time of reading, of the step's": share},
        parameters={
            "measure": "input",
            "size": size,
            "batch_size": args.batch_size,
            "seq_length": args.seq_length,
        },
    )
