"""Sentences that are rows: JSON Lines, JSON, Parquet, Arrow."""

from typing import Any

from electra_tf.errors import UserError
from electra_tf.tasks import formats, records
from electra_tf.tasks.tagging.words import Sentence

_TOKENS = ("tokens", "words", "text")
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
    return None if found.format in ("tsv", "csv") else found


def read_rows(path: str, layout: formats.Layout) -> list[Sentence]:
    """The sentences of a file with one a row, in order.

    A row has a list of words (`tokens`, `words`) and one of tags (`tags`,
    `ner_tags`, `labels`, ...); the first of these names that is there.

    Args:
      path: the file, or a folder of `datasets`.
      layout: how it is written.

    Raises:
      UserError: unreadable, without words, or other numbers of words and
        tags; the place is named.
    """
    found = []
    for record, place in records.read_records(path, layout.format):
        tokens = _listed(record, _TOKENS, place)
        if tokens is None:
            raise records.missing_column(
                record, place, "tokens", "a list of words, beside their tags"
            )
        tags = _listed(record, _TAGS, place)
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


def _listed(
    record: dict[str, Any], names: tuple[str, ...], place: str
) -> tuple[str, ...] | None:
    for name in names:
        value = record.get(name)
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
