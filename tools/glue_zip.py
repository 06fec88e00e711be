"""Packs test predictions of GLUE into the zip that gluebenchmark.com takes.

    python tools/glue_zip.py --runs=RUN_COLA,RUN_SST2,... --output=glue.zip

A run of `electra-tf finetune --task=glue/...` writes the file of its set
(CoLA.tsv and so on; MNLI-m.tsv, MNLI-mm.tsv and AX.tsv for MNLI). They are
read from the run directories; of several trials the best is used. The site
refuses a zip that lacks a file: a missing one is filled in with the same label
throughout, and named. Its score there means nothing.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.tasks.glue import sets as glue_sets


def find(path: str) -> list[str]:
    """Finds files with the site's names in a folder and below it, sorted.

    Of a run with several trials, only the best trial is searched.
    """
    names = {f"{name}.tsv" for name in glue_sets.site_files()}
    if not files.exists(path):
        raise UserError(f"--runs: no such file or folder as {path}")
    if not files.is_directory(path):
        return [path]
    report = files.join(path, "report.json")
    if files.exists(report):
        best = json.loads(files.read_text(report))["best_trial"]
        path = files.join(path, f"trial_{best}")
    found = []
    for entry in files.list_directory(path):
        inner = files.join(path, entry)
        if files.is_directory(inner):
            found += find(inner)
        elif entry in names:
            found.append(inner)
    return found


def pack(runs: Sequence[str], output: str) -> list[str]:
    """Writes the zip; returns the names that were filled in.

    Raises:
      UserError: there is no file, two for one set, or a wrong one.
    """
    paths: dict[str, str] = {}
    for run in runs:
        for path in find(run):
            name = os.path.basename(path).removesuffix(".tsv")
            if name in paths:
                raise UserError(
                    f"{name}.tsv: there are {paths[name]} and {path}; name "
                    "one of them in --runs"
                )
            paths[name] = path
    if not paths:
        raise UserError(
            f"--runs: found no predictions in {', '.join(runs)}; expected "
            "files such as RTE.tsv"
        )
    packed, missing = glue_sets.pack(
        {name: files.read_bytes(path) for name, path in paths.items()}
    )
    files.write_bytes(output, packed)
    for name, path in paths.items():
        print(f"{name}: {path}")
    return missing


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the flags."""
    flags = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    flags.add_argument(
        "--runs", required=True,
        help="folders of predictions, run directories or TSV files, by commas",
    )  # fmt: skip
    flags.add_argument("--output", required=True, help="the zip")
    return flags


def main(argv: list[str] | None = None) -> int:
    """Writes the zip and prints its content."""
    args = parser().parse_args(argv)
    try:
        missing = pack(args.runs.split(","), args.output)
    except UserError as error:
        print(f"glue_zip: {error}", file=sys.stderr)
        return 2
    if missing:
        print(
            f"{', '.join(missing)}: NOT PREDICTED, filled in with the same "
            "label throughout"
        )
    print(f"wrote {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
