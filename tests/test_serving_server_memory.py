"""Tests of the heaps of the C library, and of limits of open files."""

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, re, sys, tempfile, threading
from electra_tf.serving.server import running

if sys.argv[1] == "few":
    if not running.keep_few_arenas():
        sys.exit(77)
barrier = threading.Barrier(8)

def work():
    barrier.wait()
    ctypes.CDLL(None).malloc(1000)
    barrier.wait()

threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
path = tempfile.mktemp()
file = ctypes.c_void_p(libc.fopen(path.encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
print(len(re.findall("<heap nr=", open(path).read())))
"""


def heaps(how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True
    )
    if done.returncode == 77:
        pytest.skip("the C library is not glibc")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_threads_share_heaps():
    assert heaps("few") <= 2 < heaps("many")


LIMITED = """
import resource
from electra_tf.serving.server import running

resource.setrlimit(resource.RLIMIT_NOFILE, (200, 1000))
print(running.allow_connections(512), running.allow_connections(5000))
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_the_limit_of_open_files_is_raised_as_far_as_it_may():
    pytest.importorskip("resource")
    done = subprocess.run(
        [sys.executable, "-c", LIMITED], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["512", "872", "1000", "1000"]
