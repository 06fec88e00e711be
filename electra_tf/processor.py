"""Says whether the processor multiplies bfloat16, and what prevents it."""

import os
import pathlib

_CPU_INFO = pathlib.Path("/proc/cpuinfo")
_INSTRUCTIONS = {"avx512_bf16", "amx_bf16"}
# The instructions that TensorFlow's library, oneDNN, may use.
_LIMIT = "ONEDNN_MAX_CPU_ISA"
_WITHOUT = ("AVX512_CORE", "AVX512_CORE_VNNI")


def bfloat16_instructions() -> str | None:
    """Names the processor's instructions for products of bfloat16.

    Returns None where it has none, or TensorFlow's library may not use them.
    """
    limit = _limit()
    if _is_narrow(limit) or limit in _WITHOUT or not _uses_library():
        return None
    return " and ".join(sorted(_INSTRUCTIONS & _flags())) or None


def bfloat16_problem() -> str | None:
    """Describes why products of bfloat16 would end this process, if they would.

    TensorFlow 2.21 gives them to oneDNN where the processor has AVX-512. Where
    the environment keeps oneDNN from it, oneDNN has no such products, and the
    process is aborted without an exception.

    Returns None where they work, however slow they are.
    """
    limit = _limit()
    works = not _is_narrow(limit) or "avx512f" not in _flags()
    if works or not _uses_library():
        return None
    return (
        f"with {_LIMIT}={limit} in the environment TensorFlow cannot multiply "
        "in bfloat16, and would end this process"
    )


def _limit() -> str:
    return os.environ.get(_LIMIT, "").upper()


def _is_narrow(limit: str) -> bool:
    """Returns whether a limit leaves less than AVX-512."""
    return limit == "AVX" or limit.startswith(("SSE", "AVX2"))


def _uses_library() -> bool:
    """Returns whether TensorFlow uses oneDNN."""
    return os.environ.get("TF_ENABLE_ONEDNN_OPTS") != "0"


def _flags() -> set[str]:
    """Returns the processor's features, as Linux names them."""
    try:
        text = _CPU_INFO.read_text()
    except OSError:
        return set()
    for line in text.splitlines():
        name, _, flags = line.partition(":")
        if name.strip() == "flags":
            return set(flags.split())
    return set()
