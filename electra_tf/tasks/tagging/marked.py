"""Converts spans marked by characters of a text to tags of its words.

Spans are lists as of spaCy and doccano, [[0, 4, "ORG"]], or objects with
`start`, `end` and `label`; or they have CLUENER's form, {"name": {"Ann": [[0,
2]]}}, where the end is inclusive; or they are marked in the text as in MASSIVE:
"wake me at [time : nine am]".
"""

import re
from collections.abc import Mapping
from typing import Any

from electra_tf.tasks.tagging.schemes import OUTSIDE, Span, write
from electra_tf.tasks.tagging.words import Sentence, split_words

COLUMNS = ("entities", "spans", "label", "labels", "annotations")
ANNOTATED = "annot_utt"
_SLOT = re.compile(r"\[(\w+) : ([^\[\]]+)\]")
OF_TABLES = ("entities", "spans", "annotations")
_TYPES = (
    "label",
    "labels",
    "type",
    "entity",
    "entity_group",
    "tag",
    "category",
)


def spans_in(value: Any, text: str) -> list[Span] | None:
    """Returns the spans that a value marks in a text, in order.

    Args:
      value: value of one of `COLUMNS`.
      text: the text that they are marked in.

    Returns:
      Spans of characters; None where the value does not mark spans.

    Raises:
      ValueError: a span is not in the text.
    """
    found: list[Span] = []
    if isinstance(value, Mapping):
        for kind, mentions in value.items():
            if not isinstance(mentions, Mapping):
                return None
            for places in mentions.values():
                found += [Span(a, b + 1, kind) for a, b in places]
    elif isinstance(value, list):
        for item in value:
            span = _span(item)
            if span is None:
                return None
            found.append(span)
    else:
        return None
    for span in found:
        if not 0 <= span.start < span.end <= len(text):
            raise ValueError(
                f"the span {span.start} to {span.end} ('{span.type}') is not "
                f"in the text of {len(text)} characters"
            )
    return sorted(found)


def of_label_studio(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Converts a task of Label Studio to a text with spans.

    Args:
      record: has `data` and `annotations`; the first annotation's results that
        mark spans are taken, and of the data `text`, or else the first text.
        Other records are returned unchanged.
    """
    data, made = record.get("data"), record.get("annotations")
    if not isinstance(data, Mapping) or not isinstance(made, list):
        return record
    texts = {key: v for key, v in data.items() if isinstance(v, str)}
    text = texts.get("text", next(iter(texts.values()), None))
    first = made[0] if made else {"result": []}
    results = first.get("result") if isinstance(first, Mapping) else None
    if text is None or not isinstance(results, list):
        return record
    values = [r.get("value") for r in results if isinstance(r, Mapping)]
    spans = [v for v in values if isinstance(v, Mapping) and "start" in v]
    return {"text": text, "spans": spans}


def annotated(text: str, place: str) -> Sentence:
    """Returns words and tags of a text of MASSIVE, split at spaces."""
    tokens: list[str] = []
    found: list[Span] = []
    end = 0
    for slot in _SLOT.finditer(text):
        tokens += text[end : slot.start()].split()
        words = slot[2].split()
        found.append(Span(len(tokens), len(tokens) + len(words), slot[1]))
        tokens += words
        end = slot.end()
    tokens += text[end:].split()
    tags = write(found, len(tokens), "bio")
    return Sentence(tuple(tokens), tuple(tags), place=place, counted=False)


def _span(item: Any) -> Span | None:
    if isinstance(item, Mapping):
        kind = next((item[key] for key in _TYPES if key in item), None)
        item = [item.get("start"), item.get("end"), kind]
    if not isinstance(item, list | tuple) or len(item) != 3:
        return None
    start, end, kind = item
    if isinstance(kind, list) and len(kind) == 1:
        kind = kind[0]
    whole = isinstance(start, int) and isinstance(end, int)
    return Span(start, end, kind) if whole and isinstance(kind, str) else None


def sentence(text: str, spans: list[Span], place: str) -> tuple[Sentence, int]:
    """Tags the words of a text in BIO, and counts spans that do not fit them.

    A word belongs to a span if any of its characters does; among overlapping
    spans the first is taken.

    Args:
      text: the text.
      spans: the spans in it, in order.
      place: its place, for messages.

    Returns:
      The sentence, and the number of spans that begin or end within a word,
      overlap another or contain no word.
    """
    words, starts = split_words(text)
    ends = [start + len(word) for start, word in zip(starts, words)]
    found: list[Span] = []
    odd = after = 0
    for start, end, kind in spans:
        inside = [
            i
            for i in range(after, len(words))
            if starts[i] < end and ends[i] > start
        ]
        if not inside:
            odd += 1
            continue
        marked = text[start:end]
        first = start + len(marked) - len(marked.lstrip())
        last = start + len(marked.rstrip())
        odd += (starts[inside[0]], ends[inside[-1]]) != (first, last)
        after = inside[-1] + 1
        found.append(Span(inside[0], after, kind))
    tags = write(found, len(words), "bio") if words else [OUTSIDE]
    made = Sentence(words, tuple(tags), text, starts, place, counted=False)
    return made, odd
