"""Finds the columns of texts and labels that the options do not name.

A table of the usual kind has its text under one of a few names. One that is
there is taken, and told, where the options leave the default and no column
has that name; where several could be meant, the options must say.
"""

import dataclasses
import logging
from collections.abc import Collection
from typing import Any

from electra_tf.tasks.texts.options import PAIR, TextTableOptions

_log = logging.getLogger(__name__)

_TEXT, _LABEL = "text", "label"
_TEXTS = (
    "sentence", "review", "comment_text", "comment", "content", "tweet",
    "sms", "review_body", "utterance",
)  # fmt: skip
_PAIRS = (
    ("sentence1", "sentence2"), ("text_a", "text_b"), ("text1", "text2"),
    ("premise", "hypothesis"), ("question1", "question2"), ("text", PAIR),
)  # fmt: skip
_LABELS = ("labels", "target", "class", "category", "sentiment", "intent")


def with_found_columns(
    options: TextTableOptions, there: Collection[str], path: str
) -> TextTableOptions:
    """Returns options that name the columns of a table.

    Args:
      options: names that are not the default are kept.
      there: the columns of the table.
      path: of the table, to be told.
    """
    found: dict[str, Any] = {}
    if options.text_column == _TEXT and _TEXT not in there:
        if options.text_pair_column is None:
            pairs = [p for p in _PAIRS if set(p) <= set(there)]
            if len(pairs) == 1:
                found["text_column"], found["text_pair_column"] = pairs[0]
        texts = [name for name in _TEXTS if name in there]
        if not found and len(texts) == 1:
            found["text_column"] = texts[0]
    listed = getattr(options, "label_columns", None)
    if options.label_column == _LABEL and _LABEL not in there and not listed:
        labels = [name for name in _LABELS if name in there]
        if len(labels) == 1:
            found["label_column"] = labels[0]
    if not found:
        return options
    told = ", ".join(f"{key}={name}" for key, name in found.items())
    _log.warning("%s: taking %s", path, told)
    return dataclasses.replace(options, **found)
