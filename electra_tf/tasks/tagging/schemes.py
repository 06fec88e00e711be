"""Converts spans of words to tags and back: BIO, IOB1, IOE1, BIOES and so on.

A tag is "O", or a letter, a hyphen and a type: "B-PER". The letter is the place
of a word in its span:

  bio    B at the first word, I at the others (also called IOB2)
  iob1   I; B at the first word of a span that follows one of the same type
  bioes  B first, I inside, E last; S for a span of one word
  bilou  the same with L for E and U for S
  bmes   the same as bioes with M for I (usual in Chinese)
  ioe1   I; E at the last word of a span that one of the same type follows
  ioe2   E at the last word, I at the others

In the scheme "none" tags do not mark spans: parts of speech.
"""

import itertools
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

SCHEMES = (
    "bio", "iob1", "ioe1", "ioe2", "bioes", "bilou", "bmes", "none",
)  # fmt: skip
OUTSIDE = "O"

# Letters for: first, inside, last, alone.
_LETTERS = {
    "bio": "BIIB", "iob1": "IIII", "ioe1": "IIII", "ioe2": "IIEE",
    "bioes": "BIES", "bilou": "BILU", "bmes": "BMES",
}  # fmt: skip
# Further letters of a scheme, between spans of one type.
_BETWEEN = {"iob1": "B", "ioe1": "E"}
# The schemes of a set of tags, the likeliest first.
_OF_LABELS = ("bio", "iob1", "ioe2", "ioe1", "bioes", "bilou", "bmes")
_SPAN_TAG = re.compile(r"O|[BIESLUM](-.+)?", re.DOTALL)
_BRACKETS = re.compile(r"\*\)?|\([^()*\s]+(\*\)?|\))")
# Letters -> those of BIOES.
_ALIASES = {"L": "E", "U": "S", "M": "I"}


class Span(NamedTuple):
    """A span of words, with its type."""

    start: int
    end: int  # exclusive
    type: str


def split_tag(tag: str) -> tuple[str, str]:
    """Splits "B-PER" into ("B", "PER"), "O" into ("O", "")."""
    letter, _, kind = tag.partition("-")
    return letter, kind


def join_tag(letter: str, kind: str) -> str:
    """Joins letter and type: the reverse of `split_tag`."""
    return f"{letter}-{kind}" if kind else letter


def belongs(tag: str, scheme: str) -> bool:
    """Returns whether a tag exists in a scheme, whatever its neighbours."""
    if scheme == "none":
        return True
    if tag == OUTSIDE:
        return True
    return bool(_SPAN_TAG.fullmatch(tag)) and tag[0] in letters_of(scheme)


def letters_of(scheme: str) -> set[str]:
    """Returns all letters of a scheme."""
    return {*_LETTERS[scheme], *_BETWEEN.get(scheme, "")}


def in_bioes(tag: str) -> str:
    """Converts a tag of BILOU or BMES to BIOES."""
    return _ALIASES.get(tag[:1], tag[:1]) + tag[1:]


def looks_like_spans(tag: str) -> bool:
    """Returns whether a tag is like "B-PER", in any scheme, or "O"."""
    return bool(_SPAN_TAG.fullmatch(tag)) and (tag == OUTSIDE or "-" in tag)


def detect(sentences: Iterable[Sequence[str]]) -> str:
    """Detects the scheme of tags.

    Tags of B, I and O are IOB1 if they have fewer mistakes when read as IOB1
    than as BIO; tags of I, E and O are IOE1 or IOE2 in the same way. Where a
    tag does not mark a span, or letters are mixed, the scheme is "none".

    Args:
      sentences: the tags of each sentence.
    """
    bigrams = {
        pair
        for tags in sentences
        for pair in zip((OUTSIDE, *tags), (*tags, OUTSIDE))
    }
    found = {tag for _, tag in bigrams}
    if not all(_SPAN_TAG.fullmatch(tag) for tag in found):
        return "none"
    letters = {tag[0] for tag in found} - {OUTSIDE}
    if not letters:
        return "none"
    if letters <= set("BI"):
        wrong_in_bio = any(
            tag[0] == "I" and not _same_span_type(before, tag)
            for before, tag in bigrams
        )
        wrong_in_iob1 = any(
            tag[0] == "B" and not _same_span_type(before, tag)
            for before, tag in bigrams
        )
        return "iob1" if wrong_in_bio and not wrong_in_iob1 else "bio"
    if letters == set("IE"):
        wrong_in_ioe2 = any(
            tag[0] == "I" and not _same_span_type(after, tag)
            for tag, after in bigrams
        )
        wrong_in_ioe1 = any(
            tag[0] == "E" and not _same_span_type(after, tag)
            for tag, after in bigrams
        )
        return "ioe1" if wrong_in_ioe2 and not wrong_in_ioe1 else "ioe2"
    for scheme in ("bioes", "bilou", "bmes"):
        if letters <= set(_LETTERS[scheme]):
            return scheme
    return "none"


def of_labels(names: Iterable[str]) -> str:
    """Returns the scheme of a set of tags, in which every type can occur.

    B and I are BIO, but IOB1 where a type has no B; I and E are IOE2, but IOE1
    where a type has no E. Where types cannot occur in any scheme that has the
    letters (see `impossible`), it is the first of these.

    Args:
      names: the tags; where one is not like "B-PER", it is "none".
    """
    inside = [name for name in names if name != OUTSIDE]
    if not inside or not all(map(looks_like_spans, inside)):
        return "none"
    fitting = [
        scheme
        for scheme in _OF_LABELS
        if all(belongs(name, scheme) for name in inside)
    ]
    whole = [scheme for scheme in fitting if not impossible(inside, scheme)]
    return next(iter([*whole, *fitting, "none"]))


def impossible(names: Iterable[str], scheme: str) -> list[str]:
    """Returns the types of which a set of tags can spell no span.

    Args:
      names: the tags.
      scheme: one of `SCHEMES`; in "none" tags mark no spans.
    """
    if scheme == "none":
        return []
    letters: dict[str, set[str]] = {}
    for name in names:
        if name != OUTSIDE:
            letter, kind = split_tag(name)
            letters.setdefault(kind, set()).add(letter)
    first, _, last, alone = tuple(_LETTERS[scheme])
    return [
        kind
        for kind, there in letters.items()
        if alone not in there and not {first, last} <= there
    ]


def _same_span_type(before: str, tag: str) -> bool:
    return before != OUTSIDE and split_tag(before)[1] == split_tag(tag)[1]


def spans(tags: Sequence[str]) -> list[Span]:
    """Returns the spans that tags of any scheme mark, as conlleval reads them.

    Invalid tags are read too: a span begins at a word with B or S, after E or
    S, after O, and where the type changes. `seqeval` reads the same.
    """
    found: list[Span] = []
    start, before, kind_before = 0, OUTSIDE, ""
    for i, tag in enumerate([*tags, OUTSIDE]):
        letter, kind = split_tag(tag)
        letter = _ALIASES.get(letter, letter)
        begins = letter in "BS" or before in "OES" or kind != kind_before
        if before != OUTSIDE and (begins or letter == OUTSIDE):
            found.append(Span(start, i, kind_before))
        if letter != OUTSIDE and begins:
            start = i
        before, kind_before = letter, kind
    return found


def joined_spans(tags: Sequence[str]) -> list[Span]:
    """Returns the spans as the original reads them.

    They begin only at B or S and after O, and have the type of their last word.
    On valid tags of BIO and BIOES the result equals `spans`.
    """
    cuts = [
        i
        for i, tag in enumerate(tags)
        if i == 0 or tags[i - 1] == OUTSIDE or tag[0] in "BSUO"
    ]
    return [
        Span(start, end, split_tag(tags[end - 1])[1])
        for start, end in zip(cuts, [*cuts[1:], len(tags)])
        if tags[start] != OUTSIDE
    ]


def write(found: Iterable[Span], length: int, scheme: str) -> list[str]:
    """Returns the tags that mark some spans.

    Args:
      found: spans that do not overlap, in order.
      length: number of words.
      scheme: one of `SCHEMES`, except "none".
    """
    first, inside, last, alone = tuple(_LETTERS[scheme])
    tags = [OUTSIDE] * length
    end_before, type_before = -1, ""
    for start, end, kind in found:
        letters = [first, *inside * (end - start - 2), last]
        if end - start == 1:
            letters = [alone]
        if (end_before, type_before) == (start, kind):
            if scheme == "iob1":
                letters[0] = "B"
            elif scheme == "ioe1":
                tags[start - 1] = join_tag("E", kind)
        tags[start:end] = [join_tag(letter, kind) for letter in letters]
        end_before, type_before = end, kind
    return tags


def from_brackets(tags: Sequence[str]) -> list[str] | None:
    """Converts tags of CoNLL-2012 to BIO: "(ORG*", "*", "*)", "(GPE)".

    Returns:
      The tags; None where they are not of that form.
    """
    if not all(_BRACKETS.fullmatch(tag) for tag in tags):
        return None
    found, start, kind = [], 0, ""
    for i, tag in enumerate(tags):
        if tag.startswith("("):
            start, kind = i, tag.strip("(*)")
        if tag.endswith(")") and kind:
            found.append(Span(start, i + 1, kind))
            kind = ""
    return write(found, len(tags), "bio")


def convert(tags: Sequence[str], scheme: str) -> list[str]:
    """Converts tags to valid tags of another scheme, with the same `spans`."""
    if scheme == "none":
        return list(tags)
    return write(spans(tags), len(tags), scheme)


def labels(types: Iterable[str], scheme: str) -> tuple[str, ...]:
    """Returns all tags of a scheme for some types: "O", then by type."""
    letters = sorted(letters_of(scheme), key="BIMELSU".index)
    return (
        OUTSIDE,
        *(join_tag(x, kind) for kind in sorted(set(types)) for x in letters),
    )


class Grammar(NamedTuple):
    """Which sequences of K labels are valid, as bool arrays."""

    first: np.ndarray  # [K], whether a sentence may begin with it
    next: np.ndarray  # [K, K], whether the second may follow the first
    last: np.ndarray  # [K], whether a sentence may end with it


def grammar(names: Sequence[str], scheme: str) -> Grammar:
    """Returns the valid sequences of labels of a scheme.

    Args:
      names: names of the labels.
      scheme: their scheme; in "none" everything is valid.
    """
    size = len(names)
    if scheme == "none":
        every = np.ones([size], bool)
        return Grammar(every, np.ones([size, size], bool), every)
    tags = [split_tag(name) for name in names]
    may_follow = [
        [_may_follow(before, tag, scheme) for tag in tags] for before in tags
    ]
    first = [_may_follow((OUTSIDE, ""), tag, scheme) for tag in tags]
    last = [_may_follow(tag, (OUTSIDE, ""), scheme) for tag in tags]
    return Grammar(np.array(first), np.array(may_follow), np.array(last))


def _may_follow(
    before: tuple[str, str], tag: tuple[str, str], scheme: str
) -> bool:
    same = before[0] != OUTSIDE and before[1] == tag[1]
    if scheme == "bio":
        return same if tag[0] == "I" else True
    if scheme == "iob1":
        return same if tag[0] == "B" else True
    if scheme == "ioe2":
        return same if before[0] == "I" else True
    if scheme == "ioe1":
        return same if before[0] == "E" else True
    goes_on = tag[0] in "IMEL"
    is_open = before[0] in "BIM"
    return same and goes_on if is_open else not goes_on


def is_valid(tags: Sequence[str], scheme: str) -> bool:
    """Returns whether tags are a valid sequence of their scheme."""
    if scheme == "none":
        return True
    parts = [split_tag(tag) for tag in (OUTSIDE, *tags, OUTSIDE)]
    return all(belongs(tag, scheme) for tag in tags) and all(
        _may_follow(a, b, scheme) for a, b in itertools.pairwise(parts)
    )
