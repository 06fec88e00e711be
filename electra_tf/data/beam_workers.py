"""Starts and ends Beam's workers.

They are processes of this machine, or come from worker pools of others. Only
`beam_runs` imports this, which reports it if Beam is missing.
"""

import contextlib
import itertools
import os
import shlex
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc

_CONNECT_SECONDS = 10.0
# Seconds for workers to end.
_ENDING_SECONDS = 2.0


def reachable(address: str) -> bool:
    """Returns whether a process listens at HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection(
            (host.strip("[]"), int(port)), _CONNECT_SECONDS
        ):
            return True
    except (OSError, ValueError):
        return False


class _Pools(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """Forwards requests for workers to several worker pools in turn."""

    def __init__(self, addresses: list[str]):
        self._turn = itertools.cycle(
            (
                address,
                beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(
                    grpc.insecure_channel(address)
                ),
            )
            for address in addresses
        )

    def StartWorker(self, request: Any, context: Any) -> Any:
        """Forwards the request to the next pool."""
        address, pool = next(self._turn)
        try:
            return pool.StartWorker(request, timeout=_CONNECT_SECONDS)
        except grpc.RpcError as error:
            return beam_fn_api_pb2.StartWorkerResponse(
                error=f"worker pool {address}: {error.details()}"
            )


@contextlib.contextmanager
def in_turn(addresses: list[str]) -> Iterator[str]:
    """Yields the address of a single worker pool for several ones."""
    if len(addresses) == 1:
        yield addresses[0]
        return
    server = grpc.server(futures.ThreadPoolExecutor(1))
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(
        _Pools(addresses), server
    )
    port = server.add_insecure_port("localhost:0")
    server.start()
    try:
        yield f"localhost:{port}"
    finally:
        server.stop(None)


class Workers:
    """The workers of a run, as far as their ends can be detected here.

    Each process of this machine writes its log and a file named by its number
    to a folder, and removes the latter when it is done: see `beam_worker`.

    Attributes:
      command: command that starts one.
    """

    def __enter__(self) -> "Workers":
        self._folder = tempfile.mkdtemp(prefix="electra_tf-beam-")
        words = [sys.executable, "-m", "electra_tf.data.beam_worker"]
        self.command = "exec " + shlex.join([*words, self._folder])
        self._before = threading.excepthook
        threading.excepthook = self._excepthook
        self._lost = self._stopped = False
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        self.stop()
        if kind is None:  # or remaining threads log errors later
            threading.excepthook = self._before
        shutil.rmtree(self._folder, ignore_errors=True)

    def stop(self) -> None:
        """Ends the running workers."""
        self._stopped = True
        open(os.path.join(self._folder, "stop"), "w").close()
        end = time.monotonic() + _ENDING_SECONDS
        while self._alive() and time.monotonic() < end:
            time.sleep(0.05)
        for pid in self._alive():
            with contextlib.suppress(OSError):
                os.kill(pid, 9)

    def dead(self) -> str | None:
        """Returns the last message of a worker that ended too early."""
        for pid in self._pids():
            if not _lives(pid) and pid in self._pids():
                lines = ["nothing"]
                with contextlib.suppress(OSError):
                    path = os.path.join(self._folder, f"{pid}.log")
                    with open(path, errors="replace") as log:
                        lines += [x for x in log.read().splitlines() if x]
                return lines[-1].strip()
        return "nothing" if self._lost else None

    def _pids(self) -> list[int]:
        names = os.listdir(self._folder)
        return [int(name) for name in names if name.isdecimal()]

    def _alive(self) -> list[int]:
        return [pid for pid in self._pids() if _lives(pid)]

    def _excepthook(self, args: threading.ExceptHookArgs) -> None:
        # Errors of Beam's threads that wait for a worker which could not start
        # or lost its connection. `dead` reports it.
        raised = args.exc_value
        if isinstance(raised, grpc.RpcError) or (
            "Worker subprocess exited" in str(raised)
        ):
            self._lost = self._lost or not self._stopped
        else:
            self._before(args)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
