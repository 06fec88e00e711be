"""BLEU and chrF, by the package that the field quotes."""

import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

from electra_tf.errors import UserError

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


def _package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            "scores of translations need sacrebleu: pip install "
            "'electra-tf[seq2seq]'"
        ) from error
