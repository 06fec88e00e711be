"""Processes long texts in slices, with the same results as whole ones.

Values for each character take many times the memory of the text, and an
operation over a whole long text cannot be cancelled: so texts are split where
nothing depends on the other side, and slices are processed in parts.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import tensorflow as tf

from electra_tf.exporting.graphs.inputs import Tensors, in_parts

# Approximate bytes that are processed at a time.
BYTES = 2**15

Columns = dict[str, tf.RaggedTensor]


class Read(NamedTuple):
    """Values computed for N texts.

    Attributes:
      columns: name -> RaggedTensor [N, (values)]. Names like `start_bytes`,
        `end_bytes`, `start_chars` and `end_chars` mean positions in the texts.
      num_chars: int64 [N], the characters of each text.
    """

    columns: Columns
    num_chars: tf.Tensor


class Slices(NamedTuple):
    """S slices of B texts, in order; each text has at least one.

    Attributes:
      row: int64 [S], the text of the slice.
      start: int64 [S], byte of the text at which it starts.
      size: int64 [S], its bytes.
    """

    row: tf.Tensor
    start: tf.Tensor
    size: tf.Tensor


def cut(texts: tf.Tensor, between_ideographs: bool) -> Slices:
    """Splits texts that are longer than `BYTES`, at about this distance.

    A text is split after a space or line feed between two letters or digits of
    ASCII, or between two ideographs: neither words nor their context reach
    across. Where there is no such place a slice is longer.

    Args:
      texts: string [B], with any bytes.
      between_ideographs: whether a split there changes nothing.
    """
    sizes = tf.cast(tf.strings.length(texts), tf.int64)
    ends = tf.cumsum(sizes)
    starts = ends - sizes
    row = tf.range(tf.size(texts, tf.int64))

    def cuts() -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the bytes to split before, and their texts, int64 [C]
        each.
        """
        wanted = tf.ragged.range(
            tf.minimum(starts + BYTES, ends), ends, BYTES
        )  # [B, (cuts)]
        places = _safe_places(tf.strings.reduce_join(texts), between_ideographs)
        number = tf.searchsorted(places, wanted.flat_values)
        places = tf.concat([places, ends[-1:]], axis=0)
        place, which = tf.unique(tf.gather(places, number))
        # For several texts at the same place, the last one is meant.
        of = tf.math.segment_max(
            tf.repeat(row, wanted.row_lengths()), tf.cast(which, tf.int64)
        )
        inside = place < tf.gather(ends, of)
        return place[inside], of[inside]

    none = tf.zeros([0], tf.int64)
    place, of = tf.cond(
        tf.reduce_any(sizes > BYTES), cuts, lambda: (none, none)
    )
    place = tf.concat([starts, place], axis=0)
    row = tf.concat([row, of], axis=0)
    # Stable, so that empty texts, which start where the next one does, keep
    # their slices before it.
    order = tf.argsort(place, stable=True)
    place, row = tf.gather(place, order), tf.gather(row, order)
    following = tf.concat([place[1:], ends[-1:]], axis=0)
    return Slices(row, place - tf.gather(starts, row), following - place)


def _safe_places(text: tf.Tensor, between_ideographs: bool) -> tf.Tensor:
    """Returns the bytes of a text before which it may be split, int64 [P].

    Args:
      text: string, a scalar.
      between_ideographs: see `cut`.
    """
    data = tf.io.decode_raw(text, tf.uint8)
    # Capitals and small letters are treated alike.
    small = tf.bitwise.bitwise_or(data, 0x20)
    plain = ((small >= ord("a")) & (small <= ord("z"))) | (
        (data >= ord("0")) & (data <= ord("9"))
    )
    space = (data == ord(" ")) | (data == ord("\n"))
    found = tf.where(plain[:-2] & space[1:-1] & plain[2:])[:, 0] + 2
    if not between_ideographs:
        return found
    # U+5000 to U+9FFF, in UTF-8.
    first = (data >= 0xE5) & (data <= 0xE9)
    more = (data >= 0x80) & (data <= 0xBF)
    whole = first[:-3] & more[1:-2] & more[2:-1] & first[3:]
    return tf.sort(tf.concat([found, tf.where(whole)[:, 0] + 3], axis=0))


def read(
    texts: tf.Tensor,
    reader: Callable[[tf.Tensor], Read],
    dtypes: Mapping[str, tf.DType],
    between_ideographs: bool,
) -> Columns:
    """Runs `reader` on texts, with some slices at a time.

    Args:
      texts: string [B], with any bytes.
      reader: string [N] -> their values.
      dtypes: dtypes of its columns.
      between_ideographs: see `cut`.

    Returns:
      Name -> RaggedTensor [B, (values)].
    """
    slices = cut(texts, between_ideographs)
    before = tf.cumsum(slices.size, exclusive=True) // BYTES
    new = tf.concat([[True], before[1:] != before[:-1]], axis=0)
    count = tf.size(slices.row)
    firsts = tf.cast(tf.where(new[:count])[:, 0], tf.int32)
    firsts = tf.concat([firsts, [count]], axis=0)

    def some(start: tf.Tensor, end: tf.Tensor) -> Tensors:
        first, last = firsts[start], firsts[end]
        part = tf.strings.substr(
            tf.gather(texts, slices.row[first:last]),
            slices.start[first:last],
            slices.size[first:last],
        )
        found = reader(part)
        tensors = {"num_chars": found.num_chars}
        for name, column in found.columns.items():
            tensors[name] = column.flat_values
            tensors[f"{name} size"] = column.row_lengths()
        return tensors

    whole = tf.TensorSpec([None], tf.int64)
    specs = {"num_chars": whole}
    for name, dtype in dtypes.items():
        specs[name] = tf.TensorSpec([None], dtype)
        specs[f"{name} size"] = whole
    found = in_parts(some, tf.size(firsts) - 1, 1, specs, at_once=1)
    # Where each text's slices begin among all.
    splits = tf.searchsorted(
        slices.row, tf.range(tf.size(texts, tf.int64) + 1), out_type=tf.int64
    )
    chars = tf.cumsum(found["num_chars"], exclusive=True)
    own = tf.gather(splits, slices.row)
    shifts = {
        "bytes": slices.start, "chars": chars - tf.gather(chars, own),
    }  # fmt: skip
    columns = {}
    for name in dtypes:
        values, lengths = found[name], found[f"{name} size"]
        begins, _, unit = name.partition("_")
        if begins in ("start", "end") and unit in shifts:
            values += tf.repeat(shifts[unit], lengths)
        total = tf.concat([[0], tf.cumsum(lengths)], axis=0)
        columns[name] = tf.RaggedTensor.from_row_splits(
            values, tf.gather(total, splits), validate=False
        )
    return columns
