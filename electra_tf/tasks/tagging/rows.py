"""Reads sentences that are rows of JSON Lines, JSON, Parquet, Arrow, tables.

The rows of a table may also be words, where a column numbers the sentences.
"""

import itertools
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from electra_tf.errors import UserError
from electra_tf.tasks import formats, records
from electra_tf.tasks.tagging import marked
from electra_tf.tasks.tagging.words import Sentence, split_words

_log = logging.getLogger(__name__)
_TOKENS = ("tokens", "words", "text", "utt", "sentence")
# Columns of tables with a word in each row.
_WORD, _TAG = ("word", "token"), ("tag", "label", "ner_tag", "ner")
TEXTS = ("text", "utt", "sentence")
_SENTENCE = (
    "sentence #", "sentence_id", "sentence id", "sent_id", "sentence_idx",
    "sentence",
)  # fmt: skip
_TAGS = (
    "tags", "ner_tags", "labels", "label", "ner", "slots", "slot_labels",
    "bio_tags", "chunk_tags", "pos_tags", "upos", "xpos",
)  # fmt: skip
_NO_NUMBER = ("", "nan", "none", "null")  # empty cells, as pandas writes them
_LONG = 1000  # words above which it is hardly a sentence


def row_layout(path: str, format: str) -> formats.Layout | None:
    """Detects how the rows of a file are written; None for column files.

    Args:
      path: the file.
      format: the option `format`.
    """
    if format != "auto" or path.lower().endswith((".conllu", ".conll")):
        return None
    try:
        found = formats.detect(path)
    except UserError:
        return None  # only words, in a single column
    if found.format not in ("tsv", "csv"):
        return found
    try:
        names = {name.lower() for name in records.first_row(path, found)}
    except UserError:
        return None
    listed = names.intersection(_TOKENS) and names.intersection(_TAGS)
    spans = names.intersection(TEXTS) and names.intersection(marked.OF_TABLES)
    if listed or spans or _is_of_words(names):
        return found
    if path.lower().endswith(".csv") and found.delimiter in ",;":
        raise UserError(
            f"{path}: a table of {', '.join(sorted(names)):.120}; expected "
            "columns of words and tags: word and tag, or tokens and ner_tags, "
            "or text and entities"
        )
    return None


def _is_of_words(names: Collection[str]) -> bool:
    """Returns whether the columns are those of a table with a word per row."""
    return all(set(names).intersection(some) for some in (_WORD, _TAG))


def read_rows(
    path: str,
    layout: formats.Layout,
    tag_column: str | None = None,
    tag_names: Sequence[str] | None = None,
    preferred: Sequence[str] = (),
    tagged: bool = True,
) -> list[Sentence]:
    """Reads the sentences of a file of rows, in order.

    A row has a list of words (`tokens`, `words`) and one of tags (`tags`,
    `ner_tags`, `labels`, ...; the first of these names that exists). In a table
    these are printed lists, or texts with spaces; or a row is a word (`word`,
    `tag`), and a third column numbers its sentence, at the first word or at all
    words, or an empty row ends it. Or a row is a text with spans marked by
    characters; see `marked`.

    Args:
      path: the file, or a folder of `datasets`.
      layout: how it is written.
      tag_column: name of the tags' column; None finds it.
      tag_names: names of the tags, where the file has numbers.
      preferred: columns that are preferred.
      tagged: whether tags are required; if not, plain texts are split into
        words.

    Raises:
      UserError: the file is unreadable or has no words, or a sentence has
        different numbers of words and tags; the place is named.
    """
    found: list[Sentence] = []
    table = layout.format in ("tsv", "csv")
    names = (tag_column,) if tag_column else (*preferred, *_TAGS)
    warned = False
    odd = spans = 0
    for row, place in _rows(path, layout):
        record = row if table else dict(marked.of_label_studio(row))
        if not warned:
            warned = True
            _log_choice(record, names, path)
        text = next((record[n] for n in TEXTS if n in record), None)
        if isinstance(text, str) and not _of_texts(record.get("tokens")):
            made = _marked(record, text, tag_column, place, table)
            if made is not None:
                found += [made[0]] if made[0].tokens else []
                spans += made[1]
                odd += made[2]
                continue
        tokens = _listed(record, _TOKENS, place, table)
        tags = _listed(record, names, place, table)
        if tokens is None and isinstance(text, str) and tags is not None:
            tokens = tuple(text.split())
            if len(tokens) != len(tags) == len(text):
                tokens = tuple(text)  # a tag for each character
        if tokens is None and tags is None and isinstance(text, str):
            if not tagged:
                words, starts = split_words(text)
                found.append(
                    Sentence(words, None, text, starts, place, counted=False)
                )
                continue
        null = next((n for n in _TOKENS if n in record), None)
        if tokens is None and null and record[null] is None:
            raise UserError(
                f"{place}: {null}: expected a list of words, got null"
            )
        if tokens is None:
            raise records.missing_column(
                record, place, "tokens",
                "a list of words, beside their tags; or text with entities",
            )  # fmt: skip
        if tag_column and tags is None:
            raise records.missing_column(
                record, place, tag_column, "options.tag_column"
            )
        if not tokens:
            continue  # an empty sentence, as column files have them
        if tags is not None and len(tags) != len(tokens):
            raise UserError(
                f"{place}: {len(tokens)} words, and {len(tags)} tags; "
                "expected a tag for each word"
            )
        if tag_names is not None and tags is not None:
            tags = named(tags, tag_names, [place] * len(tags))
        found.append(Sentence(tokens, tags, place=place, counted=False))
    if odd:
        _log.warning(
            "%s: %d of %d marked spans begin or end within a word, or overlap "
            "another; they are extended to whole words", path, odd, spans,
        )  # fmt: skip
    if len(found) == 1 and len(found[0].tokens) > _LONG:
        _log.warning(
            "%s: all %d words are one sentence: no column names the sentences, "
            "and no empty row separates them", path, len(found[0].tokens),
        )  # fmt: skip
    if not found:
        raise UserError(f"{path}: holds no words")
    return found


def _log_choice(
    record: Mapping[str, Any], names: Sequence[str], path: str
) -> None:
    """Logs which of several columns of tags is taken."""
    lists = [
        name
        for name in dict.fromkeys(names)
        if isinstance(record.get(name), list)
    ]
    if len(lists) > 1:
        _log.warning(
            "%s: taking the tags in '%s', and not %s (options.tag_column "
            "names another)", path, lists[0], ", ".join(lists[1:]),
        )  # fmt: skip


def _of_texts(tokens: Any) -> bool:
    return isinstance(tokens, list) and all(isinstance(t, str) for t in tokens)


def _marked(
    record: Mapping[str, Any],
    text: str,
    column: str | None,
    place: str,
    table: bool,
) -> tuple[Sentence, int, int] | None:
    """Returns a sentence with marked spans, their number and misfits'
    number.
    """
    annotated = record.get(marked.ANNOTATED)
    if column is None and isinstance(annotated, str):
        return marked.annotated(annotated, place), 0, 0
    for name in (column,) if column else marked.COLUMNS:
        value = record.get(name)
        if table and isinstance(value, str):
            value = printed(value, f"{place}: {name}")
            if _of_texts(value) and value:
                continue  # tags
        if value is None:
            continue
        try:
            spans = marked.spans_in(value, text)
        except (TypeError, ValueError) as error:
            raise UserError(f"{place}: {name}: {error}") from error
        if spans is not None:
            made, odd = marked.sentence(text, spans, place)
            return made, len(spans), odd
    return None


def named(
    tags: Sequence[str], names: Sequence[str], places: Sequence[str]
) -> tuple[str, ...]:
    """Returns the names of tags that are numbers.

    Args:
      tags: the numbers.
      names: the names, in order.
      places: the place of each tag, for messages.

    Raises:
      UserError: a tag is not the number of a name.
    """
    for tag, place in zip(tags, places):
        if not (tag.isdigit() and int(tag) < len(names)):
            raise UserError(
                f"{place}: the tag '{tag}' is not a number below {len(names)}, "
                "the number of names in options.tag_names"
            )
    return tuple(names[int(tag)] for tag in tags)


def _rows(
    path: str, layout: formats.Layout
) -> Iterator[tuple[dict[str, Any], str]]:
    table = layout.format in ("tsv", "csv")
    rows = records.read_records(
        path, layout.format, delimiter=layout.delimiter, blank_rows=table
    )
    lower = (
        ({name.lower(): v for name, v in record.items()}, place)
        for record, place in rows
    )
    # Blank rows before the first sentence do not end one.
    first = next((row for row in lower if row[0] or not table), None)
    if first is None:
        return iter(())
    rows = itertools.chain([first], lower)
    if _is_of_words(first[0]) and isinstance(_cell(first[0], _WORD), str):
        return _sentences(rows)
    return (row for row in rows if row[0]) if table else rows


def _sentences(
    rows: Iterator[tuple[dict[str, Any], str]],
) -> Iterator[tuple[dict[str, Any], str]]:
    """Groups rows of words to sentences; an empty number repeats the last."""
    number = None
    words: list[str] = []
    tags: list[str] = []
    start = ""
    for record, place in rows:
        now = _cell(record, _SENTENCE).strip()
        if now.lower() in _NO_NUMBER:
            now = ""
        ends = not any(record.values())
        if words and (ends or now not in ("", number)):
            yield {"tokens": words, "tags": tags}, start
            words, tags = [], []
        if ends:
            continue
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
    value = next((record[name] for name in names if name in record), "")
    return "" if value is None else str(value)


def _listed(
    record: dict[str, Any], names: Sequence[str], place: str, table: bool
) -> tuple[str, ...] | None:
    for name in names:
        value = record.get(name)
        if table and isinstance(value, str):
            value = printed(value, f"{place}: {name}")
        if isinstance(value, str) and name not in TEXTS:
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
    """Parses a printed list, or splits a text at white space.

    Raises:
      UserError: a printed list is truncated or damaged.
    """
    if text.startswith("[") and text.endswith("]"):
        try:
            return records.literal(text)
        except ValueError as error:
            if text[1] in "\"'":
                raise UserError(f"{place}: {error}") from error
    return text.split()
