"""Tests numbers in cells."""

import decimal

import numpy as np
import pytest

from electra_tf.text.numerals import finite


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        ("1.5", 1.5), (" -3 ", -3.0), ("1e3", 1000.0), ("٣", 3.0), (4, 4.0),
        (np.float32(0.5), 0.5), (decimal.Decimal("2.5"), 2.5),
    ],
)  # fmt: skip
def test_numbers(cell, number):
    found = finite(cell)
    assert found == number and type(found) is float


@pytest.mark.parametrize(
    "cell",
    [
        "", " ", "x", "nan", "inf", "-Infinity", "1_000", "1,5", "1e999",
        float("nan"), float("inf"), 10**400, True, None, [1], {},
    ],
)  # fmt: skip
def test_none(cell):
    assert finite(cell) is None
