"""Defines the measures of `tools/benchmark.py all`: sizes and rounds.

They take an hour and a half on two idle cores; `--quick` runs the same code in
some minutes, most of them for PyTorch's compilation.
"""

import argparse
import pathlib
from typing import Any

# (size, sequences, tokens each, rounds, steps a round, whether ours recomputes
# activations in the backward pass to save memory). The longest sequences of a
# size have as many tokens in a batch as one of its shapes with 128.
# `EVERY_PEER` are the shapes with all peers; the memory of all sides adds up.
EVERY_PEER = [("small", 32, 128)]
STEPS = (
    ("tiny", 8, 128, 3, 80, False),
    ("tiny", 32, 128, 5, 20, False),
    ("tiny", 128, 128, 3, 5, False),
    ("tiny", 8, 512, 3, 15, False),
    ("small", 8, 128, 3, 8, False),
    ("small", 32, 128, 5, 3, False),
    ("small", 64, 128, 3, 1, False),
    ("small", 16, 256, 3, 2, False),
    ("small", 8, 512, 3, 2, False),
    ("base", 2, 128, 3, 3, False),
    ("base", 8, 128, 5, 1, False),
    ("base", 8, 128, 3, 1, True),
    ("base", 2, 512, 3, 1, False),
)

FULL: dict[str, list[dict[str, Any]]] = {
    "startup": [{"size": "small", "rounds": 3}],
    "tokenize": [{"rounds": 3}],
    "build": [{"rounds": 3, "megabytes": 6.0}],
    "build-memory": [{}],
    "input": [
        {"size": "tiny", "rounds": 3},
        {"size": "small", "rounds": 3},
        {"size": "base", "batch_size": 8, "rounds": 3},
    ],
    "questions": [{"rounds": 3}],
    "pretrain": [
        {
            "size": size,
            "batch_size": rows,
            "seq_length": length,
            "rounds": rounds,
            "steps": steps,
            "recompute": recompute,
            "peers": "all" if (size, rows, length) in EVERY_PEER else "few",
        }
        for size, rows, length, rounds, steps, recompute in STEPS
    ],
    "finetune": [{"size": "small", "rounds": 3, "steps": 8}],
    "inference": [{"size": "small", "rounds": 3}],
}

_TRIED = {"size": "tiny", "rounds": 1, "vocab_size": 2000}
QUICK: dict[str, list[dict[str, Any]]] = {
    "startup": [_TRIED | {"batch_size": 4}],
    "tokenize": [{"rounds": 1, "megabytes": 0.3}],
    "build": [{"rounds": 1, "megabytes": 0.2}],
    "build-memory": [{"gigabytes": 0.06}],
    "input": [_TRIED | {"batch_size": 8, "megabytes": 1.0, "batches": 50}],
    "questions": [{"rounds": 1, "questions": 50, "megabytes": 0.3}],
    "pretrain": [
        _TRIED
        | {
            "batch_size": rows,
            "seq_length": length,
            "steps": 1,
            "peers": "all" if (rows, length) == (8, 128) else "few",
        }
        for rows, length in ((2, 128), (8, 128), (2, 512))
    ],
    "finetune": [_TRIED | {"steps": 2, "megabytes": 0.3}],
    "inference": [
        _TRIED | {"sentences": 48, "megabytes": 0.3, "cores": 1},
    ],
}


def settings(name: str, args: argparse.Namespace) -> list[argparse.Namespace]:
    """Returns the flags of each run of a measure.

    Args:
      name: of the measure.
      args: the flags of the command; its --rounds and --gigabytes override
        those defined here.
    """
    found = []
    for own in (QUICK if args.quick else FULL)[name]:
        given = {
            flag: value
            for flag in ("rounds", "gigabytes")
            if (value := getattr(args, flag)) is not None
        }
        flags = argparse.Namespace(**vars(args) | own | given)
        if name == "inference":
            flags.plot = str(pathlib.Path(args.output) / "http.png")
        found.append(flags)
    return found
