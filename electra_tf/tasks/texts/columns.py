"""Finds the columns of texts and labels that the options do not name.

Tables usually have their text under one of a few names. Such a column is taken,
and logged, where the option has its default and no column has that name; where
several could be meant, the option must name one. Case is ignored.
"""

import dataclasses
import logging
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from electra_tf.tasks.texts.options import (
    PAIR,
    RegressionOptions,
    TextTableOptions,
)

_log = logging.getLogger(__name__)

_TEXT, _LABEL = "text", "label"
_TEXTS = (
    "text", "sentence", "review", "comment_text", "comment", "content",
    "tweet", "sms", "review_body", "utterance", "utt", "text_a", "message",
    "description", "body", "headline", "review text", "reviewtext",
)  # fmt: skip
_PAIRS = (
    ("sentence1", "sentence2"), ("text_a", "text_b"), ("text1", "text2"),
    ("premise", "hypothesis"), ("premise", "hypo"), ("text", PAIR),
    ("question1", "question2"), ("sentence_a", "sentence_b"),
    ("question", "passage"),
)  # fmt: skip
_LABELS = (
    "label", "labels", "target", "class", "category", "sentiment", "intent",
    "gold_label", "is_duplicate", "class index", "stars", "rating",
    "entailment_judgment", "airline_sentiment", "emotion", "polarity", "topic",
    "genre", "is_sarcastic", "is_spam", "oh_label",
)  # fmt: skip
_NUMBERS = (
    "label", "labels", "target", "score", "similarity", "rating", "stars",
    "relatedness_score",
)  # fmt: skip
# Columns that name the split of a row, and their values.
_SPLIT = ("split", "partition", "subset")
_SPLITS = {"train", "training", "test", "dev", "val", "valid", "validation"}


def with_found_columns(
    options: TextTableOptions, there: Collection[str], path: str
) -> TextTableOptions:
    """Returns options that name the columns of a table.

    Args:
      options: the options; names other than the default are kept.
      there: the columns of the table.
      path: the table, for the log.
    """
    found: dict[str, Any] = {}
    named = {name.lower(): name for name in reversed(list(there))}
    if options.text_column == _TEXT and _TEXT not in there:
        if options.text_pair_column is None:
            pairs = [pair for pair in _PAIRS if set(pair) <= set(named)]
            if len(pairs) == 1:
                first, second = pairs[0]
                found["text_column"] = named[first]
                found["text_pair_column"] = named[second]
        texts = [name for name in _TEXTS if name in named]
        if not found and len(texts) == 1:
            found["text_column"] = named[texts[0]]
    listed = getattr(options, "label_columns", None)
    if options.label_column == _LABEL and _LABEL not in there and not listed:
        known = _NUMBERS if isinstance(options, RegressionOptions) else _LABELS
        labels = [name for name in known if name in named]
        if len(labels) == 1:
            found["label_column"] = named[labels[0]]
    if not found:
        return options
    columns = ", ".join(f"{key}={name}" for key, name in found.items())
    _log.warning("%s: taking %s", path, columns)
    return dataclasses.replace(options, **found)


def nameless(record: Mapping[str, Any]) -> str:
    """Returns a hint for a row that lacks a column."""
    there = list(record)
    named = "options.text_column and options.text_pair_column name them"
    if not there or not all(isinstance(v, str) for v in record.values()):
        return named
    names = (_LABEL, _TEXT, "title", "id")[: len(there)]
    if len(there) == 1:
        names = (_TEXT,)
    return (
        f"{named}; for a file without a header give options.columns (predict: "
        f"--columns), a name for each of its columns ({len(there)}), as "
        f"[{', '.join(names)}]"
    )


def split_column(rows: Iterable[Mapping[str, Any]]) -> str | None:
    """Returns the column that divides rows into splits, or None."""
    values: dict[str, set[str]] = {}
    for row in rows:
        for name in row:
            if name.lower() in _SPLIT:
                values.setdefault(name, set()).add(str(row[name]).lower())
    return next(
        (n for n, v in values.items() if len(v) > 1 and v <= _SPLITS), None
    )
