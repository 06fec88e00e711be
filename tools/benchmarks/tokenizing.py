"""Measures our tokenizer against Hugging Face `tokenizers`."""

import argparse
import sys

from benchmarks import inputs, workers
from benchmarks.report import Benchmark, Side


def measure(args: argparse.Namespace) -> list[Benchmark]:
    """Measures MB/s on one core and on all; compares the ids."""
    with inputs.prepared(args) as (lines, vocab, megabytes):
        return [
            _compare(args, lines, vocab, megabytes, cores)
            for cores in (1, None)
        ]


def _compare(
    args: argparse.Namespace,
    lines: str,
    vocab: str,
    megabytes: float,
    cores: int | None,
) -> Benchmark:
    settings = {
        "lines": lines,
        "vocab": vocab,
        "batch_size": args.batch_size,
        "cores": cores,
    }
    sides = {
        "electra_tf": ("ours_tokenizer.py", settings, sys.executable),
        "tokenizers": ("hf_tokenizers.py", settings, sys.executable),
    }
    with workers.started(sides) as running:
        digests = {
            name: worker.ask({"do": "digest"})
            for name, worker in running.items()
        }
        replies = workers.interleave(
            running, [{"do": "tokenize"}] * len(running), args.rounds
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
    same = len({reply["digest"] for reply in digests.values()}) == 1
    return Benchmark(
        "tokenize, one core" if cores else "tokenize, all cores",
        f"{megabytes:.1f} MB of text; ours in batches of {args.batch_size} "
        "lines, tokenizers (encode_batch_fast) in its quickest of 128, 1,024 "
        "and 8,192",
        found,
        [("electra_tf", "tokenizers")],
        {
            "tokens": digests["electra_tf"]["tokens"],
            "same ids": "yes" if same else "NO",
        },
    )
