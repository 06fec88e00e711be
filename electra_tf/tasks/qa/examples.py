"""Reads questions on a text from SQuAD's JSON and MRQA's JSON Lines."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from electra_tf.errors import UserError
from electra_tf.tasks import json_rows
from electra_tf.tasks.qa.words import WORDS, Splitter, split_words
from electra_tf.tasks.records import read_records, truth_of
from electra_tf.text import numerals

_FORM = (
    "expected data / paragraphs / context and qas / id, question, answers / "
    "text, answer_start"
)
_MRQA_FORM = (
    "expected context and qas / qid, question, answers, detected_answers / "
    "text, char_spans"
)


@dataclasses.dataclass(frozen=True)
class QAExample:
    """One question on a context.

    Attributes:
      question_id: unique in its file.
      question: its text.
      context: the text that may hold the answer.
      answers: the true answers; empty in an unanswerable question, and where
        they are not known.
      answer_start: first character in the context of the answer to train on.
      impossible: whether the question is marked as unanswerable.
      answer_text: the text at `answer_start`; None means `answers[0]`.
      place: where the question was read, for messages.
    """

    question_id: str
    question: str
    context: str
    answers: tuple[str, ...] = ()
    answer_start: int = 0
    impossible: bool = False
    answer_text: str | None = None
    place: str = ""

    @property
    def target(self) -> str | None:
        """The answer that is trained on; None where there is none."""
        if self.answer_text is None and self.answers:
            return self.answers[0]
        return self.answer_text


def read_squad(path: str) -> list[QAExample]:
    """Returns the questions of a JSON file in the form of SQuAD (`.gz` too).

    Raises:
      UserError: no such file, not JSON, not of this form, or a question with a
        repeated or missing id; the file and the place in it are named.
    """
    try:
        parsed = json_rows.load(path)
    except UserError as error:
        raise UserError(f"{error}; expected a file in SQuAD's form") from error
    return squad_examples(parsed, path)


def squad_examples(content: Mapping[str, Any], where: str) -> list[QAExample]:
    """Returns the questions of a SQuAD file (1.1 or 2.0), in its order.

    Args:
      content: the parsed JSON.
      where: the file, for messages.

    Raises:
      UserError: the content is not of this form, or repeats a question; the
        file and the place are named.
    """
    examples = []
    place = where
    try:
        if not isinstance(content, Mapping):
            raise TypeError(
                f"a {type(content).__name__} where an object with 'data' is "
                "expected"
            )
        for i, article in enumerate(content["data"]):
            place = f"{where}: data[{i}]"
            for j, paragraph in enumerate(article["paragraphs"]):
                part = place = f"{where}: data[{i}].paragraphs[{j}]"
                context = _text(paragraph, "context")
                for k, question in enumerate(paragraph["qas"]):
                    place = f"{part}.qas[{k}]"
                    examples.append(question_of(context, question, place))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{place}: not in the form of SQuAD ({_reason(error)}); {_FORM}"
        ) from error
    check_ids(examples)
    return with_unanswerable(examples)


def with_unanswerable(examples: list[QAExample]) -> list[QAExample]:
    """Marks the questions of a file that have no answers as unanswerable.

    As in SQuAD's script, a question is answerable if it lists answers, whatever
    else it says. Where no question of the file has any, answers are taken to be
    unknown.

    Args:
      examples: all questions of the file.
    """
    if not any(e.answers or e.impossible for e in examples):
        return examples
    return [
        e if e.answers else dataclasses.replace(e, impossible=True)
        for e in examples
    ]


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"no {error}"
    return str(error)


def _text(record: Mapping[str, Any], key: str) -> str:
    text = record[key]
    if not isinstance(text, str):
        raise TypeError(f"{key} is not a text but {text!r:.40}")
    if not text.isascii():
        check_unicode(text, key)
    return text


def check_unicode(text: str, what: str) -> None:
    """Refuses lone surrogates (half characters), which JSON can hold.

    Raises:
      ValueError: there is one; `what` and its place are reported.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{what} has half a character, {text[error.start]!r}, at "
            f"{error.start}"
        ) from error


def question_of(
    context: str, question: Mapping[str, Any], place: str
) -> QAExample:
    """Makes a question from an object of SQuAD's form, or a table's row.

    Raises:
      KeyError, TypeError, ValueError: a key is missing or wrong.
    """
    if question.get("id") in (None, ""):
        raise KeyError("id")
    answers = question.get("answers")
    if isinstance(answers, Mapping):
        answers = answers_listed(answers)
    if answers is not None and not isinstance(answers, list):
        raise TypeError(f"answers is not a list but {answers!r:.40}")
    impossible = bool(truth_of(question.get("is_impossible"), "is_impossible"))
    if impossible and answers:
        raise ValueError(
            "is_impossible is true, and there are answers; empty them (they "
            "may be plausible_answers), or set it to false"
        )
    answers = answers or []
    for answer in answers:
        if not isinstance(answer, Mapping):
            raise TypeError(
                f"an answer is {answer!r:.40}, without answer_start, the "
                "number of the character in the context at which it begins"
            )
    return QAExample(
        question_id=str(question["id"]),
        question=_text(question, "question"),
        context=context,
        answers=tuple(_text(answer, "text") for answer in answers),
        answer_start=_whole(answers[0]["answer_start"]) if answers else 0,
        impossible=impossible,
        place=place,
    )


def _whole(value: Any) -> int:
    """Parses a character offset; pandas writes 5.0 in columns with gaps."""
    number = numerals.finite(value)
    if number is None or not number.is_integer():
        raise ValueError(f"answer_start is {value!r:.40}, no whole number")
    return int(number)


def answers_listed(answers: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Lists answers given as {"text": [...], "answer_start": [...]}.

    Args:
      answers: that mapping, or one with one text and one number.

    Raises:
      KeyError, TypeError, ValueError: a key is missing or wrong.
    """
    texts, starts = answers["text"], answers.get("answer_start")
    if isinstance(texts, str) and isinstance(starts, int):
        return [{"text": texts, "answer_start": starts}]
    if not isinstance(texts, list):
        raise TypeError(f"answers.text is not a list but {texts!r:.40}")
    if not isinstance(starts, list) or len(starts) != len(texts):
        raise ValueError(
            "answers has different numbers of text and answer_start"
        )
    return [
        {"text": text, "answer_start": start}
        for text, start in zip(texts, starts)
    ]


def read_mrqa(path: str) -> list[QAExample]:
    """Returns the questions of a file, in its order.

    The first place where an answer was detected is trained on; scores compare
    with `answers`.

    Args:
      path: JSON Lines, compressed or not; a line for each context, and one with
        a header, which is skipped.

    Raises:
      UserError: a line is not of this form, or repeats a question; file and
        line are named.
    """
    examples: list[QAExample] = []
    for record, place in read_records(path, "jsonl"):
        if "header" in record and "context" not in record:
            continue
        try:
            context = _text(record, "context")
            examples += [
                _mrqa_example(context, q, place) for q in record["qas"]
            ]
        except (KeyError, TypeError, ValueError, IndexError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else error
            raise UserError(
                f"{place}: not in the form of MRQA ({reason}); {_MRQA_FORM}"
            ) from error
    check_ids(examples)
    return examples


def _mrqa_example(
    context: str, question: Mapping[str, Any], place: str
) -> QAExample:
    detected = question.get("detected_answers") or []
    answers = question.get("answers") or []
    if not isinstance(answers, list) or not all(
        isinstance(answer, str) for answer in answers
    ):
        raise TypeError(f"answers is not a list of texts but {answers!r:.40}")
    start, text = 0, None
    if detected:
        text = _text(detected[0], "text")
        start = _whole(detected[0]["char_spans"][0][0])
        answers = answers or [_text(answer, "text") for answer in detected]
    qid = question.get("qid")
    if qid in (None, ""):
        raise KeyError("qid")
    return QAExample(
        question_id=str(qid),
        question=_text(question, "question"),
        context=context,
        answers=tuple(answers),
        answer_start=start,
        answer_text=text,
        place=place,
    )


def check_ids(examples: Iterable[QAExample]) -> None:
    """Refuses repeated question ids.

    Raises:
      UserError: an id is repeated; both places are named.
    """
    places: dict[str, str] = {}
    for example in examples:
        name = example.question_id
        if name in places:
            raise UserError(
                f"{example.place}: question id '{name}' comes twice, first at "
                f"{places[name]}; ids must differ"
            )
        places[name] = example.place


def locate_answer(
    example: QAExample, splitter: Splitter = WORDS
) -> tuple[int, int] | None:
    """Returns first and last word (inclusive) of the answer to train on.

    Returns:
      None where there is no answer, or where the context has another text at
      its place: such an example cannot be trained on.
    """
    span = _span(example)
    if span is None:
        return None
    words, starts = split_words(example.context, splitter)
    first, last = np.searchsorted(starts, [span[0], span[1] - 1], "right") - 1
    if first < 0:
        return None
    end = starts[last] + len(words[last])
    there = example.context[starts[first] : end]
    if _spaced(example.target or "") not in _spaced(there):
        return None
    return int(first), int(last)


def answer_span(example: QAExample) -> tuple[int, int] | None:
    """Returns start and end of the answer to train on, white space stripped.

    Returns:
      Characters of the context, the end exclusive; None where the context does
      not have exactly that text there.
    """
    span, answer = _span(example), (example.target or "").strip()
    if span is None or example.context[slice(*span)] != answer:
        return None
    return span


def _span(example: QAExample) -> tuple[int, int] | None:
    """Returns where the answer should be; None if outside the context."""
    answer, start = example.target, example.answer_start
    if not answer or start < 0 or start + len(answer) > len(example.context):
        return None
    bare = answer.strip()
    if not bare:
        return None
    start += len(answer) - len(answer.lstrip())
    return start, start + len(bare)


def _spaced(text: str) -> str:
    return " ".join(text.split()).lower()


def unusable(example: QAExample, splitter: Splitter = WORDS) -> str | None:
    """Returns why an example cannot be trained on; None where it can."""
    if not example.context.strip():
        return "its context is empty"
    if not example.question.strip():
        return "its question is empty"
    if example.impossible:
        return None
    if example.target is None:
        return "it has no answer"
    if answer_span(example):
        return None
    if locate_answer(example, splitter):
        return _shifted(example)
    return (
        f"its answer '{example.target:.60}' is not at character "
        f"{example.answer_start} of its context"
    )


def _shifted(example: QAExample) -> str | None:
    """Describes an answer that begins elsewhere than given, else None.

    A difference in case or white space does not count.
    """
    span, answer = _span(example), (example.target or "").strip()
    assert span is not None  # it was located before
    # Twice as many characters: white space may be wider than the answer's.
    there = example.context[span[0] : span[0] + 2 * len(answer)]
    if _spaced(there).startswith(_spaced(answer)):
        return None
    near = example.context.find(answer, max(0, span[0] - len(answer)))
    hint = f"; it begins at {near}" if near >= 0 else ""
    return (
        f"shifted: its answer '{answer:.60}' is not the text at character "
        f"{example.answer_start} ('{example.context[slice(*span)]:.60}'){hint}"
    )


def contexts_of(examples: Sequence[QAExample]) -> tuple[list[str], np.ndarray]:
    """Returns the distinct contexts, and each example's, int64 [E]."""
    numbers: dict[str, int] = {}
    which = [numbers.setdefault(e.context, len(numbers)) for e in examples]
    return list(numbers), np.array(which, "int64")
