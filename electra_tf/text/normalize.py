"""Cleans up, lower-cases and strips accents like the original, in the graph.

BERT's and ELECTRA's Python tokenizer drops control characters, lower-cases,
decomposes (NFD) and drops non-spacing marks, in this order. The normalisers
of TensorFlow Text fold compatibility characters too (NFKC: fullwidth commas
become ASCII ones) and turn control characters into spaces, so the steps are
put together here from primitive operations.

All functions map a string tensor [batch] to a string tensor [batch].
"""

import functools
from collections.abc import Callable

import tensorflow as tf
import tensorflow_text as tf_text

from electra_tf.text.vocab import MAX_CHARS_PER_WORD

# The longest word of 200 characters in UTF-8.
MAX_BYTES_PER_WORD = 4 * MAX_CHARS_PER_WORD

CJK = (
    r"\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{20000}-\x{2A6DF}"
    r"\x{2A700}-\x{2B73F}\x{2B740}-\x{2B81F}\x{2B820}-\x{2CEAF}"
    r"\x{F900}-\x{FAFF}\x{2F800}-\x{2FA1F}"
)
PUNCTUATION = r"!-/:-@\[-`{-~\p{P}"
SPACE = r"\t\n\r\p{Z}"

# Rows of these characters only need ASCII lower-casing.
_PLAIN = r"[ -~\t\n\r]*"
_VALID_UTF8 = r"[\x00-\x{D7FF}\x{E000}-\x{10FFFF}]*"
# Characters that Unicode 14, with which the original was recorded, does not
# know; unknown characters are dropped. (Gaps between them are unknown too.)
_NEWER_THAN_UNICODE_14 = (
    r"\x{CF3}\x{ECE}\x{10EFD}-\x{10EFF}\x{1123F}-\x{11241}\x{11B00}-\x{11B09}"
    r"\x{11F00}-\x{11F59}\x{1342F}\x{13440}-\x{13455}\x{1B132}\x{1B155}"
    r"\x{1D2C0}-\x{1D2D3}\x{1DF25}-\x{1DF2A}\x{1E030}-\x{1E08F}"
    r"\x{1E4D0}-\x{1E4F9}\x{1F6DC}\x{1F774}-\x{1F77F}\x{1F7D9}"
    r"\x{1FA75}-\x{1FA77}\x{1FA87}\x{1FA88}\x{1FAAD}-\x{1FAAF}"
    r"\x{1FABB}-\x{1FABF}\x{1FACE}\x{1FACF}\x{1FADA}\x{1FADB}\x{1FAE8}"
    r"\x{1FAF7}\x{1FAF8}\x{2B739}\x{31350}-\x{323AF}"
)
# Control, format, private and unassigned characters: anything but letters,
# marks, numbers, punctuation, symbols and separators.
DROPPED = (
    r"[^\t\n\r\p{L}\p{M}\p{N}\p{P}\p{S}\p{Z}]+"
    rf"|[\x{{FFFD}}{_NEWER_THAN_UNICODE_14}]+"
)
# Capitals that the ICU operation lower-cases by the process's locale (Turkish,
# Azerbaijani, Lithuanian), like ASCII I and J, and those new in Unicode 14,
# which it does not know.
_LOWERED_HERE = {
    "\u0130": "i\u0307", "\u00cc": "\u00ec", "\u00cd": "\u00ed",
    "\u0128": "\u0129", "\u012e": "\u012f", "\u2c2f": "\u2c5f",
    "\ua7c0": "\ua7c1", "\ua7d0": "\ua7d1", "\ua7d6": "\ua7d7",
    "\ua7d8": "\ua7d9",
} | {
    chr(code): chr(code + 0x27)
    for code in range(0x10570, 0x10596)
    if code not in (0x1057B, 0x1058B, 0x10593)
}  # fmt: skip
# Not exact: it matches every row with too long a word, and few others.
_MAYBE_LONG_WORD = (
    r"(?s).*[^\s!-/:-@\[-`{-~\x{2010}-\x{2027}\x{3000}-\x{3003}"
    r"\x{3400}-\x{4DBF}\x{4E00}-\x{9FFF}\x{FF01}\x{FF0C}\x{FF1A}\x{FF1B}"
    r"\x{FF1F}]{" + str(MAX_CHARS_PER_WORD + 1) + r"}.*"
)
# A four-byte letter: more than 200 of it exceed MAX_BYTES_PER_WORD.
_FILLER = "\U00010428"


def normalize(
    texts: tf.Tensor, lower_case: bool = True, strip_accents: bool = True
) -> tf.Tensor:
    """Cleans up, lower-cases and strips accents like the original.

    White space, punctuation and CJK characters stay as they are. Bytes that
    are not UTF-8 are dropped.

    Args:
      texts: string tensor [batch].
      lower_case: whether to lower-case like Python's `str.lower`.
      strip_accents: whether to decompose (NFD) and drop non-spacing marks.

    Returns:
      String tensor [batch], valid UTF-8.
    """
    plain = tf.strings.regex_full_match(texts, _PLAIN)
    ascii_done = tf.strings.lower(texts) if lower_case else texts
    return _on_rows(
        ascii_done,
        ~plain,
        lambda rows: _normalize_unicode(rows, lower_case, strip_accents),
    )


def mask_long_words(texts: tf.Tensor) -> tf.Tensor:
    """Overwrites words of more than 200 characters with a filler letter.

    The filler makes them longer than `MAX_BYTES_PER_WORD`, so that the
    WordPiece operation gives [UNK]. Their number of characters is unchanged.

    Args:
      texts: string tensor [batch], normalised.

    Returns:
      String tensor [batch].
    """
    maybe = tf.strings.regex_full_match(texts, _MAYBE_LONG_WORD)
    return tf.cond(
        tf.reduce_any(maybe),
        lambda: _on_rows(texts, maybe, _overwrite_long_words),
        lambda: texts,
    )


def isolate(texts: tf.Tensor) -> tf.Tensor:
    """Puts spaces around punctuation and CJK characters.

    Args:
      texts: string tensor [batch], normalised.

    Returns:
      String tensor [batch]; its white-space-separated parts are the words.
    """
    return tf.strings.regex_replace(texts, rf"[{PUNCTUATION}{CJK}]", r" \0 ")


def is_stripped_mark(characters: tf.Tensor) -> tf.Tensor:
    """Returns whether stripping accents drops each character.

    Args:
      characters: string tensor [n], one character each.

    Returns:
      bool tensor [n].
    """
    return tf.strings.regex_full_match(characters, r"\p{Mn}")


def row_numbers(ragged: tf.RaggedTensor) -> tf.Tensor:
    """Returns the row of each value, like `ragged.value_rowids()`.

    Unlike that method it does not make a matrix of rows by the longest row.

    Args:
      ragged: [batch, (values)].

    Returns:
      int64 tensor [values].
    """
    ends = ragged.row_splits[1:]
    size = tf.size(ragged.flat_values, tf.int64)
    marks = tf.scatter_nd(ends[:, tf.newaxis], tf.ones_like(ends), [size + 1])
    return tf.cumsum(marks)[:-1]


def _on_rows(
    texts: tf.Tensor,
    mask: tf.Tensor,
    function: Callable[[tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    """Applies `function` to the rows of `texts` where `mask` is true."""
    rows = tf.where(mask)
    return tf.tensor_scatter_nd_update(
        texts, rows, function(tf.gather_nd(texts, rows))
    )


def _normalize_unicode(
    texts: tf.Tensor, lower_case: bool, strip_accents: bool
) -> tf.Tensor:
    valid = tf.strings.regex_full_match(texts, _VALID_UTF8)
    texts = _on_rows(texts, ~valid, _drop_invalid)
    # Before lower-casing: the final sigma depends on its neighbours, and the
    # ICU operation stops at a NUL.
    texts = tf.strings.regex_replace(texts, DROPPED, "")
    if lower_case:
        texts = tf.strings.lower(texts)
        special = tf.strings.regex_full_match(
            texts, f"(?s).*[{''.join(_LOWERED_HERE)}].*"
        )
        texts = tf.cond(
            tf.reduce_any(special),
            functools.partial(_on_rows, texts, special, _lower_here),
            lambda: texts,
        )
        texts = tf.strings.lower(texts, encoding="utf-8")
    if strip_accents:
        texts = tf_text.normalize_utf8(texts, "NFD")
        texts = tf.strings.regex_replace(texts, r"\p{Mn}+", "")
    return texts


def _drop_invalid(texts: tf.Tensor) -> tf.Tensor:
    return tf.strings.unicode_transcode(
        texts, "UTF-8", "UTF-8", errors="ignore"
    )


def _lower_here(texts: tf.Tensor) -> tf.Tensor:
    for upper, lower in _LOWERED_HERE.items():
        texts = tf.strings.regex_replace(texts, upper, lower)
    return texts


def _overwrite_long_words(texts: tf.Tensor) -> tf.Tensor:
    characters = tf.strings.unicode_split(texts, "UTF-8")
    flat = characters.flat_values
    boundary = tf.strings.regex_full_match(
        flat, rf"[{SPACE}{PUNCTUATION}{CJK}]"
    )
    # A word is a run between boundaries or ends of rows.
    row = row_numbers(characters)
    after = boundary[:-1] | (row[1:] != row[:-1])
    starts = boundary | tf.concat([[True], after], axis=0)
    word = tf.cumsum(tf.cast(starts, tf.int64)) - 1
    lengths = tf.math.bincount(tf.cast(word, tf.int32))
    long = tf.gather(lengths, word) > MAX_CHARS_PER_WORD
    flat = tf.where(long, _FILLER, flat)
    return tf.strings.reduce_join(characters.with_flat_values(flat), axis=-1)
