"""Reads questions from files of any form, recognised by content.

Besides SQuAD's JSON and MRQA's JSON Lines these are rows of question, context
and answers (as `datasets` exports them), and the first form of CMRC 2018.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from electra_tf.errors import UserError
from electra_tf.tasks import formats, json_rows, records
from electra_tf.tasks.qa.examples import (
    QAExample,
    answers_listed,
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
# Columns of a table with one answer in each row.
_ANSWER = ("answer_text", "answer", "text")
# A key that marks the rows of an unsupported set -> that set's name.
_OTHERS = {
    "document_text": "Natural Questions",
    "long_answer_candidates": "Natural Questions",  # with HTML, of `datasets`
    "document_plaintext": "TyDi QA's primary task (its gold passages are read)",
    "Data": "TriviaQA (MRQA's edition of it is read)",
    "entity_pages": "TriviaQA (MRQA's edition of it is read)",  # of `datasets`
    "raw_html": "KorQuAD 2, of whole pages (KorQuAD 1 is read)",
    "story": "CoQA",
    "story_text": "NewsQA (MRQA's edition of it is read)",
    "plot": "DuoRC",
    "supporting_facts": "HotpotQA (MRQA's edition of it is read)",
}


def read(path: str, first_number: int = 0) -> list[QAExample]:
    """Returns the questions of a file, in its order.

    Args:
      path: a file of any of these forms, compressed or not, or a folder of
        `datasets`.
      first_number: the id of the first row, where rows have none.

    Raises:
      UserError: the file has another form, or repeats a question; the place is
        named.
    """
    layout = formats.detect(path)
    if layout.format == "json":
        return _json(path, first_number)
    first = next(_rows(path, layout))[0]
    if "qas" in first or "header" in first:
        return read_mrqa(path)
    if "data" in first:
        return read_squad(path)
    found = [
        _row(row, place, number)
        for number, (row, place) in enumerate(_rows(path, layout), first_number)
    ]
    check_ids(found)
    return with_unanswerable(found)


def _rows(path: str, layout: formats.Layout) -> Any:
    return records.read_records(path, layout.format, delimiter=layout.delimiter)


def _json(path: str, first_number: int) -> list[QAExample]:
    if json_rows.is_array(path):
        if "question" in next(json_rows.rows(path))[0]:
            return _numbered(json_rows.rows(path), first_number)
    content = json_rows.load(path)
    listed: Any = content
    if isinstance(content, Mapping):
        listed = json_rows.unwrapped(content)
    first: Any = listed[0] if isinstance(listed, list) and listed else None
    if isinstance(content, Mapping) and "Data" in content:
        first = content
    if isinstance(first, Mapping):
        _refuse_others(first, path)
    if not isinstance(first, Mapping) or "paragraphs" in first:
        if isinstance(first, Mapping):
            content = {"data": listed}
        return squad_examples(content, path)
    if "context_text" in first:
        return squad_examples({"data": [_cmrc(a) for a in listed]}, path)
    if "question" not in first:
        return squad_examples({"data": listed}, path)
    return _numbered(
        ((row, f"{path}: [{i}]") for i, row in enumerate(listed)), first_number
    )


def _numbered(
    rows: Iterable[tuple[Any, str]], first_number: int
) -> list[QAExample]:
    found = [
        _row(row, place, number)
        for number, (row, place) in enumerate(rows, first_number)
    ]
    check_ids(found)
    return with_unanswerable(found)


def _refuse_others(record: Mapping[str, Any], place: str) -> None:
    """Refuses rows of known sets whose form is not supported."""
    name = next((_OTHERS[key] for key in _OTHERS if key in record), None)
    if name is not None:
        raise UserError(
            f"{place}: is in the form of {name}, which is not read; write its "
            "questions in SQuAD's form, with context, question, and answers "
            "that are in the context"
        )


def _row(row: Any, place: str, number: int) -> QAExample:
    """Makes a question from a row that has its context in a column."""
    if isinstance(row, Mapping) and not {"context", "answers"} <= set(row):
        _refuse_others(row, place)
    try:
        record = dict(row)
        answers = record.get("answers")
        if isinstance(answers, str):  # a cell of a table
            record["answers"] = _parsed(answers)
        elif "answers" not in record:
            record["answers"] = _one_answer(record)
        if record.get("id") in (None, ""):
            record["id"] = str(number)
        context = record.get("context", record.get("passage"))
        if context is None:
            raise KeyError("context")
        if not isinstance(context, str):
            raise TypeError(f"context is not a text but {context!r:.40}")
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
    """Returns the answer in a row's columns; empty where they are empty."""
    name = next((name for name in _ANSWER if name in record), None)
    if name is None:
        return None
    text, start = record[name], record.get("answer_start")
    if text in (None, ""):
        return []
    if isinstance(text, Mapping):
        return answers_listed(text)
    if isinstance(text, list):
        return text
    if start in (None, ""):
        raise ValueError(
            f"'{name}' is '{text:.40}', and answer_start, the number of the "
            "character in the context at which it begins, is missing"
        )
    return [{"text": text, "answer_start": start}]


def _cmrc(article: Mapping[str, Any]) -> dict[str, Any]:
    """Converts an article of CMRC 2018's first form to SQuAD's."""
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
