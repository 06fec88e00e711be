"""Prints the training FLOPs of known models, like the original's script.

    python -m electra_tf.original.flops_computation

It counts by the paper's rules, like the report of a run; see
`electra_tf/models/flops.py` and, for any settings, tools/flops.py.
"""

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from electra_tf import config
from electra_tf.original import hparams
from electra_tf.recipes.pretrain import costs, settings_class

# Share of the positions that are predicted: the paper's 15 %, rounded up to a
# multiple of eight in rows of 128.
_PREDICTED = 0.15625


class _Run(NamedTuple):
    """A model: its shape and training."""

    hidden: int
    layers: int
    batch_size: int
    steps: float
    length: int = 512
    generator: int = 0  # its hidden size; 0 for only a masked LM
    vocab_size: int = 30522
    embedding: int | None = None
    predicted: float = _PREDICTED


RUNS = {
    "gpt": _Run(768, 12, 128, 960_800, vocab_size=40_000, predicted=1.0),
    "bert_small": _Run(256, 12, 128, 1.45e6, 128, embedding=128),
    "bert_base": _Run(768, 12, 256, 1e6),
    "bert_large": _Run(1024, 24, 256, 1e6),
    "electra_small": _Run(256, 12, 128, 1e6, 128, 64, embedding=128),
    "electra_base": _Run(768, 12, 256, 766_000, generator=256),
    "electra_400k": _Run(1024, 24, 2048, 400_000, generator=256),
    "electra_1.75M": _Run(1024, 24, 2048, 1_750_000, generator=256),
    "roberta": _Run(1024, 24, 8000, 500_000, vocab_size=50_265),
    "albert": _Run(4096, 12, 4096, 1.5e6, vocab_size=30_000, embedding=128),
}
_LEFT_OUT = "elmo, xlnet and t5_11b are networks of other kinds: not counted"


def training_flops(run: _Run) -> float:
    """Returns the operations of all steps of a run."""
    sections: dict[str, dict[str, Any]] = {
        "model": {
            "vocab_size": run.vocab_size,
            "hidden_size": run.hidden,
            "embedding_size": run.embedding or run.hidden,
            "num_layers": run.layers,
            "num_heads": max(1, run.hidden // 64),
            "intermediate_size": 4 * run.hidden,
        },
        "masking": {"max_predictions": round(run.predicted * run.length)},
        "train": {
            "num_train_steps": int(run.steps), "batch_size": run.batch_size,
        },
        "objective": {"kind": "electra" if run.generator else "mlm"},
    }  # fmt: skip
    if run.generator:
        share = run.generator / run.hidden
        sections["generator"] = {"hidden_fraction": share}
    settings: Any = config.resolve(settings_class(), sections, ())
    return costs(settings, run.length).training_flops


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a line for each model; returns the exit status."""
    hparams.Flags(description=__doc__).parse_args(argv)

    def body() -> str:
        print(_LEFT_OUT, file=sys.stderr)
        lines = [f"{name} {training_flops(run)}" for name, run in RUNS.items()]
        return "\n".join(lines)

    return hparams.run(
        "flops_computation", body, argv or sys.argv, resumes=False
    )


if __name__ == "__main__":
    sys.exit(main())
