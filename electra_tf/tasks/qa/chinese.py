"""Question answering in Chinese: CMRC 2018 and DRCD."""

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from electra_tf.tasks.qa import metrics as qa_metrics
from electra_tf.tasks.qa.options import ChineseQAOptions
from electra_tf.tasks.qa.task import QuestionAnswering
from electra_tf.tasks.qa.words import CHARACTERS

# What the evaluation of CMRC 2018 leaves out of the comparison, and cuts at.
_PUNCTUATION = frozenset(
    "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』"  # noqa: RUF001
)
_UNITS = re.compile(
    "[\u4e00-\u9fa5]"  # the ideographs that it takes one by one
    r"|(?:(?![\u4e00-\u9fa5])\w)+(?:[.,](?:(?![\u4e00-\u9fa5])\w)+)*"
    r"|[^\w\s]"
)


class ChineseQA(QuestionAnswering):
    """Contexts without spaces, answers and scores by character.

    "chinese_qa/cmrc2018" is in simplified, "chinese_qa/drcd" in traditional
    Chinese, plain "chinese_qa" is data of one's own. All have the form of
    SQuAD 1.1 and an answer to every question.
    """

    Options = ChineseQAOptions
    splitter = CHARACTERS
    answered = True
    file_names: ClassVar[Mapping[str, Mapping[str, Sequence[str]]]] = {
        "": {
            "train": ("train.json",),
            "validation": ("dev.json",),
            "test": ("test.json",),
        },
        "cmrc2018": {
            "train": ("cmrc2018_train.json", "train.json"),
            "validation": ("cmrc2018_dev.json", "dev.json"),
            "test": ("cmrc2018_test.json", "test.json"),
        },
        "drcd": {
            "train": ("DRCD_training.json", "train.json"),
            "validation": ("DRCD_dev.json", "dev.json"),
            "test": ("DRCD_test.json", "test.json"),
        },
    }

    def _scores(
        self, truths: Sequence[Sequence[str]], answers: Sequence[str]
    ) -> dict[str, float]:
        return cmrc_scores(truths, answers)


def cmrc_scores(
    truths: Sequence[Sequence[str]], answers: Sequence[str]
) -> dict[str, float]:
    """The scores of CMRC 2018's evaluation.

    Texts are compared in lower case and without punctuation of Chinese.
    Exact: one of the true answers is the same. F1: an ideograph is a unit, so
    is a word or sign of other scripts; what two texts share is the longest
    run of units that stands in both. (There NLTK cuts the words of other
    scripts; here letters and digits are a word, with points and commas inside
    numbers, which differs for English contractions.)

    Args:
      truths: the true answers of N questions, one or more each.
      answers: the predicted ones.

    Returns:
      `exact_match`, `f1` and `average`, which is of these two; nothing where
      there are no questions.
    """
    if not truths:
        return {}
    scores = [
        (qa_metrics.best(exact, ts, a), qa_metrics.best(f1, ts, a))
        for ts, a in zip(truths, answers)
    ]
    found, shared = (100.0 * float(v) for v in np.mean(scores, axis=0))
    return {
        "exact_match": found,
        "f1": shared,
        "average": (found + shared) / 2,
    }


def exact(truth: str, answer: str) -> float:
    """1 if they are the same but for case and punctuation, else 0."""
    return float(_bare(truth) == _bare(answer))


def f1(truth: str, answer: str) -> float:
    """From the longest run of units that stands in both texts."""
    expected = _UNITS.findall(_bare(truth))
    given = _UNITS.findall(_bare(answer))
    return qa_metrics.f1_of_counts(
        _longest_run(expected, given), len(expected), len(given)
    )


def _bare(text: str) -> str:
    return "".join(c for c in text.lower().strip() if c not in _PUNCTUATION)


def _longest_run(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common run."""
    longest = 0
    before = [0] * (len(second) + 1)  # of runs that end at the last unit
    for unit in first:
        row = [0]
        for i, other in enumerate(second):
            row.append(before[i] + 1 if unit == other else 0)
        longest = max(longest, *row)
        before = row
    return longest
