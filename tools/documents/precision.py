"""Writes docs/performance.md's table of what bfloat16 products learn.

docs/results/precision.jsonl has the units of the study that compares the two
precisions (tools/studies/equal_compute/study.py).
"""

import pathlib

from studies import results

_METHODS = {"float32": "float32", "bfloat16_products": "products of bfloat16"}
# Measure, metric -> title, factor, decimal places.
_METRICS = {
    ("pretrain", "loss"): ("held out: joint loss", 1, 2),
    ("pretrain", "mlm_loss"): ("held out: nats a masked token", 1, 2),
    ("pretrain", "disc_auc"): ("held out: AUC, %", 100, 1),
    ("sst2", "accuracy"): ("SST-2, accuracy", 1, 1),
    ("mrpc", "f1"): ("MRPC, F1", 1, 1),
    ("stsb", "spearman"): ("STS-B, Spearman", 1, 1),
}


def table(path: pathlib.Path) -> str:
    """Writes the table in Markdown: a column for each precision."""
    rows = results.read(
        path, lambda row: (row["method"], row["measure"], row["seed"])
    )
    lines = [
        f"| median (lowest to highest) | {' | '.join(_METHODS.values())} |",
        "| --- | ---: | ---: |",
    ]
    for (measure, metric), (title, factor, digits) in _METRICS.items():
        cells = []
        for method in _METHODS:
            found = [
                row["scores"].get("validation", row["scores"])[metric]
                for (own, name, _), row in rows.items()
                if (own, name) == (method, measure)
            ]
            cells.append(
                results.spread([factor * value for value in found], digits)
            )
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)
