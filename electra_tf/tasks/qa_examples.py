"""Questions on a text, as SQuAD's JSON holds them."""

import dataclasses
import functools
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from electra_tf.errors import UserError

# The original's white space, which is narrower than Python's.
_WORD = re.compile("[^ \t\r\n\u202f]+")


@dataclasses.dataclass(frozen=True)
class QAExample:
    """One question.

    Attributes:
      question_id: unique in its file.
      question: its text.
      context: the text that may hold the answer.
      answers: the true answers; empty in an unanswerable question, and where
        they are not known.
      answer_start: of the first answer, in characters of the context.
      impossible: whether the question is marked as unanswerable.
    """

    question_id: str
    question: str
    context: str
    answers: tuple[str, ...] = ()
    answer_start: int = 0
    impossible: bool = False


def squad_examples(content: Mapping[str, Any], where: str) -> list[QAExample]:
    """The questions of a SQuAD file (1.1 or 2.0), in its order.

    Args:
      content: the parsed JSON.
      where: the file, for messages.

    Raises:
      UserError: not of this form; the file and the place are named.
    """
    examples = []
    place = where
    try:
        for i, article in enumerate(content["data"]):
            for j, paragraph in enumerate(article["paragraphs"]):
                place = f"{where}: data[{i}].paragraphs[{j}]"
                for question in paragraph["qas"]:
                    examples.append(_example(paragraph["context"], question))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{place}: not in the form of SQuAD ({error!r}); expected data / "
            "paragraphs / context and qas / id, question, answers"
        ) from error
    return examples


def _example(context: str, question: Mapping[str, Any]) -> QAExample:
    impossible = bool(question.get("is_impossible", False))
    answers = [] if impossible else question.get("answers") or []
    return QAExample(
        question_id=str(question["id"]),
        question=question["question"],
        context=context,
        answers=tuple(answer["text"] for answer in answers),
        answer_start=int(answers[0]["answer_start"]) if answers else 0,
        impossible=impossible,
    )


@functools.lru_cache(maxsize=64)  # many questions share a context
def split_words(context: str) -> tuple[tuple[str, ...], np.ndarray]:
    """The words between white space, and where each starts, int64 [words]."""
    found = list(_WORD.finditer(context))
    starts = np.array([m.start() for m in found], "int64")
    return tuple(m.group() for m in found), starts


def locate_answer(example: QAExample) -> tuple[int, int] | None:
    """First and last word (inclusive) that hold the first answer.

    Returns:
      None where there is no answer, or where it does not stand at its place
      in the context: such an example cannot be trained on.
    """
    if not example.answers:
        return None
    answer, start = example.answers[0], example.answer_start
    end = start + len(answer) - 1
    if not answer.strip() or start < 0 or end >= len(example.context):
        return None
    words, starts = split_words(example.context)
    first, last = np.searchsorted(starts, [start, end], side="right") - 1
    if first < 0:
        return None
    there = " ".join(words[first : last + 1]).lower()
    if " ".join(answer.split()).lower() not in there:
        return None
    return int(first), int(last)
