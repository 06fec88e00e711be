"""Defines the options of tasks on a text or a pair of texts."""

import dataclasses
import difflib
import math
from collections.abc import Sequence
from typing import Annotated, Literal

from electra_tf.config import Setting
from electra_tf.errors import UserError
from electra_tf.tasks.hidden_layer import HiddenLayerOptions
from electra_tf.tasks.splits import TableOptions

PAIR = "text_pair"
# Metrics that may select the best weights; the first is the default.
OF_CLASSES = ("accuracy", "macro_f1", "mcc")
OF_TWO_CLASSES = ("f1", "accuracy_f1", "precision", "recall")
OF_LABEL_SETS = ("micro_f1", "macro_f1", "exact_match")
OF_NUMBERS = ("pearson", "spearman", "pearson_spearman", "r2")


@dataclasses.dataclass(frozen=True)
class TextOptions(HiddenLayerOptions):
    """Options of all tasks on texts."""

    max_seq_length: Annotated[
        int,
        Setting(
            "Tokens of a row, special ones included; longer texts are "
            "truncated.",
            at_least=3,
        ),
    ] = 128
    dropout: Annotated[
        float, Setting("Dropout rate in the head.", at_least=0, below=1)
    ] = 0.1


@dataclasses.dataclass(frozen=True)
class TextTableOptions(TextOptions, TableOptions):
    """Options of tasks whose texts and answers are in tables."""

    text_column: Annotated[str, Setting("Column of the text.")] = "text"
    text_pair_column: Annotated[
        str | None,
        Setting("Column of the second text; null for texts by themselves."),
    ] = None
    label_column: Annotated[str, Setting("Column of the answer.")] = "label"
    incomplete: Annotated[
        Literal["refuse", "skip"],
        Setting(
            "What to do with rows without a text, or without a label among "
            "others: an empty cell, null, NaN, the '-' and the -1 of NLI. skip "
            "leaves them out of training and validation, and counts them."
        ),
    ] = "refuse"
    double_unordered: Annotated[
        bool,
        Setting(
            "Train on each pair in both orders, as the original does where "
            "order means nothing."
        ),
    ] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.columns is not None:
            if self.text_pair_column is None and PAIR in self.columns:
                object.__setattr__(self, "text_pair_column", PAIR)
            for key in self.needed_columns():
                name = getattr(self, key)
                if name is not None and name not in self.columns:
                    raise UserError(
                        f"columns: '{name}' is not among them, which {key} "
                        f"names; there are {', '.join(self.columns)}"
                    )
        if self.double_unordered and self.text_pair_column is None:
            raise UserError(
                "double_unordered: is for pairs; give text_pair_column"
            )

    def needed_columns(self) -> tuple[str, ...]:
        """Returns the option keys that name columns which a table must have."""
        return ("text_column", "text_pair_column", "label_column")


@dataclasses.dataclass(frozen=True)
class ClassificationOptions(TextTableOptions):
    """Options of `classification`."""

    labels: Annotated[
        tuple[str, ...] | None,
        Setting(
            "All labels there may be, in order; null takes those of the "
            "training data, sorted."
        ),
    ] = None
    multi_label: Annotated[
        bool,
        Setting(
            "Let a text have any number of labels: a list in JSON, or divided "
            "by `separator`."
        ),
    ] = False
    separator: Annotated[str, Setting("Text between the labels of a cell.")] = (
        ","
    )
    label_columns: Annotated[
        tuple[str, ...] | None,
        Setting(
            "Columns of tables that have one for each label, with 0 or 1 in "
            "it; sets multi_label. null where one column holds the labels."
        ),
    ] = None
    threshold: Annotated[
        float,
        Setting(
            "Probability from which a label is predicted with multi_label.",
            above=0,
            below=1,
        ),
    ] = 0.5
    class_weights: Annotated[
        str | dict[str, float] | None,
        Setting(
            "Weights of the classes in the loss: none; balanced, all classes "
            "weigh the same; or label: weight, 1 for the others. With "
            "multi_label they are of a label's presence."
        ),
    ] = None
    metric: Annotated[
        str | None,
        Setting(
            "Metric that selects the best weights: accuracy, macro_f1, mcc; of "
            "two classes f1, accuracy_f1, precision, recall; with multi_label "
            "micro_f1, macro_f1, exact_match. null is the first."
        ),
    ] = None
    positive_label: Annotated[
        str | None,
        Setting(
            "Label that f1, precision and recall are computed for; null takes "
            "the second of two, and for more labels the mean over all, "
            "weighted by their examples."
        ),
    ] = None

    def __post_init__(self) -> None:
        if self.label_columns is not None:
            object.__setattr__(self, "multi_label", True)
        super().__post_init__()
        if self.label_columns is not None:
            if self.labels not in (None, self.label_columns):
                raise UserError(
                    "labels: those of label_columns are their names; leave "
                    "one of the two out"
                )
            if len(set(self.label_columns)) != len(self.label_columns):
                raise UserError("label_columns: one of them is given twice")
            for name in self.label_columns:
                if self.columns is not None and name not in self.columns:
                    raise UserError(
                        f"columns: '{name}' is not among them, which "
                        "label_columns names"
                    )
        if self.labels is not None:
            least = 1 if self.multi_label else 2
            if len(set(self.labels)) != len(self.labels):
                raise UserError("labels: one of them is given twice")
            if len(self.labels) < least:
                raise UserError(
                    f"labels: expected at least {least}, got {len(self.labels)}"
                )
        if not self.separator:
            raise UserError("separator: expected a text, got an empty one")
        weights = self.class_weights
        if isinstance(weights, str) and weights not in ("none", "balanced"):
            raise UserError(
                "class_weights: expected none, balanced or label: weight, "
                f"got '{weights}'"
            )
        if isinstance(weights, dict) and not all(
            0 <= weight < math.inf for weight in weights.values()
        ):
            raise UserError(
                "class_weights: expected weights of at least 0, and finite"
            )
        of_one = OF_CLASSES + OF_TWO_CLASSES
        if self.multi_label and self.metric in set(of_one) - set(OF_LABEL_SETS):
            raise UserError(
                f"metric: {self.metric} is of texts with one label each; with "
                f"multi_label known: {', '.join(OF_LABEL_SETS)}; null takes "
                "the first"
            )
        if not self.multi_label and self.metric in (
            set(OF_LABEL_SETS) - set(of_one)
        ):
            raise UserError(
                f"metric: {self.metric} is of sets of labels; set multi_label, "
                f"or choose one of {', '.join(of_one)}"
            )
        _check_metric(
            self.metric, OF_LABEL_SETS if self.multi_label else of_one
        )

    def needed_columns(self) -> tuple[str, ...]:
        """See `TextTableOptions`; `label_columns` are checked separately."""
        keys = super().needed_columns()
        return keys if self.label_columns is None else keys[:-1]


@dataclasses.dataclass(frozen=True)
class RegressionOptions(TextTableOptions):
    """Options of `regression`."""

    scale: Annotated[
        float | None,
        Setting(
            "Number that the targets are divided by (5 for STS-B); null "
            "subtracts the mean of the training data and divides by its "
            "standard deviation.",
            above=0,
        ),
    ] = None
    metric: Annotated[
        str | None,
        Setting(
            "Metric that selects the best weights: pearson, spearman, "
            "pearson_spearman (their mean), r2. null is the first."
        ),
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_metric(self.metric, OF_NUMBERS)


def _check_metric(metric: str | None, known: Sequence[str]) -> None:
    if metric is None or metric in known:
        return
    near = difflib.get_close_matches(metric, known, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise UserError(
        f"metric: '{metric}' is not known; {hint}known: {', '.join(known)}"
    )
