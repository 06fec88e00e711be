"""Tables of texts and answers: which file is which split, and their rows."""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.tasks import split_files
from electra_tf.tasks.records import (
    BadRow,
    columns_of,
    format_of,
    read_records,
)
from electra_tf.tasks.texts.options import TextTableOptions


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a table, its texts checked.

    Attributes:
      text: the text.
      text_pair: the second; None where the options name none.
      label: the answer's value; None where the column is not there.
      place: "file:line".
    """

    text: str
    text_pair: str | None
    label: Any
    place: str


def find(data: str | None, options: TextTableOptions, split: str) -> str | None:
    """The file of a split; None where there is none.

    Args:
      data: a directory, or the training file; None where not given.
      options: may name the files.
      split: "train", "validation" or "test".

    Raises:
      UserError: a file that is named is missing, or there are several to
        choose from.
    """
    option = f"{split}_file"
    return split_files.locate(split, data, getattr(options, option), option)


def nothing_to_train_on(data: str | None) -> UserError:
    """What is said where `find` finds no training data."""
    if data is None:
        return UserError(
            "--data: expected a table of texts, or a directory of such; or "
            "give options.train_file"
        )
    listed = ", ".join(files.list_directory(data)[:8]) or "nothing"
    return UserError(
        f"{data}: found no training file such as train.tsv, but {listed}; "
        "give options.train_file"
    )


def read(path: str, options: TextTableOptions, labelled: bool) -> Iterator[Row]:
    """The rows of a table.

    Args:
      path: the file.
      options: names the columns.
      labelled: whether the label's column must be there.

    Raises:
      UserError: unreadable; a column or a text is missing. It names file and
        line.
    """
    columns = options.columns
    if columns is not None and _has_header(path, options):
        columns = None
    for record, place in read_records(path, columns=columns):
        if labelled and options.label_column not in record:
            raise missing(record, place, options.label_column)
        yield row(record, place, options)


def _has_header(path: str, options: TextTableOptions) -> bool:
    """Whether the first line holds the text column's name, or need not."""
    if format_of(path) == "jsonl":
        return True
    rows = read_records(path, columns=options.columns, bad_rows=True)
    first, _ = next(rows)
    rows.close()
    if isinstance(first, BadRow):  # of another width than the names given
        return options.text_column in columns_of(path)
    return options.text_column in first.values()


def row(
    record: Mapping[str, Any], place: str, options: TextTableOptions
) -> Row:
    """A record with its texts checked.

    Raises:
      UserError: a text's column is missing, empty or holds no text.
    """
    pair = options.text_pair_column
    return Row(
        text(record, place, options.text_column),
        None if pair is None else text(record, place, pair),
        record.get(options.label_column),
        place,
    )


def text(record: Mapping[str, Any], place: str, column: str) -> str:
    """The text in a column of a record.

    Raises:
      UserError: no such column, or it is empty or holds no text.
    """
    if column not in record:
        raise missing(record, place, column)
    value = record[column]
    if not isinstance(value, str):
        raise UserError(
            f"{place}: expected a text in '{column}', got {value!r:.40}"
        )
    if not value.strip():
        raise UserError(f"{place}: the text in '{column}' is empty")
    return value


def missing(record: Mapping[str, Any], place: str, column: str) -> UserError:
    """What is said of a column that is not there."""
    there = ", ".join(f"'{name:.30}'" for name in list(record)[:12])
    return UserError(
        f"{place}: no column '{column}'; there are {there or 'none'} (for a "
        "file without a header give options.columns)"
    )


def fingerprint(path: str) -> str:
    """Of a file's content."""
    digest = hashlib.sha256()
    with files.open_read(path) as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return f"sha256:{digest.hexdigest()}"


def held_out(first: str, second: str | None, fraction: float) -> bool:
    """Whether a text is in the validation part; the same for equal texts."""
    texts = [first] if second is None else [first, second]
    return split_files.held_out("\0".join(texts), fraction, seed=0)
