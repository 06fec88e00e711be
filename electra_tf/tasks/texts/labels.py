"""Parses cells of a label column: a label, several, or one-hot."""

import ast
import contextlib
import difflib
import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from electra_tf.errors import UserError
from electra_tf.tasks.records import missing_column, truth_of

# Labels are hardly classes if there are more than this share of the rows.
_NEARLY_UNIQUE, _MANY = 0.5, 20
# A class with a single row is suspicious where classes have so many rows on
# average.
_COMMON = 20
_WHOLE = re.compile(r"-?[0-9]+(\.0+)?")
_TRUTH = re.compile("true|false", re.IGNORECASE)
_OTHER_SEPARATORS = (";", "|", ",", "/")
# A list as NumPy prints it: "[0 1 0]", "[0. 1.]".
_PRINTED = re.compile(r"\[\s*[-+.\deE]+(\s+[-+.\deE]+)*\s*\]")


def label_name(value: Any, place: str) -> str:
    """Returns the name of one label; numbers and booleans as JSON writes them.

    Args:
      value: value of the cell.
      place: its place, for messages.

    Raises:
      UserError: the value is empty, a number that is not finite, or cannot name
        a label.
    """
    if isinstance(value, str):
        name = value.strip()
        if not name:
            raise UserError(f"{place}: the label is empty")
        return name
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(
            f"{place}: no label, but {value!r} (what pandas writes for a "
            "missing value); fill it in, or leave the row out"
        )
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    raise UserError(f"{place}: expected a label, got {value!r:.40}")


def one_label(value: Any, names: Sequence[str] | None, place: str) -> str:
    """Returns the class in a cell.

    Args:
      value: a label, or a list (as text too) with one, or one-hot.
      names: all labels, where known; one-hot needs them.
      place: its place, for messages.

    Raises:
      UserError: the cell has no label, or several.
    """
    listed = as_list(value)
    if listed is None:
        return label_name(value, place)
    found = several_labels(listed, names, place)
    if len(found) == 1:
        return found[0]
    raise UserError(
        f"{place}: expected one label, got {len(found)} ({value!r:.40}); for "
        "texts with any number of labels set options.multi_label=true"
    )


def several_labels(
    value: Sequence[Any], names: Sequence[str] | None, place: str
) -> tuple[str, ...]:
    """Returns the labels in a list, or a one-hot vector.

    Args:
      value: labels, or a 0 or 1 for each of `names`.
      names: all labels, where known.
      place: its place, for messages.

    Raises:
      UserError: a label is repeated; or the list is one-hot, and the names are
        unknown or of another number.
    """
    if is_one_hot(value) and not {"0", "1"} <= set(names or ()):
        if names is None:
            raise UserError(
                f"{place}: {list(value)!r:.40} looks one-hot, a 0 or 1 for "
                "each label; give their names in order as options.labels"
            )
        if len(names) != len(value):
            raise UserError(
                f"{place}: {list(value)!r:.40} has {len(value)} numbers, and "
                f"options.labels names {len(names)} labels"
            )
        return tuple(
            name for name, number in zip(names, value) if float(number) == 1
        )
    found = tuple(label_name(part, place) for part in value)
    twice = next((n for i, n in enumerate(found) if n in found[:i]), None)
    if twice is not None:
        raise UserError(
            f"{place}: the label '{twice:.40}' is named twice in "
            f"{list(value)!r:.60}; name it once"
        )
    return found


def is_missing(value: Any, others: Collection[Any]) -> bool:
    """Returns whether the value of a label column means "no label".

    Args:
      value: null, an empty text, NaN; the "-" of SNLI, unless there is a "+";
        -1 where the labels are 0, 1, 2 and more.
      others: all values of the column, as texts.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return True
    name = str(value).strip()
    if name in ("", "-") or name.lower() == "nan":
        return name != "-" or "+" not in others
    if name not in ("-1", "-1.0"):
        return False
    return "-2" not in others and all(
        number in others or f"{number}.0" in others
        for number in ("0", "1", "2")
    )


def one_spelling(
    names: Collection[str], known: Collection[str] = ()
) -> dict[str, str]:
    """Maps spellings of one number or truth to one: "1" and "1.0".

    Args:
      names: labels.
      known: labels of training, whose spelling is preferred.

    Returns:
      Label -> its other spelling, for labels to rename; usually empty.
    """
    found: dict[str, str] = {}
    for form, plain in (
        (_WHOLE, lambda name: name.partition(".")[0]),
        (_TRUTH, str.lower),
    ):
        mine = {name: plain(name) for name in names if form.fullmatch(name)}
        there = {plain(name): name for name in known if form.fullmatch(name)}
        several = len(set(mine.values())) < len(mine)
        mixed = form is _WHOLE and len({"." in name for name in mine}) > 1
        for name, value in mine.items():
            if known:
                found[name] = there.get(value, name)
            elif several or mixed:
                found[name] = value
    return {a: b for a, b in found.items() if a != b}


def is_one_hot(value: Sequence[Any]) -> bool:
    """Returns whether a list has a 0 or 1 for each of several labels.

    [0, 1] may be one-hot, or the labels 0 and 1; it counts as one-hot.
    """
    return len(value) > 1 and all(
        part in (0, 1)
        if isinstance(part, bool | int | float)
        else isinstance(part, str) and part.strip() in ("0", "1", "0.0", "1.0")
        for part in value
    )


def as_list(value: Any) -> list[Any] | None:
    """Parses a list of JSON, or a printed one: "['a', 'b']", "[0 1 0]".

    Returns:
      The list; None where the value is not one.
    """
    if isinstance(value, list | tuple):
        return list(value)
    if not isinstance(value, str):
        return None
    text = value.strip()
    if not (
        text and (text[0], text[-1]) in (("[", "]"), ("(", ")"), ("{", "}"))
    ):
        return None
    for read in (ast.literal_eval, json.loads):
        try:
            found = read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, set):
            return sorted(found, key=str)
        return list(found) if isinstance(found, list | tuple) else None
    if _PRINTED.fullmatch(text):
        with contextlib.suppress(ValueError, SyntaxError):  # "[-]"
            return [ast.literal_eval(part) for part in text[1:-1].split()]
    return None


def columns_labels(
    record: Mapping[str, Any], columns: Sequence[str], place: str
) -> tuple[str, ...] | None:
    """Returns the labels of a row in a table with a column for each label.

    Args:
      record: the row.
      columns: the columns, named like the labels.
      place: its place, for messages.

    Returns:
      The labels whose column has a yes; None where the row has none of the
      columns, or all are empty.

    Raises:
      UserError: some columns are missing or empty, or neither 0 nor 1.
    """
    there = [name for name in columns if record.get(name) not in (None, "")]
    if not there:
        return None
    found = []
    for name in columns:
        if name not in record:
            raise missing_column(record, place, name)
        if name not in there:
            raise UserError(
                f"{place}: the label column '{name}' is empty, and "
                f"'{there[0]}' is filled; expected 0 or 1 in each"
            )
        try:
            if truth_of(record[name], name):
                found.append(name)
        except ValueError as error:
            raise UserError(
                f"{place}: '{name}': expected 0 or 1 in a label column, got "
                f"{record[name]!r:.40}"
            ) from error
    return tuple(found)


def _parts(name: str, mark: str) -> set[str]:
    return {part.strip() for part in name.split(mark)}


def suspicions(
    counts: Mapping[str, int],
    examples: int,
    column: str,
    multi_label: bool = False,
    separator: str = ",",
) -> list[str]:
    """Describes what looks like a mistake in the labels of training data.

    Args:
      counts: number of rows of each label.
      examples: number of rows.
      column: name of the label column.
      multi_label: whether a row may have several.
      separator: separator of a text's labels.

    Returns:
      Sentences without full stop.
    """
    if len(counts) > max(_MANY, _NEARLY_UNIQUE * examples):
        return [
            f"'{column}' has {len(counts):,} different labels in "
            f"{examples:,} rows: are these the texts, and two columns "
            "swapped? options.label_column and options.text_column name them"
        ]
    found = []
    folded: dict[str, list[str]] = {}
    for name in counts:
        folded.setdefault(name.casefold(), []).append(name)
    for names in folded.values():
        if len(names) > 1 and all(counts[name] > 1 for name in names):
            listed = " and ".join(f"'{name:.40}'" for name in names)
            found.append(
                f"the labels {listed} differ in capitals alone, and are as "
                "many classes"
            )
    for mark in () if multi_label else _OTHER_SEPARATORS:
        several = [
            n for n in counts if mark in n and _parts(n, mark) <= {*counts}
        ]
        if several:
            found.append(
                f"the label '{several[0]:.40}' looks like several of the "
                "others; for texts with any number of labels set options."
                f"multi_label=true, and options.separator='{mark}'"
            )
            break
    if is_missing("-1", {*counts} - {"-1"}) and "-1" in counts:
        found.append(
            f"the label '-1', of {counts['-1']:,} rows, is taken for a class; "
            "if it means that there is no label set options.incomplete=skip"
        )
    if sum(counts.values()) >= _COMMON * len(counts):
        for name, count in counts.items():
            if count > 1:
                continue
            others = [other for other in counts if counts[other] > 1]
            near = difflib.get_close_matches(name, others, n=1, cutoff=0.75)
            fold = [o for o in others if o.casefold() == name.casefold()]
            hint = (near or fold)[:1]
            question = f"a misspelling of '{hint[0]}'? " if hint else ""
            found.append(
                f"the label '{name:.60}' is in one row alone: {question}"
                "options.labels says which labels there are, and refuses "
                "others"
            )
    if multi_label:
        for other in _OTHER_SEPARATORS:
            inside = sum(other in name for name in counts)
            if other != separator and 2 * inside > len(counts):
                found.append(
                    f"most labels contain '{other}' and are used unchanged; if "
                    f"it separates labels, set options.separator='{other}'"
                )
                break
    return found
