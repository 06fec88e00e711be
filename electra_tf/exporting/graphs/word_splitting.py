"""Splits texts into words like the tasks, in graph operations."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from electra_tf.exporting.graphs.inputs import Tensors
from electra_tf.tasks.qa.words import Splitter
from electra_tf.tasks.tagging import words as tagging_words
from electra_tf.text.normalize import row_numbers
from electra_tf.text.tokenizer import Offsets

_CODE_POINTS, _BLOCK = 0x110000, 256


class Words(NamedTuple):
    """The words of B texts, each a RaggedTensor [B, (words)].

    Ends are exclusive. Bytes that are not UTF-8 count as characters.

    Attributes:
      text: string, the text's own bytes.
      start_bytes, end_bytes: int64, in the text's bytes.
      start_chars, end_chars: int64, in its characters.
      num_chars: int64 [B], the characters of each text.
    """

    text: tf.RaggedTensor
    start_bytes: tf.RaggedTensor
    end_bytes: tf.RaggedTensor
    start_chars: tf.RaggedTensor
    end_chars: tf.RaggedTensor
    num_chars: tf.Tensor


class _CharacterClasses:
    """A small number for each code point, looked up in the graph.

    Equal blocks of code points are stored once.

    Args:
      classes: uint8 [_CODE_POINTS].
    """

    def __init__(self, classes: np.ndarray | Sequence[int]):
        blocks = np.asarray(classes, "uint8").reshape(-1, _BLOCK)
        different, which = np.unique(blocks, axis=0, return_inverse=True)
        self._blocks = different.ravel()
        self._which = which.ravel().astype("int32")

    def __call__(self, codes: tf.Tensor) -> tf.Tensor:
        """Returns the classes of code points, int32 [N]."""
        block = tf.gather(self._which, codes // _BLOCK)
        found = tf.gather(self._blocks, block * _BLOCK + codes % _BLOCK)
        return tf.cast(found, tf.int32)


PLACES = ("start_bytes", "end_bytes", "start_chars", "end_chars")


def places(found: Words | Offsets) -> Tensors:
    """Pads positions of words or tokens with -1, int64 [B, W]."""
    return {name: getattr(found, name).to_tensor(-1) for name in PLACES}


def cut_spans(
    texts: tf.Tensor, starts: tf.RaggedTensor, ends: tf.RaggedTensor
) -> tf.RaggedTensor:
    """Extracts the bytes from `starts` to `ends` of each text.

    Time and memory are proportional to the extracted bytes, and to those before
    the last of them; a substring operation would copy each text once for every
    piece.

    Args:
      texts: string [B].
      starts: int64 [B, (pieces)], offsets of bytes.
      ends: int64 [B, (pieces)], exclusive.

    Returns:
      String RaggedTensor [B, (pieces)].
    """
    used = tf.maximum(tf.reduce_max(ends, axis=1), 0)
    texts = tf.strings.substr(texts, tf.zeros_like(used), used)
    single = tf.strings.bytes_split(texts)
    row = tf.gather(single.row_starts(), row_numbers(starts))
    at = tf.ragged.range(starts.flat_values + row, ends.flat_values + row)
    joined = tf.strings.unsorted_segment_join(
        tf.gather(single.flat_values, at.flat_values),
        row_numbers(at),
        at.nrows(),
    )
    return starts.with_flat_values(joined)


class _Characters(NamedTuple):
    """N characters of B texts."""

    codes: tf.RaggedTensor  # int32 [B, (characters)]
    row: tf.Tensor  # int64 [N]
    start_bytes: tf.Tensor  # int64 [N], in its text
    end_bytes: tf.Tensor  # int64 [N]


def _characters(texts: tf.Tensor) -> _Characters:
    codes, starts = tf.strings.unicode_decode_with_offsets(texts, "UTF-8")
    row, starts = row_numbers(codes), starts.flat_values
    sizes = tf.cast(tf.strings.length(texts), tf.int64)
    following = tf.concat([starts, [0]], axis=0)[1:]
    is_last = tf.concat([row, [-1]], axis=0)[1:] != row
    ends = tf.where(is_last, tf.gather(sizes, row), following)
    return _Characters(codes, row, starts, ends)


def _words(
    texts: tf.Tensor,
    characters: _Characters,
    first: tf.Tensor,
    end: tf.Tensor,
) -> Words:
    """Makes words from the numbers of their first and after-last characters.

    Args:
      texts: string [B].
      characters: characters of the texts.
      first: int64 [W], in order.
      end: int64 [W].
    """
    row = tf.gather(characters.row, first)
    row_start = tf.gather(characters.codes.row_starts(), row)
    start_bytes = tf.gather(characters.start_bytes, first)
    end_bytes = tf.gather(characters.end_bytes, end - 1)
    splits = tf.searchsorted(first, characters.codes.row_splits)

    def ragged(values: tf.Tensor) -> tf.RaggedTensor:
        return tf.RaggedTensor.from_row_splits(
            values, tf.cast(splits, tf.int64), validate=False
        )

    starts, ends = ragged(start_bytes), ragged(end_bytes)
    return Words(
        cut_spans(texts, starts, ends),
        starts,
        ends,
        ragged(first - row_start),
        ragged(end - row_start),
        characters.codes.row_lengths(),
    )


# --- tagging ---------------------------------------------------------------

# Replacements of characters outside ASCII. The regex engine has no look-ahead:
# special characters replace it before words are searched.
_DOT_NUMBER, _DOT_WORD = "\x01", "\x02"  # a dot before a number, a word
_N, _SUFFIX = "\x03", "\x04"  # of n't; the apostrophe of 's, 'll
_IDEOGRAPH, _SYMBOL, _AGAIN = "\x05", "\x06", "\x07"  # again: as before it
_START, _END = "\x0e", "\x0f"  # of a word

_LOOK_AHEAD = (
    (r"\.( ?[0-9])", _DOT_NUMBER + r"\1"),
    (r"\.( ?[a-z])", _DOT_WORD + r"\1"),
    (r"n('t)([^a-z0-9]|\z)", _N + r"\1\2"),
    # Twice, as a match consumes the next character, which may begin another
    # one.
    *[
        (
            rf"'(s|m|d|re|ve|ll)([^a-z0-9{_N}]|\z)",
            _SUFFIX + r"\1\2",
        )
    ]
    * 2,
)


def _word_pattern() -> str:
    """Returns the pattern of `tagging.words`, over the characters above."""
    dots = f".{_DOT_NUMBER}{_DOT_WORD}"
    letters = f"a-z{_N}"
    word = f"{letters}0-9"
    abbreviations = "|".join(tagging_words.ABBREVIATIONS)
    runs = [rf"[{dots}]+", rf"['{_SUFFIX}]+", f"[{_SYMBOL}{_AGAIN}]{_AGAIN}*"]
    runs += [rf"\x{ord(c):02x}+" for c in '!"#$%&()*+,-/:;<=>?@[\\]^_`{|}~']
    before_n = "|".join(
        [
            _IDEOGRAPH,
            rf"(?:https?://|www[{dots}])[^ {_IDEOGRAPH}]*[{word}/]",
            rf"(?:[{letters}][{dots}]){{2,}}",
            rf"(?:{abbreviations})[{_DOT_NUMBER}{_DOT_WORD}]",
            f"no{_DOT_NUMBER}",
            rf"[od]['{_SUFFIX}][{word}]{{2,}}",
        ]
    )
    after_n = "|".join(
        [
            f"{_N}'t",
            f"{_SUFFIX}(?:s|m|d|re|ve|ll)",
            rf"[0-9]+(?:[{dots},:/][0-9]+)*[{letters}]*(?:-[{word}]+)*",
            rf"[@#]?[{word}_]+(?:[-{dots}@&_/][{word}_]+)*",
            *runs,
        ]
    )
    return f"({before_n})|([a-z]+)({_N}'t)|({after_n})"


@functools.cache
def _kinds() -> _CharacterClasses:
    """Returns code point -> representative of its kind."""
    found = np.full([_CODE_POINTS], ord(_SYMBOL), "uint8")
    for code in range(_CODE_POINTS):
        kind = tagging_words.kind_of(chr(code))
        if kind == tagging_words.IDEOGRAPH:
            found[code] = ord(_IDEOGRAPH)
        elif kind.isascii():
            found[code] = ord(kind)
    return _CharacterClasses(found)


def split_words(texts: tf.Tensor) -> Words:
    """Splits texts like `tasks.tagging.words.split_words`.

    Args:
      texts: string [B], with any bytes.
    """
    characters = _characters(texts)
    codes = characters.codes.flat_values
    kinds = _kinds()(codes)
    again = tf.concat([[-1], codes], axis=0)[:-1] == codes
    again &= kinds == ord(_SYMBOL)
    kinds = tf.where(again, ord(_AGAIN), kinds)
    marked = tf.strings.unicode_encode(
        characters.codes.with_flat_values(kinds), "UTF-8"
    )
    for pattern, rewrite in _LOOK_AHEAD:
        marked = tf.strings.regex_replace(marked, pattern, rewrite)
    # An empty part is an empty word.
    marked = tf.strings.regex_replace(
        marked,
        _word_pattern(),
        rf"{_START}\1\2\4{_END}{_START}\3{_END}",
    )
    found = tf.strings.unicode_decode(marked, "UTF-8").flat_values
    is_start, is_end = found == ord(_START), found == ord(_END)
    before = tf.cumsum(tf.cast(~(is_start | is_end), tf.int64), exclusive=True)
    first, end = before[is_start], before[is_end]
    full = first < end
    return _words(texts, characters, first[full], end[full])


# --- question answering ----------------------------------------------------

_BETWEEN, _ALONE, _TOGETHER = range(3)


@functools.cache
def _classes(splitter: Splitter) -> _CharacterClasses:
    """Classifies characters: a word, part of one, or neither."""
    found = np.full([_CODE_POINTS], _BETWEEN, "uint8")
    for start in range(0, _CODE_POINTS, _BLOCK):
        block = [chr(code) for code in range(start, start + _BLOCK)]
        if splitter.word.fullmatch("".join(block)):  # usually one long word
            found[start : start + _BLOCK] = _TOGETHER
            continue
        # Each character twice: the two are one word, or two.
        for word in splitter.word.findall(" ".join(c * 2 for c in block)):
            found[ord(word[0])] = _TOGETHER if len(word) == 2 else _ALONE
    return _CharacterClasses(found)


def split_runs(texts: tf.Tensor, splitter: Splitter) -> Words:
    """Splits contexts like `tasks.qa.words.split_words`.

    Args:
      texts: string [B], with any bytes.
      splitter: a splitter whose words are single characters, and runs of
        others.
    """
    characters = _characters(texts)
    classes = _classes(splitter)(characters.codes.flat_values)
    row = characters.row
    same_row = tf.concat([[-1], row], axis=0)[:-1] == row
    before = tf.concat([[_BETWEEN], classes], axis=0)[:-1]
    goes_on = same_row & (classes == _TOGETHER) & (before == _TOGETHER)
    starts = (classes != _BETWEEN) & ~goes_on
    continues = tf.concat([goes_on, [False]], axis=0)[1:]
    ends = (classes != _BETWEEN) & ~continues
    return _words(
        texts,
        characters,
        tf.where(starts)[:, 0],
        tf.where(ends)[:, 0] + 1,
    )
