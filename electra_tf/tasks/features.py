"""Rows of tokens of different lengths, and their targets, without padding.

Also the functions that make them: tokenizing many texts together, windows over
long texts, and how often an epoch has each kind of row.
"""

import copy
import dataclasses
import itertools
import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.text.tokenizer import Tokenizer, as_batch
from electra_tf.text.vocab import Vocab

# Texts tokenized, and rows filled, at a time: bounds memory.
_TEXTS, _ROWS = 1 << 15, 4096
_SHORT = 4096  # characters that take no longer than a call of TensorFlow
_CALLS = 16  # calls of a tokenizer after which tracing it pays
IGNORED = -1  # the label of tokens that have no loss
INPUTS = ("input_ids", "input_mask", "segment_ids")


@dataclasses.dataclass(frozen=True)
class Mixture:
    """How often an epoch has the units of each of S kinds.

    Attributes:
      sizes: how many units of each kind there are, each at least 1.
      draws: how many units of each kind an epoch has. If fewer than exist, the
        next epoch continues with the others; if more, some are repeated. Over
        the epochs all units of a kind are seen equally often.
    """

    sizes: tuple[int, ...]
    draws: tuple[int, ...]

    def epoch(self, number: int, seed: int) -> np.ndarray:
        """Returns the units of an epoch, int64 [sum of draws], kind by kind.

        Args:
          number: the epoch, from 0.
          seed: seed of the order in which a kind's units are taken.
        """
        found, first = [], 0
        for kind, (size, draws) in enumerate(zip(self.sizes, self.draws)):
            rounds, within = np.divmod(
                np.arange(number * draws, (number + 1) * draws), size
            )
            units = np.empty_like(within)
            for turn in np.unique(rounds):
                rng = np.random.default_rng([seed, 2, kind, int(turn)])
                here = rounds == turn
                units[here] = rng.permutation(size)[within[here]]
            found.append(first + units)
            first += size
        return np.concatenate(found).astype("int64")


def mix_by_size(sizes: Sequence[int], power: float) -> Mixture:
    """Returns a mixture that samples kinds in proportion to size ** power.

    An epoch is as long as all units together and has each kind at least once.

    Args:
      sizes: units of each kind, each at least 1.
      power: 1 takes every unit once, 0 all kinds equally often.
    """
    shares = np.asarray(sizes, "float64") ** power
    exact = shares / shares.sum() * sum(sizes)
    draws = np.maximum(np.floor(exact), 1).astype("int64")
    # The remainder of rounding down goes to those that lost most.
    for kind in np.argsort(draws - exact, kind="stable"):
        if draws.sum() >= sum(sizes):
            break
        draws[kind] += 1
    return Mixture(tuple(map(int, sizes)), tuple(map(int, draws)))


class Sequences(NamedTuple):
    """Target sequences: rows of tokens, each with its own length.

    Batches are padded with 0.
    """

    row_splits: np.ndarray  # int64 [N + 1], where each row starts
    tokens: np.ndarray  # int32 [T], of all rows

    @property
    def lengths(self) -> np.ndarray:
        """Returns the number of tokens in each row, int64 [N]."""
        return np.diff(self.row_splits)

    def batch(self, rows: np.ndarray, length: int) -> np.ndarray:
        """Returns some rows, padded to `length`: int32 [B, length]."""
        real = np.arange(length)[None] < self.lengths[rows][:, None]
        at = self.row_splits[rows][:, None] + np.arange(length)[None]
        found = np.zeros(real.shape, "int32")
        found[real] = self.tokens[at[real]]
        return found


@dataclasses.dataclass(frozen=True, eq=False)
class Features:
    """The inputs and targets of a network as N rows, not yet padded.

    Attributes:
      row_splits: int64 [N + 1], where each row starts in the token arrays.
      tokens: name -> [T] array over all tokens of all rows: `input_ids` and
        `segment_ids` int32, and labels of tokens where there are any.
        (`input_mask` is made with the batch.)
      rows: name -> [N, ...] array, the targets of rows: labels, positions.
        Where rows are grouped: [N / group, ...].
      sequences: name -> N rows of tokens with lengths of their own.
      padding: name -> value of padded tokens, 0 where a name is absent.
      group: number of consecutive rows that are one unit of training (a query's
        candidates); batches are then [B, group, L].
      examples: int64 [N], the example that each row belongs to; None where row
        i belongs to example i.
      extra: what the task's `predictions` needs besides the outputs.
      mixture: how often an epoch of training has each unit; None means once.
      truncated: rows whose text was cut to fit; None where long texts are
        read through several rows, or it is not known.
    """

    row_splits: np.ndarray
    tokens: Mapping[str, np.ndarray]
    rows: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    sequences: Mapping[str, Sequences] = dataclasses.field(default_factory=dict)
    padding: Mapping[str, int] = dataclasses.field(default_factory=dict)
    group: int = 1
    examples: np.ndarray | None = None
    extra: Any = None
    mixture: Mixture | None = None
    truncated: int | None = None

    def __len__(self) -> int:
        """Returns the number of rows."""
        return len(self.row_splits) - 1

    @property
    def units(self) -> int:
        """The number of rows, or of groups of rows."""
        return len(self) // self.group

    @property
    def epoch_units(self) -> int:
        """The number of units in an epoch of training."""
        return sum(self.mixture.draws) if self.mixture else self.units

    def epoch(self, number: int, seed: int) -> np.ndarray:
        """Returns the units of an epoch, int64 [epoch_units], not yet
        shuffled.
        """
        if self.mixture:
            return self.mixture.epoch(number, seed)
        return np.arange(self.units)

    @property
    def lengths(self) -> np.ndarray:
        """Returns the number of tokens in each row, int64 [N]."""
        return np.diff(self.row_splits)

    def alone(self) -> dict[str, np.ndarray]:
        """Makes the batch of the one row that these features have, quickly.

        Returns:
          As `batch`: `input_mask` and the token arrays, each [1, L].
        """
        found = {name: value[np.newaxis] for name, value in self.tokens.items()}
        mask = np.ones([1, len(self.tokens["input_ids"])], "int32")
        return {"input_mask": mask, **found}

    def batch(
        self,
        units: Sequence[int] | np.ndarray,
        length: int | None = None,
        multiple: int = 1,
    ) -> dict[str, np.ndarray]:
        """Returns some units as padded arrays.

        Args:
          units: B row or group numbers.
          length: L; None takes the longest row's length.
          multiple: lengths of sequences are rounded up to it, but not above
            the longest of all.

        Returns:
          `input_ids`, `input_mask`, `segment_ids` and the other token arrays
          [B, L], or [B, group, L]; row arrays [B, ...]; sequences [B, their
          own length].
        """
        units = np.asarray(units, "int64")
        rows = units
        if self.group > 1:
            rows = (units[:, None] * self.group + np.arange(self.group)).ravel()
        lengths = self.lengths[rows]
        if length is None:
            length = int(lengths.max(initial=1))
        within = np.arange(length)[None]
        real = within < lengths[:, None]
        # Positions past a row's end read token 0 and are overwritten below.
        source = np.where(real, self.row_splits[rows][:, None] + within, 0)
        shape = [len(units), self.group, length]
        if self.group == 1:
            shape = [len(units), length]
        found = {"input_mask": real.astype("int32").reshape(shape)}
        for name, values in self.tokens.items():
            padded = np.full(
                real.shape, self.padding.get(name, 0), values.dtype
            )
            if len(values):
                padded[real] = values[source[real]]
            found[name] = padded.reshape(shape)
        for name, values in self.rows.items():
            found[name] = values[units]
        for name, sequence in self.sequences.items():
            most = int(sequence.lengths.max(initial=1))
            own = int(sequence.lengths[rows].max(initial=1))
            found[name] = sequence.batch(
                rows, min(-(-own // multiple) * multiple, most)
            )
        return found


def check_options(options: Any, max_positions: int, where: str = "") -> None:
    """Refuses options that ask for longer rows than the model can read.

    Args:
      options: a task's options; those without a length are accepted.
      max_positions: longest row that the model can read.
      where: prefix of the message.

    Raises:
      UserError: `max_seq_length` or `max_target_length` is above it.
    """
    for name, extra in (("max_seq_length", 0), ("max_target_length", 2)):
        length = getattr(options, name, None)
        if isinstance(length, int) and length + extra > max_positions:
            raise UserError(
                f"{where}options.{name}: is {length}, and the model has "
                f"{max_positions} positions; set it to "
                f"{max_positions - extra} or less"
            )


def check_lengths(features: Features, max_positions: int) -> None:
    """Refuses rows that are longer than the model can read.

    Raises:
      UserError: at least one row is too long.
    """
    longest = int(features.lengths.max(initial=0))
    if longest > max_positions:
        raise UserError(
            f"options.max_seq_length: a row has {longest} tokens, and the "
            f"model has {max_positions} positions; set it to {max_positions} "
            "or less"
        )
    for sequence in features.sequences.values():
        longest = int(sequence.lengths.max(initial=0))
        if longest > max_positions:
            raise UserError(
                f"options.max_target_length: a target has {longest} tokens, "
                f"and the model has {max_positions} positions; set it to "
                f"{max_positions - 2} or less"
            )


def ranges(first: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Concatenates the numbers of R ranges.

    Args:
      first: int64 [R], the first number of each range.
      end: int64 [R], the number after each range's last.

    Returns:
      The numbers and, for each, the index of its range, int64.
    """
    count = end - first
    if len(first) == 1:  # of one text, in a third of the time
        return np.arange(first[0], end[0]), np.zeros([count[0]], "int64")
    of = np.repeat(np.arange(len(first)), count)
    within = np.arange(len(of)) - np.repeat(np.cumsum(count) - count, count)
    return first[of] + within, of


class Pieces(NamedTuple):
    """The WordPieces of N texts; equal texts share them."""

    table: np.ndarray  # int32, pieces of the distinct texts
    start: np.ndarray  # int64 [N], where a text's pieces start
    count: np.ndarray  # type: ignore[assignment]  # int64 [N], how many


def no_pieces(count: int) -> Pieces:
    """Returns the `Pieces` of `count` empty texts."""
    none = np.zeros([count], "int64")
    return Pieces(np.zeros([0], "int32"), none, none)


def tokenize_all(tokenizer: Tokenizer, texts: Iterable[str]) -> Pieces:
    """Tokenizes texts, each distinct one once.

    Args:
      tokenizer: the model's.
      texts: N texts.
    """
    numbers: dict[str, int] = {}
    text = np.array(
        [numbers.setdefault(t, len(numbers)) for t in texts], "int64"
    )
    different = [*numbers, ""]  # never empty
    tables, counts = [], []
    for i in range(0, len(different), _TEXTS):
        ids, lengths = _tokenized(tokenizer, different[i : i + _TEXTS])
        tables.append(ids)
        counts.append(lengths)
    count = np.concatenate(counts)
    start = np.cumsum(count) - count
    return Pieces(np.concatenate(tables), start[text], count[text])


class _Calls:
    """Counts the calls of a tokenizer, and holds its traced graph."""

    def __init__(self) -> None:
        self.count = 0
        self.graph: Any = None


_calls: "weakref.WeakKeyDictionary[Tokenizer, _Calls]" = (
    weakref.WeakKeyDictionary()
)


def _tokenized(
    tokenizer: Tokenizer, texts: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ids of all texts, int32, and each text's count, int64.

    A tokenizer that is called often for few texts is traced: the graph takes a
    third of the time of eager operations. Where `plain_ids` can, it takes less
    still.
    """
    if sum(map(len, texts)) <= _SHORT:
        plain = [tokenizer.plain_ids(text) for text in texts]
        rows = [row for row in plain if row is not None]
        if len(rows) == len(plain):
            ids = np.array([*itertools.chain(*rows)], "int32")
            return ids, np.array([*map(len, rows)], "int64")
    calls = _calls.setdefault(tokenizer, _Calls())
    calls.count += 1
    if calls.count > _CALLS and calls.graph is None:
        # Its own copy: a graph must not keep what it is found by.
        own = copy.copy(tokenizer)
        calls.graph = tf.function(
            lambda texts: own(texts),
            input_signature=[tf.TensorSpec([None], tf.string)],
            autograph=False,
        )
    if calls.graph is None:
        table = tokenizer(texts)
    else:
        table = calls.graph(as_batch(texts))
    return table.flat_values.numpy(), table.row_lengths().numpy()


def join_pairs(
    vocab: Vocab,
    first: Pieces,
    second: Pieces,
    first_kept: np.ndarray,
    second_kept: np.ndarray,
    paired: np.ndarray,
) -> Features:
    """Returns rows `[CLS] first [SEP]`, for pairs with `second [SEP]` behind.

    Args:
      vocab: the tokenizer's vocabulary.
      first: the WordPieces of N texts.
      second: the WordPieces of N second texts; theirs is segment 1.
      first_kept: int64 [N], how many pieces of each first text are kept.
      second_kept: int64 [N], the same for the second texts.
      paired: bool [N], whether there is a second text.
    """
    ends = np.cumsum(first_kept + second_kept + 2 + paired)
    splits = np.concatenate([[0], ends]).astype("int64")
    starts = splits[:-1]
    # Positions of neither text are [SEP], except the first of each row.
    ids = np.full([splits[-1]], vocab.sep_id, "int32")
    segments = np.zeros([splits[-1]], "int32")
    ids[starts] = vocab.cls_id
    for begin in range(0, len(starts), _ROWS):
        rows = slice(begin, begin + _ROWS)
        after = (starts + first_kept + 2)[rows]
        for pieces, kept, at in (
            (first, first_kept[rows], starts[rows] + 1),
            (second, second_kept[rows], after),
        ):
            target, _ = ranges(at, at + kept)
            start = pieces.start[rows]
            source, _ = ranges(start, start + kept)
            ids[target] = pieces.table[source]
        segments[ranges(after, splits[1:][rows])[0]] = 1
    return Features(
        splits,
        {"input_ids": ids, "segment_ids": segments},
        padding={"input_ids": vocab.pad_id},
    )


class Windows(NamedTuple):
    """R windows over long rows of units (words, sentences), which overlap.

    A unit is never cut. Its prediction is taken from the one window that shows
    most around it. Units are numbered over all groups.

    Attributes:
      group: int64 [R], the group (text, sentence) that the units belong to.
      first: int64 [R], the first unit in the window.
      end: int64 [R], the unit after the last one in it.
      own_first: int64 [R], the first unit that is predicted from this window.
      own_end: int64 [R], the unit after the last of these.
    """

    group: np.ndarray
    first: np.ndarray
    end: np.ndarray
    own_first: np.ndarray
    own_end: np.ndarray


def cut_windows(splits: np.ndarray, count: np.ndarray, room: int) -> Windows:
    """Cuts groups into windows: one for a group that fits, else several.

    Consecutive windows overlap by about a quarter.

    Args:
      splits: int64 [N + 1], where each group starts among all U units.
      count: int64 [U], the tokens of each unit, at most `room`.
      room: tokens of a window.
    """
    before = np.concatenate([[0], np.cumsum(count)])
    total = np.diff(before[splits])
    number = np.arange(len(total))
    first, end = splits[:-1], splits[1:]
    short = total <= room
    parts = [Windows(*(c[short] for c in (number, first, end, first, end)))]
    parts += [_long(i, first[i], end[i], before, room) for i in number[~short]]
    columns = [np.concatenate(column) for column in zip(*parts)]
    order = np.argsort(columns[0], kind="stable")
    return Windows(*(column[order] for column in columns))


def _long(
    group: int, first: int, end: int, before: np.ndarray, room: int
) -> Windows:
    bounds = []
    start = first
    while True:
        stop = int(np.searchsorted(before, before[start] + room, "right")) - 1
        stop = min(stop, end)
        bounds.append((start, stop))
        if stop == end:
            break
        back = before[stop] - room // 4
        start = max(int(np.searchsorted(before, back)), start + 1)
    rows = np.array(bounds, "int64")
    # The overlap of two windows is divided in the middle.
    cuts = (rows[1:, 0] + rows[:-1, 1] + 1) // 2
    return Windows(
        np.full([len(rows)], group),
        rows[:, 0],
        rows[:, 1],
        np.concatenate([[first], cuts]),
        np.concatenate([cuts, [end]]),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Places:
    """The row and position of each unit of N groups, such as words of
    sentences.

    Attributes:
      splits: int64 [N + 1], where each group starts among all U units.
      row: int64 [U], the row that a unit is predicted from; -1 where it has no
        token, and so no position.
      position: int64 [U], position of its first token in that row.
    """

    splits: np.ndarray
    row: np.ndarray
    position: np.ndarray


def unit_features(
    tokenizer: Tokenizer,
    groups: Sequence[Sequence[str]],
    max_length: int,
    labels: np.ndarray | None = None,
    framed: bool = False,
) -> Features:
    """Returns rows `[CLS] units [SEP]`, or with `[CLS] unit [SEP]` for each.

    A group that is longer than a row is split into several (`Windows`). Each
    distinct unit is tokenized once. A unit with more pieces than a row has room
    for is truncated.

    Args:
      tokenizer: the model's.
      groups: the units (words, sentences) of N groups.
      max_length: tokens in a row, special ones included.
      labels: int [U], of all units, `IGNORED` where there is none. Given
        labels, rows without any are left out.
      framed: whether each unit has a [CLS] and a [SEP] of its own. Segment ids
        are then the numbers of units in their group; else all are 0.

    Returns:
      Features whose `extra` are the `Places`. With labels they have the token
      array `labels`, `IGNORED` at all but the first tokens of units that are
      predicted from the row, and the row array `scale` float32, the same for
      all: 1 / the mean number of labels in a row.
    """
    vocab, extra = tokenizer.vocab, 2 * framed
    splits = np.concatenate([[0], np.cumsum([len(g) for g in groups])])
    splits = splits.astype("int64")
    pieces = tokenize_all(tokenizer, (unit for g in groups for unit in g))
    kept = np.minimum(pieces.count, max_length - 2)
    rows = cut_windows(splits, kept + extra, max_length - 2 + extra)
    if labels is not None:
        before = np.concatenate([[0], np.cumsum(kept + extra)])
        some = before[rows.own_end] > before[rows.own_first]
        rows = Windows(*(column[some] for column in rows))
    unit, row_of = ranges(rows.first, rows.end)  # units in the rows, row by row
    count = kept[unit]
    size = np.bincount(row_of, count + extra, len(rows.first)).astype("int64")
    row_splits = np.concatenate([[0], np.cumsum(size + 2 - extra)])

    # For each unit: the tokens before it, special ones included.
    place = np.cumsum(count + extra) - (count + extra)
    if not framed:
        place += 1 + 2 * row_of
    ids = np.full([row_splits[-1]], vocab.sep_id, "int32")
    ids[place if framed else row_splits[:-1]] = vocab.cls_id
    source, of = ranges(pieces.start[unit], pieces.start[unit] + count)
    within = source - pieces.start[unit][of] + framed
    ids[place[of] + within] = pieces.table[source]
    segments = np.zeros_like(ids)
    if framed:
        number = unit - splits[:-1][rows.group[row_of]]
        segments = np.repeat(number, count + extra).astype("int32")

    own = (rows.own_first[row_of] <= unit) & (unit < rows.own_end[row_of])
    own &= count + extra > 0
    places = Places(
        splits, np.full([splits[-1]], -1), np.full([splits[-1]], -1)
    )
    places.row[unit[own]] = row_of[own]
    places.position[unit[own]] = (place - row_splits[row_of])[own]

    tokens = {"input_ids": ids, "segment_ids": segments}
    targets = {}
    if labels is not None:
        tokens["labels"] = np.full_like(ids, IGNORED)
        tokens["labels"][place[own]] = labels[unit[own]]
        mean = (tokens["labels"] != IGNORED).sum() / max(len(size), 1)
        targets["scale"] = np.full([len(size)], 1 / max(mean, 1), "float32")
    return Features(
        row_splits,
        tokens,
        targets,
        padding={"input_ids": vocab.pad_id, "labels": IGNORED},
        examples=rows.group,
        extra=places,
    )
