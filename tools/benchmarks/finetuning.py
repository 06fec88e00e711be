"""Measures fine-tuning of a sentence classifier against the HF `Trainer`."""

import argparse
import contextlib
import dataclasses
import os
import pathlib
import sys
import tempfile
from collections.abc import Iterator

import numpy as np

from benchmarks import inputs, report, workers
from benchmarks.report import Benchmark, Side

ALONE = "no --peer_python: the Trainer was not measured"
# Steps of a round; a round is one epoch of the rows.
STEPS = 32
PADDED = 128
OURS = {
    "electra_tf": "float32",
    "electra_tf, bfloat16_products": "bfloat16_products",
}
# Settings for hf_trainer.py. One side pads all rows to one length: with several
# lengths, compiling may happen again for each.
PEERS = {
    "Trainer": {"precision": "float32"},
    "Trainer, bf16": {"precision": "bf16"},
    "Trainer, bf16, compiled": {"precision": "bf16", "compiled": True},
    f"Trainer, bf16, compiled, padded to {PADDED}": {
        "precision": "bf16",
        "compiled": True,
        "pad_to": PADDED,
    },
}


def measure(args: argparse.Namespace) -> list[Benchmark]:
    """Measures examples/s of each size, after all shapes were seen once."""
    with _rows(args) as (path, vocab_file, vocab_size, named):
        return [
            _measure_size(args, size, path, vocab_file, vocab_size, named)
            for size in args.size.split(",")
        ]


@contextlib.contextmanager
def _rows(args: argparse.Namespace) -> Iterator[tuple[str, str, int, str]]:
    """Yields (rows as .npz, vocabulary, its size, a description)."""
    from electra_tf.text.tokenizer import Tokenizer
    from electra_tf.text.vocab import load_vocab

    with inputs.prepared(args) as (text_file, vocab_file, _):
        vocab = load_vocab(vocab_file)
        tokenizer = Tokenizer(vocab)
        wanted = (args.steps or STEPS) * args.batch_size
        if args.data:
            texts, labels = _sst2(args.data)
            named = "SST-2's training sentences"
        else:
            with open(text_file, encoding="utf-8") as source:
                texts = [line for line in source if line.strip()]
            labels = np.arange(len(texts)) % 2
            named = "lines of the sample text (no --data)"
        if len(texts) < wanted:
            sys.exit(
                f"benchmark: {len(texts)} rows are too few for a round of "
                f"{wanted}: take fewer --steps"
            )
        chosen = np.random.default_rng(0).permutation(len(texts))[:wanted]
        tokens = tokenizer([texts[i] for i in chosen]).to_list()
        rows = [
            [vocab.cls_id, *row[: PADDED - 2], vocab.sep_id] for row in tokens
        ]
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "rows.npz"
            np.savez(
                path,
                row_splits=np.cumsum([0, *map(len, rows)]),
                input_ids=np.concatenate(rows).astype("int32"),
                labels=np.asarray(labels)[chosen].astype("int32"),
            )
            mean = np.mean([len(row) for row in rows])
            named += f", {mean:.1f} tokens a row"
            yield str(path), vocab_file, len(vocab.tokens), named


def _sst2(folder: str) -> tuple[list[str], list[int]]:
    """Returns sentences and labels of train.tsv."""
    path = pathlib.Path(folder) / "train.tsv"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()[1:]
        pairs = [line.rsplit("\t", 1) for line in lines]
        return [p[0] for p in pairs], [int(p[1]) for p in pairs]
    except (OSError, ValueError, IndexError) as error:
        sys.exit(f"benchmark: {path} is not train.tsv of SST-2: {error}")


def _measure_size(
    args: argparse.Namespace,
    size: str,
    rows: str,
    vocab_file: str,
    vocab_size: int,
    named: str,
) -> Benchmark:
    from electra_tf.models.config import ModelConfig

    count = args.steps or STEPS
    settings = {
        "size": size,
        "shape": dataclasses.asdict(
            ModelConfig.of_size(size, vocab_size=vocab_size)
        ),
        "rows": rows,
        "vocab_file": vocab_file,
        "vocab_size": vocab_size,
        "batch_size": args.batch_size,
        "steps": count,
        "jit_compile": args.jit_compile,
    }
    given = {name: {"precision": precision} for name, precision in OURS.items()}
    if args.peer_python:
        plain = {"pad_to": None, "compiled": False}
        given |= {name: plain | own for name, own in PEERS.items()}
    sides = {
        name: (
            "ours_finetune.py" if name in OURS else "hf_trainer.py",
            settings | own,
            sys.executable if name in OURS else args.peer_python,
        )
        for name, own in given.items()
    }
    environment = {**os.environ, **dict(e.split("=", 1) for e in args.env)}
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    missing: dict[str, str] = {}
    with workers.started(sides, environment, missing) as running:
        request = {"do": "steps", "count": count}
        replies = workers.interleave(
            running, [request] * len(running), args.rounds
        )
        facts = {name: worker.facts for name, worker in running.items()}
    found = [
        Side(
            name,
            facts[name]["version"],
            {
                "examples/s": [
                    count * args.batch_size / reply["seconds"]
                    for reply in replies[name]
                ],
                "examples per CPU second": [
                    count * args.batch_size / reply["cpu_seconds"]
                    for reply in replies[name]
                ],
            },
            report.peak_memory(replies[name]),
            given[name]["precision"],
        )
        for name in facts
    ]
    notes: dict[str, object] = {}
    for name in facts:
        notes[f"first step of {name}, s"] = facts[name]["first_step_seconds"]
        notes[f"parameters of {name}"] = facts[name]["parameters"]
    for name in OURS:
        notes[f"first epoch of {name} with tracing and compiling, s"] = facts[
            name
        ]["first_epoch_seconds"]
    notes |= report.left_out(missing)
    if not args.peer_python:
        notes["peer"] = ALONE
    return Benchmark(
        f"finetune {size}",
        f"a classifier of two classes, batch {args.batch_size}, "
        f"an epoch of {count * args.batch_size} rows a round: {named}; "
        "transformers.Trainer pads to the longest of a batch unless named "
        "otherwise",
        found,
        [(own, name) for own in OURS for name in PEERS if name in facts],
        notes,
    )
