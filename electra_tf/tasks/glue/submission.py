"""What gluebenchmark.com takes: a TSV for each set, all in one zip."""

import io
import zipfile
from collections.abc import Mapping, Sequence

from electra_tf.errors import UserError
from electra_tf.tasks.glue.sets import SETS, GlueSet
from electra_tf.tasks.task import Prediction

_HEADER = "index\tprediction"
# The similarity of two sentences is a number from 0 to 5.
_LEAST, _MOST = 0.0, 5.0


def site_files() -> dict[str, tuple[GlueSet, str]]:
    """File name without `.tsv` -> its set and test split, all eleven."""
    return {
        name: (glue_set, split)
        for glue_set in SETS.values()
        for split, name in glue_set.site.items()
    }


def tsv(
    glue_set: GlueSet,
    indices: Sequence[int],
    predictions: Sequence[Prediction],
) -> bytes:
    """The TSV of a test split.

    Args:
      glue_set: whose.
      indices: of the rows in the official test file.
      predictions: of the task.
    """
    lines = [_HEADER]
    for index, prediction in zip(indices, predictions):
        lines.append(f"{index}\t{_value(glue_set, prediction)}")
    return ("\n".join(lines) + "\n").encode("utf-8")


def constant(name: str) -> bytes:
    """A file with one answer throughout, in place of one that is missing.

    Args:
      name: as in `site_files`.
    """
    glue_set, split = site_files()[name]
    prediction: Prediction = {"score": 0.0}
    if glue_set.labels is not None:
        prediction = {"label": glue_set.labels[0]}
    rows = glue_set.rows[split]
    return tsv(glue_set, range(rows), [prediction] * rows)


def pack(contents: Mapping[str, bytes]) -> tuple[bytes, list[str]]:
    """One zip of what there is, filled up, since the site wants all.

    Args:
      contents: file name without `.tsv` -> the file.

    Returns:
      The zip, and the names of those that were filled in with a constant.

    Raises:
      UserError: a file is none of the site's, or not as long as its test set
        officially is.
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
            # A date of its own, so that the same files give the same zip.
            entry = zipfile.ZipInfo(f"{name}.tsv", (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, contents.get(name) or constant(name))
    return packed.getvalue(), missing


def _value(glue_set: GlueSet, prediction: Prediction) -> str:
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
