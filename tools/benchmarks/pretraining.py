"""Measures pre-training steps against `transformers` modules in PyTorch."""

import argparse
import dataclasses
import os
import statistics
import sys

from benchmarks import flops, report, workers
from benchmarks.report import Benchmark, Side

ALONE = "no --peer_python: transformers in PyTorch was not measured"
OURS = "electra_tf"
PRECISIONS = ("float32", "bfloat16_products", "mixed_bfloat16")
# Settings for torch_electra.py. The last is the code of common examples:
# attention by ordinary operations, the head at every position.
PEERS = {
    "torch": {"precision": "float32"},
    "torch, compiled": {"precision": "float32", "compiled": True},
    "torch, bf16": {"precision": "bf16"},
    "torch, bf16, compiled": {"precision": "bf16", "compiled": True},
    "torch, head everywhere": {
        "precision": "float32",
        "attention": "eager",
        "masked_head": False,
    },
}
# The plainest and the quickest: for shapes where all peers would take too
# long, or too much memory (the memory of all sides adds up).
FEW = ("torch", "torch, bf16, compiled")
# Steps a round, so that a round takes some seconds on a few cores.
STEPS = {"tiny": 20, "mini": 8, "small": 3, "base": 1, "large": 1}


def measure(args: argparse.Namespace) -> list[Benchmark]:
    """Measures steps/s, examples/s and GFLOP/s for each size."""
    return [_measure_size(args, size) for size in args.size.split(",")]


def named(precision: str) -> str:
    """Returns the name of our side in a precision (`train.precision`)."""
    return OURS if precision == "float32" else f"{OURS}, {precision}"


def share_of(side: str, which: str) -> str:
    """Returns the name of a fact: the share of the "first" or "second" peak."""
    return f"{side}'s share of the {which} peak"


def environment(args: argparse.Namespace) -> dict[str, str]:
    """Returns the environment of the processes that run models."""
    found = {**os.environ, **dict(e.split("=", 1) for e in args.env)}
    found.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    return found


def settings(args: argparse.Namespace, size: str) -> dict:
    """Returns the settings that both sides receive."""
    from electra_tf.models.config import GENERATOR_FRACTIONS, ModelConfig

    model = ModelConfig.of_size(size, vocab_size=args.vocab_size)
    generator = model.generator(GENERATOR_FRACTIONS[size])
    masked = max(1, int(0.155 * args.seq_length))  # as in our masking
    return {
        "size": size,
        "shape": dataclasses.asdict(model),
        "generator": dataclasses.asdict(generator),
        "batch_size": args.batch_size,
        "seq_length": args.seq_length,
        "vocab_size": args.vocab_size,
        "masked": masked,
        "jit_compile": args.jit_compile,
        "recompute": args.recompute,
        "shapes": flops.step_shapes(
            model, generator, args.batch_size, args.seq_length, masked
        ),
    }


def _measure_size(args: argparse.Namespace, size: str) -> Benchmark:
    shared = settings(args, size)
    count = args.steps or STEPS.get(size, 1)
    own = {named(each): each for each in args.precision.split(",")}
    sides = {
        name: (
            "ours_pretrain.py",
            shared | {"precision": precision},
            sys.executable,
        )
        for name, precision in own.items()
    }
    if args.peer_python:
        chosen = PEERS if args.peers == "all" else FEW
        for name in chosen:
            sides[name] = (
                "torch_electra.py",
                shared | PEERS[name],
                args.peer_python,
            )
    products = ("ours_products.py", shared, sys.executable)
    missing: dict[str, str] = {}
    with workers.started(
        sides | {"matrix products": products}, environment(args), missing
    ) as every:
        sides = {name: side for name, side in sides.items() if name in every}
        running = {name: every[name] for name in sides}
        replies: dict[str, list[dict]] = {name: [] for name in sides}
        peaks: dict[str, list[dict]] = {name: [] for name in own}
        for _ in range(args.rounds):
            # Measured in every round: the machine's speed varies over time.
            for name, precision in own.items():
                peaks[name].append(
                    every["matrix products"].ask(
                        {"do": "peak", "precision": precision}
                    )
                )
            request = {"do": "steps", "count": count}
            turn = workers.interleave(running, [request] * len(running), 1)
            for name, found in turn.items():
                replies[name] += found
        facts = {name: worker.facts for name, worker in running.items()}
    work = flops.step_gflop(shared["shapes"])
    found = []
    for name, (_, given, _) in sides.items():
        steps = [count / reply["seconds"] for reply in replies[name]]
        rates = {
            "steps/s": steps,
            "examples/s": [args.batch_size * rate for rate in steps],
            "GFLOP/s": [work * rate for rate in steps],
            "steps per CPU second": [
                count / reply["cpu_seconds"] for reply in replies[name]
            ],
        }
        found.append(
            Side(
                name,
                facts[name]["version"],
                rates,
                report.peak_memory(replies[name]),
                given["precision"],
            )
        )
    notes = {"GFLOP of matrix products needed for a step": work}
    tokens = args.batch_size * args.seq_length
    for side in found[: len(own)]:
        notes |= _peaks(side, peaks[side.name], shared["shapes"])
        notes[f"tokens/s of {side.name}"] = tokens * side.median("steps/s")
    for name in sides:
        notes[f"first step of {name}, s"] = facts[name]["first_step_seconds"]
        notes[f"parameters of {name}"] = facts[name]["parameters"]
    notes |= report.left_out(missing)
    if not args.peer_python:
        notes["peer"] = ALONE
    again = ", recompute" if args.recompute else ""
    peers = [name for name in PEERS if name in sides]
    return Benchmark(
        f"pretrain {size}, {args.batch_size} x {args.seq_length}{again}",
        f"forward, backward and update with dropout, batch {args.batch_size} "
        f"x {args.seq_length}, {shared['masked']} masked, vocabulary "
        f"{args.vocab_size}; torch: the modules of transformers, attention by "
        "SDPA and the head at the masked positions unless named otherwise; "
        "GFLOP/s count the products our step needs, for all sides",
        found,
        [(name, peer) for name in own for peer in peers],
        notes,
        ("steps/s", "steps per CPU second"),
        {
            "measure": "pretrain",
            "recompute": args.recompute,
            "size": size,
            "batch_size": args.batch_size,
            "seq_length": args.seq_length,
            "parameters": facts[next(iter(own))]["parameters"],
        },
    )


def _peaks(side: Side, peaks: list[dict], shapes: list) -> dict[str, float]:
    """Returns the peaks in the side's precision, and its shares of them."""
    square = statistics.median(peak["square"] for peak in peaks)
    attainable = statistics.median(
        flops.attainable(shapes, peak["shapes"]) for peak in peaks
    )
    edge = " x ".join([str(peaks[0]["edge"])] * 3)
    of = "" if side.precision == "float32" else f" of {side.precision}"
    reached = side.median("GFLOP/s")
    return {
        f"measured peak{of}, {edge}, GFLOP/s": square,
        f"measured peak{of}, the model's own shapes, GFLOP/s": attainable,
        share_of(side.name, "first"): reached / square,
        share_of(side.name, "second"): reached / attainable,
    }
