"""BLEU, chrF and ROUGE, by the packages that the field quotes."""

import importlib
import re
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

from electra_tf.errors import UserError
from electra_tf.text.detokenize import is_cjk

# sacreBLEU's tokenizers of languages that put no spaces between words.
_TOKENIZERS = {"zh": "zh", "ja": "char", "th": "char"}


class Score(NamedTuple):
    """A metric of all texts together.

    Attributes:
      value: 0 to 100.
      signature: how it was reckoned, to be quoted beside it.
    """

    value: float
    signature: str


def bleu(
    texts: Sequence[str],
    references: Sequence[str],
    language: str | None = None,
    tokenizer: str | None = None,
    lower_case: bool = False,
) -> Score:
    """Corpus BLEU (Papineni et al. 2002) by sacreBLEU (Post 2018).

    Args:
      texts: what was written.
      references: one for each.
      language: of the texts; some have a tokenizer of their own.
      tokenizer: sacreBLEU's name of one; None takes the language's, or 13a.
      lower_case: whether case is ignored.

    Raises:
      UserError: no sacreBLEU, or no such tokenizer.
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
    found = metric.corpus_score(list(texts), [list(references)])
    return Score(float(found.score), str(metric.get_signature()))


def chrf(
    texts: Sequence[str], references: Sequence[str], lower_case: bool = False
) -> Score:
    """Corpus chrF2 (Popovic 2015) by sacreBLEU; arguments as `bleu`'s."""
    metric = _package("sacrebleu").metrics.CHRF(lowercase=lower_case)
    found = metric.corpus_score(list(texts), [list(references)])
    return Score(float(found.score), str(metric.get_signature()))


def rouge(
    texts: Sequence[str], references: Sequence[str], stem: bool = True
) -> dict[str, float]:
    """Mean F of ROUGE-1, -2 and -L (Lin 2004) by rouge-score, in percent.

    Words of scripts without spaces are their characters.

    Args:
      texts: what was written.
      references: one for each.
      stem: whether English words are compared by their stems.
    """
    package = _package("rouge_score")
    scorer = package.rouge_scorer.RougeScorer(
        ["rouge1", "rouge2", "rougeL"],
        tokenizer=_Words(package.tokenizers.DefaultTokenizer(stem)),
    )
    totals = dict.fromkeys(("rouge1", "rouge2", "rougeL"), 0.0)
    for text, reference in zip(texts, references):
        for name, found in scorer.score(reference, text).items():
            totals[name] += found.fmeasure
    number = max(1, len(texts))
    return {name: 100.0 * total / number for name, total in totals.items()}


class _Words:
    """rouge-score's own words of a text, CJK characters each by itself.

    Its tokenizer drops whatever is not a Latin letter or a digit.
    """

    def __init__(self, latin: object):
        self._latin = latin

    def tokenize(self, text: str) -> list[str]:
        """The words in their order."""
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


def _package(name: str) -> ModuleType:
    try:
        module = importlib.import_module(name)
        for part in ("rouge_scorer", "tokenizers"):
            if name == "rouge_score":
                importlib.import_module(f"{name}.{part}")
    except ImportError as error:
        raise UserError(
            "scores of translations and summaries need sacrebleu and "
            "rouge-score: pip install 'electra-tf[seq2seq]'"
        ) from error
    return module
