"""Reports a fine-tuning run: report.json and report.md."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from electra_tf import files
from electra_tf.finetuning.splits import Splits

JSON, MARKDOWN = "report.json", "report.md"
Scores = Mapping[str, Mapping[str, float]]  # split -> metric -> value
# Keys of a trial's result that the report repeats.
_MOST_CLASSES = 30  # in the report
_OF_TRIAL = (
    "seed", "steps", "epochs", "chosen_step", "stopped_early", "seconds",
    "resumed_from", "examples_per_second", "scores", "collapsed", "details",
)  # fmt: skip


def summarise(
    results: Mapping[int, Mapping[str, Any]],
    described: Mapping[str, Any],
    read: Splits,
    start: str,
    baseline: Scores,
) -> dict[str, Any]:
    """Summarizes trials as the content of report.json.

    Args:
      results: trial number -> result of `finetune.run_trial`.
      described: all settings.
      read: the data.
      start: a sentence on the start of the weights.
      baseline: scores of the constant prediction.
    """
    metric = read.task.metric
    selected_on = read.validation[0].name if read.validation else None
    first = next(iter(results.values()))

    def value(number: int) -> float:
        found = results[number]["scores"].get(selected_on, {}).get(metric)
        usable = found is not None and math.isfinite(found)
        return found if usable else -math.inf

    best = max(results, key=lambda number: (value(number), -number))
    return {
        "task": read.task.name,
        "metric": metric,
        "selected_on": selected_on,
        "start": start,
        "parameters": first["parameters"],
        "data": {
            "path": read.task.data,
            "examples": read.sizes,
            "training_rows": len(read.features),
            "tokens_per_row": float(read.features.lengths.mean()),
            "classes": read.task.classes(read.train),
            "truncated": read.features.truncated,
            "unknown_percent": round(read.unknown.percent, 3),
            "unknown": str(read.unknown),
        },
        "learning_rate": first["learning_rate"],
        "layerwise_lr_decay": first["layerwise_lr_decay"],
        "settings": dict(described),
        "baseline": baseline,
        "summary": {
            split: {
                name: _spread(_values(results, split, name), value)
                for name, value in metrics.items()
            }
            for split, metrics in results[best]["scores"].items()
        },
        "best_trial": best,
        "trials": [
            {"trial": number, **{key: result.get(key) for key in _OF_TRIAL}}
            for number, result in results.items()
        ],
        "seconds": round(sum(r["seconds"] for r in results.values()), 1),
        "tensorflow": tf.__version__,
    }


def mean_of(several: Sequence[Scores]) -> dict[str, dict[str, float]]:
    """Returns the mean of each score over folds, of those that have it.

    Args:
      several: the scores of each fold.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for scores in several:
        for split, metrics in scores.items():
            for name, value in metrics.items():
                found.setdefault(split, {}).setdefault(name, []).append(value)
    return {
        split: {name: statistics.fmean(v) for name, v in metrics.items()}
        for split, metrics in found.items()
    }


def _values(
    results: Mapping[int, Mapping[str, Any]], split: str, name: str
) -> list[float]:
    """Returns a metric's values, of trials that have it: some need labels."""
    found = (r["scores"].get(split, {}).get(name) for r in results.values())
    return [value for value in found if value is not None]


def _spread(values: list[float], best: float) -> dict[str, float | None]:
    """Summarizes a metric over trials; one trial has no standard deviation."""
    return {
        "median": statistics.median(values),
        "best": best,
        "mean": statistics.fmean(values),
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "min": min(values),
        "max": max(values),
    }


def write(output: str, summary: Mapping[str, Any]) -> None:
    """Writes both files, report.json last, which marks the run as finished."""
    files.write_text(files.join(output, MARKDOWN), markdown(output, summary))
    text = json.dumps(summary, indent=2, ensure_ascii=False) + "\n"
    files.write_text(files.join(output, JSON), text)


def headline(summary: Mapping[str, Any]) -> str:
    """Returns the score in one line."""
    metric, split = summary["metric"], summary["selected_on"]
    found = summary["summary"].get(split, {}).get(metric)
    if found is None:
        test = next(
            (
                f"; {name} {metric} {metrics[metric]['median']:.2f}"
                for name, metrics in summary["summary"].items()
                if metric in metrics
            ),
            "",
        )
        return f"{summary['task']}: trained; no validation data to score{test}"
    text = f"{summary['task']}: {split} {metric} {found['median']:.2f}"
    count = len(summary["trials"])
    if summary["settings"]["train"].get("folds"):
        text = (
            f"{summary['task']}: {split} {metric} {found['mean']:.2f} (mean of "
            f"{count} folds, standard deviation {found['std']:.2f}, "
            f"{found['min']:.2f} to {found['max']:.2f})"
        )
    elif count > 1:
        text += (
            f" (median of {count} trials, best {found['best']:.2f}, standard "
            f"deviation {found['std']:.2f})"
        )
    constant = summary["baseline"].get(split, {}).get(metric)
    if constant is not None:
        text += f"; constant prediction {constant:.2f}"
    return text


def table(summary: Mapping[str, Any]) -> str:
    """Formats the scores of all splits as a Markdown table."""
    rows = []
    folds = summary["settings"]["train"].get("folds")
    middle = "mean" if folds else "median"
    for split, metrics in summary["summary"].items():
        for name, found in metrics.items():
            constant = summary["baseline"].get(split, {}).get(name)
            row = {
                "split": split,
                "metric": name,
                "constant": "" if constant is None else _number(constant),
            }
            if len(summary["trials"]) == 1:
                row["score"] = _number(found["best"])
            else:
                row |= {
                    middle: _number(found[middle]),
                    "best trial": _number(found["best"]),
                    "std": ""
                    if found["std"] is None
                    else _number(found["std"]),
                    "range": f"{_number(found['min'])} to "
                    f"{_number(found['max'])}",
                }
            rows.append(row)
    return _table(rows, left=("split", "metric"))


def _table(rows: list[dict[str, str]], left: Sequence[str]) -> str:
    """Formats rows as a Markdown table, without empty columns.

    Args:
      rows: mappings of column -> cell, all with the same columns.
      left: columns of text; columns of numbers are right-aligned.
    """
    columns = [
        name for name in (rows[0] if rows else ()) if any(r[name] for r in rows)
    ]
    bars = ["---" if name in left else "---:" for name in columns]
    lines = [[name for name in columns], bars]
    lines += [[row[name] for name in columns] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def markdown(output: str, summary: Mapping[str, Any]) -> str:
    """Returns the content of report.md."""
    data, train = summary["data"], summary["settings"]["train"]
    sizes = ", ".join(f"{n:,} {name}" for name, n in data["examples"].items())
    trials = len(summary["trials"])
    many = f"{trials} trials, seeds" if trials > 1 else "one trial, seed"
    if train.get("folds"):
        many = f"{trials} folds, each held out in turn, seeds"
    seeds = ", ".join(str(trial["seed"]) for trial in summary["trials"])
    lines = [
        f"# {headline(summary)}",
        "",
        f"- start: {summary['start']}; {summary['parameters']:,} parameters",
        f"- data: {data['path'] or 'found by the task'}; {sizes} examples; "
        f"{data['training_rows']:,} training rows of "
        f"{data['tokens_per_row']:.0f} tokens on average",
        f"- training: {summary['trials'][0]['epochs']:.3g} epochs, batches of "
        f"{train['batch_size']}, learning rate {summary['learning_rate']:g}, "
        f"factor between layers {summary['layerwise_lr_decay']:g}; "
        f"{many} {seeds}",
        *_about_rows(data),
        *(f"- **{text}**" for text in _collapsed(summary)),
        f"- time: {_duration(summary['seconds'])} in all",
        f"- model: `model/`, of trial {summary['best_trial']}",
        "",
        "## Scores",
        "",
        "Shares, F1 and correlations are in percent. Constant: the same "
        "prediction for every example, chosen by the training labels."
        + (" Std: the standard deviation over trials." if trials > 1 else ""),
        "",
        table(summary),
        "",
        *_details(summary),
        "## Trials",
        "",
        *_trial_table(summary),
        "",
        "![learning curves](plots/learning_curves.png)",
        "",
    ]
    if files.exists(files.join(output, "plots", "confusion_matrix.png")):
        lines += ["![confusion matrix](plots/confusion_matrix.png)", ""]
    settings = json.dumps(summary["settings"], indent=2, ensure_ascii=False)
    lines += ["## Settings", "", "```json", settings, "```", ""]
    return "\n".join(lines)


def _trial_table(summary: Mapping[str, Any]) -> list[str]:
    metric, split = summary["metric"], summary["selected_on"]
    score = f"{split} {metric}" if split else "score"
    rows = []
    for trial in summary["trials"]:
        value = trial["scores"].get(split, {}).get(metric)
        early = " (early)" if trial["stopped_early"] else ""
        rate = trial["examples_per_second"]
        resumed = trial["resumed_from"]
        rows.append(
            {
                "trial": str(trial["trial"]),
                "seed": str(trial["seed"]),
                score: "" if value is None else _number(value),
                "steps": f"{trial['steps']:,}{early}",
                "chosen step": f"{trial['chosen_step']:,}",
                "examples/s": "" if rate is None else f"{rate:.4g}",
                "time": _duration(trial["seconds"])
                + (f" since step {resumed:,}" if resumed else ""),
            }
        )
    return _table(rows, left=()).split("\n")


def _about_rows(data: Mapping[str, Any]) -> list[str]:
    """Returns lines on classes, truncation and [UNK] in the training data."""
    lines = []
    if data.get("classes"):
        total = sum(data["classes"].values())
        shown = list(data["classes"].items())[:_MOST_CLASSES]
        text = ", ".join(
            f"{name} {count:,} ({100 * count / total:.1f} %)"
            for name, count in shown
        )
        more = len(data["classes"]) - len(shown)
        lines.append(
            f"- classes: {text}" + (f" and {more} more" if more > 0 else "")
        )
    if data.get("truncated") is not None:
        share = 100 * data["truncated"] / max(data["training_rows"], 1)
        lines.append(
            f"- truncated: {data['truncated']:,} training rows ({share:.1f} %)"
        )
    if data.get("unknown"):
        lines.append(f"- unknown: {data['unknown']}")
    return lines


def _collapsed(summary: Mapping[str, Any]) -> list[str]:
    """Describes trials that give the same answer to everything."""
    trials = [t["trial"] for t in summary["trials"] if t.get("collapsed")]
    if not trials:
        return []
    answer = next(
        t["collapsed"] for t in summary["trials"] if t.get("collapsed")
    )
    which = f"trial {', '.join(map(str, trials))}"
    return [
        f"{which}: predicts '{answer}' for every example, though their true "
        "answers differ: training was too short or has collapsed; take more "
        "epochs, a lower train.learning_rate, a longer train.warmup_proportion "
        "or another train.seed"
    ]


def _details(summary: Mapping[str, Any]) -> list[str]:
    """Formats tables of the best trial's scores by class or type."""
    best = next(
        t for t in summary["trials"] if t["trial"] == summary["best_trial"]
    )
    lines = []
    for split, rows in (best.get("details") or {}).items():
        cells = [
            {"": name}
            | {
                key: f"{value:,}" if key == "support" else _number(value)
                for key, value in row.items()
            }
            for name, row in rows.items()
        ]
        if not cells:
            continue
        renamed = [{"class": c.pop(""), **c} for c in cells]
        lines += [
            f"## By class, {split}", "", _table(renamed, left=("class",)), "",
        ]  # fmt: skip
    return lines


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) > 1000 else f"{value:.2f}"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
