"""Measures how much of a text is unknown to a vocabulary, and finds why.

Importing this module imports neither TensorFlow nor NumPy.
"""

import collections
import dataclasses
import unicodedata
from collections.abc import Iterable, Sequence

from electra_tf.text.vocab import MAX_CHARS_PER_WORD, Vocab

WARN_ABOVE = 1.0  # percent of the tokens
# SentencePiece's prefix of a word.
_WORD_MARK = "\u2581"
# Share of tokens of a kind that decides a vocabulary's kind.
_MARKED, _CASED = 0.2, 0.1
# Share of the unknown words that a cause must explain to be named.
_EXPLAINED = 0.3
_SAMPLE = 200_000  # characters that are read to find the cause


@dataclasses.dataclass(frozen=True)
class UnknownShare:
    """The number of [UNK] tokens, and the likely cause.

    Attributes:
      unknown: number of [UNK] tokens.
      total: number of tokens, without special ones.
      cause: a sentence about the likely cause; None where it is unknown, or too
        few tokens are [UNK].
    """

    unknown: int
    total: int
    cause: str | None = None

    @property
    def percent(self) -> float:
        """The share of [UNK] in percent; 0 without tokens."""
        return 100.0 * self.unknown / self.total if self.total else 0.0

    @property
    def notable(self) -> bool:
        """Whether there are enough for a warning."""
        return self.percent > WARN_ABOVE

    def __str__(self) -> str:
        text = (
            f"{self.percent:.2f} % of the tokens are [UNK] "
            f"({self.unknown:,} of {self.total:,})"
        )
        return f"{text}: {self.cause}" if self.cause else text


def unknown_share(
    unknown: int,
    total: int,
    vocab: Vocab,
    lower_case: bool,
    texts: Iterable[str],
    strip_accents: bool | None = None,
) -> UnknownShare:
    """Returns the share of [UNK], with its cause if it deserves a warning.

    Args:
      unknown: number of [UNK] tokens.
      total: number of tokens, without special ones.
      vocab: vocabulary of the tokenizer.
      lower_case: whether the text was lower-cased.
      texts: the text or a part of it; it is only read as far as needed, and not
        at all where the share is small.
      strip_accents: whether accents were stripped; None as `lower_case`.
    """
    found = UnknownShare(unknown, total)
    if not found.notable:
        return found
    cause = likely_cause(vocab, lower_case, texts, strip_accents)
    return dataclasses.replace(found, cause=cause)


def vocabulary_problem(vocab: Vocab, lower_case: bool) -> str | None:
    """Describes what makes a vocabulary unfit for any text, or returns None.

    Args:
      vocab: the vocabulary.
      lower_case: whether texts are lower-cased.
    """
    size = len(vocab)
    marked = sum(token.startswith(_WORD_MARK) for token in vocab.tokens)
    if marked > _MARKED * size:
        return (
            f"{marked:,} of {size:,} tokens of the vocabulary begin with "
            f"'{_WORD_MARK}': it is SentencePiece's, and this tokenizer reads "
            "WordPiece, whose tokens inside words begin with '##'"
        )
    cased = sum(token != token.lower() for token in _words(vocab))
    if lower_case and cased > _CASED * size:
        return (
            f"{cased:,} of {size:,} tokens of the vocabulary hold capitals, "
            "which lower-cased text never reaches: the vocabulary is cased; "
            "give --nolower_case"
        )
    return None


def likely_cause(
    vocab: Vocab,
    lower_case: bool,
    texts: Iterable[str],
    strip_accents: bool | None = None,
) -> str | None:
    """Finds the likely cause of [UNK] in a text.

    Args:
      vocab: the vocabulary.
      lower_case: whether texts are lower-cased.
      texts: the texts, of which the beginning is read.
      strip_accents: whether accents are stripped; None as `lower_case`.

    Returns:
      A sentence without its full stop; None where no single cause stands out.
    """
    problem = vocabulary_problem(vocab, lower_case)
    if problem:
        return problem
    strip_accents = lower_case if strip_accents is None else strip_accents
    known = {c for token in _words(vocab) for c in token.removeprefix("##")}
    scripts: collections.Counter[str] = collections.Counter()
    signs: collections.Counter[str] = collections.Counter()
    foreign = long = capitals = 0
    for word in _sample(texts):
        if len(word) > MAX_CHARS_PER_WORD:
            long += 1
            continue
        if lower_case:
            word = word.lower()
        if strip_accents:
            word = unicodedata.normalize("NFD", word)
        missing = [c for c in word if c not in known and not _is_dropped(c)]
        if not missing:
            continue
        if all(c != c.lower() and c.lower() in known for c in missing):
            capitals += 1
        else:
            foreign += 1
            scripts.update({script_of(c) for c in missing})
            if all(unicodedata.category(c)[0] in "PSN" for c in missing):
                signs.update(missing[:1])
    total = long + foreign + capitals
    if not total:
        return None
    if long >= _EXPLAINED * total:
        return (
            f"{long:,} words are longer than {MAX_CHARS_PER_WORD} characters, "
            "each of which becomes [UNK]: is the text encoded data, or "
            "without spaces?"
        )
    if capitals >= _EXPLAINED * total:
        return (
            "the text has capitals, and the vocabulary has none: give "
            "--lower_case"
        )
    if 2 * signs.total() > foreign:
        listed = " ".join(c for c, _ in signs.most_common(8))
        return f"the vocabulary lacks these signs of the text: {listed}"
    script, _ = scripts.most_common(1)[0]
    return (
        f"the vocabulary lacks characters of the text ({script}): it was made "
        "for another script or language"
    )


def script_of(character: str) -> str:
    """Returns a character's script, by its Unicode name: "CYRILLIC"."""
    name = unicodedata.name(character, "")
    if name.startswith("CJK"):
        return "CJK"
    return name.split(" ")[0].split("-")[0] or f"U+{ord(character):04X}"


def _words(vocab: Vocab) -> Sequence[str]:
    """Returns the tokens that are not special."""
    return [t for t in vocab.tokens if not (t[:1] == "[" and t[-1:] == "]")]


def _is_dropped(character: str) -> bool:
    """Returns whether tokenizing drops a character, or strips it as accent."""
    return unicodedata.category(character) in ("Mn", "Cc", "Cf", "Zs")


def _sample(texts: Iterable[str]) -> Iterable[str]:
    """Yields the words of the first texts."""
    left = _SAMPLE
    for text in texts:
        yield from text[:left].split()
        left -= len(text)
        if left <= 0:
            return
