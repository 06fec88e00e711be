"""Tests measuring the memory of a process tree, and repeating text."""

import os
import subprocess
import sys

import pytest
from benchmarks import building_memory, memory, startup, workers

linux = pytest.mark.skipif(
    not os.path.exists("/proc/self/smaps_rollup"), reason="needs /proc"
)
# A process with a child; both wait until their input ends.
FAMILY = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", (
    "import sys; kept = bytearray(80_000_000); "
    "kept[::4096] = b'x' * len(kept[::4096]); "
    "print('ready', flush=True); sys.stdin.read()"
)])
sys.stdin.read()
child.wait()
"""


@linux
def test_children_count():
    with subprocess.Popen(
        [sys.executable, "-c", FAMILY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        family = memory.descendants(process.pid)
        assert len(family) == 2 and family[0] == process.pid
        assert 80 < memory.proportional_megabytes(process.pid) < 160
        with memory.watched(process.pid, seconds=0.01) as series:
            while len(series) < 5:
                pass
        assert all(megabytes > 80 for _, megabytes in series)
        assert series == sorted(series)
    assert memory.proportional_megabytes(process.pid) == 0


def test_growth_leaves_the_start_out():
    rising = [(float(i), 100.0 + i) for i in range(40)]
    assert memory.growth(rising) == 20.0
    level = [(0.0, 5.0), *((float(i), 100.0) for i in range(1, 40))]
    assert memory.growth(level) == 0.0
    with pytest.raises(ValueError, match="at least 4"):
        memory.growth(rising[:3])


def test_thinned_series_keep_the_peak():
    series = [(float(i), 1.0) for i in range(1000)]
    series[777] = (777.0, 50.0)
    kept = list(building_memory.thinned(series))
    assert len(kept) == 500 and max(kept, key=lambda x: x[1]) == (777.0, 50.0)


def test_text_is_repeated_by_links(tmp_path):
    names = []
    for name, size in (("a.txt", 300), ("b.txt", 200)):
        (tmp_path / name).write_bytes(b"x" * size)
        names.append(str(tmp_path / name))
    links = tmp_path / "links"
    links.mkdir()
    assert building_memory.repeat(names, links, 1.2e-6) == 1500 / 1e6
    found = sorted(links.iterdir())
    assert len(found) == 6
    assert [link.stat().st_size for link in found] == [300, 200] * 3


@linux
def test_a_side_reports_its_peak(tmp_path, monkeypatch):
    serve = workers.PEERS / "serve.py"
    (tmp_path / "serve.py").write_text(serve.read_text(encoding="utf-8"))
    (tmp_path / "a.py").write_text(
        "from serve import serve\n"
        "def handle(request):\n"
        "    return {'used': len(bytearray(b'x') * request['bytes'])}\n"
        "serve(lambda settings: ({}, handle))\n"
    )
    monkeypatch.setattr(workers, "PEERS", tmp_path)
    with workers.started({"a": ("a.py", {}, sys.executable)}) as running:
        before = running["a"].ask({"bytes": 1})["peak_bytes"]
        more = running["a"].ask({"bytes": 90_000_000})["peak_bytes"]
        after = running["a"].ask({"bytes": 1})["peak_bytes"]
    assert before < 60e6 and more - before > 80e6 and after == more


def test_statements_are_timed_in_a_fresh_process():
    spent = startup.seconds_of(["import time; time.sleep(0.05)", "import json"])
    assert spent[0] >= 0.05 and spent[1] < 0.05
    with pytest.raises(workers.SideError, match="no_such_module"):
        startup.seconds_of(["import no_such_module"])
