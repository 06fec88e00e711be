"""Reads minimal pairs, judges them by scores, counts and plots the results.

A pair is an acceptable sentence and a similar one that is not. It reads BLiMP's
JSON Lines, Zorro's files of alternating lines, and tables with or without a
header; `Accuracy` counts how often the acceptable one scored higher.
"""

import dataclasses
import io
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from electra_tf.errors import UserError
from electra_tf.tasks import formats, records
from electra_tf.text import inputs

Column = Literal["good", "bad", "paradigm", "phenomenon"]

# Usual names of columns in existing sets.
_NAMES: dict[Column, tuple[str, ...]] = {
    "good": ("good", "sentence_good", "acceptable", "grammatical", "correct"),
    "bad": (
        "bad", "sentence_bad", "unacceptable", "ungrammatical", "incorrect",
    ),
    "paradigm": ("uid", "paradigm"),
    "phenomenon": ("phenomenon", "linguistics_term"),
}  # fmt: skip
# Columns of a table without a header, by their number.
_UNNAMED: dict[int, tuple[Column, ...]] = {
    2: ("good", "bad"),
    3: ("paradigm", "good", "bad"),
    4: ("paradigm", "phenomenon", "good", "bad"),
}
_RECORDS = (".json", ".parquet", ".arrow")  # endings of files with columns
# Scores are sums in float32: they are equal if their relative difference is
# less.
_EQUAL = 1e-5
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two sentences that differ in what makes one of them unacceptable.

    Attributes:
      good: the acceptable one.
      bad: the other.
      paradigm: kind of the difference.
      phenomenon: the phenomenon of the paradigm; "" where unknown.
      place: "file:line", for messages.
    """

    good: str
    bad: str
    paradigm: str
    phenomenon: str
    place: str


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """How often the acceptable sentence scored higher.

    Attributes:
      pairs: number of judged pairs.
      right: pairs where the acceptable sentence scored higher.
      ties: pairs with equal scores; a tie counts as half.
    """

    pairs: int
    right: int
    ties: int

    @property
    def percent(self) -> float:
        """Right pairs and half of the ties, in percent."""
        return 100 * (self.right + self.ties / 2) / self.pairs


def read(
    path: str,
    columns: Mapping[Column, str] | None = None,
    first: Literal["bad", "good"] = "bad",
) -> list[Pair]:
    """Reads the pairs of one file.

    Args:
      path: JSON, a table, or a text in which two lines are a pair, compressed
        or not.
      columns: names of columns other than the usual ones; the file must have
        them.
      first: which sentence is the first of two such lines.

    Raises:
      UserError: the file is unreadable, has no pairs, lacks a given column, or
        has columns where `first` is given; file and line are named.
    """
    if _has_columns(path):
        if first != "bad":
            raise UserError(
                f"{path}: has columns for both sentences; leave out "
                "--first_line, or give a text of two lines a pair"
            )
        found = list(_of_table(path, dict(columns or {})))
    else:
        _refuse_columns(path, columns or {})
        found = list(_of_lines(path, first))
    if not found:
        raise UserError(f"{path}: holds no pairs")
    return found


def _has_columns(path: str) -> bool:
    """Returns whether a file is JSON or a table, by its name or first line."""
    named = inputs.plain_name(path).lower().endswith(_RECORDS)
    if named or formats.named_format(path) is not None:
        return True
    head = next((line for _, line in records.text_lines(path)), "")
    start = head.strip()
    return "\t" in head or start == "[" or start.startswith(("{", "[{"))


def _refuse_columns(path: str, given: Mapping[Column, str]) -> None:
    """Refuses names of columns for a file that has none."""
    if given:
        flags = ", ".join(f"--{column}_column" for column in given)
        raise UserError(
            f"{path}: has no columns, but two lines a pair; leave out {flags}, "
            "or give JSON Lines or a table"
        )


def _of_lines(path: str, first: str) -> Iterator[Pair]:
    """Yields pairs of lines; the file's name is the paradigm.

    Zorro's are called PHENOMENON-PARADIGM.txt.
    """
    paradigm = _stem(path)
    phenomenon = paradigm.partition("-")[0] if "-" in paradigm else ""
    filled = [
        (number, line.strip())
        for number, line in records.text_lines(path)
        if line.strip()
    ]
    if len(filled) % 2:
        raise UserError(
            f"{path}: has {len(filled)} lines, the last one without another; "
            "expected two lines a pair, or a table whose first line names the "
            "columns good and bad"
        )
    for (number, one), (_, other) in zip(filled[::2], filled[1::2]):
        good, bad = (one, other) if first == "good" else (other, one)
        yield Pair(good, bad, paradigm, phenomenon, f"{path}:{number}")


def _of_table(path: str, given: dict[Column, str]) -> Iterator[Pair]:
    layout = formats.detect(path)
    names: list[str] | None = None
    if layout.format in ("tsv", "csv"):
        cells = records.first_row(path, layout)
        if not _is_header(cells, given):
            names = _unnamed(path, cells, given)
    rows = records.read_records(
        path, layout.format, columns=names, delimiter=layout.delimiter
    )
    for record, place in rows:
        good, bad = (
            _text(record, column, given, place) for column in ("good", "bad")
        )
        paradigm = _optional(record, "paradigm", given, place) or _stem(path)
        phenomenon = _optional(record, "phenomenon", given, place)
        yield Pair(good, bad, paradigm, phenomenon, place)


def _is_header(cells: Sequence[str], given: Mapping[Column, str]) -> bool:
    """Returns whether a table's first line names a column of sentences."""
    if given:
        return True
    there = {cell.lower() for cell in cells}
    return any(there & set(_NAMES[column]) for column in ("good", "bad"))


def _unnamed(
    path: str, cells: Sequence[str], given: Mapping[Column, str]
) -> list[str]:
    if len(cells) not in _UNNAMED:
        raise UserError(
            f"{path}:1: expected a line that names the columns good and bad "
            "(and paradigm, phenomenon), or without one 2 to 4 columns: "
            "paradigm, phenomenon, good, bad; got "
            + ", ".join(f"'{cell:.30}'" for cell in cells[:8])
        )
    return list(_UNNAMED[len(cells)])


def _name(
    record: Mapping[str, Any], column: Column, given: Mapping[Column, str]
) -> str | None:
    """Returns the name of a column in the record; None where missing."""
    if column in given:
        return given[column] if given[column] in record else None
    for name in record:
        if name.lower() in _NAMES[column]:
            return name
    return None


def _text(
    record: Mapping[str, Any],
    column: Column,
    given: Mapping[Column, str],
    place: str,
) -> str:
    name = _name(record, column, given)
    if name is None:
        raise _missing(record, column, given, place)
    return records.text_in(record, name, place)


def _missing(
    record: Mapping[str, Any],
    column: Column,
    given: Mapping[Column, str],
    place: str,
) -> UserError:
    wanted = given.get(column) or " or ".join(_NAMES[column][:2])
    return records.missing_column(
        record, place, wanted, f"--{column}_column names another"
    )


def _optional(
    record: Mapping[str, Any],
    column: Column,
    given: Mapping[Column, str],
    place: str,
) -> str:
    """Returns the text of a column; "" where it is missing and not given."""
    name = _name(record, column, given)
    if name is None and column in given:
        raise _missing(record, column, given, place)
    value = record.get(name) if name else None
    return "" if value is None else str(value)


def _stem(path: str) -> str:
    """Returns the file's name without its endings."""
    name = os.path.basename(inputs.plain_name(path))
    return name.rpartition(".")[0] or name


def judge(good: float, bad: float) -> float:
    """Compares two scores: returns 1 if the first is higher, 0 if the second.

    It returns a half where they are equal up to float32's rounding.
    """
    if math.isclose(good, bad, rel_tol=_EQUAL, abs_tol=1e-7):
        return 0.5
    return float(good > bad)


def count(verdicts: Sequence[float]) -> Accuracy:
    """Counts the results of `judge`."""
    return Accuracy(len(verdicts), verdicts.count(1.0), verdicts.count(0.5))


def by_paradigm(
    pairs: Sequence[Pair], verdicts: Sequence[float]
) -> dict[tuple[str, str], Accuracy]:
    """Counts for each (phenomenon, paradigm), sorted."""
    found: dict[tuple[str, str], list[float]] = {}
    for pair, verdict in zip(pairs, verdicts, strict=True):
        key = (pair.phenomenon, pair.paradigm)
        found.setdefault(key, []).append(verdict)
    return {key: count(found[key]) for key in sorted(found)}


def draw(
    title: str, methods: Mapping[str, Mapping[tuple[str, str], Accuracy]]
) -> bytes:
    """Plots a PNG: a bar for each phenomenon, a dot for each paradigm.

    Args:
      title: title of the plot.
      methods: method -> result of `by_paradigm`. Without phenomena each
        paradigm has a bar.
    """
    # A figure without pyplot: no display and no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    first = next(iter(methods.values()))
    labels = list(
        dict.fromkeys(phenomenon or name for phenomenon, name in first)
    )
    figure = Figure(
        figsize=(8, 1.6 + (0.16 + 0.2 * len(methods)) * len(labels)),
        layout="constrained",
    )
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    height = 0.8 / len(methods)
    for i, (method, counted) in enumerate(methods.items()):
        dots: dict[str, list[float]] = {}
        for (phenomenon, name), accuracy in counted.items():
            dots.setdefault(phenomenon or name, []).append(accuracy.percent)
        means = [sum(dots[label]) / len(dots[label]) for label in labels]
        places = [row + (i - (len(methods) - 1) / 2) * height
                  for row in range(len(labels))]  # fmt: skip
        colour = _COLOURS[i % len(_COLOURS)]
        mean = sum(a.percent for a in counted.values()) / len(counted)
        axes.barh(
            places, means, height * 0.9, color=colour, alpha=0.55,
            label=f"{method}: {mean:.1f}",
        )  # fmt: skip
        for place, label in zip(places, labels):
            if len(dots[label]) > 1:
                axes.plot(
                    dots[label], [place] * len(dots[label]), "o", ms=3.5,
                    color=colour, mec="white", mew=0.4, clip_on=False,
                )  # fmt: skip
    axes.axvline(50, color="black", lw=1, ls="--")
    axes.set_yticks(range(len(labels)), [name[:44] for name in labels])
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_xlabel("per cent of pairs; dots: paradigms; dashed: no preference")
    axes.set_title(title, fontsize=10)
    figure.legend(
        loc="outside lower center", ncols=len(methods), frameon=False,
        title="mean of the paradigms", fontsize=9, title_fontsize=9,
    )  # fmt: skip
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    return picture.getvalue()
