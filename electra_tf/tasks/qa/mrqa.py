"""MRQA 2019: question answering sets in one form, JSON Lines."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from electra_tf.errors import UserError
from electra_tf.tasks.qa.examples import QAExample, check_ids
from electra_tf.tasks.qa.task import QuestionAnswering
from electra_tf.tasks.records import read_records

_FORM = (
    "expected context and qas / qid, question, answers, detected_answers / "
    "text, char_spans"
)


class Mrqa(QuestionAnswering):
    """One of MRQA's sets, scored as SQuAD 1.1.

    "mrqa/SQuAD" is in train/SQuAD.jsonl.gz and dev/SQuAD.jsonl.gz, as the
    shared task lays them out, or in a folder SQuAD; plain "mrqa" in
    train.jsonl.gz and dev.jsonl.gz.
    """

    answered = True
    file_names: ClassVar[Mapping[str, Mapping[str, Sequence[str]]]] = {
        "": {
            "train": ("train.jsonl",),
            "validation": ("dev.jsonl",),
            "test": ("test.jsonl",),
        },
        "*": {
            "train": ("train/{member}.jsonl", "{member}/train.jsonl"),
            "validation": ("dev/{member}.jsonl", "{member}/dev.jsonl"),
            "test": ("test/{member}.jsonl", "{member}/test.jsonl"),
        },
    }

    def read(self, split: str) -> list[QAExample] | None:
        """The questions of a split; see `Task.read`."""
        path = self._path(split)
        return None if path is None else read_mrqa(path)


def read_mrqa(path: str) -> list[QAExample]:
    """The questions of a file, in its order.

    Of the places where an answer was detected the first is trained on; scores
    are of `answers`.

    Args:
      path: JSON Lines, compressed or not; a line for each context, and one
        with a header, which is passed over.

    Raises:
      UserError: not of this form, or a question twice; file and line are
        named.
    """
    examples: list[QAExample] = []
    for record, place in read_records(path, "jsonl"):
        if "header" in record and "context" not in record:
            continue
        try:
            context = _text(record, "context")
            examples += [_example(context, q, place) for q in record["qas"]]
        except (KeyError, TypeError, ValueError, IndexError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else error
            raise UserError(
                f"{place}: not in the form of MRQA ({reason}); {_FORM}"
            ) from error
    check_ids(examples)
    return examples


def _example(
    context: str, question: Mapping[str, Any], place: str
) -> QAExample:
    detected = question.get("detected_answers") or []
    answers = [str(answer) for answer in question.get("answers") or []]
    start, text = 0, None
    if detected:
        text = _text(detected[0], "text")
        start = int(detected[0]["char_spans"][0][0])
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


def _text(record: Mapping[str, Any], key: str) -> str:
    text = record[key]
    if not isinstance(text, str):
        raise TypeError(f"{key} is no text but {text!r:.40}")
    return text
