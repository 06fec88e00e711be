"""Writes the measured sections of docs/electra-tf-mini.md, the model card.

docs/results/electra-tf-mini has training-N.json and training-N.jsonl, which
tools/studies/mini/ship.py writes for each run, and results.jsonl, the units of
tools/studies/mini/measure.py.
"""

import json
import pathlib
from typing import Any

from studies import results
from studies.mini import measure


def runs(folder: pathlib.Path) -> list[dict[str, Any]]:
    """Returns the description of each run of the training, in order."""
    return [
        json.loads(path.read_text(encoding="utf-8"))
        for path in measure.trainings(folder)
    ]


def training(folder: pathlib.Path) -> str:
    """Writes the table of the runs, in Markdown."""
    lines = [
        "| run | steps | examples | tokens | passes over the text | hours | "
        "FLOPs | learning rate | seed | held out: loss of a masked token | "
        "accuracy | AUC |",
        "| --- |" + " ---: |" * 11,
    ]
    found = runs(folder)
    if not found:
        return results.NOTHING
    for number, run in enumerate(found, 1):
        settings, scores = run["settings"]["train"], run["validation"]
        cells = [
            f"{number}, {run['measured']}",
            f"{run['steps']:,}",
            f"{run['examples']:,}",
            f"{run['tokens']:,}",
            f"{run['epochs']:.2f}",
            f"{run['seconds'] / 3600:.1f}",
            f"{run['flops']:.2e}",
            f"{settings['learning_rate']:g}",
            f"{settings['seed']}",
            f"{scores['mlm_loss']:.2f}",
            f"{100 * scores['mlm_accuracy']:.1f} %",
            f"{scores['disc_auc']:.3f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    hours = sum(run["seconds"] for run in found) / 3600
    total = sum(run["flops"] for run in found)
    last = found[-1]
    on = last["machine"]
    lines += [
        "",
        f"In all {hours:.1f} hours and {total:.2e} FLOPs, in the paper's "
        f"accounting, on {on['cores']} cores ({on['processor']}) with "
        f"TensorFlow {on['tensorflow']} and Keras {on['keras']}.",
        "",
        *_hashes("text", [run["text"] for run in found]),
        *_hashes(
            "examples",
            [run["settings"]["data"]["fingerprint"] for run in found],
        ),
        *_hashes(
            "vocabulary",
            [run["settings"]["vocab_fingerprint"] for run in found],
        ),
    ]
    return "\n".join(lines)


def _hashes(what: str, of_runs: list[str]) -> list[str]:
    """Writes a hash, or each with its runs where they differ."""
    if len(set(of_runs)) == 1:
        return [f"- The {what}: `{of_runs[0]}`"]
    lines = []
    for value in dict.fromkeys(of_runs):
        numbers = [str(n) for n, v in enumerate(of_runs, 1) if v == value]
        runs = ("run " if len(numbers) == 1 else "runs ") + ", ".join(numbers)
        lines.append(f"- The {what} of {runs}: `{value}`")
    return lines


def scores(folder: pathlib.Path) -> str:
    """Writes the table of fine-tuning, in Markdown."""
    return measure.table(_rows(folder), measure.last_run(folder))


def pairs(folder: pathlib.Path) -> str:
    """Writes the table of minimal pairs, in Markdown."""
    rows = measure.latest(_rows(folder), "pretrained", measure.PAIRS)
    if not rows:
        return results.NOTHING
    lines = [measure.pairs_table(rows[0])]
    if rows[0]["run"] != measure.last_run(folder):
        lines += ["", f"Measured after run {rows[0]['run']}."]
    return "\n".join(lines)


def _rows(folder: pathlib.Path) -> list[results.Row]:
    return [*results.read(folder / "results.jsonl", measure.key).values()]


# Name of a section in the card -> what writes it.
SECTIONS = {"training": training, "tasks": scores, "minimal pairs": pairs}
