"""ROUGE, by the package that the field quotes."""

import re
from collections.abc import Sequence

from electra_tf.errors import UserError
from electra_tf.text.detokenize import is_cjk

NAMES = ("rouge1", "rouge2", "rougeL")


def rouge(
    texts: Sequence[str], references: Sequence[str], stem: bool = True
) -> dict[str, float]:
    """Mean F of ROUGE-1, -2 and -L (Lin 2004) by rouge-score, in percent.

    Words of scripts without spaces are their characters.

    Args:
      texts: what was written.
      references: one for each.
      stem: whether English words are compared by their stems.

    Raises:
      UserError: no rouge-score.
    """
    try:
        from rouge_score import rouge_scorer, tokenizers
    except ImportError as error:
        raise UserError(
            "scores of summaries need rouge-score: pip install "
            "'electra-tf[seq2seq]'"
        ) from error
    scorer = rouge_scorer.RougeScorer(
        NAMES, tokenizer=_Words(tokenizers.DefaultTokenizer(stem))
    )
    totals = dict.fromkeys(NAMES, 0.0)
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
