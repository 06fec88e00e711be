"""Defines the flags that both commands for building examples share."""

import argparse
import sys
from typing import Any

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.original import hparams
from electra_tf.recipes.build_data import build_data

_SPECIAL = frozenset("*?[,")  # in a glob, and between globs


def parser(description: str | None) -> argparse.ArgumentParser:
    """Makes the parser of the common flags."""
    flags = hparams.Flags(description=description)
    flags.add_argument(
        "--max-seq-length", default=128, type=int, help="Tokens an example."
    )
    flags.add_argument(
        "--num-processes", default=1, type=int, help="Processes at once."
    )
    for name, what in (
        ("lower_case", "lower-case"), ("strip_accents", "strip-accents"),
    ):  # fmt: skip
        flags.add_argument(
            f"--do-{what}", dest=name, action="store_true", default=True,
            help=f"{what.capitalize()} the text (the default).",
        )  # fmt: skip
        flags.add_argument(
            f"--no-{what}", dest=name, action="store_false",
            help=f"Do not {what} it.",
        )  # fmt: skip
    return flags


def build(args: argparse.Namespace, **arguments: Any) -> str:
    """Builds data by the common flags and `arguments` of `build_data`."""
    if args.num_processes < 1:
        raise UserError(
            f"--num-processes {args.num_processes}: expected at least 1"
        )
    made = build_data(
        max_seq_length=args.max_seq_length,
        num_workers=args.num_processes,
        lower_case=args.lower_case,
        strip_accents=args.strip_accents,
        overwrite=True,  # as the original does
        progress=sys.stderr.isatty(),
        **arguments,
    )
    return str(made)


def all_files(folder: str, levels: int = 1) -> str | list[str]:
    """Returns all files of a folder, as the input of `build_data`.

    A folder whose name would be taken for a glob, or for several ("text [1]",
    "a,b"), is listed.

    Args:
      folder: the folder.
      levels: 1 for its files, 2 for those of the folders in it.
    """
    if not set(folder) & _SPECIAL:
        return files.join(folder, *["*"] * levels)
    found = [folder]
    for _ in range(levels):
        found = [
            files.join(path, name)
            for path in found
            for name in files.list_directory(path)
        ]
    return found
