"""The measures by which the studies compare encoders: pairs and tasks."""

import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

from results import Row

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "configs" / "finetune"

# Task -> the metric to report, of the test or validation split; its title.
GLUE = {
    "sst2": ("accuracy", "SST-2"),
    "mrpc": ("f1", "MRPC F1"),
    "stsb": ("spearman", "STS-B"),
    "cola": ("mcc", "CoLA"),
    "rte": ("accuracy", "RTE"),
}
TASKS = {**GLUE, "conll2000": ("f1", "CoNLL-2000 F1")}
# A task with few training rows, where more depends on the pre-training: name
# -> the task, its settings of training, and its title.
FEW: dict[str, tuple[str, Mapping[str, Any], str]] = {
    "conll2000_1000": (
        "conll2000", {"max_train_examples": 1000, "num_train_epochs": 10.0},
        "CoNLL-2000 F1, 1,000 sentences",
    ),
}  # fmt: skip
TITLES = {name: title for name, (_, title) in TASKS.items()}
FEW_TITLES = {name: title for name, (*_, title) in FEW.items()}


def folders(glue: str, conll: str) -> dict[str, str]:
    """Returns task -> the folder of its data, of those whose folder is given.

    Args:
      glue: the folder of the official TSV folders, or "".
      conll: the folder of CoNLL-2000, or "".
    """
    found = dict.fromkeys(GLUE, glue) if glue else {}
    return found | ({"conll2000": conll} if conll else {})


def finetune(
    task: str, folder: str, *, train: Mapping[str, Any], **others: Any
) -> Row:
    """Fine-tunes once; keeps the report, removes the weights.

    Args:
      task: one of TASKS, or of FEW.
      folder: the run directory.
      train: settings of training, which override the task's.
      **others: further arguments of `electra_tf.finetune`.

    Returns:
      "scores": split -> metric -> value.
    """
    from electra_tf.recipes import finetune as recipe

    whole, few, _ = FEW.get(task, (task, {}, ""))
    found = recipe.finetune(
        folder,
        config=str(CONFIGS / f"{whole}.yaml"),
        train={**few, **train},
        num_trials=1,
        progress=False,
        **others,
    )
    for name in ("model", "trial_1"):
        shutil.rmtree(pathlib.Path(folder, name), ignore_errors=True)
    return {"scores": found.report["trials"][0]["scores"]}


def minimal_pairs(model: str, pairs: str, **others: Any) -> Row:
    """Measures minimal pairs by each way of scoring that a model has.

    Args:
      model: a run or model.
      pairs: files of pairs; globs, by commas.
      **others: further arguments of `electra_tf.minimal_pairs`.

    Returns:
      "scores" and "phenomena": method -> mean of the paradigms, of the
      phenomena; "paradigms": method -> [phenomenon, paradigm, per cent] each;
      "ties": method -> number; "pairs": number.
    """
    from electra_tf.recipes import minimal_pairs as recipe

    found = recipe.minimal_pairs(
        model, pairs, method="all", progress=False, **others
    )
    return {
        "scores": dict(found.accuracy),
        "phenomena": dict(found.of_phenomena),
        "paradigms": {
            name: [[*names, own.percent] for names, own in each.items()]
            for name, each in found.paradigms.items()
        },
        "ties": dict(found.ties),
        "pairs": found.pairs,
    }


def score(row: Row) -> float | None:
    """Returns the reported metric of a task's row; its key "measure" names it.

    None if the row lacks it.
    """
    name = row["measure"]
    metric, _ = TASKS[FEW[name][0] if name in FEW else name]
    for split in ("test", "validation"):
        if metric in row["scores"].get(split, {}):
            return row["scores"][split][metric]
    return None
