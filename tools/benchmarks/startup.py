"""Measures start-up times: imports, and the first training step."""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from benchmarks import pretraining, workers
from benchmarks.report import Benchmark, Side

# The code of a process: it prints the seconds of each statement.
_TIMED = """
import json, sys, time
spent = []
for statement in sys.argv[1:]:
    start = time.perf_counter()
    exec(statement, {})
    spent.append(time.perf_counter() - start)
print(json.dumps(spent))
"""
TENSORFLOW = "import tensorflow"
OURS = "import electra_tf"
PRETRAINER = "from electra_tf import ElectraPretrainer"
EVERYTHING = "from electra_tf import *"


def measure(args: argparse.Namespace) -> list[Benchmark]:
    """Measures seconds, each time in a fresh process."""
    found = [_imports(args.rounds)]
    for size in args.size.split(","):
        found.append(_first_step(args, size))
    return found


def seconds_of(statements: Sequence[str]) -> list[float]:
    """Returns the seconds of statements, run in order in a fresh process.

    Raises:
      workers.SideError: a statement failed.
    """
    done = subprocess.run(
        [sys.executable, "-c", _TIMED, *statements],
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise workers.SideError(f"{statements}: {done.stderr[-1500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _imports(rounds: int) -> Benchmark:
    statements = (TENSORFLOW, OURS, PRETRAINER, EVERYTHING)
    alone = []
    after: list[list[float]] = []
    for _ in range(rounds):
        alone += seconds_of([OURS])
        after.append(seconds_of(statements))
    sides = [
        Side(
            name if name == TENSORFLOW else f"then {name}",
            "",
            {"seconds": [spent[i] for spent in after]},
        )
        for i, name in enumerate(statements)
    ]
    sides.append(Side(f"{OURS}, alone", "", {"seconds": alone}))
    added = [sum(spent[1:]) for spent in after]
    return Benchmark(
        "startup, imports",
        "fresh processes, files in the cache; names are imported when they "
        "are first asked for, so `import electra_tf` alone does nearly nothing",
        sides,
        facts={
            "all public names add to TensorFlow, s": statistics.median(added)
        },
        parameters={"measure": "startup"},
    )


def _first_step(args: argparse.Namespace, size: str) -> Benchmark:
    settings = pretraining.settings(args, size) | {"precision": "float32"}
    known = {"electra_tf": ("ours_pretrain.py", sys.executable)}
    if args.peer_python:
        known["torch"] = ("torch_electra.py", args.peer_python)
    spent: dict[str, dict[str, list[float]]] = {
        name: {"first step, s": [], "process with two steps, s": []}
        for name in known
    }
    versions = {}
    for _ in range(args.rounds):
        for name, (script, python) in known.items():
            start = time.perf_counter()
            side = {name: (script, settings, python)}
            with workers.started(side, pretraining.environment(args)) as on:
                facts = on[name].facts
                whole = time.perf_counter() - start
            versions[name] = facts["version"]
            first, process = spent[name].values()
            first.append(facts["first_step_seconds"])
            process.append(whole)
    return Benchmark(
        f"startup, first step of {size}",
        f"fresh processes, batch {args.batch_size} x {args.seq_length}; the "
        "first step traces and compiles; the process is timed from its start "
        "to the end of its second step, imports and the model included",
        [Side(name, versions[name], rates) for name, rates in spent.items()],
        parameters={"measure": "startup", "size": size},
    )
