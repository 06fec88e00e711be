"""Sentences that are rows, of JSON Lines, JSON, Parquet, Arrow and tables.

Of a table a row may be a word, too, where a column tells the sentences.
"""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from electra_tf.errors import UserError
from electra_tf.tasks import formats, records
from electra_tf.tasks.tagging.words import Sentence

_TOKENS = ("tokens", "words", "text")
# Columns of tables with a word a row.
_WORD, _TAG = ("word", "token"), ("tag", "label", "ner_tag", "ner")
_SENTENCE = (
    "sentence #", "sentence_id", "sentence id", "sent_id", "sentence_idx",
    "sentence",
)  # fmt: skip
_TAGS = ("tags", "ner_tags", "labels", "label", "ner", "pos_tags", "upos")


def row_layout(path: str, format: str) -> formats.Layout | None:
    """How the rows of a file are written; None for column files.

    Args:
      path: the file.
      format: as the options say.
    """
    if format != "auto" or path.lower().endswith((".conllu", ".conll")):
        return None
    try:
        found = formats.detect(path)
    except UserError:
        return None  # words alone, or of one column
    if found.format not in ("tsv", "csv"):
        return found
    try:
        names = {name.lower() for name in records.first_row(path, found)}
    except UserError:
        return None
    listed = names.intersection(_TOKENS) and names.intersection(_TAGS)
    return found if listed or _is_of_words(names) else None


def _is_of_words(names: set[str]) -> bool:
    """Whether the columns are those of a table with a word a row."""
    return all(names.intersection(some) for some in (_WORD, _TAG, _SENTENCE))


def read_rows(path: str, layout: formats.Layout) -> list[Sentence]:
    """The sentences of a file with one a row, in order.

    A row has a list of words (`tokens`, `words`) and one of tags (`tags`,
    `ner_tags`, `labels`, ...); the first of these names that is there. In a
    table these are printed lists, or texts with spaces; or a row is a word
    (`word`, `tag`) and a third column tells its sentence, at its first word
    or at all of them.

    Args:
      path: the file, or a folder of `datasets`.
      layout: how it is written.

    Raises:
      UserError: unreadable, without words, or other numbers of words and
        tags; the place is named.
    """
    found = []
    table = layout.format in ("tsv", "csv")
    for record, place in _rows(path, layout):
        tokens = _listed(record, _TOKENS, place, table)
        if tokens is None:
            raise records.missing_column(
                record, place, "tokens", "a list of words, beside their tags"
            )
        tags = _listed(record, _TAGS, place, table)
        if not tokens:
            continue  # an empty sentence, as column files have them
        if tags is not None and len(tags) != len(tokens):
            raise UserError(
                f"{place}: {len(tokens)} words, and {len(tags)} tags; "
                "expected a tag for each word"
            )
        found.append(Sentence(tokens, tags, place=place, counted=False))
    if not found:
        raise UserError(f"{path}: holds no words")
    return found


def _rows(
    path: str, layout: formats.Layout
) -> Iterator[tuple[dict[str, Any], str]]:
    rows = records.read_records(path, layout.format, delimiter=layout.delimiter)
    if layout.format not in ("tsv", "csv"):
        return rows
    lower = (
        ({name.lower(): v for name, v in record.items()}, place)
        for record, place in rows
    )
    first = next(lower, None)
    if first is None:
        return iter(())
    rows = itertools.chain([first], lower)
    return _sentences(rows) if _is_of_words(set(first[0])) else rows


def _sentences(
    rows: Iterator[tuple[dict[str, Any], str]],
) -> Iterator[tuple[dict[str, Any], str]]:
    """Rows of words -> of sentences; an empty number is that before it."""
    number = None
    words: list[str] = []
    tags: list[str] = []
    start = ""
    for record, place in rows:
        now = _cell(record, _SENTENCE)
        if words and now not in ("", number):
            yield {"tokens": words, "tags": tags}, start
            words, tags = [], []
        if not words:
            start = place
        number = now or number
        word, tag = _cell(record, _WORD), _cell(record, _TAG)
        for what, value in (("word", word), ("tag", tag)):
            if not value:
                raise UserError(f"{place}: the {what} is empty")
        words.append(word)
        tags.append(tag)
    if words:
        yield {"tokens": words, "tags": tags}, start


def _cell(record: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return next(record[name] for name in names if name in record)


def _listed(
    record: dict[str, Any], names: tuple[str, ...], place: str, table: bool
) -> tuple[str, ...] | None:
    for name in names:
        value = record.get(name)
        if table and isinstance(value, str):
            value = printed(value, f"{place}: {name}")
        if isinstance(value, str) and name != "text":
            value = value.split()
        if value is None or isinstance(value, str):
            continue
        if not isinstance(value, list) or any(
            not isinstance(part, str | int) for part in value
        ):
            raise UserError(
                f"{place}: {name}: expected a list of texts, got {value!r:.60}"
            )
        return tuple(map(str, value))
    return None


def printed(text: str, place: str) -> Any:
    """A printed list, or else the parts between white space.

    Raises:
      UserError: a list of texts that is cut off or damaged.
    """
    if text.startswith("[") and text.endswith("]"):
        try:
            return records.literal(text)
        except ValueError as error:
            if text[1] in "\"'":
                raise UserError(f"{place}: {error}") from error
    return text.split()
