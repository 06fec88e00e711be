"""Compares outputs with each other, and checks them for plain mistakes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

# The padding of rows, by kind of dtype; -1 for integers, which are positions.
_PADDING = {"O": b"", "i": -1, "f": 0, "b": False}
_OFFSETS = ("start_bytes", "end_bytes", "start_chars", "end_chars")


class Comparison:
    """Compares many values; records the largest difference and problems.

    Attributes:
      values: how many numbers and texts were compared.
      difference: the largest between numbers; relative for those above 1.
      problems: messages.
    """

    def __init__(self, tolerance: float):
        self._tolerance = tolerance
        self.values = 0
        self.difference = 0.0
        self.problems: list[str] = []

    def rows(
        self,
        place: str,
        found: Mapping[str, Any],
        wanted: Mapping[str, Any],
        either: bool = False,
    ) -> None:
        """Compares a row's outputs; where `wanted` ends, padding must follow.

        Args:
          place: a name of the row, for messages.
          found: name -> array or value.
          wanted: the same; no dimension is larger than in `found`.
          either: whether it may be larger; the rest must then be padding.
        """
        for name in sorted({*found, *wanted}):
            if name not in found or name not in wanted:
                there = "missing" if name in wanted else "not expected"
                self.problems.append(f"{place}: the output {name} is {there}")
                continue
            a, b = _array(found[name]), _array(wanted[name])
            if either and a.ndim == b.ndim and a.shape != b.shape:
                a = _padded(a, np.maximum(a.shape, b.shape))
            self._arrays(f"{place}: {name}", a, b)

    def _arrays(self, place: str, a: np.ndarray, b: np.ndarray) -> None:
        fits = a.ndim == b.ndim and all(
            m >= n for m, n in zip(a.shape, b.shape)
        )
        if not fits or (a.dtype == object) != (b.dtype == object):
            self.problems.append(
                f"{place} is {a.dtype} {a.shape}, expected {b.dtype} {b.shape}"
            )
            return
        inside = np.zeros(a.shape, bool)
        inside[tuple(slice(n) for n in b.shape)] = True
        values, rest = a[inside].reshape(b.shape), a[~inside]
        self.values += values.size
        if (rest != _PADDING.get(a.dtype.kind)).any():
            shown = rest[:3].tolist()
            self.problems.append(f"{place}: {shown} stands in the padding")
        if not values.size:
            return
        if a.dtype == object:
            wrong = values != b
            if wrong.any():
                i = int(np.argmax(wrong))
                self.problems.append(
                    f"{place} has {_short(values.flat[i])} where "
                    f"{_short(b.flat[i])} is expected, and "
                    f"{int(wrong.sum()) - 1} more"
                )
            return
        x, y = values.astype("float64"), b.astype("float64")
        difference = np.abs(x - y) / np.maximum(1.0, np.abs(y))
        worst = float(difference.max())
        if np.isfinite(worst):
            self.difference = max(self.difference, worst)
        if not worst <= self._tolerance:
            i = int(np.argmax(np.nan_to_num(difference, nan=np.inf)))
            self.problems.append(
                f"{place} has {x.flat[i]:.7g} where {y.flat[i]:.7g} is expected"
            )


def rows_of(outputs: Mapping[str, np.ndarray], i: int) -> dict[str, Any]:
    """Returns row `i` of each output."""
    return {name: value[i] for name, value in outputs.items()}


def wrong_batch(outputs: Mapping[str, np.ndarray], count: int) -> Iterator[str]:
    """Yields what is wrong with a request's outputs for any inputs.

    Args:
      outputs: name -> array.
      count: the number of rows of the request.
    """
    for name, value in outputs.items():
        if not value.ndim or len(value) != count:
            yield f"{name} is {value.shape} for {count} rows"
        elif value.dtype.kind == "f" and not np.isfinite(value).all():
            yield f"{name} has numbers that are not finite"


def wrong_spans(row: Sequence[bytes], outputs: Mapping[str, Any]) -> list[str]:
    """Returns descriptions of offsets that do not select their token.

    Args:
      row: the inputs; offsets are in the last one.
      outputs: the row's outputs.
    """
    text = row[-1]
    if all(name in outputs for name in (*_OFFSETS, "tokens", "num_tokens")):
        count = int(outputs["num_tokens"])
        places = [np.asarray(outputs[name])[:count] for name in _OFFSETS]
        spans = list(
            zip(outputs["tokens"][:count], *map(np.ndarray.tolist, places))
        )
    elif "start_byte" in outputs and outputs["start_byte"] >= 0:
        names = ("answer", "start_byte", "end_byte", "start", "end")
        spans = [tuple(outputs[name] for name in names)]
    else:
        return []
    try:
        decoded = text.decode()
    except UnicodeDecodeError:
        decoded = None
    found = []
    for token, start, end, first, after in spans:
        if not 0 <= start <= end <= len(text):
            found.append(f"bytes {start} to {end} of {len(text)}")
        elif text[start:end] != token:
            found.append(f"{_short(text[start:end])} for {_short(token)}")
        elif decoded is not None and decoded[first:after].encode() != token:
            found.append(f"characters {first} to {after}: not {_short(token)}")
    return found


def _array(value: Any) -> np.ndarray:
    if isinstance(value, bytes):  # NumPy's strings would lose NULs
        found = np.empty([], object)
        found[()] = value
        return found
    return np.asarray(value)


def _padded(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    found = np.full(shape, _PADDING.get(array.dtype.kind), array.dtype)
    found[tuple(slice(n) for n in array.shape)] = array
    return found


def _short(text: bytes) -> str:
    shown = text.decode("utf-8", "backslashreplace")
    return repr(shown if len(shown) <= 40 else f"{shown[:37]}...")
