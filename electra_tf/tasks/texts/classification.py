"""Classification and regression of texts from any table."""

import collections
import dataclasses
import difflib
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from electra_tf.errors import UserError
from electra_tf.tasks.records import missing_column, read_table, text_in
from electra_tf.tasks.task import FileTask, Prediction
from electra_tf.tasks.texts.columns import (
    nameless,
    split_column,
    with_found_columns,
)
from electra_tf.tasks.texts.labels import (
    as_list,
    columns_labels,
    is_missing,
    one_label,
    one_spelling,
    several_labels,
    suspicions,
)
from electra_tf.tasks.texts.options import (
    OF_CLASSES,
    OF_LABEL_SETS,
    OF_NUMBERS,
    OF_TWO_CLASSES,
    ClassificationOptions,
    RegressionOptions,
    TextTableOptions,
)
from electra_tf.tasks.texts.targets import Classes, LabelSets, Number, Target
from electra_tf.tasks.texts.task import TextExample, TextTask
from electra_tf.text import numerals

_log = logging.getLogger(__name__)
_LABEL_HINT = (
    "options.label_column names it; if each label has a column give "
    "options.label_columns; for a file without a header options.columns"
)
# 4,5 means 4.5; but 1,234 may be a thousand and more.
_DECIMAL_COMMA = re.compile(r"[-+]?[0-9]+,([0-9]{1,2}|[0-9]{4,})|[-+]?0,[0-9]+")
_LOOKED_AT = 1000  # rows that are searched for a column of splits
_MOST_SHOWN = 12  # labels named in a message
_PAIR = "text_pair"  # usual column of a second text


class Row(NamedTuple):
    """A row of a table, its texts checked."""

    text: str
    text_pair: str | None  # None where the options name no column
    label: Any  # the answer's value; None where the column is missing
    place: str  # "file:line"


class TableTask(FileTask, TextTask):
    """Reads tables; subclasses define the values of the label column."""

    Options: ClassVar[type] = TextTableOptions
    usual_file = "a table of texts, train.tsv or the like"

    @property
    def both_orders(self) -> bool:  # type: ignore[override]
        """Whether the options ask to train on both orders of a pair."""
        return self.options.double_unordered

    def answer(self, value: Any, place: str) -> Any:
        """Parses a cell of the label column.

        Raises:
          UserError: the value is not allowed.
        """
        raise NotImplementedError

    @property
    def may_be_empty(self) -> bool:
        """Returns whether an empty cell is an answer."""
        return False

    def check(self, examples: Sequence[TextExample]) -> None:
        """Refuses impossible answers, once `look` has seen all examples."""

    def read_files(self, paths: Sequence[str], split: str) -> list[TextExample]:
        """Reads the rows of a table; a test file may have no answers."""
        needed = split != "test"
        rows: list[Row] = []
        first: list[Mapping[str, Any]] = []
        without: list[str] = []
        found = read_table(paths[0], self.options, self.options.text_column)
        for record, place in found:
            if not rows and not self.trained:
                self.options = with_found_columns(
                    self.options, record, paths[0]
                )
            if len(first) < _LOOKED_AT:
                first.append(record)
            empty = self.options.incomplete == "skip" and self._is_empty(record)
            if empty and needed:
                without.append(place)
                continue
            try:
                row = self._row(record, place, may_be_empty=empty)
            except UserError as error:
                if needed and self._is_empty(record):
                    raise UserError(
                        f"{error}; options.incomplete=skip leaves such rows out"
                    ) from error
                raise
            if needed and row.label is None:
                self._check_label(record, place)
            rows.append(row)
        if without:
            _log.warning(
                "%s: %d rows have no text and are left out",
                without[0], len(without),
            )  # fmt: skip
        column = split_column(first)
        if column is not None:
            _log.warning(
                "%s: the column '%s' names splits, and is ignored: all rows "
                "are for %s; write each split to a file of its own",
                paths[0], column, split,
            )  # fmt: skip
        return self._examples(rows, needed)

    def _is_empty(self, record: Mapping[str, Any]) -> bool:
        """Returns whether a required text of a row is empty."""
        options = self.options
        return any(
            name in record and is_missing(record[name], "+")
            for name in (options.text_column, options.text_pair_column)
            if name is not None
        )

    def label_of(self, record: Mapping[str, Any], place: str) -> Any:
        """Returns the value of the label column; None where it is missing."""
        return record.get(self.options.label_column)

    def _check_label(self, record: Mapping[str, Any], place: str) -> None:
        """Refuses a row without the label's column."""
        column = self.options.label_column
        if column not in record:
            raise missing_column(record, place, column, _LABEL_HINT)

    def read(self, split: str) -> Sequence[TextExample] | None:
        """See `FileTask.read`."""
        found = super().read(split)
        if found is not None:
            self.check(found)
        return found

    def identity(self, example: TextExample) -> str:
        """Returns the text, or both texts."""
        if example.text_pair is None:
            return example.text
        return f"{example.text}\0{example.text_pair}"

    def example(self, record: Mapping[str, Any], place: str) -> TextExample:
        """See `Task.example`."""
        row = self._row(record, place)
        return TextExample(row.text, row.text_pair, None, place)

    def asked(self, record: Mapping[str, Any], place: str) -> TextExample:
        """See `Task.asked`."""
        row = self._row(record, place, may_be_empty=True)
        return TextExample(row.text, row.text_pair, None, place)

    def record(self, item: Any) -> Mapping[str, Any]:
        """See `Task.record`; texts are put under the columns' names."""
        found = super().record(item)
        if found is item:
            return found
        pair = self.options.text_pair_column
        if self.pairs_too and "text_pair" in found:
            pair = _PAIR
        if (pair is None) == ("text_pair" in found):
            wanted = "a text alone" if pair is None else "a pair of texts"
            raise UserError(f"expected {wanted}, got {item!r:.60}")
        names = {"text": self.options.text_column, "text_pair": pair}
        return {names[key]: value for key, value in found.items()}

    def scores(
        self,
        examples: Sequence[TextExample],
        predictions: Sequence[Prediction],
    ) -> dict[str, float]:
        """See `TextTask.scores`."""
        self.check(examples)
        return super().scores(examples, predictions)

    @property
    def pairs_too(self) -> bool:
        """Whether a pair may be given in place of a text.

        It may for imported models, which do not say whether they read pairs.
        """
        either = self.state.get("pairs") == "either"
        return either and self.options.text_pair_column is None

    def _row(
        self,
        record: Mapping[str, Any],
        place: str,
        may_be_empty: bool = False,
    ) -> Row:
        options, pair = self.options, self.options.text_pair_column
        if self.pairs_too and record.get(_PAIR) is not None:
            pair = _PAIR

        def text(column: str) -> str:
            hint = "" if column in record else nameless(record)
            if may_be_empty and record.get(column, "") is None:
                return ""
            return text_in(record, column, place, hint, may_be_empty)

        return Row(
            text(options.text_column),
            None if pair is None else text(pair),
            self.label_of(record, place),
            place,
        )

    def _examples(self, rows: list[Row], needed: bool) -> list[TextExample]:
        there = self._held(rows)
        missing = [self._has_none(row.label, there) for row in rows]
        filled = next((r for r, bad in zip(rows, missing) if not bad), None)
        answers: list[Any] = [None] * len(rows)
        if needed or filled is not None:
            rows = self._labeled(rows, missing, None if needed else filled)
            answers = [self.answer(row.label, row.place) for row in rows]
        return [
            TextExample(row.text, row.text_pair, answer, row.place, i)
            for i, (row, answer) in enumerate(zip(rows, answers))
        ]

    def _held(self, rows: Sequence[Row]) -> set[str]:
        """Returns the values of the label column that are texts or numbers."""
        return {
            str(row.label)
            for row in rows
            if isinstance(row.label, str | int | float)
        }

    def _has_none(self, label: Any, there: set[str]) -> bool:
        if self.may_be_empty:
            return label is None
        return is_missing(label, there) and (
            str(label).strip() not in ("-1", "-1.0")
            or self.options.incomplete == "skip"
        )

    def _labeled(
        self, rows: list[Row], missing: Sequence[bool], filled: Row | None
    ) -> list[Row]:
        """Returns the rows with a label; others are refused, or logged."""
        left = [row for row, bad in zip(rows, missing) if not bad]
        if len(left) == len(rows):
            return rows
        first = next(row for row, bad in zip(rows, missing) if bad)
        column = self.options.label_column
        if self.options.incomplete == "refuse" or not left:
            held = (
                "" if first.label in (None, "") else f", but {first.label!r},"
            )
            raise UserError(
                f"{first.place}: no label{held} in column '{column}'"
                + (f", and {filled.place} has one" if filled else "")
                + "; options.incomplete=skip leaves such rows out"
            )
        _log.warning(
            "%s: %d of %d rows have no label in '%s' and are left out",
            first.place, len(rows) - len(left), len(rows), column,
        )  # fmt: skip
        return left


class Classification(TableTask):
    """Predicts one class, or with `multi_label` any number of labels."""

    Options = ClassificationOptions

    def set_up(self) -> None:
        """See `Task.set_up`."""
        default = (
            OF_LABEL_SETS[0] if self.options.multi_label else OF_CLASSES[0]
        )
        self.metric = self.options.metric or default
        self._labels = (
            self.state.get("labels")
            or self.options.labels
            or self.options.label_columns
        )
        if self._labels:
            self._target = self._make_target()

    def read_files(self, paths: Sequence[str], split: str) -> list[TextExample]:
        """Reads the rows of a table; "1" and "1.0" are one label."""
        found = super().read_files(paths, split)
        if self.options.multi_label:
            return found
        names = {e.answer for e in found if e.answer is not None}
        known = self.options.labels or self._labels or ()
        spelled = one_spelling(names, known)
        if not spelled:
            return found
        spellings = ", ".join(
            f"'{a}' as '{b}'" for a, b in sorted(spelled.items())
        )
        _log.warning("%s: labels are read: %s", paths[0], spellings)
        return [
            dataclasses.replace(e, answer=spelled.get(e.answer, e.answer))
            for e in found
        ]

    def label_of(self, record: Mapping[str, Any], place: str) -> Any:
        """Returns the label column's value, or the label columns with a yes."""
        if self.options.label_columns is None:
            return super().label_of(record, place)
        return columns_labels(record, self.options.label_columns, place)

    def _check_label(self, record: Mapping[str, Any], place: str) -> None:
        columns = self.options.label_columns
        if columns is None:
            super()._check_label(record, place)
        elif columns[0] not in record:
            raise missing_column(record, place, columns[0], nameless(record))

    def answer(self, value: Any, place: str) -> str | tuple[str, ...]:
        """Returns a label, or with `multi_label` the labels of a text."""
        names = self.options.label_columns or self.options.labels
        if not self.options.multi_label:
            return one_label(value, names, place)
        if self.options.label_columns is not None:
            return tuple(value)
        listed = as_list(value)
        if listed is None and isinstance(value, str):
            listed = value.split(self.options.separator)
            listed = [part for part in listed if part.strip()]
        if listed is None:
            raise UserError(
                f"{place}: expected a list of labels, or a text with them, "
                f"got {value!r:.40}"
            )
        return several_labels(listed, names, place)

    def look(self, examples: Sequence[TextExample]) -> None:
        """Finds the labels, unless they are given."""
        if self.options.labels is None and not self.options.label_columns:
            self._labels = _sorted(
                {label for example in examples for label in _all(example)}
            )

    def check(self, examples: Sequence[TextExample]) -> None:
        """Refuses unknown labels, where the labels are known."""
        if not self._labels:
            return
        known = set(self._labels)
        for example in examples:
            for label in _all(example):
                if label not in known:
                    raise self._unknown(label, example.place)

    def fit(self, examples: Sequence[TextExample]) -> None:
        """Keeps the labels and their weights.

        Raises:
          UserError: all examples have the same class, or none has a label.
        """
        self._check_options()
        if not self._labels:
            self.look(examples)
        self.check(examples)
        counts = collections.Counter(
            label for example in examples for label in _all(example)
        )
        where = examples[0].place.rpartition(":")[0] or "the training data"
        column = self.options.label_column
        if not counts:
            raise UserError(f"{where}: no row has a label in '{column}'")
        if len(counts) == 1 and not self.options.multi_label:
            raise UserError(
                f"{where}: every row's '{column}' is '{next(iter(counts))}'; "
                "expected at least two classes"
            )
        if self.options.multi_label and len({e.answer for e in examples}) == 1:
            raise UserError(
                f"{where}: every row has the same labels; there is nothing to "
                "learn"
            )
        self._warn(counts, len(examples), where)
        self.state["labels"] = list(self._labels)
        weights = self._weights(counts, len(examples))
        self.state.pop("class_weights", None)
        if weights is not None:
            self.state["class_weights"] = weights
        self._check_labels()
        self._target = self._make_target()

    def check_options(self) -> None:
        """Refuses options that do not fit the labels, as far as known."""
        self._check_options()
        if self._labels:
            self._check_labels()

    def _check_labels(self) -> None:
        positive = self.options.positive_label
        if positive is not None and positive not in self._labels:
            raise UserError(
                f"options.positive_label: '{positive}' is not a label; there "
                f"are {_listed(self._labels)}"
            )
        if (
            self.metric in OF_TWO_CLASSES
            and len(self._labels) != 2
            and positive is None
        ):
            raise UserError(
                f"options.metric: {self.metric} is for two classes, and there "
                f"are {len(self._labels)}: name the label to compute it for "
                "(options.positive_label), pin the two (options.labels), or "
                f"choose one of {', '.join(OF_CLASSES)}"
            )

    def _check_options(self) -> None:
        """Refuses options that only the other kind of labels uses."""
        usual, several = type(self.options)(), self.options.multi_label
        names = ("positive_label",) if several else ("separator", "threshold")
        for name in names:
            if getattr(self.options, name) != getattr(usual, name):
                raise UserError(
                    f"options.{name}: is used "
                    f"{'without' if several else 'with'} multi_label alone; "
                    "leave it out, or change options.multi_label"
                )

    def classes(self, examples: Sequence[TextExample]) -> dict[str, int]:
        """Counts the examples of each label, also within sets of labels."""
        counts = collections.Counter(n for e in examples for n in _all(e))
        return dict(counts.most_common())

    def details(
        self,
        examples: Sequence[TextExample],
        predictions: Sequence[Prediction],
    ) -> dict[str, dict[str, float]]:
        """Returns precision, recall and F1 of each label."""
        pairs = [
            (_all(e), p["labels"] if "labels" in p else (p["label"],))
            for e, p in zip(examples, predictions)
            if e.answer is not None
        ]
        found = {}
        for name in self._labels if pairs else ():
            known = [name in truth for truth, _ in pairs]
            given = [name in said for _, said in pairs]
            right = sum(a and b for a, b in zip(known, given))
            total = sum(known) + sum(given)
            found[name] = {
                "precision": 100.0 * right / max(sum(given), 1),
                "recall": 100.0 * right / max(sum(known), 1),
                "f1": 200.0 * right / max(total, 1),
                "support": sum(known),
            }
        return found

    def _warn(
        self, counts: Mapping[str, int], examples: int, where: str
    ) -> None:
        """Warns of labels that look like mistakes, unless `labels` names
        them.
        """
        if self.options.labels or self.options.label_columns:
            return
        for text in suspicions(
            counts, examples, self.options.label_column,
            self.options.multi_label, self.options.separator,
        ):  # fmt: skip
            _log.warning("%s: %s", where, text)

    def _weights(
        self, counts: Mapping[str, int], examples: int
    ) -> list[float] | None:
        given = self.options.class_weights
        if given is None or given == "none":
            return None
        if given == "balanced":
            if self.options.multi_label:
                return [
                    (examples - counts[n]) / counts[n] if counts[n] else 1.0
                    for n in self._labels
                ]
            # The mean over the training examples is 1; absent classes have
            # weight 0.
            return [
                examples / (len(counts) * counts[n]) if counts[n] else 0.0
                for n in self._labels
            ]
        for label in given:
            if label not in self._labels:
                raise self._unknown(label, "options.class_weights")
        return [float(given.get(label, 1.0)) for label in self._labels]

    def _make_target(self) -> Target:
        weights = self.state.get("class_weights")
        if self.options.multi_label:
            return LabelSets(self._labels, weights, self.options.threshold)
        return Classes(self._labels, weights, self.options.positive_label)

    def _unknown(self, label: str, place: str) -> UserError:
        near = difflib.get_close_matches(label, self._labels, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'? " if near else ""
        found = "" if self.options.labels else " in the training data"
        return UserError(
            f"{place}: unknown label '{label:.60}'; {hint}"
            f"known{found}: {_listed(self._labels)}"
        )

    @property
    def may_be_empty(self) -> bool:
        """Returns whether an empty cell is a set of labels without any."""
        return self.options.multi_label


class Regression(TableTask):
    """Predicts a number for each text."""

    Options = RegressionOptions

    def set_up(self) -> None:
        """See `Task.set_up`."""
        self.metric = self.options.metric or OF_NUMBERS[0]
        if "scale" in self.state:
            self._target = Number(self.state["offset"], self.state["scale"])
        elif self.options.scale is not None:
            self._target = Number(0.0, self.options.scale)

    def _has_none(self, label: Any, there: set[str]) -> bool:
        """Returns whether a cell has no number that may be left out."""
        return super()._has_none(label, there) and (
            label in (None, "") or self.options.incomplete == "skip"
        )

    def answer(self, value: Any, place: str) -> float:
        """Parses a finite number."""
        if isinstance(value, str) and _DECIMAL_COMMA.fullmatch(value.strip()):
            value = value.replace(",", ".")
        number = numerals.finite(value)
        if number is None:
            raise UserError(
                f"{place}: expected a number in "
                f"'{self.options.label_column}', got {value!r:.40}"
            )
        return number

    def fit(self, examples: Sequence[TextExample]) -> None:
        """Keeps the scale and offset of the numbers.

        Raises:
          UserError: the numbers are all the same.
        """
        numbers = np.asarray([example.answer for example in examples], float)
        if np.ptp(numbers) == 0:
            where = examples[0].place.rpartition(":")[0] or "the training data"
            raise UserError(
                f"{where}: every row's '{self.options.label_column}' is "
                f"{numbers[0]:g}; there is nothing to learn"
            )
        offset, scale = 0.0, self.options.scale
        if scale is None:
            offset, scale = float(numbers.mean()), float(numbers.std())
        self.state |= {"offset": offset, "scale": scale}
        self._target = Number(offset, scale)


def _all(example: TextExample) -> tuple[str, ...]:
    if example.answer is None:
        return ()
    answer = example.answer
    return (answer,) if isinstance(answer, str) else answer


def _sorted(labels: set[str]) -> tuple[str, ...]:
    """Sorts labels by number if all are whole numbers, else by name."""
    if all(label.isascii() and label.isdigit() for label in labels):
        return tuple(sorted(labels, key=lambda label: (int(label), label)))
    return tuple(sorted(labels))


def _listed(labels: Sequence[str]) -> str:
    shown = ", ".join(labels[:_MOST_SHOWN])
    more = len(labels) - _MOST_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
