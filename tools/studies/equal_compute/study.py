r"""Compares ELECTRA with its ablations, at equal FLOPs, on equal data.

  tools/studies/equal_compute/study.py --data=DATA --output=STUDY \
      --blimp=blimp/*.jsonl --glue=GLUE --conll=CONLL2000

Each method is pre-trained with equally many operations (the paper's
accounting), from each seed, then measured: minimal pairs, and fine-tuning for
six tasks, for one of them also on few rows. A unit is a method, a seed and a
measure; a finished one is a line of STUDY/results.jsonl and is not repeated, so
that the study can be stopped and resumed at will, and run in parts (--methods,
--seeds, --measures). The table and the plot are written after each unit:
STUDY/table.md, STUDY/loss.png.

The methods are those of the paper's sections 3.2 to 3.4, and some of later
work; `METHODS` has what each changes in base.yaml. `PRECISIONS` run only if
named. This compares training with bfloat16 products and with float32:

  tools/studies/equal_compute/study.py --data=DATA --output=PRECISION \
      --methods=float32,bfloat16_products --base=configs/pretrain/mini.yaml \
      --glue=GLUE --measures=sst2,mrpc,stsb
"""

import argparse
import dataclasses
import os
import pathlib
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

# Before TensorFlow is imported: freed memory is kept for the next step.
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# What the studies share.
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))

import report
import results
import tasks
from results import Row

from electra_tf import config, files
from electra_tf.errors import UserError
from electra_tf.keras_api.settings import PretrainSettings

HERE = pathlib.Path(__file__).resolve().parent
Changes = Mapping[str, Any]  # section.key -> value

METHODS: dict[str, Changes] = {
    "electra": {},
    "electra_15": {"objective.kind": "electra_15"},
    "replaced_mlm": {
        "objective.kind": "replaced_mlm", "objective.disc_weight": 1.0,
    },
    "all_tokens_mlm": {
        "objective.kind": "all_tokens_mlm", "objective.disc_weight": 6.0,
    },
    "mlm": {"objective.kind": "mlm"},
    "electric": {"objective.kind": "electric", "generator.kind": "two_tower"},
    "generator_1_8": {"generator.hidden_fraction": 0.125},
    "generator_1_2": {"generator.hidden_fraction": 0.5},
    "generator_1": {"generator.hidden_fraction": 1.0},
    "uniform_generator": {"generator.kind": "uniform"},
    "tied_encoders": {"generator.kind": "tied"},
    "untied": {"generator.embeddings": "untied"},
    "disentangled": {"generator.embeddings": "disentangled"},
    # Fast-ELECTRA; the generator is that of `untied`, of the same seed.
    "frozen_generator": {
        "generator.embeddings": "untied", "generator.frozen": True,
        "objective.temperature_start": 2.0,
    },
    "no_local_start": {"model.local_start": False, "model.match_heads": 0},
    # Its first weights, to see what pre-training adds.
    "untrained": {"train.learning_rate": 0.0, "train.num_train_steps": 1},
}  # fmt: skip
# The same method and fine-tuning, in other precisions.
PRECISIONS: dict[str, Changes] = {
    name: {"train.precision": name} for name in ("float32", "bfloat16_products")
}
_CHANGES = METHODS | PRECISIONS
_TEACHER = "untied"
# Share of a run in which a frozen generator's temperature decays.
_COOLING = 0.2
_EVALUATIONS = 20  # of a run, for the plot
# Their mean number of rows is within 1 % of the run's, also if batches are few.
_BATCHES = 400


@dataclasses.dataclass(frozen=True)
class Study:
    """Holds the paths and sizes of a study.

    Attributes:
      data: directory of build-data.
      output: the study's folder.
      base: the settings that all methods share.
      flops: operations of one pre-training run.
      pairs: files of minimal pairs; "" for none.
      tasks: measure -> the folder of its data.
      max_train: rows that a task is trained on; None for all.
    """

    data: str
    output: str
    base: str
    flops: float
    pairs: str
    tasks: Mapping[str, str]
    max_train: int | None

    @property
    def results(self) -> str:
        """The file of finished units."""
        return files.join(self.output, "results.jsonl")

    def run(self, method: str, seed: int) -> str:
        """Returns the run directory of a pre-training."""
        return files.join(self.output, "runs", f"{method}-{seed}")

    def done(self) -> dict[report.Unit, Row]:
        """Returns the finished units."""
        return report.read(self.results)

    def settings(self, method: str, seed: int) -> tuple[Changes, float]:
        """Returns a method's changed settings, and the operations of a step."""
        from electra_tf.data import packing
        from electra_tf.keras_api.data import PretrainingData
        from electra_tf.recipes.pretrain import costs

        changes = dict(_CHANGES[method]) | {"train.seed": seed}
        examples = PretrainingData.open(self.data)
        settings = examples.fit(_resolved(self.base, changes, 1))
        rows = None
        if settings.data.pack_examples:
            rows, _ = packing.fill(examples.training(settings, 0), _BATCHES)
        step = costs(settings, examples.max_seq_length, rows).training_flops
        steps = changes.get(
            "train.num_train_steps", max(1, round(self.flops / step))
        )
        every = max(1, steps // _EVALUATIONS)
        changes |= {
            "train.num_train_steps": steps,
            "train.num_warmup_steps": min(
                settings.train.num_warmup_steps, steps // 10
            ),
            "train.eval_every_steps": every,
            "train.checkpoint_every_steps": every,
        }
        if "objective.temperature_start" in changes:
            changes["objective.temperature_decay_steps"] = max(
                1, round(_COOLING * steps / 5)  # 99 % after five times this
            )  # fmt: skip
        return changes, step


def _resolved(base: str, changes: Changes, steps: int) -> PretrainSettings:
    every = {"train.num_train_steps": steps}
    return config.resolve(PretrainSettings, base, {**changes, **every})


def pretrain(study: Study, method: str, seed: int) -> Row:
    """Pre-trains a method, or resumes it."""
    from electra_tf.recipes import convert
    from electra_tf.recipes import pretrain as recipe

    changes, step = study.settings(method, seed)
    run = study.run(method, seed)
    init = []
    if changes.get("generator.frozen"):
        teacher, source = f"{run}-generator", study.run(_TEACHER, seed)
        if not files.exists(files.join(source, "model")):
            measure(study, _TEACHER, seed, "pretrain")
        if not files.exists(teacher):
            convert.convert(source, "electra_tf", teacher, part="generator")
        init = [teacher]
    found = recipe.pretrain(
        study.data, run, config=study.base, overrides=changes, init_from=init
    )
    if found.stopped:
        raise KeyboardInterrupt
    return {
        "steps": found.step,
        "flops": step * found.step,
        "step_flops": step,
        "scores": found.validation,
        "held_out": report.held_out(run),
    }


def minimal_pairs(study: Study, method: str, seed: int) -> Row:
    """Measures minimal pairs by every way of scoring that the run has."""
    return tasks.minimal_pairs(study.run(method, seed), study.pairs)


def finetune(study: Study, method: str, seed: int, task: str) -> Row:
    """Fine-tunes a run for a task; keeps the report but not the model."""
    folder = files.join(study.output, "tasks", f"{method}-{seed}-{task}")
    train: dict[str, Any] = {"seed": seed}
    if method in PRECISIONS:
        train["precision"] = method
    if study.max_train:
        train["max_train_examples"] = study.max_train
    return tasks.finetune(
        task, folder, train=train, model=study.run(method, seed),
        data=study.tasks[task],
    )  # fmt: skip


def measure(study: Study, method: str, seed: int, name: str) -> None:
    """Runs a unit, unless it is finished, and writes its line."""
    unit = (method, seed, name)
    if unit in study.done():
        return
    print(f"\n=== {method}, seed {seed}: {name}", flush=True)
    start = time.monotonic()
    if name == "pretrain":
        row = pretrain(study, method, seed)
    elif name == "pairs":
        row = minimal_pairs(study, method, seed)
    else:
        row = finetune(study, method, seed, name)
    about = {
        "method": method,
        "seed": seed,
        "measure": name,
        "changes": dict(_CHANGES[method]),
        "seconds": round(time.monotonic() - start, 1),
    }
    files.make_directory(study.output)
    results.append(study.results, about | row)


def units(
    study: Study, methods: list[str], seeds: list[int], measures: list[str]
) -> Iterator[report.Unit]:
    """Yields all units, one seed after the other."""
    for seed in seeds:
        for method in methods:
            for name in ("pretrain", *measures):
                yield method, seed, name


def main() -> int:
    """Runs the units; prints the table and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--data", required=True, help="directory made by build-data"
    )
    parser.add_argument("--output", required=True, help="the study's folder")
    parser.add_argument("--base", default=str(HERE / "base.yaml"))
    parser.add_argument("--flops", type=float, default=1e14)
    parser.add_argument(
        "--blimp",
        default="",
        help="files of minimal pairs: globs, separated by commas",
    )
    parser.add_argument("--glue", default="", help="the official TSV folders")
    parser.add_argument("--conll", default="", help="CoNLL-2000's folder")
    parser.add_argument(
        "--max_train", type=int, help="maximum training rows of a task"
    )
    parser.add_argument(
        "--methods",
        default="",
        help="names divided by commas; default: METHODS",
    )
    parser.add_argument(
        "--measures", default="", help="names divided by commas; default: all"
    )
    parser.add_argument("--seeds", default="1,2,3")
    options = parser.parse_args()
    folders = tasks.folders(options.glue, options.conll)
    folders |= {
        name: folders[task]
        for name, (task, *_) in tasks.FEW.items() if task in folders
    }  # fmt: skip
    study = Study(
        options.data, options.output, options.base, options.flops,
        options.blimp, folders, options.max_train,
    )  # fmt: skip
    known = [*["pairs"] * bool(options.blimp), *folders]
    try:
        methods = results.chosen(
            options.methods or ",".join(METHODS), list(_CHANGES), "--methods"
        )
        measures = results.chosen(options.measures, known, "--measures")
        seeds = [int(seed) for seed in options.seeds.split(",")]
        for unit in units(study, methods, seeds, measures):
            measure(study, *unit)
            report.write(study.output)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; start it again to resume", file=sys.stderr)
        return 130
    report.write(study.output)
    print(files.read_text(files.join(study.output, "table.md")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
