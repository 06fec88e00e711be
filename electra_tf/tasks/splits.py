"""Which examples are which split: files of their own, or parts of one file.

Importing this module imports neither TensorFlow nor NumPy.
"""

import dataclasses
from typing import Annotated, Literal

from electra_tf.config import Setting, Settings

Fraction = Annotated[
    float,
    Setting(
        "Share of the training examples that is held out for validation where "
        "there is no validation file; 0 holds none out.",
        at_least=0,
        below=1,
        formerly=("validation_share",),
    ),
]


@dataclasses.dataclass(frozen=True)
class SplitOptions(Settings):
    """Where a task's examples are; the same keys in every task of files."""

    train_file: Annotated[
        str | None,
        Setting(
            "The training file, in --data or anywhere; null finds it in --data "
            "by its name."
        ),
    ] = None
    validation_file: Annotated[
        str | None,
        Setting(
            "The validation file; null finds it in --data by its name (dev, "
            "valid, validation)."
        ),
    ] = None
    test_file: Annotated[
        str | None,
        Setting(
            "The test file, which may lack the answers; null finds it in "
            "--data by its name."
        ),
    ] = None
    validation_fraction: Fraction = 0.1
    split_seed: Annotated[
        int, Setting("Seed that decides which examples are held out.")
    ] = 0


@dataclasses.dataclass(frozen=True)
class TableOptions(SplitOptions):
    """Where the examples of a task of tables are: TSV, CSV or JSON Lines."""

    columns: Annotated[
        tuple[str, ...] | None,
        Setting(
            "Names of all columns in order, for tables whose first line does "
            "not name them; null where it does."
        ),
    ] = None
    format: Annotated[
        Literal["auto", "tsv", "csv", "jsonl"],
        Setting("Format of the files; auto takes it from their names."),
    ] = "auto"
