"""Measures our data builder against a builder in plain Python.

Ours gets more text than the peer: it is much faster, and its start-up time
would dominate a short run. Start-up is also most of why two workers are less
than twice as fast as one: each compiles the vocabulary for itself.
"""

import argparse
import sys

from benchmarks import inputs, workers
from benchmarks.report import Benchmark, Side

ALONE = "no --peer_python: the plain-Python builder was not measured"
# MB/s of the original in one process; the plain-Python peer is as fast.
ORIGINAL = 0.5
OURS_TIMES = 24
ONE, TWO, PEER = "electra_tf, 1 worker", "electra_tf, 2 workers", "plain Python"


def measure(args: argparse.Namespace) -> list[Benchmark]:
    """Measures MB/s of one process, and of two workers."""
    more = argparse.Namespace(**vars(args))
    more.megabytes = OURS_TIMES * args.megabytes
    with (
        inputs.prepared(args) as (lines, vocab, megabytes),
        inputs.prepared(more) as (more_lines, _, more_megabytes),
    ):
        settings = {"vocab": vocab, "max_seq_length": args.max_seq_length}
        ours = settings | {"lines": more_lines}
        one, two = ({"num_workers": 1, "cores": 1}, {"num_workers": 2})
        sides = {
            ONE: ("ours_builder.py", ours | one, sys.executable),
            TWO: ("ours_builder.py", ours | two, sys.executable),
        }
        if args.peer_python:
            sides[PEER] = (
                "bert_python.py",
                settings | {"lines": lines, "cores": 1},
                args.peer_python,
            )
        with workers.started(sides) as running:
            replies = workers.interleave(
                running, [{"do": "build"}] * len(running), args.rounds
            )
            facts = {name: worker.facts for name, worker in running.items()}
    found = []
    for name in sides:
        size = megabytes if name == PEER else more_megabytes
        rates = {"MB/s": [size / reply["seconds"] for reply in replies[name]]}
        # CPU time leaves out the workers of TWO: not direct children.
        if name != TWO:
            rates["MB per CPU second"] = [
                size / reply["cpu_seconds"] for reply in replies[name]
            ]
        found.append(Side(name, facts[name]["version"], rates))
    one, two = (side.median("MB/s") for side in found[:2])
    notes = {
        "1 worker, of the original's 0.5 MB/s": one / ORIGINAL,
        "2 workers, of 1 worker": two / one,
        "2 workers, MB/s each": two / 2,
    }
    if not args.peer_python:
        notes["peer"] = ALONE
    return [
        Benchmark(
            "build",
            f"{more_megabytes:.1f} MB of text, {args.max_seq_length} tokens "
            "an example, 1 worker on one core, 2 workers on all; ours reads, "
            f"cleans, tokenizes, shuffles and writes; the peer, one process "
            f"on one core, tokenizes and gathers {megabytes:.1f} MB only",
            found,
            [(ONE, PEER)] if args.peer_python else [],
            notes,
            parameters={"measure": "build"},
        )
    ]
