"""Measures the speed of electra_tf against named peers, in one run.

  tools/benchmark.py startup       imports, and the first training step
  tools/benchmark.py tokenize      against Hugging Face `tokenizers`
  tools/benchmark.py build         against examples built in plain Python
  tools/benchmark.py build-memory  memory of a large build over time
  tools/benchmark.py input         reading examples against the training step
  tools/benchmark.py questions     against SQuAD's preprocessing in plain Python
  tools/benchmark.py pretrain      against `transformers` modules in PyTorch
  tools/benchmark.py finetune      against the Trainer of `transformers`
  tools/benchmark.py inference     against PyTorch and ONNX Runtime, and by HTTP
  tools/benchmark.py all           all of them at several sizes, into --output
  tools/benchmark.py render        renews tables and plots, from --output

Each side runs in its own process; they take turns (A B A B ...), and sleep
while another is measured. Peers need an environment of their own, given by
--peer_python=PATH/bin/python (docs/performance.md describes how to make it);
without it only electra_tf is measured. A peer whose package is not installed
is left out and named. `all` writes results.json, report.md and plots; with
--docs it also renews the marked sections of a document. docs/performance.md
explains how to read them.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Callable

from benchmarks import (
    building,
    building_memory,
    finetuning,
    inference,
    inputs,
    outputs,
    pretraining,
    questions,
    reading,
    report,
    startup,
    suite,
    tokenizing,
    workers,
)

MEASURES: dict[str, Callable[[argparse.Namespace], list]] = {
    "startup": startup.measure,
    "tokenize": tokenizing.measure,
    "build": building.measure,
    "build-memory": building_memory.measure,
    "input": reading.measure,
    "questions": questions.measure,
    "pretrain": pretraining.measure,
    "finetune": finetuning.measure,
    "inference": inference.measure,
}
LINES = ("tokenize", "build", "build-memory", "questions")


def parser() -> argparse.ArgumentParser:
    """Returns the parser; a subcommand ignores flags it does not need."""
    flags = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    flags.add_argument("what", choices=[*MEASURES, "all", "render"])
    flags.add_argument(
        "--rounds",
        type=int,
        help="rounds, each of which runs every side once; default: 5, or as "
        "each measure of all needs",
    )
    flags.add_argument("--json", help="JSON file for the results")
    flags.add_argument(
        "--peer_python",
        help="Python with torch and transformers, to measure them too",
    )
    inputs.add_flags(flags)
    flags.add_argument("--data", help="folder of SST-2's train.tsv and dev.tsv")
    flags.add_argument(
        "--size",
        default="small",
        help="size of the model, or several, as tiny,small",
    )
    flags.add_argument(
        "--batch_size",
        type=int,
        help="examples in a batch; default: 32, of tokenize 1024 lines",
    )
    flags.add_argument("--seq_length", type=int, default=128)
    flags.add_argument("--max_seq_length", type=int, default=128)
    flags.add_argument("--vocab_size", type=int, default=30522)
    flags.add_argument("--questions", type=int, default=3000)
    flags.add_argument(
        "--sentences",
        type=int,
        help="number of sentences of dev.tsv; default: all",
    )
    flags.add_argument(
        "--cores",
        type=int,
        help="number of cores for inference; default: all",
    )
    flags.add_argument("--no_http", action="store_true")
    flags.add_argument(
        "--no_spinning",
        action="store_true",
        help="let the threads of inference peers sleep while they wait, if "
        "other programs use the machine too",
    )
    flags.add_argument(
        "--peers",
        choices=("all", "few"),
        default="all",
        help=(
            "peers of pretrain and inference: all, or only the plainest and "
            "the quickest"
        ),
    )
    flags.add_argument(
        "--plot", help="PNG file for the plot of latency by HTTP"
    )
    flags.add_argument(
        "--steps", type=int, help="steps in a round; default: by size"
    )
    flags.add_argument("--batches", type=int, default=1000, help="of input")
    flags.add_argument(
        "--gigabytes",
        type=float,
        help="gigabytes of text for build-memory; default: 1",
    )
    flags.add_argument("--workers", type=int, default=2, help="of build-memory")
    flags.add_argument("--scratch", help="folder for the build of build-memory")
    flags.add_argument("--jit_compile", action="store_true")
    flags.add_argument(
        "--precision",
        default="float32,bfloat16_products",
        help="values of train.precision to measure electra_tf in, for pretrain",
    )
    flags.add_argument(
        "--recompute",
        action="store_true",
        help="set train.recompute for pretrain, which needs less memory",
    )
    flags.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="environment variable for the sides that run models",
    )
    flags.add_argument(
        "--output", help="folder for the results of all, which render reads"
    )
    flags.add_argument(
        "--only",
        help="measures for all to repeat, as pretrain,input; the results of "
        "others in --output are kept",
    )
    flags.add_argument(
        "--quick", action="store_true", help="use tiny sizes in all, as a test"
    )
    flags.add_argument(
        "--docs",
        help="document in which all and render replace the marked sections",
    )
    return flags


def main(argv: list[str] | None = None) -> int:
    """Measures, prints Markdown, and writes the files that flags name."""
    flags = parser()
    args = flags.parse_args(argv)
    for name in args.precision.split(","):
        if name not in pretraining.PRECISIONS:
            known = ", ".join(pretraining.PRECISIONS)
            flags.error(f"--precision: no '{name}'; known: {known}")
    if args.what in ("all", "render"):
        if not args.output:
            flags.error(f"{args.what}: needs --output, a folder")
        if args.what == "all":
            return _all(flags, args)
        if not (pathlib.Path(args.output) / outputs.RESULTS).exists():
            flags.error(f"--output: no {outputs.RESULTS} in {args.output}")
        print(outputs.render(pathlib.Path(args.output), args.docs))
        return 0
    try:
        found = _measure(args.what, args)
    except workers.SideError as error:
        print(f"benchmark {args.what}: {error}", file=sys.stderr)
        return 1
    on = report.machine()
    print(report.to_markdown(found, on))
    if args.json:
        text = json.dumps(report.to_json(found, on), indent=2)
        pathlib.Path(args.json).write_text(text + "\n", encoding="utf-8")
    return 0


def _measure(name: str, args: argparse.Namespace) -> list[report.Benchmark]:
    """Runs one measure, with its own default settings."""
    own = argparse.Namespace(**vars(args))
    if own.batch_size is None:
        own.batch_size = 1024 if name in LINES else 32
    own.rounds = own.rounds or 5
    own.gigabytes = own.gigabytes or 1.0
    found = MEASURES[name](own)
    for benchmark in found:
        benchmark.parameters.setdefault("measure", name)
    return found


def _all(flags: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    names = args.only.split(",") if args.only else list(MEASURES)
    for name in names:
        if name not in MEASURES:
            flags.error(f"--only: no '{name}'; known: {', '.join(MEASURES)}")
    folder = pathlib.Path(args.output)
    folder.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in names:
        try:
            found = []
            for own in suite.settings(name, args):
                found += _measure(name, own)
                # Saved at once: a later failure must not lose it.
                outputs.record(folder, name, found, list(MEASURES))
        except workers.SideError as error:
            print(f"benchmark {name}: {error}", file=sys.stderr)
            failed.append(name)
    print(outputs.render(folder, args.docs))
    if failed:
        print(
            f"benchmark: failed, see above: {', '.join(failed)}; repeat with "
            f"--only={','.join(failed)}",
            file=sys.stderr,
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
