"""Copies official GLUE files to where TensorFlow Datasets looks for downloads.

    python tools/prepare_glue.py --input=GLUE [--data_dir=DIR] [--tasks=rte]

For machines without network: `glue/*` is then built from these files, without
any patches. --input holds the official folders (CoLA, SST-2, MRPC, STS-B, QQP,
MNLI, QNLI, RTE, WNLI, AX) with their TSV files; missing ones are skipped.

Differences from a download: the files' checksums are not the recorded ones
(TensorFlow Datasets checks them only after a download); MRPC's rows are
numbered train first, then dev, like the official files; and if a set has no
test.tsv, its test split has one row as a mark, which electra_tf leaves out
(TensorFlow Datasets does not support an empty split).
"""

import argparse
import io
import json
import os
import sys
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

from absl import logging

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.tasks.glue import files as glue_files
from electra_tf.tasks.glue.sets import SETS, GlueSet

_BOM = b"\xef\xbb\xbf"
_MRPC_IDS = ("#1 ID", "#2 ID")
_MRPC_COLUMNS = ("Quality", *_MRPC_IDS, "#1 String", "#2 String")


def zip_of(glue_set: GlueSet, paths: Mapping[str, str], folder: str) -> bytes:
    """Returns the set's archive; equal files give equal bytes.

    Args:
      glue_set: the set.
      paths: split -> official file; a test split may be missing.
      folder: the folder of the files in the archive.
    """
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for split, name in glue_set.files.items():
            entry = zipfile.ZipInfo(
                f"{folder}/{name}.tsv", (1980, 1, 1, 0, 0, 0)
            )
            entry.compress_type = zipfile.ZIP_DEFLATED
            content = stand_in(glue_set.columns)
            if split in paths:
                content = files.read_bytes(paths[split])
            archive.writestr(entry, content)
    return packed.getvalue()


def mrpc_files(paths: Mapping[str, str]) -> dict[str, bytes]:
    """Returns MRPC's downloads: train and dev in one file, and dev's ids.

    Raises:
      UserError: a pair of train is also in dev.
    """
    lines, dev = ["\t".join(_MRPC_COLUMNS)], []
    for split in ("train", "validation"):
        rows = _mrpc_rows(paths[split])
        lines += ["\t".join(row) for row in rows]
        if split == "validation":
            dev = [row[1:3] for row in rows]
        else:
            train = [row[1:3] for row in rows]
    both = set(map(tuple, train)) & set(map(tuple, dev))
    if both:
        raise UserError(
            f"{paths['validation']}: pair {' '.join(min(both))} is in "
            f"{paths['train']} too"
        )
    test = stand_in(("#1 String", "#2 String"))
    if "test" in paths:
        test = files.read_bytes(paths["test"])
    ids = "".join("\t".join(pair) + "\n" for pair in dev)
    table = _BOM + ("\n".join(lines) + "\n").encode("utf-8")
    contents = (table, test, ids.encode("utf-8"))
    return dict(zip(glue_files.MRPC_FILES, contents))


def _mrpc_rows(path: str) -> list[list[str]]:
    """Reads the cells of each row, in the order of `_MRPC_COLUMNS`."""
    try:
        header, *rows = (cells for _, cells in glue_files.cells_of(path))
        order = [header.index(name) for name in _MRPC_COLUMNS]
        return [[row[i] for i in order] for row in rows]
    except (ValueError, IndexError) as error:
        raise UserError(
            f"{path}: expected the columns {', '.join(_MRPC_COLUMNS)} in "
            f"every row ({error})"
        ) from error


def ax_file(paths: Mapping[str, str]) -> bytes:
    """Returns AX as it is downloaded, without labels."""
    lines = ["index\tsentence1\tsentence2"]
    for row in glue_files.rows(SETS["ax"], paths["test"]):
        lines.append("\t".join([str(row.index), *row.texts]))
    return ("\n".join(lines) + "\n").encode("utf-8")


def stand_in(columns: Sequence[str]) -> bytes:
    """Returns a test file whose only row marks that there is no test file."""
    header = "\t".join(["index", *columns])
    row = "\t".join(["0", *[glue_files.NO_FILE] * len(columns)])
    return f"{header}\n{row}\n".encode()


def downloads(
    glue_set: GlueSet, paths: Mapping[str, str], builder: Any
) -> dict[str, bytes]:
    """Returns URL -> the content that replaces the download."""
    if glue_set.name == "mrpc":
        contents = mrpc_files(paths)
        return {
            url: contents[builder.url_infos[url].filename]
            for url in glue_files.cached_files(builder)
        }
    config = builder.builder_config
    if glue_set.name == "ax":
        return {config.data_url: ax_file(paths)}
    return {config.data_url: zip_of(glue_set, paths, config.data_dir)}


def lay(
    glue_set: GlueSet,
    paths: Mapping[str, str],
    data_dir: str | None,
    overwrite: bool,
) -> str:
    """Writes the set's downloads; returns a message on what was done.

    Raises:
      UserError: other files exist there, and `overwrite` is not set.
    """
    builder = glue_files.builder_of(glue_set, data_dir)
    places = glue_files.cached_files(builder)
    changed = {
        url: content
        for url, content in downloads(glue_set, paths, builder).items()
        if not files.exists(places[url])
        or files.read_bytes(places[url]) != content
    }
    for url in changed:
        if files.exists(places[url]) and not overwrite:
            raise UserError(
                f"{places[url]}: another file is there already; --overwrite "
                "replaces it"
            )
    for url, content in changed.items():
        about = {
            "dataset_names": [f"glue/{glue_set.name}"],
            "original_fname": builder.url_infos[url].filename,
            "urls": [url],
        }
        files.write_bytes(places[url], content)
        files.write_text(
            f"{places[url]}.INFO", json.dumps(about, sort_keys=True)
        )
        _forget(builder, os.path.basename(places[url]))
    if not changed:
        return "there already"
    where = f"copied to {os.path.dirname(places[url])}"
    built = os.fspath(builder.data_path)
    if files.exists(built):
        if not overwrite:
            return (
                f"{where}; but {built} is built already, and stays as it is "
                "(--overwrite removes it)"
            )
        files.remove(built)
    return where


def _forget(builder: Any, name: str) -> None:
    """Removes files unpacked from an earlier archive of this name."""
    extracted = files.join(glue_files.downloads_folder(builder), "extracted")
    for folder in (extracted, files.join(extracted, "glue")):
        if files.is_directory(folder):
            for entry in files.list_directory(folder):
                if entry.endswith(name):
                    files.remove(files.join(folder, entry))


def prepare(
    source: str,
    data_dir: str | None,
    tasks: Sequence[str] | None,
    overwrite: bool = False,
    build: bool = False,
) -> None:
    """Writes the sets' downloads; prints what it did and the rows' numbers.

    Raises:
      UserError: a set of `tasks` is missing, or has no train or dev file;
        there is no set at all; a file is wrong.
    """
    for name in tasks or ():
        if name not in SETS:
            raise UserError(
                f"--tasks: no set '{name}'; known: {', '.join(SETS)}"
            )
    done = 0
    for name, glue_set in SETS.items():
        if tasks and name not in tasks:
            continue
        try:
            folder = glue_files.folder_of(glue_set, source)
        except UserError:
            if tasks:
                raise
            continue
        paths = {
            split: path
            for split in glue_set.files
            if folder and (path := glue_files.path_of(glue_set, folder, split))
        }
        if not paths:
            continue
        needed = ("train", *glue_set.validation_splits)
        for split in needed if name != "ax" else ():
            if split not in paths:
                raise UserError(f"{folder}: no {glue_set.files[split]}.tsv")
        print(f"glue/{name}: {lay(glue_set, paths, data_dir, overwrite)}")
        counts = {
            split: sum(1 for _ in glue_files.rows(glue_set, path))
            for split, path in paths.items()
        }
        print(f"  rows: {_compared(glue_set, counts)}")
        if build:
            built = glue_files.downloaded_rows(
                glue_set, tuple(glue_set.files), data_dir
            )
            counts = {split: len(rows) for split, rows in built.items()}
            print(f"  built: {_compared(glue_set, counts)}")
        done += 1
    if not done:
        raise UserError(
            f"--input: found no official GLUE files in {source}; expected "
            "folders such as RTE with train.tsv, dev.tsv and test.tsv"
        )


def _compared(glue_set: GlueSet, counts: Mapping[str, int]) -> str:
    words = []
    for split, official in glue_set.rows.items():
        if split not in counts:
            words.append(
                f"{split} none (official: {official:,}; is left empty)"
            )
        elif counts[split] == official:
            words.append(f"{split} {official:,}")
        else:
            words.append(f"{split} {counts[split]:,} (official: {official:,})")
    return ", ".join(words)


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the flags."""
    flags = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    flags.add_argument(
        "--input", required=True,
        help="folder with the official folders, or one of these",
    )  # fmt: skip
    flags.add_argument(
        "--data_dir",
        help="data folder of TensorFlow Datasets; its own default if not given",
    )
    flags.add_argument(
        "--tasks", help="sets to write, such as rte,cola; default: all found"
    )
    flags.add_argument(
        "--build", action="store_true",
        help="also build the data sets, and compare their sizes",
    )  # fmt: skip
    flags.add_argument(
        "--overwrite", action="store_true",
        help="replace existing files and data sets",
    )  # fmt: skip
    return flags


def main(argv: list[str] | None = None) -> int:
    """Writes the downloads; prints what was done."""
    args = parser().parse_args(argv)
    logging.set_verbosity(logging.WARNING)  # of TensorFlow Datasets
    try:
        prepare(
            args.input,
            args.data_dir,
            args.tasks.split(",") if args.tasks else None,
            overwrite=args.overwrite,
            build=args.build,
        )
    except UserError as error:
        print(f"prepare_glue: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
