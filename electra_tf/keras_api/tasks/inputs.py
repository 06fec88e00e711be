"""Converts the inputs of `fit` and `predict` to lists of Python values."""

import collections
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from electra_tf import columns
from electra_tf.errors import UserError

_ONE = "put a single text into a list"
_TEXT, _PAIR = "text", "text_pair"


class Texts(NamedTuple):
    """N texts, or N pairs of texts."""

    first: list[str]
    second: list[str] | None = None


def plain(values: Any, where: str = "x") -> Any:
    """Converts a tensor, an array or a column of a table into lists.

    Args:
      values: a (ragged) tensor, an array, a column of a table (of pandas,
        Polars, Arrow, Datasets), or a sequence, possibly nested.
      where: the argument, for messages.

    Returns:
      Nested lists of str, int, float and bool; bytes become str.

    Raises:
      UserError: bytes are not UTF-8, or the values are a table.
    """
    if isinstance(values, tf.RaggedTensor):
        values = values.to_list()
    elif tf.is_tensor(values) or isinstance(values, np.ndarray | np.generic):
        values = np.asarray(values).tolist()
    elif isinstance(values, str | Mapping) or values is None:
        return values
    elif not isinstance(values, list | tuple | bytes):
        table = columns.names(values)
        if table is not None:
            raise UserError(
                f"{where}: expected one column of a table, got a table with "
                f"the columns {', '.join(table) or '(none)'}"
            )
        values = columns.listed(values)
    if isinstance(values, bytes):
        try:
            return values.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(
                f"{where}: {values[:40]!r} is not UTF-8 text "
                f"({error.reason} at byte {error.start})"
            ) from error
    if isinstance(values, list | tuple):
        return [plain(value, where) for value in values]
    return values


def texts(x: Any) -> Texts:
    """Reads texts, or pairs of texts.

    Args:
      x: a list, array, column or string tensor of N texts; a tuple of two
        such for N pairs; a list or an array [N, 2] of pairs; or a table or a
        mapping whose columns are `text`, and for pairs `text_pair`.

    Raises:
      UserError: something else; the item is named.
    """
    if isinstance(x, str | bytes) or (
        isinstance(x, np.ndarray | tf.Tensor) and not len(x.shape)
    ):
        raise UserError(f"x: expected a list of texts, got one; {_ONE}")
    table = columns.names(x)
    if table is not None:
        x = {name: x[name] for name in table}
    if isinstance(x, Mapping):
        if set(x) not in ({_TEXT}, {_TEXT, _PAIR}):
            raise UserError(
                "x: expected texts or a tuple of two lists of texts, or a "
                f"mapping with '{_TEXT}' and '{_PAIR}', got one with "
                f"{', '.join(map(str, x)) or 'nothing'}"
            )
        return texts((x[_TEXT], x[_PAIR]) if _PAIR in x else x[_TEXT])
    if isinstance(x, tuple):
        if len(x) != 2 or isinstance(x[0], str | bytes):
            raise UserError(
                "x: a tuple is two lists of texts, the first and the second "
                f"of each pair; got one of {len(x)} "
                + ("texts" if x and isinstance(x[0], str) else "things")
                + "; texts by themselves go into a list"
            )
        first, second = (_strings(part, "x") for part in x)
        if len(first) != len(second):
            raise UserError(
                f"x: {len(first)} first texts and {len(second)} second ones"
            )
        return Texts(first, second)
    found = plain(x)
    if not isinstance(found, list):
        raise UserError(f"x: expected a list of texts, got {x!r:.60}")
    if found and all(isinstance(t, list) and len(t) == 1 for t in found):
        found = [text for (text,) in found]  # a column
    if found and isinstance(found[0], list):
        for number, item in enumerate(found):
            if not (isinstance(item, list) and len(item) == 2):
                raise UserError(
                    f"x[{number}]: expected a pair of texts, as x[0] is, got "
                    f"{item!r:.60}"
                )
        return Texts(
            _strings([a for a, _ in found], "x"),
            _strings([b for _, b in found], "x"),
        )
    return Texts(_strings(found, "x"))


def records(x: Any) -> list[Mapping[str, Any]] | None:
    """Returns rows given as mappings or as a table; None for other input."""
    found = columns.rows(x) if columns.names(x) is not None else x
    if isinstance(found, list) and found and isinstance(found[0], Mapping):
        return found
    return None


def _strings(values: Any, where: str) -> list[str]:
    found = plain(values, where)
    if not isinstance(found, list):
        raise UserError(f"{where}: expected a list of texts; {_ONE}")
    for number, text in enumerate(found):
        if not isinstance(text, str):
            raise UserError(
                f"{where}[{number}]: expected a text, got {text!r:.60}"
            )
    return found


def word_lists(x: Any, may_be_empty: bool = False) -> list[list[str]]:
    """Reads N sentences that are split into words.

    Args:
      x: lists of words, or a ragged string tensor [N, (words)].
      may_be_empty: whether a sentence without words is accepted.

    Raises:
      UserError: the input is none of these, or a sentence has no words and
        has to have some.
    """
    found = plain(x)
    if not isinstance(found, list):
        raise UserError(f"x: expected lists of words, got {x!r:.60}")
    for number, words in enumerate(found):
        if not isinstance(words, list) or not (words or may_be_empty):
            raise UserError(
                f"x[{number}]: expected a list of words, got {words!r:.60}"
            )
        for word in words:
            if not isinstance(word, str):
                raise UserError(
                    f"x[{number}]: expected words, got {word!r:.60}"
                )
    return found


def same_number(count: int, values: Sequence[Any], name: str) -> None:
    """Checks that there is one answer or weight for each input.

    Args:
      count: number of inputs.
      values: the answers or weights.
      name: name of the argument, for the message.

    Raises:
      UserError: their numbers differ.
    """
    if len(values) != count:
        raise UserError(f"{name}: {len(values)} values for {count} inputs in x")


def position(value: Any, labels: Sequence[str], where: str) -> int:
    """Returns the position of the label that a name or a number means.

    Args:
      value: a label's name, or its position.
      labels: all names.
      where: its place, for the message.

    Raises:
      UserError: it is not a label.
    """
    if isinstance(value, bool):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and 0 <= value < len(labels):
        return value
    if isinstance(value, str) and value in labels:
        return list(labels).index(value)
    shown = ", ".join(labels[:8]) + (", ..." if len(labels) > 8 else "")
    raise UserError(
        f"{where}: {value!r:.40} is not a label; expected one of {shown}, or a "
        f"number from 0 to {len(labels) - 1}"
    )


def names(
    labels: Sequence[str] | None, num_classes: int | None
) -> list[str] | None:
    """Returns the names of labels; classes without names get their numbers.

    Args:
      labels: the names; or
      num_classes: how many there are.

    Returns:
      The names; None where neither is given.

    Raises:
      UserError: the two disagree, or names are not texts.
    """
    if labels is not None and num_classes not in (None, len(labels)):
        raise UserError(
            f"num_classes: is {num_classes}, and labels has {len(labels)}; "
            "leave it out"
        )
    if labels is None and num_classes is None:
        return None
    if labels is None:
        return [str(i) for i in range(int(num_classes or 0))]
    labels = columns.listed(labels)
    if not isinstance(labels, list):  # sets have no order
        raise UserError(f"labels: expected a list of names, got {labels!r:.60}")
    for label in labels:
        if not isinstance(label, str):
            raise UserError(
                f"labels: expected names, got {label!r}; write it as "
                f"'{label}', and in y its position"
            )
    twice = [name for name, n in collections.Counter(labels).items() if n > 1]
    if twice:
        raise UserError(f"labels: '{twice[0]}' is given twice")
    return [str(label) for label in labels]


def numbers(values: Any, where: str) -> list[float]:
    """Reads finite numbers.

    Args:
      values: a list, array or tensor, [N] or [N, 1].
      where: the argument, for messages.

    Raises:
      UserError: something else; the item is named.
    """
    given = plain(values, where)
    if not isinstance(given, list):
        raise UserError(
            f"{where}: expected a list of numbers, got {values!r:.60}"
        )
    found = []
    for number, value in enumerate(given):
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise UserError(
                f"{where}[{number}]: expected a number, got {value!r:.40}"
            )
        found.append(float(value))
    return found


class Batches:
    """Batches from Python: from a `PyDataset` or a generator.

    Args:
      make: returns an iterator from the first batch on.
      count: number of batches; None where unknown.
    """

    def __init__(self, make: Callable[[], Iterator[Any]], count: int | None):
        self._make = make
        self.count = count

    def __iter__(self) -> Iterator[Any]:
        return self._make()

    def take(self, count: int) -> "Batches":
        """Returns the first `count` batches; -1 returns all."""
        if count < 0:
            return self
        if self.count is not None:  # so that the epoch's end is not reached
            count = min(count, self.count)
        return Batches(lambda: itertools.islice(self._make(), count), None)


class _Peeked:
    """A generator whose first elements can be inspected before it runs."""

    def __init__(self, source: Iterator[Any]):
        self._source = source
        self._kept: collections.deque[Any] = collections.deque()
        self.runs = False

    def __call__(self) -> Iterator[Any]:
        if not self.runs:
            return self._look()
        return self._run()

    def _look(self) -> Iterator[Any]:
        for i in itertools.count():
            if i == len(self._kept):
                try:
                    self._kept.append(next(self._source))
                except StopIteration:
                    return
            yield self._kept[i]

    def _run(self) -> Iterator[Any]:
        while self._kept:
            yield self._kept.popleft()
        yield from self._source


STREAMS = (tf.data.Dataset, Batches)
Stream: TypeAlias = tf.data.Dataset | Batches


def check_counts(**given: Any) -> None:
    """Checks numbers of rows or steps.

    Args:
      **given: arguments by name; None means not given.

    Raises:
      UserError: one is neither a number from 1 on nor None.
    """
    for name, value in given.items():
        if value is None:
            continue
        if not isinstance(value, int | np.integer) or value < 1:
            raise UserError(
                f"{name}: {value!r}; expected a number from 1 on, or None"
            )


def source(x: Any, whole: bool = True, steps: int | None = None) -> Any:
    """Returns batches where `x` is a PyDataset or a generator, else `x`.

    Args:
      x: data in any form that Keras accepts.
      whole: whether to read a generator to its end now, so that it can be
        iterated over again.
      steps: number of batches to read from a generator; None reads all.
    """
    if isinstance(x, keras.utils.PyDataset):
        count = x.num_batches

        def make() -> Iterator[Any]:
            numbers = itertools.count() if count is None else range(count)
            for number in numbers:
                yield x[number]
            x.on_epoch_end()

        return Batches(make, count)
    if not isinstance(x, Iterator):
        return x
    if whole:
        found = list(itertools.islice(x, steps))
        return Batches(lambda: iter(found), len(found))
    return Batches(_Peeked(x), None)


def started(data: Stream) -> None:
    """Marks that a generator's batches are consumed from now on."""
    make = getattr(data, "_make", None)
    if isinstance(make, _Peeked):
        make.runs = True


def count(data: Stream) -> int | None:
    """Returns the number of batches; None where unknown."""
    if isinstance(data, Batches):
        return data.count
    known = int(data.cardinality().numpy())
    return known if known >= 0 else None


def has_rows(data: Stream) -> bool:
    """Returns whether a dataset's elements are single rows, not batches."""
    if isinstance(data, Batches):
        return False
    first = tf.nest.flatten(data.element_spec, expand_composites=False)[0]
    return first.shape.rank == 0


def batches(data: Stream, batch_size: int | None) -> Stream:
    """Returns a dataset of batches, from batches or single rows.

    Args:
      data: a dataset of x, (x, y) or (x, y, sample_weight).
      batch_size: size of the batches made from rows; 32 where None.

    Raises:
      UserError: the dataset has batches, and a size is given.
    """
    if isinstance(data, Batches):
        if batch_size is not None:
            raise UserError("batch_size: x comes in batches; leave it out")
        return data
    if has_rows(data):
        return data.batch(batch_size or 32)
    if batch_size is not None:
        raise UserError("batch_size: the dataset is in batches already")
    return data


def unpacked(element: Any) -> tuple[Any, Any, Any]:
    """Unpacks a dataset's element to (x, y, sample_weight)."""
    if not isinstance(element, tuple):
        return element, None, None
    return (*element, None, None)[:3]


def elements(data: Stream) -> Iterator[tuple[Any, Any, Any]]:
    """Iterates over (x, y, sample_weight) of a dataset."""
    for element in data:
        yield unpacked(element)
