"""How fast electra_tf is, against named peers, in one run.

  tools/benchmark.py tokenize    against Hugging Face `tokenizers`
  tools/benchmark.py build       against examples built in plain Python
  tools/benchmark.py pretrain    against `transformers` modules in PyTorch
  tools/benchmark.py questions   against SQuAD's preprocessing in plain Python
  tools/benchmark.py finetune    against the Trainer of `transformers`
  tools/benchmark.py inference   against PyTorch and ONNX Runtime, and by HTTP
  tools/benchmark.py all         all of them

All sides run in processes of their own, in turn (A B A B ...), and sleep
while another is measured. All but the first need an environment with torch
and transformers 4 (finetune: and accelerate; inference: and onnxruntime,
onnx, onnxscript): --peer_python=PATH/bin/python; without it ours runs alone.
"""

import argparse
import json
import pathlib
import sys

from bench import (
    building,
    finetuning,
    inference,
    inputs,
    pretraining,
    questions,
    report,
    tokenizing,
    workers,
)

MEASURES = {
    "tokenize": tokenizing.measure,
    "build": building.measure,
    "pretrain": pretraining.measure,
    "questions": questions.measure,
    "finetune": finetuning.measure,
    "inference": inference.measure,
}
MODELS = ("pretrain", "finetune", "inference")


def parser() -> argparse.ArgumentParser:
    """The flags; those a subcommand does not need are ignored by it."""
    flags = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    flags.add_argument("what", choices=[*MEASURES, "all"])
    flags.add_argument(
        "--rounds", type=int, default=5, help="of A B (%(default)s)"
    )
    flags.add_argument("--json", help="write everything to this file")
    flags.add_argument("--peer_python", help="interpreter with torch")
    inputs.add_flags(flags)
    flags.add_argument("--data", help="folder of SST-2's train.tsv and dev.tsv")
    flags.add_argument(
        "--size", default="small", help="of the model, or several: tiny,small"
    )
    flags.add_argument("--batch_size", type=int, help="32, or 1024 lines")
    flags.add_argument("--seq_length", type=int, default=128)
    flags.add_argument("--max_seq_length", type=int, default=128)
    flags.add_argument("--vocab_size", type=int, default=30522)
    flags.add_argument("--questions", type=int, default=3000)
    flags.add_argument("--sentences", type=int, help="of dev.tsv; all")
    flags.add_argument("--cores", type=int, help="of inference; all")
    flags.add_argument("--no_http", action="store_true")
    flags.add_argument(
        "--no_spinning",
        action="store_true",
        help="threads of inference peers sleep while they wait: for a machine "
        "that others use too",
    )
    flags.add_argument("--plot", help="PNG of latency by HTTP")
    flags.add_argument("--steps", type=int, help="a round; depends on size")
    flags.add_argument("--jit_compile", action="store_true")
    flags.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set in the environment of the sides that run models",
    )
    return flags


def main(argv: list[str] | None = None) -> int:
    """Measures, prints Markdown, writes JSON where asked."""
    args = parser().parse_args(argv)
    found = []
    for name in MEASURES if args.what == "all" else [args.what]:
        own = argparse.Namespace(**vars(args))
        if own.batch_size is None or args.what == "all":
            own.batch_size = 32 if name in MODELS else 1024
        try:
            found += MEASURES[name](own)
        except workers.SideError as error:
            print(f"benchmark {name}: {error}", file=sys.stderr)
            return 1
    on = report.machine()
    print(report.to_markdown(found, on))
    if args.json:
        text = json.dumps(report.to_json(found, on), indent=2)
        pathlib.Path(args.json).write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
