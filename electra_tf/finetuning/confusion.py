"""The confusion matrix of a classifier, as a picture."""

import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

# More labels than these are drawn without counts, and without names.
_COUNTED, _NAMED = 25, 80
_NAME_LENGTH = 24
# Fonts with Chinese, Japanese and Korean letters, in the order of preference.
_EASTERN = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "PingFang SC",
    "Heiti SC",
    "Microsoft YaHei",
    "SimHei",
    "Arial Unicode MS",
)


def counts(
    truths: Sequence[str], predicted: Sequence[str], labels: Sequence[str]
) -> np.ndarray:
    """int64 [labels, labels]: row the truth, column the prediction.

    Answers that are none of the labels are left out.
    """
    number = {label: i for i, label in enumerate(labels)}
    matrix = np.zeros([len(labels)] * 2, "int64")
    for truth, answer in zip(truths, predicted):
        if truth in number and answer in number:
            matrix[number[truth], number[answer]] += 1
    return matrix


def draw(
    truths: Sequence[str],
    predicted: Sequence[str],
    labels: Sequence[str],
    title: str = "",
) -> bytes:
    """A PNG of the counts; colours are shares of each row.

    Args:
      truths: N labels.
      predicted: N labels.
      labels: their order on both axes.
      title: stands above, before how many are right.
    """
    # A figure of its own, without pyplot: no display and no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    matrix = counts(truths, predicted, labels)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = min(14.0, 3.5 + 0.45 * len(labels))
    figure = Figure(figsize=(side + 1.0, side), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    if len(labels) <= _COUNTED:
        _write_counts(axes, matrix, shares)
    names = [_short(label) for label in labels]
    if len(labels) <= _NAMED:
        places = range(len(labels))
        families = _families()
        upright = max(map(len, names), default=0) > 4 or len(labels) > 12
        axes.set_xticks(
            places, names, rotation=45 if upright else 0,
            ha="right" if upright else "center", rotation_mode="anchor",
            fontfamily=families,
        )  # fmt: skip
        axes.set_yticks(places, names, fontfamily=families)
    else:
        axes.set_xticks([])
        axes.set_yticks([])
    axes.set_xlabel("prediction")
    axes.set_ylabel("truth")
    right = int(np.trace(matrix))
    title = f"{title}: " if title else ""
    axes.set_title(
        f"{title}{right:,} of {int(matrix.sum()):,} right", fontsize=10
    )
    bar = figure.colorbar(image, ax=axes, shrink=0.8)
    bar.set_label("share of the true label's examples")
    picture = io.BytesIO()
    with warnings.catch_warnings():
        # Of names in scripts that no font here has.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(picture, format="png", dpi=120)
    return picture.getvalue()


def _write_counts(axes: Any, matrix: np.ndarray, shares: np.ndarray) -> None:
    size = 11 if len(matrix) <= 8 else 7
    for (row, column), count in np.ndenumerate(matrix):
        axes.text(
            column,
            row,
            f"{count:,}",
            ha="center",
            va="center",
            fontsize=size,
            color="white" if shares[row, column] > 0.6 else "black",
        )


def _families() -> list[str]:
    """The usual font, and for letters that it lacks those that are here."""
    from matplotlib import font_manager

    here = set(font_manager.get_font_names())
    return ["DejaVu Sans", *(name for name in _EASTERN if name in here)]


def _short(label: str) -> str:
    if len(label) <= _NAME_LENGTH:
        return label
    return label[: _NAME_LENGTH - 1] + "…"
