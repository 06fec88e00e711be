"""In what number format training computes where no setting says so.

Importing this starts no TensorFlow.
"""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from electra_tf import files

AUTO, FLOAT32, PRODUCTS = "auto", "float32", "bfloat16_products"
# Overrides what the processor has: the same numbers on every machine.
VARIABLE = "ELECTRA_TF_PRECISION"

_CPU_INFO = pathlib.Path("/proc/cpuinfo")
_INSTRUCTIONS = {"avx512_bf16", "amx_bf16"}
# What TensorFlow's library may be told to do without.
_LIMIT = "ONEDNN_MAX_CPU_ISA"
_WITHOUT = ("SSE", "AVX2", "AVX512_CORE", "AVX512_CORE_VNNI", "AVX")


def instructions() -> str | None:
    """Names the processor's instructions for products of bfloat16.

    None where it has none, or where TensorFlow's library may not use them.
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
    precision: str, run_dir: str | None = None, jit_compile: bool = False
) -> str:
    """What to compute in.

    Args:
      precision: the setting; what is not "auto" stays.
      run_dir: a run's directory. One that was begun goes on in what it says,
        and one from before there was a choice in float32.
      jit_compile: whether XLA compiles the whole step, products too.
    """
    if precision != AUTO:
        return precision
    before = _recorded(run_dir) if run_dir is not None else None
    if before is not None:
        return before
    told = os.environ.get(VARIABLE)
    if told:
        return told
    if jit_compile or instructions() is None:
        return FLOAT32
    import tensorflow as tf

    devices = {d.device_type for d in tf.config.list_logical_devices()}
    return PRODUCTS if devices <= {"CPU"} else FLOAT32


def _recorded(run_dir: str) -> str | None:
    path = files.join(run_dir, "config.json")
    if not files.exists(path):
        return None
    try:
        content: Any = json.loads(files.read_text(path))
    except ValueError:
        return None  # `settings.check_run` says so
    train = content.get("train") if isinstance(content, Mapping) else None
    if not isinstance(train, Mapping):
        return FLOAT32
    return str(train.get("precision", FLOAT32))


def describe(precision: str, asked: str) -> str | None:
    """A line for people, where the choice was not theirs.

    Args:
      precision: what `resolved` gave.
      asked: the setting.
    """
    if asked != AUTO or precision != PRODUCTS:
        return None
    why = instructions() or "as this run began"
    return (
        f"precision: {PRODUCTS}, matrix products of bfloat16 ({why}) and all "
        "else in float32; for float32 alone set train.precision=float32"
    )
