"""Runs commands as workers of one job: processes that talk over local TCP."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def free_ports(count: int) -> list[int]:
    """Returns ports that are free now; other processes may still take them."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Job:
    """Runs one process for each worker, all with the same command.

    Args:
      words: arguments of `electra-tf`, or a script of the tests and its own.
      folder: directory of the files with their output.
      count: number of workers.
      only: indices of the workers to start; all where None.
      ports: ports of the workers; free ones where None.
    """

    def __init__(self, words, folder, count=2, only=None, ports=None):
        ports = ports or free_ports(count)
        addresses = [f"127.0.0.1:{port}" for port in ports]
        script = str(words[0]).endswith(".py")
        program = [] if script else ["-m", "electra_tf"]
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.processes, self._paths = {}, {}
        for index in range(count) if only is None else only:
            task = {"type": "worker", "index": index}
            environment = dict(os.environ) | {
                "TF_CONFIG": json.dumps(
                    {"cluster": {"worker": addresses}, "task": task}
                ),
                "CUDA_VISIBLE_DEVICES": "-1",
                "KERAS_BACKEND": "tensorflow",
                "TF_CPP_MIN_LOG_LEVEL": "3",
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
            }
            self._paths[index] = folder / f"worker_{index}.txt"
            with self._paths[index].open("w") as output:
                self.processes[index] = subprocess.Popen(
                    [sys.executable, *program, *map(str, words)],
                    env=environment,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        for process in self.processes.values():
            process.kill()
            process.wait()

    def output(self, index: int) -> str:
        return self._paths[index].read_text()

    def wait(self, seconds: float = 900.0) -> list[int]:
        """Waits until all have ended, and returns their exit statuses."""
        end = time.monotonic() + seconds
        return [
            process.wait(timeout=max(0.1, end - time.monotonic()))
            for process in self.processes.values()
        ]

    def signal_at(self, index, number, reached, seconds=900.0) -> None:
        """Sends a signal as soon as `reached()` is true."""
        end = time.monotonic() + seconds
        while not reached():
            assert time.monotonic() < end, self.output(0) + self.output(index)
            assert self.processes[index].poll() is None, self.output(index)
            time.sleep(0.02)
        self.processes[index].send_signal(number)

    def kill_at(self, index, reached) -> None:
        """Kills a worker, as a failing machine would."""
        self.signal_at(index, signal.SIGKILL, reached)


def succeed(words, folder, count=2) -> "Job":
    """Runs a job to its end; it must succeed."""
    with Job(words, folder, count) as job:
        statuses = job.wait()
        output = "\n".join(job.output(i)[-3000:] for i in job.processes)
        assert statuses == [0] * count, output
    return job
