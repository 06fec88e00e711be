"""Makes two-segment pre-training examples from the token ids of lines.

The algorithm is ELECTRA's (google-research/electra): lines of a document are
gathered until they reach a target length (the whole `max_seq_length`, for 5 %
of the examples a shorter one) and divided into two segments at a random line
(10 % of the examples keep one segment). Two builders follow it:

* `build` treats each document by itself, with random numbers that depend on
  the document's key alone, so documents can be worked on anywhere in any
  order; it looks at whole arrays, not at single lines. Segments are always
  consecutive text, and no token is lost: what does not fit an example begins
  the next one of its document.
* `LegacyBuilder` draws from Python's `random` in the original's order and
  carries its state over document ends as the original does.

Both only move ids about, so a mark in a high bit of each, which says whether
the token begins a word, arrives where the token does. Nothing here reads or
writes files.
"""

import dataclasses
import itertools
import random
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import numpy as np

SINGLE_SEGMENT_SHARE = 0.1
SHORT_TARGET_SHARE = 0.05
SHORTEST_TARGET = 5
# Room for [CLS] and two [SEP].
_SPECIALS = 3

# Above all ids.
_WORD_START = np.int32(1 << 30)
ID_MASK = ~_WORD_START

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)


@dataclasses.dataclass(frozen=True)
class Lines:
    """Token ids of the lines of some documents, flat.

    Attributes:
      ids: int32 [tokens].
      starts: int64 [lines + 1], where each line begins in `ids`, and the end.
      documents: int64 [documents + 1], each document's first line, and the
        number of lines.
    """

    ids: np.ndarray
    starts: np.ndarray
    documents: np.ndarray


@dataclasses.dataclass(frozen=True)
class Examples:
    """Examples of varying length, flat and not padded.

    Attributes:
      ids: int32 [tokens]: `[CLS] first [SEP]` and, with a second segment,
        `second [SEP]`, example after example.
      starts: int64 [examples + 1], where each example begins in `ids`.
      first_lengths: int64 [examples], the length of `[CLS] first [SEP]`.
      per_document: int64 [documents], how many examples each document gave.
      word_starts: bool [tokens], which tokens begin a word (specials do
        not), or None if no segmenter found any.
    """

    ids: np.ndarray
    starts: np.ndarray
    first_lengths: np.ndarray
    per_document: np.ndarray
    word_starts: np.ndarray | None = None


def mark_word_starts(lines: Lines, word_starts: np.ndarray) -> Lines:
    """Marks the ids that begin words, for `read_word_starts` to find.

    Args:
      lines: ids below 2^30.
      word_starts: bool [tokens].
    """
    ids = lines.ids | np.where(word_starts, _WORD_START, np.int32(0))
    return dataclasses.replace(lines, ids=ids)


def read_word_starts(examples: Examples) -> Examples:
    """Returns examples of marked ids -> with plain ids and `word_starts`."""
    return dataclasses.replace(
        examples,
        ids=examples.ids & ~_WORD_START,
        word_starts=examples.ids >= _WORD_START,
    )


def uniform(keys: np.ndarray, draw: np.ndarray | int) -> np.ndarray:
    """Returns random numbers in [0, 1) that depend on (key, draw) alone.

    SplitMix64 (Steele, Lea and Flood, 2014), reading stream `key` at `draw`.

    Args:
      keys: uint64, any shape.
      draw: non-negative integers that broadcast with it.

    Returns:
      float64 of the broadcast shape.
    """
    with np.errstate(over="ignore"):  # modulo 2**64 is meant
        state = keys + (np.asarray(draw, np.uint64) + np.uint64(1)) * _GOLDEN
        state = (state ^ (state >> np.uint64(30))) * _MIX1
        state = (state ^ (state >> np.uint64(27))) * _MIX2
    state = state ^ (state >> np.uint64(31))
    return (state >> np.uint64(11)) * 2.0**-53


def drop_empty_lines(lines: Lines) -> Lines:
    """Leaves out lines without tokens; documents may become empty."""
    keep = np.diff(lines.starts) > 0
    if keep.all():
        return lines
    kept_before = np.concatenate([[0], np.cumsum(keep)])
    starts = np.append(lines.starts[:-1][keep], lines.starts[-1])
    return Lines(lines.ids, starts, kept_before[lines.documents])


def split_long_lines(lines: Lines, longest: int, piece: int) -> Lines:
    """Divides each line of over `longest` tokens into pieces of `piece`."""
    lengths = np.diff(lines.starts)
    counts = np.where(lengths > longest, -(-lengths // piece), 1)
    if len(counts) == counts.sum():
        return lines
    first = np.concatenate([[0], np.cumsum(counts)])
    line = np.repeat(np.arange(len(lengths)), counts)
    inner = np.arange(first[-1]) - first[line]
    starts = np.append(lines.starts[line] + inner * piece, lines.starts[-1])
    return Lines(lines.ids, starts, first[lines.documents])


def build(
    lines: Lines,
    keys: np.ndarray,
    *,
    max_seq_length: int,
    cls_id: int,
    sep_id: int,
) -> Examples:
    """Returns the examples of all documents in `lines`.

    Args:
      lines: the documents' tokens, without specials.
      keys: uint64 [documents], the source of each document's random numbers.
      max_seq_length: the longest example, specials included; 5 or more.
      cls_id: the id of `[CLS]`.
      sep_id: the id of `[SEP]`.
    """
    keys = np.asarray(keys, np.uint64)
    lines = split_long_lines(
        drop_empty_lines(lines),
        max_seq_length,
        -(-(max_seq_length - _SPECIALS) // 4),
    )
    # An example takes one line at least, or all the tokens that it has room
    # for: so many examples has a document at most, with random numbers each.
    room = max_seq_length - _SPECIALS
    tokens = np.diff(lines.starts[lines.documents])
    most = np.diff(lines.documents) + tokens // room + 1
    slots = np.concatenate([[0], np.cumsum(most)])
    slot_keys = np.repeat(keys, most)
    order = _numbers(most)
    targets = _targets(slot_keys, order, max_seq_length)
    begin, end, per_document = _gather(lines, targets, slots, room)
    place = np.repeat(slots[:-1], per_document) + _numbers(per_document)

    # Where a line is divided, its parts are lines of their own from here on.
    starts = np.union1d(lines.starts, end)
    keys, order, target = slot_keys[place], order[place], targets[place]
    split = _split(
        starts,
        np.searchsorted(starts, begin),
        np.searchsorted(starts, end),
        target,
        keys,
        order,
    )
    middle = starts[split]
    return _assemble(
        lines.ids, begin, middle - begin, middle, end - middle, per_document,
        cls_id, sep_id,
    )  # fmt: skip


def _numbers(counts: np.ndarray) -> np.ndarray:
    """Returns 0, 1, ... count - 1 for each count, one after the other."""
    before = np.cumsum(counts) - counts
    return np.arange(counts.sum()) - np.repeat(before, counts)


def _targets(
    keys: np.ndarray, order: np.ndarray, max_seq_length: int
) -> np.ndarray:
    """Returns target length of the `order`-th example of the document
    `keys`.
    """
    span = max_seq_length - SHORTEST_TARGET + 1
    short = SHORTEST_TARGET + (uniform(keys, order * 4 + 1) * span).astype(
        np.int64
    )
    is_short = uniform(keys, order * 4) < SHORT_TARGET_SHARE
    return np.where(is_short, short, max_seq_length)


def _gather(
    lines: Lines, targets: np.ndarray, slots: np.ndarray, room: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Divides documents into stretches of lines that reach their targets.

    A stretch that is longer than `room` ends within a line. So that no
    document ends with an example of a token or two, the last stretch but one
    may be a little shorter.

    Args:
      lines: without empty ones.
      targets: target lengths.
      slots: each document's first target, and the number of targets.
      room: tokens that an example of two segments has room for.

    Returns:
      Each example's first token, the token after its last, and the number of
      examples of each document.
    """
    starts = lines.starts.tolist()
    goals = targets.tolist()
    least = min(SHORTEST_TARGET, room // 2)
    begins: list[int] = []
    ends: list[int] = []
    per_document: list[int] = []
    bounds = lines.documents.tolist()
    for (line, last), slot in zip(itertools.pairwise(bounds), slots.tolist()):
        here, stop, before = starts[line], starts[last], len(begins)
        while here < stop:
            begins.append(here)
            end = bisect_left(starts, here + goals[slot], line + 1, last)
            # One line is one segment, with one [SEP].
            longest = room + (end == line + 1)
            line, here, begin = end, starts[end], here
            if here - begin > longest:
                here = begin + longest
                line -= 1
                if stop - here < least:
                    here = stop - least
                while starts[line] > here:
                    line -= 1
            ends.append(here)
            slot += 1
        per_document.append(len(begins) - before)
    return (
        np.array(begins, np.int64),
        np.array(ends, np.int64),
        np.array(per_document, np.int64),
    )


def _split(
    starts: np.ndarray,
    first_line: np.ndarray,
    end_line: np.ndarray,
    target: np.ndarray,
    keys: np.ndarray,
    order: np.ndarray,
) -> np.ndarray:
    """Returns the line at which each example's second segment begins."""
    half = (target - _SPECIALS) // 2
    begin = starts[first_line]
    # The first line always, then those that leave it under half the target,
    split = np.searchsorted(starts, begin + half, side="left") - 1
    split = np.minimum(np.maximum(split, first_line + 1), end_line)
    # then, half of the time, the one that takes it over.
    over = (split < end_line) & (starts[split] - begin < half)
    split = split + (over & (uniform(keys, order * 4 + 3) < 0.5))
    single = uniform(keys, order * 4 + 2) < SINGLE_SEGMENT_SHARE
    return np.where(single, end_line, split)


def _assemble(
    ids: np.ndarray,
    first_start: np.ndarray,
    first: np.ndarray,
    second_start: np.ndarray,
    second: np.ndarray,
    per_document: np.ndarray,
    cls_id: int,
    sep_id: int,
) -> Examples:
    """Copies the segments and puts `[CLS]` and `[SEP]` around them."""
    has_second = second > 0
    first_lengths = first + 2
    lengths = first_lengths + second + has_second
    starts = np.concatenate([[0], np.cumsum(lengths)])
    out = np.empty(starts[-1], np.int32)
    # For each segment: source, destination and length, in output order.
    source = np.stack([first_start, second_start], 1).ravel()
    target = np.stack([starts[:-1] + 1, starts[:-1] + first_lengths], 1).ravel()
    size = np.stack([first, second], 1).ravel()
    before = np.cumsum(size) - size
    token = np.arange(size.sum())
    out[token + np.repeat(target - before, size)] = ids[
        token + np.repeat(source - before, size)
    ]
    out[starts[:-1]] = cls_id
    out[starts[:-1] + first_lengths - 1] = sep_id
    out[starts[1:] - 1] = sep_id
    return Examples(out, starts, first_lengths, per_document)


class LegacyBuilder:
    """The original's example builder, with exactly its random numbers.

    It differs from `build` where the original surprises: the target length
    is drawn when an example ends and holds for the next one, also in the
    next document, while a document's last, shorter example is made against
    the same target; a short line may join the first segment after the second
    has begun; and what does not fit is cut off.

    Args:
      max_seq_length: the longest example, specials included.
      cls_id: the id of `[CLS]`.
      sep_id: the id of `[SEP]`.
      seed: what Python's `random.seed` is given.
    """

    def __init__(
        self, max_seq_length: int, cls_id: int, sep_id: int, seed: int
    ):
        self._max = max_seq_length
        self._cls = cls_id
        self._sep = sep_id
        self._random = random.Random(seed)
        self._target = max_seq_length
        self._lines: list[np.ndarray] = []
        self._length = 0

    def add(self, lines: Lines, ends: Sequence[bool] | None = None) -> Examples:
        """Returns the examples that `lines` complete.

        Args:
          lines: documents, or pieces of them.
          ends: whether each of them ends its document, if not all do. What is
            left of one that does not is joined by the next one's lines.
        """
        made: list[tuple[np.ndarray, int]] = []
        per_document = []
        starts = lines.starts.tolist()
        bounds = lines.documents.tolist()
        for i, (begin, end) in enumerate(itertools.pairwise(bounds)):
            before = len(made)
            for line in range(begin, end):
                self._lines.append(lines.ids[starts[line] : starts[line + 1]])
                self._length += starts[line + 1] - starts[line]
                if self._length >= self._target:
                    made.append(self._make())
            if self._length and (ends is None or ends[i]):
                made.append(self._make())
            per_document.append(len(made) - before)
        lengths = [len(ids) for ids, _ in made]
        return Examples(
            np.concatenate([np.empty(0, np.int32), *(ids for ids, _ in made)]),
            np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
            np.array([first for _, first in made], np.int64),
            np.array(per_document, np.int64),
        )

    def _make(self) -> tuple[np.ndarray, int]:
        draw = self._random.random
        half: float = (self._target - _SPECIALS) // 2
        if draw() < SINGLE_SEGMENT_SHARE:
            half = float("inf")
        segments: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        first = second = 0
        for line in self._lines:
            fits = first == 0 or first + len(line) < half
            # A random number is used only if the line could exceed half.
            if fits or (second == 0 and first < half and draw() < 0.5):
                segments[0].append(line)
                first += len(line)
            else:
                segments[1].append(line)
                second += len(line)
        self._lines, self._length = [], 0
        self._target = self._max
        if draw() < SHORT_TARGET_SHARE:
            self._target = self._random.randint(SHORTEST_TARGET, self._max)
        a = np.concatenate(segments[0])[: self._max - 2]
        ids: list[Any] = [[self._cls], a, [self._sep]]
        room = max(0, self._max - len(a) - _SPECIALS)
        if second and room:
            ids += [np.concatenate(segments[1])[:room], [self._sep]]
        return np.concatenate(ids).astype(np.int32), len(a) + 2
