"""Tests the counts and the plot of the confusion matrix."""

import numpy as np
import pytest

from electra_tf.finetuning import plots


def test_rows_are_truths_and_columns_predictions():
    truths = ["a", "a", "b", "c", "a", "x"]
    predicted = ["a", "b", "b", "a", "b", "a"]
    np.testing.assert_array_equal(
        plots.confusion_counts(truths, predicted, ["a", "b", "c"]),
        [[1, 2, 0], [0, 1, 0], [1, 0, 0]],
    )


def test_asian_letters_are_plotted_where_a_font_has_them():
    from matplotlib import font_manager

    *_, last = plots._families()
    if last == "DejaVu Sans":
        pytest.skip("no font with Chinese letters on this machine")
    here = font_manager.findfont(last, fallback_to_default=False)
    assert 0x597D in font_manager.get_font(here).get_charmap()


@pytest.mark.parametrize("labels", [1, 2, 30, 90])
def test_it_is_plotted(labels):
    from matplotlib.image import imread

    names = [
        f"a rather long name of a label, number {i}" for i in range(labels)
    ]
    rng = np.random.default_rng(0)
    truths = [names[i] for i in rng.integers(0, labels, 500)]
    png = plots.draw_confusion(truths, truths[::-1], names)
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    import io

    image = imread(io.BytesIO(png))
    assert image.shape[0] > 300 and image.shape[1] > 300
    assert image[..., :3].std() > 0.05  # not blank
