"""Reads pairs of texts, and makes rows of tokens of them.

Pairs are in files or in TensorFlow Datasets. A source is `[CLS] text [SEP]`,
and so is a target; a truncated target has no last [SEP], lest the model learn
to stop there.
"""

import dataclasses
import itertools
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from electra_tf.errors import UserError
from electra_tf.tasks import column_names, formats, records
from electra_tf.tasks.features import (
    Features,
    Pieces,
    Sequences,
    ranges,
    tokenize_all,
)
from electra_tf.tasks.records import read_table, text_in, text_lines
from electra_tf.tasks.seq2seq.options import Seq2SeqOptions
from electra_tf.text.tokenizer import Tokenizer
from electra_tf.text.vocab import Vocab

_log = logging.getLogger(__name__)
_HINT = "options.source_column and options.target_column name them"
# Sets of usual names for sources and targets.
_USUAL = (
    ("src", "tgt"), ("source", "target"), ("article", "highlights"),
    ("article", "abstract"), ("article", "summary"), ("dialogue", "summary"),
    ("text", "summary"), ("document", "summary"), ("content", "summary"),
    ("report", "summary"), ("text", "headline"), ("content", "title"),
    ("document", "target"), ("input", "output"), ("document", "headline"),
)  # fmt: skip
# Language codes of ISO 639, with or without a country's code.
_LANGUAGE = re.compile(
    "(af|am|ar|az|be|bg|bn|bs|ca|cs|cy|da|de|el|en|eo|es|et|eu|fa|fi|fr|ga|gl|"
    "gu|he|hi|hr|hu|hy|id|is|it|ja|ka|kk|km|kn|ko|la|lt|lv|mk|ml|mn|mr|ms|my|"
    "nb|ne|nl|nn|no|pa|pl|pt|ro|ru|si|sk|sl|sq|sr|sv|sw|ta|te|th|tl|tr|uk|ur|"
    "uz|vi|yo|zh|zu)([-_][A-Z]{2})?"
)
# Lines of IWSLT's files that are not text, and files that are XML.
_TAGS = re.compile("</?[a-z]+")
_XML = ("<?xml", "<mteval", "<srcset", "<refset", "<tstset", "<!DOCTYPE")
_BATCH = 1024  # rows of TensorFlow Datasets read at a time


@dataclasses.dataclass(frozen=True)
class Pair:
    """A source text and its target.

    Attributes:
      source: the text; may be empty.
      target: the text to generate; None where unknown.
      place: "file:line", for messages.
      references: all targets, where there are several; `target` is the first.
    """

    source: str
    target: str | None = None
    place: str = ""
    references: tuple[str, ...] = ()


def read(
    paths: Sequence[str], options: Seq2SeqOptions, paired: bool
) -> list[Pair]:
    """Returns all pairs of a split, in order.

    Args:
      paths: a table, or two parallel files.
      options: name the columns of a table.
      paired: whether targets are required.

    Raises:
      UserError: a file is unreadable, not UTF-8, or lacks a column, or the
        files have different numbers of lines; file and line are named.
    """
    if len(paths) == 2:
        return list(_parallel(*paths))
    names = (options.source_column, options.target_column)
    rows = read_table(paths[0], options, options.source_column, names)
    found = [pair(record, place, options, paired) for record, place in rows]
    empty = [p.place for p in found if p.target is not None and not p.target]
    if empty and paired:
        _log.warning(
            "%s: %d of %d targets are empty, and learned as such",
            empty[0], len(empty), len(found),
        )  # fmt: skip
    return found


def with_columns(options: Seq2SeqOptions, path: str) -> Seq2SeqOptions:
    """Returns options that name the columns of a table.

    Args:
      options: unchanged where they name columns.
      path: the table.

    Raises:
      UserError: the table's columns are not just a source and a target: the
        options must name languages.
    """
    there = records.names_in(path, options)
    source, target = options.source_column, options.target_column
    if source in there or options.columns:
        return options
    languages = (options.source_language, options.target_language)
    if "translation" in there:
        if None in languages:
            raise UserError(
                f"{path}: its texts are in 'translation', by their languages; "
                "give options.source_language and options.target_language"
            )
        return _replaced(options, *languages)
    if set(languages) <= set(there):
        return _replaced(options, *languages)
    if (
        len(there) == 2
        and there[0] != there[1]
        and all(_LANGUAGE.fullmatch(name) for name in there)
    ):
        _log.warning("%s: its first line names languages", path)
        return _replaced(options, *there)
    found = column_names.with_usual(
        options, ("source_column", "target_column"), _USUAL, there, path
    )
    layout = formats.detect(path, options.format, options.delimiter)
    if (
        found is options
        and layout.format in ("tsv", "csv")
        and (len(there) != 2 and target not in there)
    ):
        names = [source, target, "other"][: max(len(there), 2)]
        raise UserError(
            f"{path}:1: no column '{source}' in {len(there)} columns "
            f"({', '.join(there):.80}); options.source_column and "
            "options.target_column name them; for a file without a header "
            f"give options.columns, a name for each, as [{', '.join(names)}]"
        )
    return found


def _replaced(
    options: Seq2SeqOptions, source: str | None, target: str | None
) -> Seq2SeqOptions:
    return dataclasses.replace(
        options,
        source_column=source or options.source_column,
        target_column=target or options.target_column,
    )


def pair(
    record: Mapping[str, Any], place: str, options: Seq2SeqOptions, paired: bool
) -> Pair:
    """Makes a pair from a record.

    Args:
      record: column -> value.
      place: its place, for messages.
      options: name the columns.
      paired: whether the target is required.

    Raises:
      UserError: a column is missing, or its value is not a text.
    """
    target = None
    if isinstance(record.get("translation"), Mapping):
        record = record["translation"]
    source = text_in(record, options.source_column, place, _HINT, True)
    several = _references(record, options.target_column, place)
    if several:
        return Pair(source, several[0], place, several)
    if paired or record.get(options.target_column) is not None:
        target = text_in(record, options.target_column, place, _HINT, True)
    return Pair(source, target, place)


def _references(
    record: Mapping[str, Any], column: str, place: str
) -> tuple[str, ...]:
    """Returns all references: a list, or columns summary1, summary2, ..."""
    listed = record.get(column)
    names = [f"{column}[{i}]" for i in range(len(listed or ()))]
    if not isinstance(listed, list | tuple):
        if column in record:
            return ()
        numbers = itertools.count(1)
        names = list(
            itertools.takewhile(
                lambda name: name in record,
                (f"{column}{number}" for number in numbers),
            )
        )
        listed = [record[name] for name in names]
    given = dict(zip(names, listed))
    return tuple(text_in(given, n, place, _HINT, True) for n in names)


def _parallel(source: str, target: str) -> Iterator[Pair]:
    tags = 0
    for first, second in itertools.zip_longest(
        text_lines(source), text_lines(target)
    ):
        for one, path in ((first, source), (second, target)):
            if one is not None and one[0] == 1 and one[1].startswith(_XML):
                raise UserError(
                    f"{path}: is XML; expected a text a line, as its segments "
                    "without their marks"
                )
        if first is None or second is None:
            ends, other, (number, _) = source, target, second or first
            if second is None:
                ends, other = target, source
            raise UserError(
                f"{ends}: ends after {number - 1:,} lines, and {other} has "
                "more; expected the same number of lines in both"
            )
        if ".tags." in source and all(
            _TAGS.match(line) for line in (first[1], second[1])
        ):
            tags += 1
            continue
        yield Pair(first[1], second[1], f"{source}:{first[0]}")
    if tags:
        _log.warning("%s: %d lines of markup are left out", source, tags)


def read_set(name: str, split: str, data_dir: str | None) -> list[Pair] | None:
    """Reads a split of TensorFlow Datasets; downloads it if needed.

    Args:
      name: name of the set and its config: "ted_hrlr_translate/pt_to_en".
      split: "train", "validation" or "test".
      data_dir: directory of TensorFlow Datasets; None takes its default.

    Returns:
      The pairs in order; None where the set has no such split.

    Raises:
      UserError: no such set, it has no pairs of texts, or it can be neither
        found nor downloaded.
    """
    import tensorflow_datasets as tfds

    builder = set_builder(name, data_dir)
    source, target = set_columns(name, builder)
    try:
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(try_download_gcs=False)
        )
    except Exception as error:  # of the network, the disk, an archive ...
        raise _cannot(name, error) from error
    known = builder.info.splits  # empty under tfds.testing.mock_data
    if known and split not in known:
        return None
    found: list[Pair] = []
    batches = builder.as_dataset(split=split, shuffle_files=False).batch(_BATCH)
    for batch in batches.as_numpy_iterator():
        for texts in zip(batch[source].tolist(), batch[target].tolist()):
            first, second = (text.decode("utf-8", "replace") for text in texts)
            place = f"{name} {split} {len(found)}"
            found.append(Pair(_one_line(first), _one_line(second), place))
    return found


def set_builder(name: str, data_dir: str | None) -> Any:
    """Returns the set's `tfds.core.DatasetBuilder`.

    Raises:
      UserError: no such set.
    """
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(name, data_dir=data_dir)
    except Exception as error:  # a name, a config, a missing package ...
        raise _cannot(name, error) from error


def set_columns(name: str, builder: Any) -> tuple[str, str]:
    """Returns the names of the source's and the target's feature in a set.

    Raises:
      UserError: the set has no pairs of texts.
    """
    import tensorflow_datasets as tfds

    keys = builder.info.supervised_keys
    features = builder.info.features
    if (
        not keys
        or len(keys) != 2
        or any(key not in features for key in keys)
        or any(
            not isinstance(features[key], tfds.features.Text) for key in keys
        )
    ):
        raise UserError(
            f"{name}: a set of TensorFlow Datasets, but not of pairs of "
            "texts; expected one such as ted_hrlr_translate/pt_to_en"
        )
    return keys


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())


def _cannot(name: str, error: Exception) -> UserError:
    problem = str(error).strip().splitlines() or [type(error).__name__]
    return UserError(
        f"{name}: TensorFlow Datasets cannot get it ({problem[0]:.160}); "
        "with no network give --data, a folder of files with pairs, and no "
        "name of a set"
    )


def source_rows(
    tokenizer: Tokenizer, texts: Sequence[str], max_length: int
) -> Features:
    """Returns a row for each source, truncated to `max_length` tokens."""
    found = tokenize_all(tokenizer, texts)
    counts = np.minimum(found.count, max_length - 2)
    tokens, splits = _framed(
        tokenizer.vocab, found, counts, np.ones(len(texts))
    )
    return Features(
        splits,
        {"input_ids": tokens, "segment_ids": np.zeros_like(tokens)},
        truncated=int((counts < found.count).sum()),
    )


def target_rows(
    tokenizer: Tokenizer, texts: Sequence[str], max_length: int
) -> Sequences:
    """Returns a row for each target, `max_length` tokens between [CLS] and
    [SEP].
    """
    found = tokenize_all(tokenizer, texts)
    whole = found.count <= max_length
    counts = np.minimum(found.count, max_length)
    tokens, splits = _framed(tokenizer.vocab, found, counts, whole)
    return Sequences(splits, tokens)


def _framed(
    vocab: Vocab, found: Pieces, counts: np.ndarray, closed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns [CLS], the first `counts` pieces, and if closed [SEP] per row."""
    closed = closed.astype("int64")
    splits = np.concatenate([[0], np.cumsum(counts + 1 + closed)])
    tokens = np.full(splits[-1], vocab.sep_id, "int32")
    tokens[splits[:-1]] = vocab.cls_id
    source, row = ranges(found.start, found.start + counts)
    within = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    tokens[splits[row] + 1 + within] = found.table[source]
    return tokens, splits.astype("int64")


def specials(vocab: Vocab) -> dict[str, Any]:
    """Returns a vocabulary's special tokens for beam search, as JSON values.

    `start`, `end`: the tokens around a target; `banned`: tokens that are never
    generated; `size`: number of tokens.
    """
    return {
        "start": vocab.cls_id,
        "end": vocab.sep_id,
        "banned": sorted(set(vocab.special_ids) - {vocab.sep_id}),
        "size": len(vocab),
    }
