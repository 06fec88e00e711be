"""Computes metrics as the field reports them, by the packages it quotes.

Metrics of labels and numbers are scikit-learn's and SciPy's, those of texts
sacreBLEU's and rouge-score's.

Shares, F1 and correlations are in percent. No score is ever undefined: where
the formula divides by zero, as for predictions that are all the same, it is 0,
and no warning is written.
"""

import importlib
import itertools
import re
import warnings
from collections.abc import Hashable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from electra_tf.errors import UserError
from electra_tf.text.detokenize import is_cjk

Labels = Sequence[Hashable] | np.ndarray
Numbers = Sequence[float] | np.ndarray

ROUGE = ("rouge1", "rouge2", "rougeL")
# sacreBLEU's tokenizers for languages without spaces between words.
_TOKENIZERS = {"zh": "zh", "ja": "char", "th": "char"}


def accuracy(gold: Labels, predicted: Labels) -> float:
    """Returns the share of right answers; 0 where there are none."""
    gold, predicted = _codes(gold, predicted)
    return 100.0 * float(np.mean(gold == predicted)) if len(gold) else 0.0


def precision_recall_f1(
    gold: Labels, predicted: Labels, positive: Hashable
) -> tuple[float, float, float]:
    """Returns precision, recall and F1 of one class against all others.

    Precision is 0 where the class is never predicted, recall where it never
    is the answer, and F1 in both cases.
    """
    if not len(gold):
        return 0.0, 0.0, 0.0
    from sklearn.metrics import precision_recall_fscore_support

    found = precision_recall_fscore_support(
        [label == positive for label in gold],
        [label == positive for label in predicted],
        average="binary",
        pos_label=True,
        zero_division=0.0,
    )
    precision, recall, f1 = (100.0 * float(value) for value in found[:3])
    return precision, recall, f1


def weighted_precision_recall_f1(
    gold: Labels, predicted: Labels
) -> tuple[float, float, float]:
    """Returns the classes' precision, recall and F1, weighted by true count.

    Each is 0 where its formula divides by zero.
    """
    from sklearn.metrics import precision_recall_fscore_support

    gold, predicted = _codes(gold, predicted)
    if not len(gold):
        return 0.0, 0.0, 0.0
    found = precision_recall_fscore_support(
        gold, predicted, average="weighted", zero_division=0.0
    )
    precision, recall, f1 = (100.0 * float(value) for value in found[:3])
    return precision, recall, f1


def macro_f1(gold: Labels, predicted: Labels) -> float:
    """Returns the mean F1 of the classes that occur in either."""
    from sklearn.metrics import f1_score

    gold, predicted = _codes(gold, predicted)
    if not len(gold):
        return 0.0
    return 100.0 * float(
        f1_score(gold, predicted, average="macro", zero_division=0.0)
    )


def multi_label_f1(
    gold: np.ndarray, predicted: np.ndarray
) -> tuple[float, float]:
    """Returns micro F1, over all decisions, and macro F1, over labels.

    Labels that occur in neither are not part of the mean; both are 0 where no
    label occurs at all.

    Args:
      gold: [N, labels] 0 and 1.
      predicted: the same.
    """
    from sklearn.metrics import f1_score

    gold, predicted = np.asarray(gold, int), np.asarray(predicted, int)
    occurs = np.any(gold | predicted, axis=0)
    if not occurs.any():
        return 0.0, 0.0
    gold, predicted = gold[:, occurs], predicted[:, occurs]
    # Micro F1 is the F1 of the flattened decisions; scikit-learn would take a
    # single column for two classes.
    micro = f1_score(gold.ravel(), predicted.ravel(), zero_division=0.0)
    macro = np.mean(
        [f1_score(g, p, zero_division=0.0) for g, p in zip(gold.T, predicted.T)]
    )
    return 100.0 * float(micro), 100.0 * float(macro)


def matthews(gold: Labels, predicted: Labels) -> float:
    """Returns Matthews correlation; 0 where either has a single class."""
    from sklearn.metrics import matthews_corrcoef

    gold, predicted = _codes(gold, predicted)
    if len(set(gold)) < 2 or len(set(predicted)) < 2:
        return 0.0
    return 100.0 * float(matthews_corrcoef(gold, predicted))


def pearson(gold: Numbers, predicted: Numbers) -> float:
    """Returns linear correlation; 0 where undefined (see `_correlates`)."""
    from scipy.stats import pearsonr

    return _correlation(pearsonr, gold, predicted)


def spearman(gold: Numbers, predicted: Numbers) -> float:
    """Returns rank correlation, ties sharing ranks; 0 where undefined."""
    from scipy.stats import spearmanr

    return _correlation(spearmanr, gold, predicted)


def mean_squared_error(gold: Numbers, predicted: Numbers) -> float:
    """Returns the mean squared error, not in percent; it may be infinite."""
    gold, predicted = np.asarray(gold, float), np.asarray(predicted, float)
    if not np.isfinite(predicted).all():
        return float("inf")
    return float(np.mean((gold - predicted) ** 2)) if len(gold) else 0.0


def determination(gold: Numbers, predicted: Numbers) -> float:
    """Returns R squared: 100 is perfect, 0 is as good as the mean.

    It orders predictions as the squared error does. 0 where the answers are
    all the same; -infinite where a prediction is not finite.
    """
    gold = np.asarray(gold, float)
    spread = float(np.var(gold)) if len(gold) else 0.0
    if spread == 0.0:
        return 0.0
    return 100.0 * (1.0 - mean_squared_error(gold, predicted) / spread)


def _codes(gold: Labels, predicted: Labels) -> tuple[np.ndarray, np.ndarray]:
    """Returns labels of any type as whole numbers, which compare quickly."""
    if len(gold) != len(predicted):
        raise ValueError(f"{len(gold)} answers, {len(predicted)} predictions")
    numbers: dict[Hashable, int] = {}
    codes = [
        np.asarray(
            [numbers.setdefault(label, len(numbers)) for label in labels], int
        )
        for labels in (gold, predicted)
    ]
    return codes[0], codes[1]


def _correlation(function, gold: Numbers, predicted: Numbers) -> float:
    gold, predicted = np.asarray(gold, float), np.asarray(predicted, float)
    if gold.shape != predicted.shape:
        raise ValueError(f"{len(gold)} answers, {len(predicted)} predictions")
    if not (_correlates(gold) and _correlates(predicted)):
        return 0.0
    with warnings.catch_warnings():
        # SciPy warns of values that are nearly all the same.
        warnings.simplefilter("ignore")
        found = float(function(gold, predicted)[0])
    return 100.0 * found if np.isfinite(found) else 0.0


def _correlates(values: np.ndarray) -> bool:
    """Returns whether correlation is defined: two different values, all
    finite.
    """
    return bool(
        len(values) > 1 and np.isfinite(values).all() and np.ptp(values) > 0
    )


def rouge(
    texts: Sequence[str],
    references: Sequence[str | Sequence[str]],
    stem: bool = True,
) -> dict[str, float]:
    """Returns mean F of ROUGE-1, -2 and -L (Lin 2004), in percent.

    Words of scripts without spaces are their characters.

    Args:
      texts: the predicted texts.
      references: one for each text, or several, of which the best counts.
      stem: whether English words are compared by their stems.

    Raises:
      UserError: rouge-score is not installed.
    """
    try:
        from rouge_score import rouge_scorer, tokenizers
    except ImportError as error:
        raise UserError(
            "scores of summaries need rouge-score: pip install "
            "'electra-tf[seq2seq]'"
        ) from error
    scorer = rouge_scorer.RougeScorer(
        ROUGE, tokenizer=_Words(tokenizers.DefaultTokenizer(stem))
    )
    totals = dict.fromkeys(ROUGE, 0.0)
    for text, reference in zip(texts, references):
        several = [reference] if isinstance(reference, str) else reference
        for name, found in scorer.score_multi(several, text).items():
            totals[name] += found.fmeasure
    number = max(1, len(texts))
    return {name: 100.0 * total / number for name, total in totals.items()}


class _Words:
    """rouge-score's tokenizer, with each CJK character as a word.

    Its tokenizer drops whatever is not a Latin letter or a digit.
    """

    def __init__(self, latin: Any):
        self._latin = latin

    def tokenize(self, text: str) -> list[str]:
        """Returns the words of a text, in order."""
        found: list[str] = []
        for part in re.split(r"(\s+)", text):
            if not any(map(is_cjk, part)):
                found += self._latin.tokenize(part)
                continue
            run = ""
            for character in part:
                if is_cjk(character):
                    found += [*self._latin.tokenize(run), character]
                    run = ""
                else:
                    run += character
            found += self._latin.tokenize(run)
        return found


class Score(NamedTuple):
    """A metric of all texts together.

    Attributes:
      value: 0 to 100.
      signature: how it was computed, to be quoted beside it.
    """

    value: float
    signature: str


def bleu(
    texts: Sequence[str],
    references: Sequence[str | Sequence[str]],
    language: str | None = None,
    tokenizer: str | None = None,
    lower_case: bool = False,
) -> Score:
    """Returns corpus BLEU (Papineni et al. 2002) by sacreBLEU (Post 2018).

    Args:
      texts: the predicted texts.
      references: one for each text.
      language: language of the texts; some have a tokenizer of their own.
      tokenizer: a tokenizer's name in sacreBLEU; None takes the language's, or
        13a.
      lower_case: whether case is ignored.

    Raises:
      UserError: sacreBLEU is not installed, or has no such tokenizer.
    """
    chosen = tokenizer or _TOKENIZERS.get(language or "", "13a")
    module = _package("sacrebleu")
    known = module.metrics.BLEU.TOKENIZERS
    if chosen not in known:
        raise UserError(
            f"options.bleu_tokenizer: expected one of {', '.join(known)}, got "
            f"'{chosen}'"
        )
    try:
        metric = module.metrics.BLEU(tokenize=chosen, lowercase=lower_case)
    except (ImportError, RuntimeError) as error:
        raise UserError(
            f"options.bleu_tokenizer: {chosen} cannot be used here: {error}"
        ) from error
    found = metric.corpus_score(list(texts), _streams(references))
    return Score(float(found.score), str(metric.get_signature()))


def chrf(
    texts: Sequence[str],
    references: Sequence[str | Sequence[str]],
    lower_case: bool = False,
) -> Score:
    """Returns corpus chrF2 (Popovic 2015) by sacreBLEU; arguments as
    `bleu`'s.
    """
    metric = _package("sacrebleu").metrics.CHRF(lowercase=lower_case)
    found = metric.corpus_score(list(texts), _streams(references))
    return Score(float(found.score), str(metric.get_signature()))


def _streams(
    references: Sequence[str | Sequence[str]],
) -> list[list[str | None]]:
    """Transposes references: all first ones, all second ones, and so on."""
    several = [[r] if isinstance(r, str) else list(r) for r in references]
    return [list(column) for column in itertools.zip_longest(*several)]


def _package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            "scores of translations need sacrebleu: pip install "
            "'electra-tf[seq2seq]'"
        ) from error
