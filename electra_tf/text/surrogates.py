"""Finds half characters: lone surrogates, which Python's texts may hold.

No UTF-8 has them, so that no tokenizer takes them and no file can hold them.
"""

from typing import Any

import numpy as np


def half_of_pair(text: str) -> str | None:
    """Describes the first lone surrogate of a text; None where it has none."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return (
            f"character {error.start + 1} is half of a surrogate pair "
            f"(\\u{ord(text[error.start]):04x}), which no text may hold; "
            "was an emoji cut in two? Leave it out, as with "
            "text.encode('utf-8', 'ignore').decode()"
        )
    return None


def got(texts: Any) -> str:
    """Describes what was given in place of texts, naming the first such item.

    Args:
      texts: what could not be converted to a tensor of strings.
    """
    row = isinstance(texts, np.ndarray) and texts.ndim == 1
    listed = row or isinstance(texts, list | tuple)
    for number, item in enumerate(texts if listed else [texts], 1):
        half = half_of_pair(item) if isinstance(item, str) else None
        if half is not None:
            return f"got item {number}: {half}" if listed else f"got {half}"
        if listed and not isinstance(item, str | bytes):
            return f"got {item!r:.60} as item {number}"
    return f"got {texts!r:.60}"
