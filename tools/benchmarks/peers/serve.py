"""Serves the requests of a benchmark, in the process that is measured.

A side is a script that calls `serve`. It is started with its settings as JSON
in the first argument, and exchanges JSON lines over stdin and stdout. Between
requests it is blocked on the pipe, so that the other side has the machine.
Each reply holds the time it took (`seconds`, and `cpu_seconds` of CPU time)
and the process's peak memory so far (`peak_bytes`).
Only the standard library is needed, so that it runs in any environment.
"""

import json
import os
import sys
import time
from collections.abc import Callable

Handler = Callable[[dict], dict]


def serve(prepare: Callable[[dict], tuple[dict, Handler]]) -> None:
    """Prepares once, then answers requests until stdin ends.

    Args:
      prepare: settings -> (facts about this side, handler); libraries are
        imported in it, so that they see the limited number of cores.
    """
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not mix with replies
    settings = json.loads(sys.argv[1])
    cores = settings.get("cores")
    if cores and hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, allowed[:cores])
    started = time.perf_counter()
    facts, handler = prepare(settings)
    facts["prepare_seconds"] = time.perf_counter() - started
    print(json.dumps(facts), file=replies, flush=True)
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), _cpu_seconds()
        reply = handler(json.loads(line))
        reply["seconds"] = time.perf_counter() - wall
        reply["cpu_seconds"] = _cpu_seconds() - cpu
        reply["peak_bytes"] = peak_bytes()
        print(json.dumps(reply), file=replies, flush=True)


def peak_bytes() -> int:
    """Returns the peak memory of this process, without its children."""
    try:
        # Not ru_maxrss: a child inherits its parent's value.
        with open("/proc/self/status", encoding="ascii") as handle:
            for line in handle:
                if line.startswith("VmHWM:"):
                    return 1024 * int(line.split()[1])
    except OSError:
        pass
    return 0  # not reported


def _cpu_seconds() -> float:
    """Returns CPU time of this process and of its children that ended."""
    times = os.times()
    ended = times.children_user + times.children_system
    return time.process_time() + ended
