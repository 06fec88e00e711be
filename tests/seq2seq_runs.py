"""Trains a translator by command until it has memorised twenty pairs."""

import numpy as np
from finetune_command import SHAPE

from electra_tf.cli import app

WORDS = (
    "the of and to in was he she it his that not with for on as at be is had"
    " good sister house love cat sat mat dog ran"
).split()


def pairs(count=20, seed=0):
    """Returns (source, target) pairs of made-up words."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(count):
        source = rng.choice(WORDS, rng.integers(2, 6))
        target = list(rng.choice(WORDS, rng.integers(1, 7)))
        if i % 2 == 0:
            target = [f"{target[0]}-{target[-1]},", *target[1:]]
        found.append((" ".join(source), " ".join(target) + "."))
    return found


def write(folder, rows, name="train", languages=("en", "de")):
    """Writes parallel files; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for side, language in enumerate(languages):
        text = "".join(f"{row[side]}\n" for row in rows)
        (folder / f"{name}.{language}").write_text(text, encoding="utf-8")
    return folder


def train(folder, vocab, *words):
    """Runs `finetune` on the pairs; returns the run's directory."""
    data = write(folder / "data", pairs())
    write(folder / "data", pairs(), "val")
    output = folder / "run"
    sections = {
        "model": SHAPE | {
            "initializer_range": 0.15, "hidden_dropout": 0.0,
            "attention_dropout": 0.0,
        },
        "options": {
            "source_language": "en", "target_language": "de",
            "max_seq_length": 16, "max_target_length": 24,
            "decoder_layers": 1, "beam_size": 3, "n_best": 2,
            "label_smoothing": 0.05,
        },
        "train": {
            "num_train_steps": 150, "batch_size": 20, "learning_rate": 0.01,
            "layerwise_lr_decay": 1.0, "bias_correction": "true",
            "eval_every_steps": 75, "checkpoint_every_steps": 10,
            "average_checkpoints": 2,
        },
    }  # fmt: skip
    status = app.run(
        [
            "finetune", "--task=translation", f"--data={data}",
            f"--vocab={vocab}", f"--output={output}",
            *(
                f"--set={section}.{key}={value}"
                for section, values in sections.items()
                for key, value in values.items()
            ),
            *words,
        ]
    )  # fmt: skip
    assert status == 0
    return output
