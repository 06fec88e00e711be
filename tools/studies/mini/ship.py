"""Puts a pre-trained run into the package, its weights in float16.

  tools/studies/mini/ship.py --study=mini [--to=FOLDER] [--log=FOLDER]

--study is the folder that train.py filled. The log of the training goes into
docs/results/electra-tf-mini: training-N.jsonl has the metrics, training-N.json
what the model card says of the run; N is one more than the last that is there,
since each run continues the training of the one before. training.png shows the
losses of all runs.
"""

import argparse
import dataclasses
import itertools
import json
import pathlib
import sys
import time
from typing import Any

# The other tools.
sys.path.append(str(pathlib.Path(__file__).resolve().parents[2]))

from benchmarks import report
from studies.mini import books, measure

from electra_tf import config, files
from electra_tf.data.manifest import load_manifest
from electra_tf.errors import UserError
from electra_tf.hub import directory, loading
from electra_tf.hub.checkpoint import Lazy
from electra_tf.keras_api.settings import PretrainSettings
from electra_tf.training.reporting import read_records

ROOT = pathlib.Path(__file__).resolve().parents[3]
_BATCHES = 400  # whose mean number of rows counts for the operations
_PAUSE = 600.0  # seconds without a line: the run was stopped meanwhile


def ship(run: str, folder: str) -> int:
    """Writes both networks of a run as a model directory.

    Args:
      run: a model, as for `from_pretrained`.
      folder: the directory to write.

    Returns:
      The number of weights.

    Raises:
      UserError: there is no such model, or a weight is too large for float16.
    """
    checkpoint = loading.open_checkpoint(run)
    weights = checkpoint.weights
    largest = max(float(abs(weights[name]).max()) for name in weights)
    if not largest < 65504:
        raise UserError(f"{run}: a weight of {largest}, too large for float16")
    half = Lazy(
        lambda name: weights[name].astype("float16"),
        {name: weights[name].shape for name in weights},
    )
    directory.write(
        folder, dataclasses.replace(checkpoint, weights=half, slots=None)
    )
    return sum(weights[name].size for name in weights)


def record(study: str, folder: str) -> int:
    """Writes the log of a run, and what the model card says of it.

    Args:
      study: the folder that train.py filled.
      folder: the folder of the logs.

    Returns:
      The run's number: 1 for the first that is recorded.

    Raises:
      UserError: the run has no metrics, or its data are missing.
    """
    run = files.join(study, "run")
    rows = [
        {name: _rounded(value) for name, value in row.items()}
        for row in read_records(files.join(run, "metrics.jsonl"))
    ]
    if not rows:
        raise UserError(f"{run}: no metrics.jsonl; expected a finished run")
    settings = json.loads(files.read_text(files.join(run, "config.json")))
    built = load_manifest(files.join(study, "data")).splits["train"]
    examples = rows[-1]["step"] * settings["train"]["batch_size"]
    times = [row["time"] for row in rows]
    steps = [b - a for a, b in itertools.pairwise(times) if b - a < _PAUSE]
    about = {
        "settings": settings,
        "steps": rows[-1]["step"],
        "examples": examples,
        "tokens": round(examples * built.tokens / built.examples),
        "epochs": round(examples / built.examples, 2),
        "seconds": round(sum(steps)),
        "flops": flops(study, settings) * rows[-1]["step"],
        "validation": [r for r in rows if r["split"] == "validation"][-1],
        "text": "sha256:" + books.fingerprint(files.join(study, books.TEXT)),
        "measured": time.strftime("%Y-%m-%d", time.gmtime(times[-1])),
        "machine": report.machine(),
    }
    number = 1 + len(measure.trainings(pathlib.Path(folder)))
    files.make_directory(folder)
    files.write_text(
        files.join(folder, f"training-{number}.jsonl"),
        "".join(json.dumps(row) + "\n" for row in rows),
    )
    files.write_text(
        files.join(folder, f"training-{number}.json"),
        json.dumps(about, indent=1) + "\n",
    )
    return number


def draw(folder: str) -> None:
    """Plots the losses of all recorded runs, one behind the other."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    titles = {
        "mlm_loss": "generator: nats per masked token",
        "disc_loss": "discriminator: nats per token",
    }
    before, highest = 0.0, dict.fromkeys(titles, 0.0)
    panels = figure.subplots(1, len(titles), squeeze=False)[0]
    for number in itertools.count(1):
        path = pathlib.Path(folder, f"training-{number}.jsonl")
        if not path.exists():
            break
        rows = read_records(str(path))
        about = json.loads(path.with_suffix(".json").read_text("utf-8"))
        each = about["tokens"] / about["steps"] / 1e6
        for axes, (name, title) in zip(panels, titles.items()):
            for split, colour in (("train", "C0"), ("validation", "C1")):
                some = [row for row in rows if row["split"] == split]
                axes.plot(
                    [before + row["step"] * each for row in some],
                    [row[name] for row in some],
                    color=colour,
                    lw=1 if split == "train" else 2,
                    label=None if number > 1 else split,
                )
            late = [row[name] for row in rows if row["step"] > 500]
            highest[name] = max(highest[name], *late, 0.0)
            axes.set_xlabel("millions of tokens")
            axes.set_ylabel(title)
            axes.grid(alpha=0.3)
            axes.legend()
        before += about["tokens"] / 1e6
    for axes, top in zip(panels, highest.values()):
        if top:  # the first steps would hide the rest
            axes.set_ylim(top=top)
    figure.savefig(files.join(folder, "training.png"), dpi=110)


def flops(study: str, settings: dict[str, Any]) -> float:
    """Returns the operations of a training step, in the paper's accounting.

    Args:
      study: the folder that train.py filled.
      settings: the content of the run's config.json.
    """
    from electra_tf.data import packing
    from electra_tf.keras_api.data import PretrainingData
    from electra_tf.recipes.pretrain import costs

    names = [field.name for field in dataclasses.fields(PretrainSettings)]
    given = {name: dict(settings[name]) for name in names}
    for name in ("fingerprint", "max_seq_length"):
        given["data"].pop(name, None)
    chosen = config.resolve(PretrainSettings, given)
    examples = PretrainingData.open(files.join(study, "data"))
    rows, _ = packing.fill(examples.training(chosen, 0), _BATCHES)
    found = costs(chosen, examples.max_seq_length, rows)
    return found.training_flops / chosen.train.num_train_steps


def _rounded(value: Any) -> Any:
    """Returns six digits of a float, which are enough for a curve."""
    if isinstance(value, float) and abs(value) < 1e6:
        return float(f"{value:.6g}")
    return value


def main() -> int:
    """Writes model and log; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--study", required=True, help="what train.py filled")
    name = loading.SHIPPED[0]
    parser.add_argument(
        "--to", default=str(ROOT / "electra_tf" / "shipped_models" / name)
    )
    parser.add_argument("--log", default=str(ROOT / "docs" / "results" / name))
    options = parser.parse_args()
    try:
        count = ship(files.join(options.study, "run"), options.to)
        number = record(options.study, options.log)
        draw(options.log)
        print(f"run {number}: {options.log}")
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    size = (pathlib.Path(options.to) / directory.WEIGHTS).stat().st_size
    print(f"{count:,} weights, {size / 1e6:.1f} MB: {options.to}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
