"""One pre-training step: ours against `transformers` modules in PyTorch."""

import argparse
import dataclasses
import os
import statistics
import sys

from benchmarks import flops, report, workers
from benchmarks.report import Benchmark, Side

ALONE = "no --peer_python: transformers in PyTorch was not measured"
SHARE_OF_SQUARE = "electra_tf's share of the first peak"
SHARE_OF_SHAPES = "electra_tf's share of the second peak"
# Steps a round, so that a round takes some seconds on a few cores.
STEPS = {"tiny": 20, "mini": 8, "small": 3, "base": 1, "large": 1}


def measure(args: argparse.Namespace) -> list[Benchmark]:
    """Steps/s and examples/s for each size, and GFLOP/s reached."""
    return [_measure_size(args, size) for size in args.size.split(",")]


def environment(args: argparse.Namespace) -> dict[str, str]:
    """Of the processes that run models."""
    found = {**os.environ, **dict(e.split("=", 1) for e in args.env)}
    found.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    return found


def settings(args: argparse.Namespace, size: str) -> dict:
    """What both sides are told."""
    from electra_tf.models.config import GENERATOR_FRACTIONS, ModelConfig

    model = ModelConfig.of_size(size, vocab_size=args.vocab_size)
    generator = model.generator(GENERATOR_FRACTIONS[size])
    masked = max(1, int(0.155 * args.seq_length))  # as our masking has it
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
    told = settings(args, size)
    count = args.steps or STEPS.get(size, 1)
    sides = {"electra_tf": ("ours_pretrain.py", told, sys.executable)}
    if args.peer_python:
        sides["transformers"] = ("torch_electra.py", told, args.peer_python)
    products = ("ours_products.py", told, sys.executable)
    with workers.started(
        sides | {"matrix products": products}, environment(args)
    ) as every:
        running = {name: every[name] for name in sides}
        replies: dict[str, list[dict]] = {name: [] for name in sides}
        peaks = []
        for _ in range(args.rounds):
            # The peak is measured in every round: it moves with the machine.
            peaks.append(every["matrix products"].ask({"do": "peak"}))
            request = {"do": "steps", "count": count}
            turn = workers.interleave(running, [request] * len(running), 1)
            for name, found in turn.items():
                replies[name] += found
        facts = {name: worker.facts for name, worker in running.items()}
    work = flops.step_gflop(told["shapes"])
    square = statistics.median(peak["square"] for peak in peaks)
    own = statistics.median(
        flops.attainable(told["shapes"], peak["shapes"]) for peak in peaks
    )
    found = []
    for name in sides:
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
            )
        )
    reached = found[0].median("GFLOP/s")
    notes = {
        "GFLOP of matrix products needed for a step": work,
        "measured peak, 2048 x 2048 x 2048, GFLOP/s": square,
        "measured peak, the model's own shapes, GFLOP/s": own,
        SHARE_OF_SQUARE: reached / square,
        SHARE_OF_SHAPES: reached / own,
    }
    for name in sides:
        notes[f"first step of {name}, s"] = facts[name]["first_step_seconds"]
        notes[f"parameters of {name}"] = facts[name]["parameters"]
    if not args.peer_python:
        notes["peer"] = ALONE
    again = ", recompute" if args.recompute else ""
    return Benchmark(
        f"pretrain {size}, {args.batch_size} x {args.seq_length}{again}",
        f"forward, backward and update with dropout, batch {args.batch_size} "
        f"x {args.seq_length}, {told['masked']} masked, vocabulary "
        f"{args.vocab_size}, float32; GFLOP/s count the products our step "
        "needs, for both sides",
        found,
        [("electra_tf", "transformers")] if args.peer_python else [],
        notes,
        ("steps/s", "steps per CPU second"),
        {
            "measure": "pretrain",
            "recompute": args.recompute,
            "size": size,
            "batch_size": args.batch_size,
            "seq_length": args.seq_length,
            "parameters": facts["electra_tf"]["parameters"],
        },
    )
