"""Reads numbers that files of any kind hold."""

import math
from typing import Any


def finite(value: Any) -> float | None:
    """Returns the number in a cell, as a float; None if there is none.

    Args:
      value: a number, or a text as a table holds it. Texts that only Python's
        programs write (`1_000`) are none, nor are `nan` and `inf`, with which
        every later mean would be no number either; nor is a boolean.
    """
    if isinstance(value, bool) or (isinstance(value, str) and "_" in value):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
