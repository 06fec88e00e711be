"""What a cell of a label column means: a label, several, or one-hot."""

import ast
import difflib
import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from electra_tf.errors import UserError
from electra_tf.tasks.records import missing_column, truth_of

# More different labels than this share of the rows are hardly classes.
_NEARLY_UNIQUE, _MANY = 0.5, 20
# A class of one is rare where the classes have so many rows on average.
_COMMON = 20
_WHOLE = re.compile(r"-?[0-9]+(\.0+)?")
_TRUTH = re.compile("true|false", re.IGNORECASE)
_OTHER_SEPARATORS = (";", "|", ",", "/")
# How NumPy prints a list: "[0 1 0]", "[0. 1.]".
_PRINTED = re.compile(r"\[\s*[-+.\deE]+(\s+[-+.\deE]+)*\s*\]")


def label_name(value: Any, place: str) -> str:
    """Returns the name of one label; JSON's numbers and booleans as JSON has
    them.

    Args:
      value: what the cell holds.
      place: where it stands.

    Raises:
      UserError: empty, not a finite number, or nothing that names a label.
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
      names: all labels, where they are given; one-hot needs them.
      place: where it stands.

    Raises:
      UserError: none, or several.
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
    """Returns the labels of a list; one-hot ones by the names.

    Args:
      value: labels, or a 0 or 1 for each of `names`.
      names: all labels, where they are given.
      place: where it stands.

    Raises:
      UserError: a label twice; one-hot, and there are no names, or another
        number of them.
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
    """Returns whether what a label column holds says that there is no label.

    Args:
      value: null, an empty text, NaN; the "-" of SNLI, unless there is a "+";
        -1 where the labels are 0, 1, 2 and more.
      others: all that the column holds, as texts.
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
    """Spellings of one number or truth: "1" and "1.0", "True" and "true".

    Args:
      names: labels.
      known: those of training, whose spelling is taken.

    Returns:
      Each label that is to be spelled otherwise -> how; usually none.
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
    """Returns whether a list is a 0 or 1 for each of several labels.

    [0, 1] may be one-hot, and may be the labels 0 and 1; it counts as the
    first.
    """
    return len(value) > 1 and all(
        part in (0, 1)
        if isinstance(part, bool | int | float)
        else isinstance(part, str) and part.strip() in ("0", "1", "0.0", "1.0")
        for part in value
    )


def as_list(value: Any) -> list[Any] | None:
    """Returns a list of JSON, or one that was printed: "['a', 'b']", "[0 1 0]".

    Returns:
      None where it is no list.
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
        return [float(part) for part in text[1:-1].split()]
    return None


def columns_labels(
    record: Mapping[str, Any], columns: Sequence[str], place: str
) -> tuple[str, ...] | None:
    """Returns the columns of a row that hold a yes: a table with one for each
    label.

    Args:
      record: the row.
      columns: one for each label, named as it is.
      place: where it stands.

    Returns:
      None where the row has none of them, or all are empty.

    Raises:
      UserError: some are missing or empty, or hold neither 0 nor 1.
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
    """Returns what about the labels of training data looks like a mistake.

    Args:
      counts: rows of each label.
      examples: rows in all.
      column: that the labels are in.
      multi_label: whether a row may have several.
      separator: between those of a text.

    Returns:
      A sentence each, without its full stop.
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
            "where it says that there is no label set options.incomplete=skip"
        )
    if sum(counts.values()) >= _COMMON * len(counts):
        for name, count in counts.items():
            if count > 1:
                continue
            others = [other for other in counts if counts[other] > 1]
            near = difflib.get_close_matches(name, others, n=1, cutoff=0.75)
            fold = [o for o in others if o.casefold() == name.casefold()]
            hint = (near or fold)[:1]
            told = f"a misspelling of '{hint[0]}'? " if hint else ""
            found.append(
                f"the label '{name:.60}' is in one row alone: {told}"
                "options.labels says which labels there are, and refuses "
                "others"
            )
    if multi_label:
        for other in _OTHER_SEPARATORS:
            inside = sum(other in name for name in counts)
            if other != separator and 2 * inside > len(counts):
                found.append(
                    f"most labels hold '{other}' and are taken as they are; if "
                    f"it divides them, set options.separator='{other}'"
                )
                break
    return found
