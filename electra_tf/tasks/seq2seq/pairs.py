"""Pairs of texts out of tables and parallel files."""

import dataclasses
import hashlib
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.tasks import split_files
from electra_tf.tasks.records import format_of, lines, read_records
from electra_tf.tasks.seq2seq.options import Seq2SeqOptions
from electra_tf.text import inputs


@dataclasses.dataclass(frozen=True)
class Pair:
    """A text, and what is to be written for it.

    Attributes:
      source: the text; may be empty.
      target: the other; None where it is not known.
      place: where they stand, "file:line".
    """

    source: str
    target: str | None = None
    place: str = ""


@dataclasses.dataclass(frozen=True)
class Source:
    """The files of a split: a table, or two parallel files."""

    path: str
    target_path: str | None = None

    def fingerprint(self) -> str:
        """Of their content."""
        digest = hashlib.sha256()
        for path in filter(None, (self.path, self.target_path)):
            with files.open_read(path) as handle:
                while block := handle.read(1 << 20):
                    digest.update(block)
        return f"sha256:{digest.hexdigest()}"


def find(
    data: str | None, options: Seq2SeqOptions, split: str
) -> Source | None:
    """Where a split is; None where there is none.

    Args:
      data: a directory, or a table of training pairs.
      options: may name files and languages.
      split: "train", "validation" or "test".

    Raises:
      UserError: a file that is named is missing, there are several to choose
        from, or one of two parallel ones is not there.
    """
    option = f"{split}_file"
    given = getattr(options, option)
    is_file = data is not None and files.exists(data) and not (
        files.is_directory(data)
    )  # fmt: skip
    if given is not None or options.source_language is None or is_file:
        path = split_files.locate(split, data, given, option)
        return None if path is None else Source(path)
    paths = [
        split_files.locate(split, data, None, option, f".{language}")
        for language in (options.source_language, options.target_language)
    ]
    if paths == [None, None]:
        return None
    for path, language in zip(
        paths, (options.source_language, options.target_language)
    ):
        if path is None:
            raise UserError(
                f"{data}: found no file for {split} that ends in .{language}, "
                f"and one in the other language; both are needed"
            )
    return Source(*paths)


def read(source: Source, options: Seq2SeqOptions, paired: bool) -> list[Pair]:
    """All pairs of a split, in order.

    Args:
      source: the files.
      options: name the columns of a table.
      paired: whether the targets must be there.

    Raises:
      UserError: unreadable, not UTF-8, without a column, or of different
        numbers of lines; file and line are named.
    """
    if source.target_path is not None:
        return list(_parallel(source.path, source.target_path))
    columns = None
    names = (options.source_column, options.target_column)
    if format_of(source.path) != "jsonl" and not _has_header(
        source.path, options.source_column
    ):
        columns = names
    return [
        pair(record, place, options, paired)
        for record, place in read_records(source.path, columns=columns)
    ]


def pair(
    record: Mapping[str, Any], place: str, options: Seq2SeqOptions, paired: bool
) -> Pair:
    """A record as a pair.

    Args:
      record: column -> value.
      place: where it stands.
      options: name the columns.
      paired: whether the target must be there.

    Raises:
      UserError: a column is missing, or holds no text.
    """
    texts = []
    for column, needed in (
        (options.source_column, True),
        (options.target_column, paired),
    ):
        value = record.get(column)
        if value is None and not needed:
            texts.append(None)
            continue
        if column not in record:
            there = ", ".join(f"'{name:.30}'" for name in list(record)[:12])
            raise UserError(
                f"{place}: no column '{column}'; there are {there or 'none'} "
                "(options.source_column and options.target_column name them)"
            )
        if not isinstance(value, str):
            raise UserError(
                f"{place}: expected a text in '{column}', got {value!r:.40}"
            )
        texts.append(value)
    return Pair(texts[0], texts[1], place)


def held_out(pair: Pair, fraction: float) -> bool:
    """Whether a pair is in the validation part; the same for equal texts."""
    return split_files.held_out(
        f"{pair.source}\0{pair.target}", fraction, seed=0
    )


def nothing_to_train_on(data: str | None, options: Seq2SeqOptions) -> UserError:
    """What is said where `find` finds no training data."""
    languages = options.source_language, options.target_language
    wanted = "a table such as train.tsv, source<tab>target a line"
    if options.source_language is not None:
        wanted = "train.{} and train.{}, a text a line".format(*languages)
    if data is None:
        return UserError(f"--data: expected a directory with {wanted}")
    listed = ", ".join(files.list_directory(data)[:8]) or "nothing"
    return UserError(
        f"{data}: expected {wanted} (or options.train_file), found {listed}"
    )


def _has_header(path: str, column: str) -> bool:
    """Whether the first line of a table holds the column's name."""
    with inputs.open_input(path) as stream:
        line = next(lines(stream), b"").decode("utf-8", "replace")
    tab = format_of(path) == "tsv"
    line = line.removeprefix("\ufeff").rstrip("\r\n")
    cells = line.split("\t" if tab else ",")
    return column in (cell.strip('"') for cell in cells)


def _parallel(source: str, target: str) -> Iterator[Pair]:
    for number, (first, second) in enumerate(
        itertools.zip_longest(_texts(source), _texts(target)), 1
    ):
        if first is None or second is None:
            ends, other = source, target
            if second is None:
                ends, other = target, source
            raise UserError(
                f"{ends}: ends after {number - 1:,} lines, and {other} goes "
                "on; expected as many lines in both"
            )
        yield Pair(first, second, f"{source}:{number}")


def _texts(path: str) -> Iterator[str]:
    with inputs.open_input(path) as stream:
        for number, line in enumerate(lines(stream), 1):
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise UserError(
                    f"{path}:{number}: byte {error.start + 1} of the line is "
                    "not UTF-8 text; save the file as UTF-8"
                ) from error
            if number == 1:
                text = text.removeprefix("\ufeff")
            yield text.rstrip("\r\n")
