"""Reads GLUE from the official TSV files, or by TensorFlow Datasets.

The files have no quoting, CoLA's train and dev have no header, some rows of QQP
are truncated, and test files have no labels. Rows are kept and numbered as
TensorFlow Datasets does.
"""

import io
import logging
import os
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.tasks.glue.sets import SETS, UNLABELLED, GlueSet
from electra_tf.text import numerals

_log = logging.getLogger(__name__)

# CoLA's columns, where a file does not name them.
COLA_COLUMNS = ("source", "is_acceptable", "note", "sentence")
# The diagnostic set goes by these names; the second one has labels.
_AX_NAMES = ("AX", "diagnostic-full", "diagnostic", "test")
_AX_FOLDERS = ("AX", "diagnostic", "MNLI")
_AX_FULL = {"sentence1": "Premise", "sentence2": "Hypothesis", "label": "Label"}

# The text of the single row that stands for a missing file: TensorFlow Datasets
# has no empty splits. See tools/prepare_glue.py.
NO_FILE = "(electra_tf: no such file was given)"
# The files that MRPC is downloaded as; other sets have one file each.
MRPC_FILES = (
    "msr_paraphrase_train.txt",
    "msr_paraphrase_test.txt",
    "data_mrpc_dev_ids.tsv",
)
_LARGEST = float(np.finfo(np.float32).max)
_BATCH = 1024


class GlueRow(NamedTuple):
    """One row of an official file.

    Attributes:
      texts: one or two.
      answer: a label or a number; None where the file has none.
      index: its number in the file, from 0.
      place: "file:line".
    """

    texts: tuple[str, ...]
    answer: str | float | None
    index: int  # type: ignore[assignment]
    place: str


def folder_of(glue_set: GlueSet, data: str) -> str | None:
    """Returns the folder with the set's official files.

    Args:
      glue_set: the set.
      data: that folder, or one that contains it under its official name.

    Returns:
      The folder; None where `data` has no official files of any set.

    Raises:
      UserError: it has the files of other sets only.
    """
    folders = _AX_FOLDERS if glue_set.name == "ax" else (glue_set.folder,)
    for folder in (data, *(files.join(data, name) for name in folders)):
        if any(path_of(glue_set, folder, split) for split in glue_set.files):
            return folder
    others = [
        other.folder
        for other in SETS.values()
        if files.is_directory(files.join(data, other.folder))
    ]
    if others:
        raise UserError(
            f"{data}: holds {', '.join(others)}, but no {glue_set.folder} "
            f"for glue/{glue_set.name}"
        )
    return None


def path_of(glue_set: GlueSet, folder: str, split: str) -> str | None:
    """Returns a split's file in the set's folder; None if missing."""
    names: tuple[str, ...] = (glue_set.files[split],)
    if glue_set.name == "ax":
        names = _AX_NAMES
        if folder.rstrip("/").rpartition("/")[2] not in _AX_FOLDERS[:2]:
            names = _AX_NAMES[:-1]  # every set's folder has a test.tsv
    for name in names:
        path = files.join(folder, f"{name}.tsv")
        if files.exists(path):
            return path
    return None


def rows(glue_set: GlueSet, path: str) -> Iterator[GlueRow]:
    """Reads the rows of an official file.

    Truncated rows are left out, and their number is logged.

    Raises:
      UserError: the file is unreadable, lacks the set's columns, or has a label
        that the set does not know.
    """
    bad = []
    columns: dict[str, int] | None = None
    index = -1
    for number, cells in cells_of(path):
        place = f"{path}:{number}"
        if columns is None:
            columns, is_header = _columns(glue_set, cells, place)
            if is_header:
                continue
        index += 1
        texts = tuple(
            cells[columns[name]]
            for name in glue_set.columns
            if columns[name] < len(cells)
        )
        at = columns.get(glue_set.label_column)
        if len(texts) < len(glue_set.columns) or (
            at is not None and (at >= len(cells) or not cells[at])
        ):
            bad.append(number)
            continue
        answer = None
        if at is not None:
            answer = _answer(glue_set, cells[at], place)
        yield GlueRow(texts, answer, index, place)
    if columns is None:
        raise UserError(f"{path}: is empty")
    if bad:
        shown = ", ".join(map(str, bad[:5])) + (", ..." if bad[5:] else "")
        _log.warning(
            "%s: left out %d truncated rows (lines %s)",
            path, len(bad), shown,
        )  # fmt: skip


def cells_of(path: str) -> Iterator[tuple[int, list[str]]]:
    """Yields line number, from 1, and cells of each line that is not empty.

    Any end of line counts, as for TensorFlow Datasets.
    """
    text = files.read_text(path).removeprefix("\ufeff")
    for number, line in enumerate(io.StringIO(text, newline=None), 1):
        if line := line.removesuffix("\n"):
            yield number, line.split("\t")


def _columns(
    glue_set: GlueSet, cells: list[str], place: str
) -> tuple[dict[str, int], bool]:
    """Returns column -> number, and whether `cells` is the header."""
    found = {name: i for i, name in enumerate(cells)}
    if glue_set.name == "cola" and "sentence" not in found:
        # Four columns, the second 0 or 1: already a row, not a header.
        if len(cells) == 4 and cells[1] in ("0", "1"):
            return {name: i for i, name in enumerate(COLA_COLUMNS)}, False
    if glue_set.name == "ax" and "Premise" in found:
        found |= {ours: found.get(name, -1) for ours, name in _AX_FULL.items()}
    for name in glue_set.columns:
        if name not in found:
            raise UserError(
                f"{place}: not a file of glue/{glue_set.name}: no column "
                f"'{name}'; there are {', '.join(cells)[:120]}"
            )
    return found, True


def _answer(glue_set: GlueSet, cell: str, place: str) -> str | float | None:
    """Parses an answer: a label written as name or number, or a score."""
    number = numerals.finite(cell)
    if glue_set.labels is None:
        if number is not None and abs(number) < _LARGEST:
            # As exact as in TensorFlow Datasets, which stores float32.
            return float(str(np.float32(number)))
        wanted = "a number"
    elif cell in glue_set.labels:
        return cell
    else:
        if number == UNLABELLED:
            return None
        if number is not None and number in range(len(glue_set.labels)):
            return glue_set.labels[int(number)]
        numbers = ", ".join(map(str, range(len(glue_set.labels))))
        wanted = f"one of {', '.join(glue_set.labels)}, {numbers}"
    raise UserError(
        f"{place}: unknown label '{cell:.40}' in '{glue_set.label_column}'; "
        f"expected {wanted}"
    )


def downloaded_rows(
    glue_set: GlueSet, splits: Sequence[str], data_dir: str | None
) -> dict[str, list[GlueRow]]:
    """Returns rows by split in the source's order; downloads if needed.

    Args:
      glue_set: the set.
      splits: which of its splits; one that the data lacks is left out.
      data_dir: directory of TensorFlow Datasets; None takes its default.

    Raises:
      UserError: the data can be neither found nor downloaded.
    """
    import tensorflow_datasets as tfds

    try:
        builder = builder_of(glue_set, data_dir)
        if not builder.is_prepared():
            _check_network(builder)
        builder.download_and_prepare(
            # The copies on Google's storage are no longer kept.
            download_config=tfds.download.DownloadConfig(try_download_gcs=False)
        )
    except Exception as error:  # of the network, the disk, an archive ...
        problem = str(error).strip().splitlines() or [type(error).__name__]
        cure = "with no network give --data, a folder of the official TSV files"
        if data_dir is not None:
            names = [f"{name}.tsv" for name in glue_set.files.values()]
            cure = (
                f"and {data_dir} (--data) holds no official files: expected "
                f"{', '.join(names)} in it or in a folder {glue_set.folder}"
            )
        raise UserError(
            f"glue/{glue_set.name}: TensorFlow Datasets cannot get it "
            f"({problem[0]:.160}); {cure}, or copy them into its cache with "
            "tools/prepare_glue.py"
        ) from error
    found = {}
    for split in splits:
        known = builder.info.splits  # empty under tfds.testing.mock_data
        if known and split not in known:
            continue
        data = builder.as_dataset(split=split).batch(_BATCH)
        split_rows = _stored_rows(glue_set, data.as_numpy_iterator(), split)
        if [row.texts[0] for row in split_rows] != [NO_FILE]:
            found[split] = split_rows
    return found


def builder_of(glue_set: GlueSet, data_dir: str | None) -> Any:
    """Returns the set's `tfds.core.DatasetBuilder`."""
    import tensorflow_datasets as tfds

    return tfds.builder(f"glue/{glue_set.name}", data_dir=data_dir)


def downloads_folder(builder: Any) -> str:
    """Returns where the downloads of all data sets are."""
    data_dir = os.fspath(builder.data_path.parents[2])  # of glue/NAME/VERSION
    return files.join(data_dir, "downloads")


def cached_files(builder: Any) -> dict[str, str]:
    """Returns URL -> the file where a download of it is looked for."""
    from tensorflow_datasets.core.download import resource

    urls = [builder.builder_config.data_url]
    if not urls[0]:
        urls = [
            url
            for url, info in builder.url_infos.items()
            if info.filename in MRPC_FILES
        ]
    folder = files.join(downloads_folder(builder), "glue")
    return {
        # Stored under the checksum of the file to be downloaded.
        url: files.join(
            folder, resource.get_dl_fname(url, builder.url_infos[url].checksum)
        )
        for url in urls
    }


def _check_network(builder: Any) -> None:
    """Fails at once without a network: a download would retry for minutes."""
    if urllib.request.getproxies():
        return  # names are resolved elsewhere
    if ".testing." in type(builder).download_and_prepare.__module__:
        return  # tfds.testing.mock_data is on, and nothing is downloaded
    for url, path in cached_files(builder).items():
        legacy = files.join(downloads_folder(builder), os.path.basename(path))
        if not files.exists(path) and not files.exists(legacy):
            host = urllib.parse.urlsplit(url).hostname
            try:
                socket.getaddrinfo(host, 443)
            except OSError as error:
                raise OSError(f"no connection to {host}") from error


def _stored_rows(
    glue_set: GlueSet, batches: Iterator[Mapping[str, np.ndarray]], split: str
) -> list[GlueRow]:
    found = []
    for batch in batches:
        texts = zip(*(batch[name].tolist() for name in glue_set.texts))
        answers = [_stored_answer(glue_set, label) for label in batch["label"]]
        indices = batch["idx"].tolist()
        for index, text, answer in zip(indices, texts, answers):
            found.append(
                GlueRow(
                    tuple(part.decode("utf-8") for part in text),
                    answer,
                    index,
                    f"glue/{glue_set.name} {split} {index}",
                )
            )
    # Stored shuffled; the numbers are those of the source's rows.
    return sorted(found, key=lambda row: row.index)


def _stored_answer(glue_set: GlueSet, label: np.generic) -> str | float | None:
    if label == UNLABELLED:
        return None
    if glue_set.labels is None:
        return float(str(label))  # 3.8, which float32 cannot hold
    return glue_set.labels[int(label)]
