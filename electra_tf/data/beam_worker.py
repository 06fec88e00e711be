"""Runs one of Beam's worker processes on this machine, for `beam_runs`.

    python -m electra_tf.data.beam_worker FOLDER

It logs to FOLDER/PID.log only, marks itself by the file FOLDER/PID while it
works, and ends when FOLDER/stop exists or its parent is gone: however busy or
stuck Beam's threads are, no worker is left behind.
"""

import contextlib
import os
import sys
import threading
import time

_POLL_SECONDS = 0.2


def main(folder: str) -> None:
    """Works until the run is done or abandoned.

    Args:
      folder: see above.
    """
    here = os.path.join(folder, str(os.getpid()))
    log = os.open(f"{here}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    open(here, "w").close()
    parent = os.getppid()

    def follow() -> None:
        stop = os.path.join(folder, "stop")
        while os.getppid() == parent and os.path.isdir(folder):
            if os.path.exists(stop):
                break
            time.sleep(_POLL_SECONDS)
        os._exit(0)  # its work is no longer wanted

    threading.Thread(target=follow, daemon=True).start()
    from apache_beam.runners.worker import sdk_worker_main

    sdk_worker_main.main([])
    with contextlib.suppress(OSError):
        os.remove(here)
    sys.stderr.flush()


if __name__ == "__main__":
    main(sys.argv[1])
