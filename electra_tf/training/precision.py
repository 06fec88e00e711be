"""Chooses the number format of training, where the setting is "auto".

Importing this starts no TensorFlow.
"""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, Literal, cast, get_args

from electra_tf import files
from electra_tf.errors import UserError

Precision = Literal[
    "auto", "float32", "bfloat16_products", "mixed_bfloat16", "mixed_float16"
]
AUTO: Precision = "auto"
FLOAT32: Precision = "float32"
PRODUCTS: Precision = "bfloat16_products"
# Overrides the processor's features: the same numbers on every machine.
VARIABLE = "ELECTRA_TF_PRECISION"

_CPU_INFO = pathlib.Path("/proc/cpuinfo")
_INSTRUCTIONS = {"avx512_bf16", "amx_bf16"}
# Instructions that TensorFlow's library may be given not to use.
_LIMIT = "ONEDNN_MAX_CPU_ISA"
_WITHOUT = ("AVX", "AVX512_CORE", "AVX512_CORE_VNNI")


def instructions() -> str | None:
    """Names the processor's instructions for products of bfloat16.

    Returns None where it has none, or TensorFlow's library may not use them.
    """
    limit = os.environ.get(_LIMIT, "").upper()
    if limit.startswith(("SSE", "AVX2")) or limit in _WITHOUT:
        return None
    if os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "0":
        return None
    try:
        text = _CPU_INFO.read_text()
    except OSError:
        return None
    for line in text.splitlines():
        name, _, flags = line.partition(":")
        if name.strip() == "flags":
            found = _INSTRUCTIONS & set(flags.split())
            return " and ".join(sorted(found)) or None
    return None


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
      UserError: the environment variable names an unknown format.
    """
    if precision != AUTO:
        return precision
    before = _recorded(run_dir) if run_dir is not None else None
    if before is not None:
        return before
    given = os.environ.get(VARIABLE)
    if given:
        return _known(given, VARIABLE)
    if jit_compile or instructions() is None:
        return FLOAT32
    import tensorflow as tf

    devices = {d.device_type for d in tf.config.list_logical_devices()}
    return PRODUCTS if devices <= {"CPU"} else FLOAT32


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
    why = instructions() or "as this run began"
    return (
        f"precision: {PRODUCTS}, matrix products of bfloat16 ({why}) and all "
        "else in float32; for float32 alone set train.precision=float32"
    )
