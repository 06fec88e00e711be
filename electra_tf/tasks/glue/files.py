"""GLUE from the official TSV files.

They have no quoting, CoLA's train and dev no header, QQP's some rows that are
cut off, and test files no labels. Rows are kept and numbered as TensorFlow
Datasets does.
"""

import io
import logging
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.tasks.glue.sets import SETS, GlueSet

_log = logging.getLogger(__name__)

# CoLA's columns, where a file does not name them.
COLA_COLUMNS = ("source", "is_acceptable", "note", "sentence")
# The diagnostic set goes by these names; the second one has labels.
_AX_NAMES = ("AX", "diagnostic-full", "diagnostic", "test")
_AX_FOLDERS = ("AX", "diagnostic", "MNLI")
_AX_FULL = {"sentence1": "Premise", "sentence2": "Hypothesis", "label": "Label"}


class GlueRow(NamedTuple):
    """One row.

    Attributes:
      texts: one or two.
      answer: a label or a number; None where the file has none.
      index: its number in the file, from 0.
      place: "file:line".
    """

    texts: tuple[str, ...]
    answer: str | float | None
    index: int
    place: str


def folder_of(glue_set: GlueSet, data: str) -> str | None:
    """The folder with the set's official files.

    Args:
      glue_set: which.
      data: that folder, or one that holds it under its official name.

    Returns:
      None where `data` holds no official files of any set.

    Raises:
      UserError: it holds those of other sets alone.
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
    """The file of a split in the set's folder; None where it is missing."""
    names = (glue_set.files[split],)
    if glue_set.name == "ax":
        names = _AX_NAMES
        if folder.rstrip("/").rpartition("/")[2] not in _AX_FOLDERS[:2]:
            names = _AX_NAMES[:-1]  # any set's folder has a test.tsv
    for name in names:
        path = files.join(folder, f"{name}.tsv")
        if files.exists(path):
            return path
    return None


def rows(glue_set: GlueSet, path: str) -> Iterator[GlueRow]:
    """The rows of an official file.

    Rows that are cut off are left out, and how many is logged.

    Raises:
      UserError: unreadable, without the set's columns, or a label that is
        none of its.
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
            "%s: left out %d rows that are cut off (lines %s)",
            path, len(bad), shown,
        )  # fmt: skip


def cells_of(path: str) -> Iterator[tuple[int, list[str]]]:
    """The line number, from 1, and the cells of each line that has any.

    Any end of line counts, as for TensorFlow Datasets.
    """
    text = files.read_text(path).removeprefix("\ufeff")
    for number, line in enumerate(io.StringIO(text, newline=None), 1):
        if line := line.removesuffix("\n"):
            yield number, line.split("\t")


def _columns(
    glue_set: GlueSet, cells: list[str], place: str
) -> tuple[dict[str, int], bool]:
    """Column -> its number, and whether `cells` is the header."""
    found = {name: i for i, name in enumerate(cells)}
    if glue_set.name == "cola" and "sentence" not in found:
        # Four columns, the second 0 or 1: a row already.
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
    """A label, written as name or number, or a number."""
    try:
        if glue_set.labels is None:
            # As exact as in TensorFlow Datasets, which stores float32.
            return float(str(np.float32(cell)))
        if cell in glue_set.labels:
            return cell
        number = int(cell)
        if number == -1:
            return None
        if number >= 0:
            return glue_set.labels[number]
    except (ValueError, IndexError):
        pass
    wanted = "a number"
    if glue_set.labels is not None:
        numbers = ", ".join(map(str, range(len(glue_set.labels))))
        wanted = f"one of {', '.join(glue_set.labels)}, {numbers}"
    raise UserError(
        f"{place}: unknown label '{cell:.40}' in '{glue_set.label_column}'; "
        f"expected {wanted}"
    )
