"""The ten sets of GLUE, and the files that gluebenchmark.com accepts.

Texts, labels, metrics and sizes have their official names.
"""

import dataclasses
import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from electra_tf.config import Setting
from electra_tf.errors import UserError
from electra_tf.tasks.texts.options import TextOptions

_HEADER = "index\tprediction"
# The similarity of two sentences is a number from 0 to 5.
_LEAST, _MOST = 0.0, 5.0
SCALE = _MOST  # scores are trained divided by it, as in the original


@dataclasses.dataclass(frozen=True)
class GlueOptions(TextOptions):
    """Options of `glue/...`."""

    double_unordered: Annotated[
        bool | None,
        Setting(
            "Train on each pair in both orders; null does so for MRPC and "
            "STS-B, as the original."
        ),
    ] = None


@dataclasses.dataclass(frozen=True)
class GlueSet:
    """One set of GLUE.

    Attributes:
      name: its name in TensorFlow Datasets, after `glue/`.
      folder: name of the folder with the official files.
      texts: names of the texts in TensorFlow Datasets.
      columns: names of the same texts in the official files.
      labels: in the order of TensorFlow Datasets; None for a regression.
      label_column: name of the label's column in the official files.
      metric: the metric that selects the best weights.
      metrics: the official ones, and their mean where there are two.
      rows: split -> official number of rows.
      files: split -> the official file, without `.tsv`.
      site: test split -> its file name on the leaderboard.
      site_numbers: whether the leaderboard takes labels as numbers.
      epochs: number of epochs in the paper's appendix.
      turn_pairs: whether the original trains on both orders of a pair.
    """

    name: str
    folder: str
    texts: tuple[str, ...]
    columns: tuple[str, ...]
    labels: tuple[str, ...] | None
    label_column: str
    metric: str
    metrics: tuple[str, ...]
    rows: dict[str, int]
    files: dict[str, str]
    site: dict[str, str]
    site_numbers: bool = False
    epochs: float = 3.0
    turn_pairs: bool = False

    @property
    def validation_splits(self) -> tuple[str, ...]:
        """The validation splits; the first one selects the best weights."""
        return tuple(n for n in self.files if n.startswith("validation"))

    @property
    def test_splits(self) -> tuple[str, ...]:
        """The test splits, in order."""
        return tuple(n for n in self.files if n.startswith("test"))


# The official test files have no labels.
UNLABELLED = -1
_FILES = {"train": "train", "validation": "dev", "test": "test"}
_SENTENCE = ("sentence",)
_PAIR = ("sentence1", "sentence2")
_TWO = ("entailment", "not_entailment")
_THREE = ("entailment", "neutral", "contradiction")


def _sizes(train: int, validation: int, test: int) -> dict[str, int]:
    return {"train": train, "validation": validation, "test": test}


SETS = {
    found.name: found
    for found in (
        GlueSet(
            "cola", "CoLA", _SENTENCE, _SENTENCE,
            ("unacceptable", "acceptable"), "is_acceptable",
            "mcc", ("mcc",), _sizes(8551, 1043, 1063), _FILES,
            {"test": "CoLA"}, site_numbers=True,
        ),
        GlueSet(
            "sst2", "SST-2", _SENTENCE, _SENTENCE,
            ("negative", "positive"), "label",
            "accuracy", ("accuracy",), _sizes(67349, 872, 1821), _FILES,
            {"test": "SST-2"}, site_numbers=True,
        ),
        GlueSet(
            "mrpc", "MRPC", _PAIR, ("#1 String", "#2 String"),
            ("not_equivalent", "equivalent"), "Quality",
            "accuracy_f1", ("accuracy", "f1", "accuracy_f1"),
            _sizes(3668, 408, 1725), _FILES,
            {"test": "MRPC"}, site_numbers=True, turn_pairs=True,
        ),
        GlueSet(
            "stsb", "STS-B", _PAIR, _PAIR, None, "score",
            "pearson_spearman", ("pearson", "spearman", "pearson_spearman"),
            _sizes(5749, 1500, 1379), _FILES,
            {"test": "STS-B"}, epochs=10.0, turn_pairs=True,
        ),
        GlueSet(
            "qqp", "QQP", ("question1", "question2"),
            ("question1", "question2"),
            ("not_duplicate", "duplicate"), "is_duplicate",
            "accuracy_f1", ("accuracy", "f1", "accuracy_f1"),
            _sizes(363846, 40430, 390965), _FILES,
            {"test": "QQP"}, site_numbers=True,
        ),
        GlueSet(
            "mnli", "MNLI", ("premise", "hypothesis"), _PAIR,
            _THREE, "gold_label", "accuracy", ("accuracy",),
            {
                "train": 392702,
                "validation_matched": 9815, "validation_mismatched": 9832,
                "test_matched": 9796, "test_mismatched": 9847,
            },
            {
                "train": "train",
                "validation_matched": "dev_matched",
                "validation_mismatched": "dev_mismatched",
                "test_matched": "test_matched",
                "test_mismatched": "test_mismatched",
            },
            {"test_matched": "MNLI-m", "test_mismatched": "MNLI-mm"},
        ),
        GlueSet(
            "qnli", "QNLI", ("question", "sentence"), ("question", "sentence"),
            _TWO, "label", "accuracy", ("accuracy",),
            _sizes(104743, 5463, 5463), _FILES, {"test": "QNLI"},
        ),
        GlueSet(
            "rte", "RTE", _PAIR, _PAIR, _TWO, "label",
            "accuracy", ("accuracy",), _sizes(2490, 277, 3000), _FILES,
            {"test": "RTE"}, epochs=10.0,
        ),
        GlueSet(
            "wnli", "WNLI", _PAIR, _PAIR, _TWO[::-1], "label",
            "accuracy", ("accuracy",), _sizes(635, 71, 146), _FILES,
            {"test": "WNLI"}, site_numbers=True,
        ),
        GlueSet(
            "ax", "AX", ("premise", "hypothesis"), _PAIR,
            _THREE, "label", "mcc", ("mcc", "accuracy"),
            {"test": 1104}, {"test": "AX"}, {"test": "AX"},
        ),
    )
}  # fmt: skip


def site_files() -> dict[str, tuple[GlueSet, str]]:
    """Returns the eleven file names, without `.tsv` -> set and test split."""
    return {
        name: (glue_set, split)
        for glue_set in SETS.values()
        for split, name in glue_set.site.items()
    }


def tsv(
    glue_set: GlueSet,
    indices: Sequence[int],
    predictions: Sequence[Mapping[str, Any]],
) -> bytes:
    """Returns the TSV of a test split.

    Args:
      glue_set: the set.
      indices: row numbers in the official test file.
      predictions: predictions of the task.
    """
    lines = [_HEADER]
    for index, prediction in zip(indices, predictions):
        lines.append(f"{index}\t{_value(glue_set, prediction)}")
    return ("\n".join(lines) + "\n").encode("utf-8")


def constant(name: str) -> bytes:
    """Returns a file with one constant answer, for a test set left out.

    Args:
      name: a key of `site_files`.
    """
    glue_set, split = site_files()[name]
    prediction: dict[str, Any] = {"score": 0.0}
    if glue_set.labels is not None:
        prediction = {"label": glue_set.labels[0]}
    rows = glue_set.rows[split]
    return tsv(glue_set, range(rows), [prediction] * rows)


def pack(contents: Mapping[str, bytes]) -> tuple[bytes, list[str]]:
    """Packs files for the leaderboard in a zip, and fills in missing ones.

    Args:
      contents: file name without `.tsv` -> content.

    Returns:
      The zip, and the names of the files that were filled in with a constant
      answer: the site wants all of them.

    Raises:
      UserError: the site does not know a file's name, or its number of rows is
        not the official one.
    """
    known = site_files()
    for name, content in contents.items():
        if name not in known:
            raise UserError(
                f"{name}.tsv: not a file of the site; expected "
                + ", ".join(f"{other}.tsv" for other in known)
            )
        _check(name, content)
    packed = io.BytesIO()
    missing = [name for name in known if name not in contents]
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in known:
            # A fixed date, so that the same files give the same zip.
            entry = zipfile.ZipInfo(f"{name}.tsv", (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, contents.get(name) or constant(name))
    return packed.getvalue(), missing


def _value(glue_set: GlueSet, prediction: Mapping[str, Any]) -> str:
    if glue_set.labels is None:
        return f"{min(max(prediction['score'], _LEAST), _MOST):.6f}"
    label = prediction["label"]
    if glue_set.site_numbers:
        return str(glue_set.labels.index(label))
    return label


def _check(name: str, content: bytes) -> None:
    glue_set, split = site_files()[name]
    header, *lines = content.decode("utf-8").splitlines() or [""]
    if header != _HEADER:
        raise UserError(
            f"{name}.tsv: expected the header 'index<TAB>prediction'"
        )
    if len(lines) != glue_set.rows[split]:
        raise UserError(
            f"{name}.tsv: {len(lines)} rows, but the official test set has "
            f"{glue_set.rows[split]}; predict the whole of it"
        )
