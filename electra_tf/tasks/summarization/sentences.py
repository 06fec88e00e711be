"""The sentences of a text, with their places; the words in them."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from electra_tf.errors import UserError
from electra_tf.text.detokenize import is_cjk

# sentencex keeps a quotation in one piece, however many sentences it has.
# Blanks in place of the marks do not change places in the text.
_QUOTES = str.maketrans(dict.fromkeys('"“”„‟«»「」『』', " "))
# An opening mark at a sentence's end belongs to the next one: a mark that
# opens, or one that may do either right before the next sentence.
_OPENING = re.compile(r"\s*(?:[“„‟«「『(（\[【]+\s*|(?<=\s)[\"'‘]+)$")  # noqa: RUF001
_WORD = re.compile(r"[^\W_]+")


class Span(NamedTuple):
    """Where a sentence stands in its text, in characters."""

    start: int
    end: int  # exclusive


def split(text: str, language: str = "en") -> list[Span]:
    """The sentences of a text in their order, without the space around them.

    By sentencex, and inside quotations too. An empty line ends a sentence;
    what holds no letter and no digit is none.

    Args:
      text: may be empty.
      language: of it, as "en", for its abbreviations; the marks of all
        scripts are known to every language.

    Raises:
      UserError: no sentencex.
    """
    try:
        import sentencex
    except ImportError as error:
        raise UserError(
            "summaries need sentencex: pip install 'electra-tf[seq2seq]'"
        ) from error
    bounds = [
        (found["start_index"], found["end_index"])
        for found in sentencex.get_sentence_boundaries(
            language, text.translate(_QUOTES)
        )
    ]
    spans, begin = [], 0
    for start, end in bounds:
        begin = min(begin, start)
        opening = _OPENING.search(text, begin, end)
        stop = opening.start() if opening and end < len(text) else end
        part = text[begin:stop]
        if _WORD.search(part):
            first = begin + len(part) - len(part.lstrip())
            last = begin + len(part.rstrip())
            if spans and _goes_on(text, spans[-1].end, first):
                first = spans.pop().start
            spans.append(Span(first, last))
        begin = stop
    return spans


def _goes_on(text: str, end: int, start: int) -> bool:
    """Whether a sentence goes on after a quotation in it: "So?" she said."""
    return text[end - 1] in "\"'”’»" and text[start].islower()  # noqa: RUF001


def words(text: str) -> list[str]:
    """Its words in lower case; of scripts without spaces, the characters."""
    found: list[str] = []
    for match in _WORD.finditer(text.lower()):
        word = match.group()
        if not any(map(is_cjk, word)):
            found.append(word)
            continue
        run = ""
        for character in word:
            if is_cjk(character):
                found += [run, character] if run else [character]
                run = ""
            else:
                run += character
        found += [run] if run else []
    return found


def join(texts: Sequence[str]) -> str:
    """Sentences as one text, with spaces where the script has them."""
    joined = ""
    for text in texts:
        glued = not joined or is_cjk(joined[-1]) or is_cjk(text[0])
        joined += text if glued else f" {text}"
    return joined
