"""Puts a pre-trained run into the package, its weights in float16.

tools/studies/mini/ship.py --model=RUN [--to=FOLDER]
"""

import argparse
import dataclasses
import pathlib
import sys

from electra_tf.errors import UserError
from electra_tf.hub import directory, loading
from electra_tf.hub.checkpoint import Lazy

PACKAGE = pathlib.Path(__file__).resolve().parents[3] / "electra_tf"


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


def main() -> int:
    """Writes the model; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="the finished run")
    parser.add_argument(
        "--to", default=str(PACKAGE / "shipped_models" / loading.SHIPPED[0])
    )
    options = parser.parse_args()
    try:
        count = ship(options.model, options.to)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    size = (pathlib.Path(options.to) / directory.WEIGHTS).stat().st_size
    print(f"{count:,} weights, {size / 1e6:.1f} MB: {options.to}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
