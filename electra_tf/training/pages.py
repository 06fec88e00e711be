"""Large pages for the memory that training keeps.

Linux gives memory in pages of 4 KiB unless set otherwise, and a step walks
through gigabytes: most distributions leave large pages to programs that ask
for them. Importing this starts no TensorFlow.
"""

import ctypes
import pathlib
import sys

_SWITCH = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")
_MAPPINGS = pathlib.Path("/proc/self/maps")
_PAGE = 2 << 20  # a large page of x86-64, and of ARM with small ones of 4 KiB
_SMALLEST = 8 << 20  # of a mapping that is worth the call
# Of madvise(2). The second came with Linux 6.1; before it, a thread of the
# kernel does the same in time.
_HUGEPAGE, _COLLAPSE = 14, 25


def enlarge() -> int:
    """Asks for large pages under the memory that the process has by now.

    Nothing is done where the system leaves no choice. No number changes.

    Returns:
      Bytes of the mappings that the system agreed for.
    """
    if not sys.platform.startswith("linux"):
        return 0
    try:
        if "[madvise]" not in _SWITCH.read_text():
            return 0  # always, so there is nothing to ask for; or never
        lines = _MAPPINGS.read_text().splitlines()
        madvise = ctypes.CDLL(None, use_errno=True).madvise
    except (OSError, AttributeError):
        return 0
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    agreed = 0
    for start, size in _anonymous(lines):
        if madvise(start, size, _HUGEPAGE) == 0:
            agreed += size
            madvise(start, size, _COLLAPSE)  # as far as there is memory
    return agreed


def _anonymous(lines: list[str]) -> list[tuple[int, int]]:
    """Start and size, in whole large pages, of large mappings of no file.

    Args:
      lines: of /proc/PID/maps.
    """
    found = []
    for line in lines:
        fields = line.split()
        name = fields[5] if len(fields) > 5 else ""
        if fields[1] != "rw-p" or name not in ("", "[heap]"):
            continue
        first, last = (int(end, 16) for end in fields[0].split("-"))
        start = -(-first // _PAGE) * _PAGE
        size = last // _PAGE * _PAGE - start
        if size >= _SMALLEST:
            found.append((start, size))
    return found
