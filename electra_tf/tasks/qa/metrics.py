"""Scores answers as the evaluation scripts of SQuAD and CMRC do.

SQuAD's texts are compared without case, ASCII punctuation, the articles "a",
"an" and "the", and differences in white space. The exact score of an answer is
whether it equals one of the true answers; its F1 is the best over the true
answers, from the words shared with each. Shares are in percent.
"""

import collections
import re
import string
from collections.abc import Callable, Iterable, Sequence

import numpy as np

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
# Characters that CMRC 2018's evaluation leaves out and splits at.
_PUNCTUATION = frozenset(
    "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』"  # noqa: RUF001
)
_UNITS = re.compile(
    "[\u4e00-\u9fa5]"  # ideographs that it takes one by one
    r"|(?:(?![\u4e00-\u9fa5])\w)+(?:[.,](?:(?![\u4e00-\u9fa5])\w)+)*"
    r"|[^\w\s]"
)

# Chinese, Japanese and Thai characters, vowel signs included.
_BLANKLESS = re.compile(
    "[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e01-\u0e3a"
    "\u0e40-\u0e4e\U00020000-\U0002fa1f]"
)
_IDEOGRAPHS = re.compile("[\u4e00-\u9fa5]+")
_NLTK = re.compile(
    r"['\"`\u2018\u2019]|\.\.|[.,](?!\d)|(?<!\d)[.,]"
    r"|\b(?:cannot|gonna|gotta|lemme|wanna|gimme)\b"
)

Scorer = Callable[[str, str], float]


def normalize(text: str) -> str:
    """Returns a text without case, punctuation and articles, to be compared."""
    text = text.lower().translate(_NO_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


def exact(truth: str, answer: str) -> float:
    """Returns 1 if the normalised texts are equal, else 0."""
    return float(normalize(truth) == normalize(answer))


def f1(truth: str, answer: str) -> float:
    """Returns the F1 of the words that an answer shares with the truth.

    Repeated words count repeatedly. Texts without a word share nothing, even
    with one another (SQuAD 1.1).
    """
    expected, given = normalize(truth).split(), normalize(answer).split()
    common = collections.Counter(expected) & collections.Counter(given)
    return f1_of_counts(common.total(), len(expected), len(given))


def f1_characters(truth: str, answer: str) -> float:
    """Returns F1 like `f1`, but over characters in scripts without spaces.

    Ideographs, kana and Thai characters are words by themselves; words of other
    scripts are separated by spaces.
    """
    expected = _BLANKLESS.sub(r" \g<0> ", normalize(truth)).split()
    given = _BLANKLESS.sub(r" \g<0> ", normalize(answer)).split()
    common = collections.Counter(expected) & collections.Counter(given)
    return f1_of_counts(common.total(), len(expected), len(given))


def without_blanks(texts: Iterable[str]) -> bool:
    """Returns whether most of the texts are in scripts without spaces."""
    found = [bool(_BLANKLESS.search(text)) for text in texts]
    return sum(found) > len(found) / 2


def f1_of_counts(common: int, expected: int, given: int) -> float:
    """Returns F1 from the sizes of two sets and of their intersection."""
    if not common:
        return 0.0
    precision, recall = common / given, common / expected
    return 2 * precision * recall / (precision + recall)


def f1_with_null(truth: str, answer: str) -> float:
    """Returns `f1`, but 1 for two texts without a word (SQuAD 2.0)."""
    if not (normalize(truth) and normalize(answer)):
        return exact(truth, answer)
    return f1(truth, answer)


def f1_characters_with_null(truth: str, answer: str) -> float:
    """Returns `f1_characters`, but 1 for two texts without a word."""
    if not (normalize(truth) and normalize(answer)):
        return exact(truth, answer)
    return f1_characters(truth, answer)


def best(scorer: Scorer, truths: Sequence[str], answer: str) -> float:
    """Returns the highest score of an answer against any of the truths."""
    return max(scorer(truth, answer) for truth in truths)


def squad1_scores(
    truths: Sequence[Sequence[str]], answers: Sequence[str]
) -> dict[str, float]:
    """Computes SQuAD 1.1's scores.

    Args:
      truths: the true answers of N questions, one or more each.
      answers: the predicted ones; "" where there is none.

    Returns:
      `exact_match` and `f1`; empty where there are no questions. Where most
      true answers are Chinese, Japanese or Thai, `f1` is over characters, and
      `squad_f1` over words between spaces, as in SQuAD's script.
    """
    if not truths:
        return {}
    exacts = [best(exact, t, a) for t, a in zip(truths, answers)]
    f1s = [best(f1, t, a) for t, a in zip(truths, answers)]
    found = {
        "exact_match": 100.0 * float(np.mean(exacts)),
        "f1": 100.0 * float(np.mean(f1s)),
    }
    if not without_blanks(text for texts in truths for text in texts):
        return found
    chars = [best(f1_characters, t, a) for t, a in zip(truths, answers)]
    return {
        "exact_match": found["exact_match"],
        "f1": 100.0 * float(np.mean(chars)),
        "squad_f1": found["f1"],
    }


def squad2_scores(
    truths: Sequence[Sequence[str]],
    answers: Sequence[str],
    null_odds: Sequence[float],
    threshold: float,
) -> dict[str, float]:
    """Computes SQuAD 2.0's scores, given odds that there is no answer.

    Args:
      truths: the true answers of N questions; none where there is no answer.
      answers: the best answers, whatever their odds.
      null_odds: the higher, the likelier there is no answer.
      threshold: above it, the prediction is "no answer".

    Returns:
      `exact`, `f1` and `total`; the same for the questions with and without an
      answer, if any (`HasAns_exact`, ...; `NoAns_exact`, ...); the scores at
      the best threshold for each (`best_exact`, `best_f1`), and those
      thresholds (`best_exact_thresh`, `best_f1_thresh`). Empty where there are
      no questions. `squad_f1` as in `squad1_scores`.
    """
    if not truths:
        return {}
    # An answer of only punctuation and articles counts as no answer.
    real = [[t for t in ts if normalize(t)] or [""] for ts in truths]
    has_answer = np.array([bool(ts) for ts in truths], bool)
    null = np.array(null_odds, "float64") > threshold
    raw, scores = {}, {}
    scorers = {"exact": exact, "f1": f1_with_null}
    if without_blanks(t for texts in truths for t in texts):
        scorers |= {"f1": f1_characters_with_null, "squad_f1": f1_with_null}
    for name, scorer in scorers.items():
        raw[name] = np.array(
            [best(scorer, t, a) for t, a in zip(real, answers)], "float64"
        )
        scores[name] = np.where(null, ~has_answer, raw[name])
    found = _means(scores, np.ones_like(has_answer), "")
    beside = raw.pop("squad_f1", None)
    if beside is not None:
        del scores["squad_f1"]
    found |= _means(scores, has_answer, "HasAns_")
    found |= _means(scores, ~has_answer, "NoAns_")
    given = np.array([bool(answer) for answer in answers], bool)
    for name, values in raw.items():
        value, where = best_threshold(values, given, has_answer, null_odds)
        found[f"best_{name}"] = value
        found[f"best_{name}_thresh"] = where
    return found


def _means(
    scores: dict[str, np.ndarray], chosen: np.ndarray, prefix: str
) -> dict[str, float]:
    total = int(chosen.sum())
    if not total:
        return {}
    means = {
        f"{prefix}{name}": 100.0 * float(values[chosen].mean())
        for name, values in scores.items()
    }
    return means | {f"{prefix}total": float(total)}


def best_threshold(
    scores: np.ndarray,
    given: np.ndarray,
    has_answer: np.ndarray,
    null_odds: Sequence[float],
) -> tuple[float, float]:
    """Returns the threshold on null odds that scores best.

    Thresholds are tried from "never an answer" upwards, at each question's
    odds; the first of equally good ones is taken.

    Args:
      scores: [N], the score that each answer would have if given.
      given: bool [N], whether the answer is not empty.
      has_answer: bool [N], whether there is one.
      null_odds: [N], odds that there is no answer.

    Returns:
      The score in percent, and the threshold; 0 where it is best never to
      answer.
    """
    odds = np.array(null_odds, "float64")
    order = np.argsort(odds, kind="stable")
    # The gain of answering over not answering.
    gain = np.where(has_answer, scores, -1.0 * given)[order]
    totals = (~has_answer).sum() + np.concatenate([[0.0], np.cumsum(gain)])
    top = int(np.argmax(totals))
    threshold = float(odds[order[top - 1]]) if top else 0.0
    return 100.0 * float(totals[top]) / len(scores), threshold


def cmrc_scores(
    truths: Sequence[Sequence[str]], answers: Sequence[str]
) -> dict[str, float]:
    """Computes the scores of CMRC 2018's evaluation.

    Texts are compared in lower case and without Chinese punctuation. An answer
    is exact if it equals a true answer. For F1, an ideograph is a unit, and so
    is a word or sign of other scripts; two texts share the longest run of units
    that is in both. (The official script splits words of other scripts by NLTK;
    here a word is letters and digits, with points and commas inside numbers.
    `cmrc_may_differ` finds texts where that may matter.)

    Args:
      truths: the true answers of N questions, one or more each.
      answers: the predicted answers.

    Returns:
      `exact_match`, `f1` and their `average`; empty where there are no
      questions.
    """
    if not truths:
        return {}
    scores = [
        (best(cmrc_exact, ts, a), best(cmrc_f1, ts, a))
        for ts, a in zip(truths, answers)
    ]
    found, shared = (100.0 * float(v) for v in np.mean(scores, axis=0))
    return {
        "exact_match": found,
        "f1": shared,
        "average": (found + shared) / 2,
    }


def cmrc_exact(truth: str, answer: str) -> float:
    """Returns 1 if texts are equal but for case and punctuation, else 0."""
    return float(_bare(truth) == _bare(answer))


def cmrc_f1(truth: str, answer: str) -> float:
    """Returns F1 from the longest run of units that is in both texts."""
    expected = _UNITS.findall(_bare(truth))
    given = _UNITS.findall(_bare(answer))
    return f1_of_counts(
        _longest_run(expected, given), len(expected), len(given)
    )


def cmrc_may_differ(text: str) -> bool:
    """Returns whether NLTK may split a text's non-Chinese words differently.

    It does so at apostrophes, at points and commas next to a letter, and in
    words such as "cannot".
    """
    return any(_NLTK.search(run) for run in _IDEOGRAPHS.split(_bare(text)))


def _bare(text: str) -> str:
    return "".join(c for c in text.lower().strip() if c not in _PUNCTUATION)


def _longest_run(first: Sequence[str], second: Sequence[str]) -> int:
    """Returns the length of the longest common run."""
    longest = 0
    before = [0] * (len(second) + 1)  # of runs ending at the last unit
    for unit in first:
        row = [0]
        for i, other in enumerate(second):
            row.append(before[i] + 1 if unit == other else 0)
        longest = max(longest, *row)
        before = row
    return longest
