"""Our data builder against examples built in plain Python, one core each."""

import argparse
import sys

from bench import inputs, workers
from bench.report import Benchmark, Side

ALONE = "no --peer_python: the plain-Python builder was not measured"


def measure(args: argparse.Namespace) -> list[Benchmark]:
    """MB/s a process."""
    with inputs.prepared(args) as (lines, vocab, megabytes):
        settings = {
            "lines": lines,
            "vocab": vocab,
            "max_seq_length": args.max_seq_length,
            "num_workers": 1,
            "cores": 1,
        }
        sides = {"electra_tf": ("ours_builder.py", settings, sys.executable)}
        if args.peer_python:
            sides["plain Python"] = (
                "bert_python.py",
                settings,
                args.peer_python,
            )
        with workers.started(sides) as running:
            replies = workers.interleave(
                running, [{"do": "build"}] * len(running), args.rounds
            )
            facts = {name: worker.facts for name, worker in running.items()}
    found = [
        Side(
            name,
            facts[name]["version"],
            {
                "MB/s": [
                    megabytes / reply["seconds"] for reply in replies[name]
                ],
                "MB per CPU second": [
                    megabytes / reply["cpu_seconds"] for reply in replies[name]
                ],
            },
        )
        for name in sides
    ]
    pairs = [("electra_tf", "plain Python")] if args.peer_python else []
    return [
        Benchmark(
            "build",
            f"{megabytes:.1f} MB of text, {args.max_seq_length} tokens an "
            "example, one process on one core; ours reads, cleans, tokenizes, "
            "shuffles and writes, the peer tokenizes and gathers only",
            found,
            pairs,
            {} if args.peer_python else {"peer": ALONE},
        )
    ]
