"""How the process keeps memory that was freed."""

import ctypes

_M_ARENA_MAX = -8  # of glibc's malloc.h


def keep_few_arenas(count: int = 2) -> bool:
    """Has the threads of this process share the C library's heaps.

    glibc gives each of many threads a heap of its own, and each keeps what
    its largest answers took: under mixed requests the server's memory creeps
    up for hours. Call it before there are threads; heaps that exist stay.

    Args:
      count: heaps.

    Returns:
      Whether the C library has this setting; glibc alone does.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return bool(mallopt(_M_ARENA_MAX, count))
