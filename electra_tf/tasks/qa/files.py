"""Questions out of files of any form, told by what they hold.

Beside SQuAD's JSON and MRQA's JSON Lines these are rows of question, context
and answers (what `datasets` exports), and the first form of CMRC 2018.
"""

from collections.abc import Mapping
from typing import Any

from electra_tf.errors import UserError
from electra_tf.tasks import formats, records
from electra_tf.tasks.qa.examples import (
    QAExample,
    check_ids,
    question_of,
    read_mrqa,
    read_squad,
    squad_examples,
    with_unanswerable,
)

_ROW = (
    "expected question, context and answers (text and answer_start), or the "
    "columns answer and answer_start"
)
# Columns of a table that has one answer a row.
_ANSWER = ("answer_text", "answer", "text")


def read(path: str) -> list[QAExample]:
    """The questions of a file, in its order.

    Args:
      path: of any form; compressed or not, or a folder of `datasets`.

    Raises:
      UserError: of no such form, or a question twice; the place is named.
    """
    layout = formats.detect(path)
    if layout.format == "json":
        return _json(path)
    first = next(_rows(path, layout))[0]
    if "qas" in first or "header" in first:
        return read_mrqa(path)
    if "data" in first:
        return read_squad(path)
    found = [
        _row(row, place, number)
        for number, (row, place) in enumerate(_rows(path, layout))
    ]
    check_ids(found)
    return with_unanswerable(found)


def _rows(path: str, layout: formats.Layout) -> Any:
    return records.read_records(path, layout.format, delimiter=layout.delimiter)


def _json(path: str) -> list[QAExample]:
    content = records.load_json(path)
    listed: Any = content
    if isinstance(content, Mapping):
        listed = content.get("data")
    first = listed[0] if isinstance(listed, list) and listed else None
    if not isinstance(first, Mapping) or "paragraphs" in first:
        if isinstance(first, Mapping):
            content = {"data": listed}
        return squad_examples(content, path)
    if "context_text" in first:
        return squad_examples({"data": [_cmrc(a) for a in listed]}, path)
    if "question" not in first:
        return squad_examples({"data": listed}, path)
    found = [
        _row(row, f"{path}: [{number}]", number)
        for number, row in enumerate(listed)
    ]
    check_ids(found)
    return with_unanswerable(found)


def _row(row: Any, place: str, number: int) -> QAExample:
    """A question with its context beside it."""
    try:
        record = dict(row)
        answers = record.get("answers")
        if isinstance(answers, str):  # a cell of a table
            record["answers"] = _parsed(answers)
        elif "answers" not in record:
            record["answers"] = _one_answer(record)
        if record.get("id") in (None, ""):
            record["id"] = str(number)
        context = record["context"]
        if not isinstance(context, str):
            raise TypeError(f"context is no text but {context!r:.40}")
        return question_of(context, record, place)
    except (KeyError, TypeError, ValueError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise UserError(
            f"{place}: no row of a question ({reason}); {_ROW}"
        ) from error


def _parsed(text: str) -> Any:
    if not text.strip():
        return None
    try:
        return records.literal(text)
    except ValueError as error:
        raise ValueError(f"answers: {error}") from error


def _one_answer(record: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The answer of a row that has it in columns; empty where it is empty."""
    name = next((name for name in _ANSWER if name in record), None)
    if name is None:
        return None
    text, start = record[name], record.get("answer_start")
    if text in (None, ""):
        return []
    if start in (None, ""):
        raise ValueError(
            f"'{name}' is '{text:.40}', and answer_start, the number of the "
            "character in the context at which it begins, is missing"
        )
    return [{"text": text, "answer_start": start}]


def _cmrc(article: Mapping[str, Any]) -> dict[str, Any]:
    """An article of CMRC 2018's first form in SQuAD's."""
    context = article["context_text"]
    asked = []
    for question in article.get("qas") or []:
        answers = [
            {"text": text, "answer_start": context.find(text)}
            for text in question.get("answers") or []
        ]
        asked.append(
            {
                "id": question.get("query_id"),
                "question": question.get("query_text"),
                "answers": answers,
            }
        )
    return {"paragraphs": [{"context": context, "qas": asked}]}
