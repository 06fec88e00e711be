"""Chooses the number format of training, where the setting is "auto".

Importing this starts no TensorFlow.
"""

import json
import os
from collections.abc import Mapping
from typing import Any, Literal, cast, get_args

from electra_tf import files, processor
from electra_tf.errors import UserError

Precision = Literal[
    "auto", "float32", "bfloat16_products", "mixed_bfloat16", "mixed_float16"
]
AUTO: Precision = "auto"
FLOAT32: Precision = "float32"
PRODUCTS: Precision = "bfloat16_products"
MIXED: Precision = "mixed_bfloat16"
# Overrides the processor's features: the same numbers on every machine.
VARIABLE = "ELECTRA_TF_PRECISION"


def resolved(
    precision: Precision,
    run_dir: str | None = None,
    jit_compile: bool = False,
) -> Precision:
    """Returns the number format to compute in.

    Args:
      precision: the setting; any value but "auto" is returned.
      run_dir: directory of the run. A resumed run keeps its format; one from
        before this setting existed uses float32.
      jit_compile: whether XLA compiles the whole step, including products.

    Raises:
      UserError: the environment variable names an unknown format, or TensorFlow
        would end the process at products of bfloat16.
    """
    found = _resolved(precision, run_dir, jit_compile)
    check(found)
    return found


def check(precision: Precision) -> None:
    """Checks that TensorFlow can multiply in a number format here.

    Raises:
      UserError: it would end the process at products of bfloat16.
    """
    if precision not in (PRODUCTS, MIXED):
        return
    problem = processor.bfloat16_problem()
    if problem is not None and (precision == PRODUCTS or _has_only_cpus()):
        raise UserError(
            f"precision={precision}: {problem}; set another precision, or "
            "change that variable"
        )


def _resolved(
    precision: Precision, run_dir: str | None, jit_compile: bool
) -> Precision:
    if precision != AUTO:
        return precision
    before = _recorded(run_dir) if run_dir is not None else None
    if before is not None:
        return before
    given = os.environ.get(VARIABLE)
    if given:
        return _known(given, VARIABLE)
    if jit_compile or processor.bfloat16_instructions() is None:
        return FLOAT32
    return PRODUCTS if _has_only_cpus() else FLOAT32


def _has_only_cpus() -> bool:
    import tensorflow as tf

    devices = {d.device_type for d in tf.config.list_logical_devices()}
    return devices <= {"CPU"}


def _known(name: str, where: str) -> Precision:
    if name not in get_args(Precision) or name == AUTO:
        names = ", ".join(n for n in get_args(Precision) if n != AUTO)
        raise UserError(f"{where}: expected one of {names}, got {name}")
    return cast(Precision, name)


def _recorded(run_dir: str) -> Precision | None:
    path = files.join(run_dir, "config.json")
    if not files.exists(path):
        return None
    try:
        content: Any = json.loads(files.read_text(path))
    except ValueError:
        return None  # `settings.check_run` reports it
    train = content.get("train") if isinstance(content, Mapping) else None
    if not isinstance(train, Mapping):
        return FLOAT32
    return _known(str(train.get("precision", FLOAT32)), f"{path}: precision")


def describe(precision: str, asked: str) -> str | None:
    """Describes the format in a line, where "auto" chose it.

    Args:
      precision: result of `resolved`.
      asked: the setting.
    """
    if asked != AUTO or precision != PRODUCTS:
        return None
    why = processor.bfloat16_instructions() or "as this run began"
    return (
        f"precision: {PRODUCTS}, matrix products of bfloat16 ({why}) and all "
        "else in float32; for float32 alone set train.precision=float32"
    )
