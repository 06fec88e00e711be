"""Reads texts labelled by their folder's name, or by a prefix of the line.

Folders are those of IMDb and 20 Newsgroups: one for each class, with one text
per file. Lines have the form of fastText: "__label__x The text".
"""

import logging
from collections.abc import Iterable, Iterator
from typing import Any

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.text import inputs, sources

LABEL = "__label__"
_log = logging.getLogger(__name__)
# Folders of texts without a known class.
_UNLABELED = ("unsup", "unlabeled", "unlabelled")
# Folders that are not classes.
_OTHERS = ("train", "test", "dev", "val", "valid", "validation", "data")
_MOST = 1 << 24  # bytes of a text
_TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".arrow")


def class_folders(path: str) -> list[str]:
    """Returns the class folders in a folder that has one for each class.

    Args:
      path: the folder that contains them.

    Returns:
      Their names; empty for any other folder: one that also has tables, has
      nested folders, or has a single folder.
    """
    found = []
    for name in files.list_directory(path):
        inside = files.join(path, name)
        if name.startswith("."):
            continue
        if name.lower() in _OTHERS:
            return []
        if not files.is_directory(inside):
            if inputs.plain_name(name).lower().endswith(_TABLES):
                return []
            continue
        first = next(iter(_texts(inside)), None)
        if first is None or files.is_directory(files.join(inside, first)):
            return []
        if inputs.plain_name(first).lower().endswith(_TABLES):
            return []
        found.append(name)
    return found if len(found) > 1 else []


def _texts(folder: str) -> list[str]:
    return [n for n in files.list_directory(folder) if not n.startswith(".")]


def folder_rows(path: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Yields text, label and path of each file.

    Raises:
      UserError: a file is unreadable or larger than 16 MiB, or a class folder
        has a folder in it.
    """
    other = 0
    for name in class_folders(path):
        if name.lower() in _UNLABELED:
            _log.warning(
                "%s: skipped, as its texts have no label",
                files.join(path, name),
            )
            continue
        for file in _texts(files.join(path, name)):
            place = files.join(path, name, file)
            with inputs.open_single(place) as stream:
                # `read` may give less.
                content = stream.peek(_MOST + 1)
            if len(content) > _MOST:
                raise UserError(
                    f"{place}: has more than {_MOST >> 20} MiB; expected a "
                    "text of a class, which a model reads the beginning of: "
                    "divide it, or take the file out of the folder"
                )
            what = sources.known_as(content[:512])
            if what is None and b"\0" in content:
                what = "not text"
            if what is not None:
                raise UserError(
                    f"{place}: is {what}; expected a text in each file of a "
                    "class"
                )
            try:
                text = content.decode("utf-8-sig")
            except UnicodeDecodeError:
                text = content.decode("cp1252", "replace")
                other += 1
            yield {"text": text, "label": name}, place
    if other:
        _log.warning(
            "%s: %d files are not UTF-8, and were read as Windows-1252",
            path, other,
        )  # fmt: skip


def marked_row(line: str) -> dict[str, Any]:
    """Splits a line "__label__x The text" into text and label.

    Returns:
      `text` and `label`; `label` is a list where there are several.

    Raises:
      UserError: no label, or no text; the message lacks the place.
    """
    labels = []
    rest = line.strip()
    while rest.startswith(LABEL):
        label, *after = rest.split(maxsplit=1)
        labels.append(label.removeprefix(LABEL))
        rest = "".join(after)
    if not labels:
        raise UserError(f"expected {LABEL}, a label and a text")
    return {"text": rest, "label": labels if len(labels) > 1 else labels[0]}


def marked_rows(
    lines: Iterable[bytes],
) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Yields the number of each line with its row, or with its error."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield number, marked_row(line.decode("utf-8"))
        except UnicodeDecodeError:
            yield number, "not UTF-8 text; save the file as UTF-8"
        except UserError as error:
            yield number, str(error)
