r"""Measures electra-tf-mini: minimal pairs, and fine-tuning for six tasks.

  tools/studies/mini/measure.py --output=MEASURED --blimp=dev.tsv \
      --glue=GLUE --conll=CONLL2000

Each task is trained from the model's weights, and from random weights of its
shape as the original samples them (standard deviation 0.02, without
`local_start` and `match_heads`), by the same settings. A unit is a start, a
measure and a seed; a finished one is a line of MEASURED/results.jsonl and is
not repeated, so that it can be stopped and resumed at will and run in parts
(--starts, --measures, --seeds), also by several processes, each with units of
its own. The table is printed at the end.

Lines name the run of the training whose weights they measure: the last one
that ship.py wrote to MEASURED. The tables have the latest that are measured.
"""

import argparse
import dataclasses
import os
import pathlib
import statistics
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

# What the studies share.
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))

import results
import tasks
from results import Row

from electra_tf.errors import UserError

STARTS = ("pretrained", "random")
PAIRS = "pairs"
# Of an encoder 256 wide; both starts have the same.
TRAIN: Mapping[str, Any] = {
    "learning_rate": 5e-4,
    "precision": "bfloat16_products",
}
# The original's initial weights (its modeling.py, run_finetuning.py).
ORIGINAL = {
    "initializer_range": 0.02, "local_start": False, "match_heads": 0,
}  # fmt: skip


class Unit(NamedTuple):
    """Identifies a line; `run` is 0 for random weights."""

    start: str
    measure: str
    seed: int
    run: int


def key(row: Row) -> Unit:
    """Returns what identifies the unit of a line."""
    return Unit(*(row[name] for name in Unit._fields))


def trainings(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the descriptions that ship.py wrote of the runs, in order."""
    paths = folder.glob("training-*.json")
    return sorted(paths, key=lambda path: int(path.stem.rpartition("-")[2]))


def last_run(output: pathlib.Path) -> int:
    """Returns the number of the training's last run; 1 if none is recorded."""
    return max(1, len(trainings(output)))


def latest(rows: Iterable[Row], start: str, measure: str) -> list[Row]:
    """Returns the lines of a measure for the latest run that has some."""
    found = [r for r in rows if (r["start"], r["measure"]) == (start, measure)]
    run = max((row["run"] for row in found), default=0)
    return [row for row in found if row["run"] == run]


def random_start(model: str, output: pathlib.Path) -> Row:
    """Returns the arguments that fine-tune random weights of a model's shape.

    Its vocabulary is written into `output`.
    """
    from electra_tf.hub import loading

    checkpoint = loading.open_checkpoint(model)
    assert checkpoint.vocab and checkpoint.config.discriminator
    vocab = str(output / "vocab.txt")
    checkpoint.vocab.save(vocab)
    shape = dataclasses.asdict(checkpoint.config.discriminator)
    for rate in ("hidden_dropout", "attention_dropout"):
        del shape[rate]  # those of fine-tuning are the default
    return {
        "vocab": vocab,
        "lower_case": checkpoint.config.lower_case,
        "overrides": {f"model.{k}": v for k, v in (shape | ORIGINAL).items()},
    }


def measure(
    model: str, output: pathlib.Path, data: Mapping[str, str], unit: Unit
) -> None:
    """Runs a unit, unless it is finished, and writes its line."""
    start, name, seed, run = unit
    path = output / "results.jsonl"
    if unit in results.read(path, key):
        return
    print(f"=== {name}, {start}, seed {seed}, run {run}", flush=True)
    began = time.monotonic()
    if name == PAIRS:
        row = tasks.minimal_pairs(model, data[name], precision="auto")
    else:
        weights: Row = {"model": model}
        if start == "random":
            weights = random_start(model, output)
        row = tasks.finetune(
            name,
            str(output / f"{name}-{start}-{seed}-{run}"),
            train=TRAIN | {"seed": seed},
            data=data[name],
            **weights,
        )
        print(row["scores"], flush=True)
    seconds = round(time.monotonic() - began, 1)
    results.append(path, unit._asdict() | row | {"seconds": seconds})


def is_measured(start: str, name: str, seed: int) -> bool:
    """Returns whether there is such a unit: pairs need no seeds, nor twins."""
    return name != PAIRS or (start == "pretrained" and seed == 1)


def table(rows: Sequence[Row], run: int) -> str:
    """Returns Markdown: a line for each task, the median of the seeds.

    In parentheses are the lowest and the highest of the seeds.

    Args:
      rows: the lines.
      run: the training's last run; scores of another's weights say so.
    """
    lines = [
        "| task | electra-tf-mini | random weights |",
        "| --- | ---: | ---: |",
    ]
    for name, title in tasks.TITLES.items():
        cells = []
        for start in STARTS:
            found = latest(rows, start, name)
            scores = [tasks.score(row) for row in found]
            cell = results.spread_of_few([s for s in scores if s is not None])
            if found and found[0]["run"] not in (0, run):
                cell += f"; after run {found[0]['run']}"
            cells.append(cell)
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def pairs_table(row: Row) -> str:
    """Returns Markdown: accuracy of minimal pairs, a line a phenomenon.

    Args:
      row: the unit of minimal pairs.
    """
    methods = list(row["paradigms"])
    named: dict[str, dict[str, list[float]]] = {}
    for method, paradigms in row["paradigms"].items():
        for phenomenon, _, percent in paradigms:
            own = named.setdefault(phenomenon, {}).setdefault(method, [])
            own.append(percent)
    lines = [
        "| phenomenon | paradigms | " + " | ".join(methods) + " |",
        "| --- | ---: |" + " ---: |" * len(methods),
    ]
    for phenomenon, own in named.items():
        cells = [f"{statistics.fmean(own[method]):.1f}" for method in methods]
        count = len(own[methods[0]])
        title = phenomenon.replace("_", " ")
        lines.append(f"| {title} | {count} | {' | '.join(cells)} |")
    for title, means in (
        ("mean of the paradigms", row["scores"]),
        ("mean of the phenomena", row["phenomena"]),
    ):
        cells = [f"**{means[method]:.1f}**" for method in methods]
        lines.append(f"| {title} | | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    """Runs the units and prints the tables; returns the exit status."""
    flags = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    flags.add_argument("--output", required=True, help="the folder to fill")
    flags.add_argument("--model", default="electra-tf-mini")
    flags.add_argument("--blimp", default="", help="files of minimal pairs")
    flags.add_argument("--glue", default="", help="the official TSV folders")
    flags.add_argument("--conll", default="", help="CoNLL-2000's folder")
    for name in ("starts", "measures"):
        flags.add_argument(
            f"--{name}", default="", help="names divided by commas; or all"
        )
    flags.add_argument("--seeds", default="1,2,3")
    options = flags.parse_args()
    # TensorFlow is imported later: freed memory is kept for the next step.
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    output = pathlib.Path(options.output).resolve()
    data = tasks.folders(options.glue, options.conll)
    if options.blimp:
        data = {PAIRS: options.blimp, **data}
    try:
        if not data:
            raise UserError("give one of --blimp, --glue, --conll")
        starts = results.chosen(options.starts, STARTS, "--starts")
        measures = results.chosen(options.measures, [*data], "--measures")
        output.mkdir(parents=True, exist_ok=True)
        run = last_run(output)
        for seed in map(int, options.seeds.split(",")):
            for name in measures:
                for start in starts:
                    if is_measured(start, name, seed):
                        of = run if start == "pretrained" else 0
                        unit = Unit(start, name, seed, of)
                        measure(options.model, output, data, unit)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    rows = [*results.read(output / "results.jsonl", key).values()]
    for row in latest(rows, "pretrained", PAIRS):
        print(pairs_table(row))
    print(table(rows, run))
    return 0


if __name__ == "__main__":
    sys.exit(main())
