"""Workers of Beam that are started from here, and seen to end.

They are processes of this machine, or come from the worker pools of others.
Only `beam_runs` imports this, which says so where Beam is missing.
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
    """Returns whether somebody listens at HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection(
            (host.strip("[]"), int(port)), _CONNECT_SECONDS
        ):
            return True
    except (OSError, ValueError):
        return False


class _Pools(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """Asks worker pools in turn for the workers that it is asked for."""

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
        """Passes it on."""
        address, pool = next(self._turn)
        try:
            return pool.StartWorker(request, timeout=_CONNECT_SECONDS)
        except grpc.RpcError as error:
            return beam_fn_api_pb2.StartWorkerResponse(
                error=f"worker pool {address}: {error.details()}"
            )


@contextlib.contextmanager
def in_turn(addresses: list[str]) -> Iterator[str]:
    """The address of what is one worker pool in place of several."""
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
    """The workers of a run, as far as their ends can be seen from here.

    Each process of this machine leaves a file with its number and its log in a
    folder of their own, and takes the number away when it is done: see
    `beam_worker`.

    Attributes:
      command: starts one.
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
        if kind is None:  # else threads are left that complain later
            threading.excepthook = self._before
        shutil.rmtree(self._folder, ignore_errors=True)

    def stop(self) -> None:
        """Ends those that are there."""
        self._stopped = True
        open(os.path.join(self._folder, "stop"), "w").close()
        end = time.monotonic() + _ENDING_SECONDS
        while self._alive() and time.monotonic() < end:
            time.sleep(0.05)
        for pid in self._alive():
            with contextlib.suppress(OSError):
                os.kill(pid, 9)

    def dead(self) -> str | None:
        """Returns what a worker said last that ended before its work did."""
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
        # Beam's threads that wait for a worker: it could not start, or its
        # connection broke. `dead` tells of that.
        told = args.exc_value
        if isinstance(told, grpc.RpcError) or (
            "Worker subprocess exited" in str(told)
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
