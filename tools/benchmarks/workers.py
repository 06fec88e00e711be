"""Runs the measured sides in separate processes, in turn: A B A B ..."""

import contextlib
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

PEERS = pathlib.Path(__file__).resolve().parent / "peers"


class SideError(Exception):
    """A side could not start, or died; the message ends with its stderr."""


class NoInterpreterError(SideError):
    """The interpreter of a side cannot be run, so no side can start."""


class Worker:
    """Runs a side; `tools/benchmarks/peers/serve.py` has the protocol.

    Attributes:
      facts: what the side reported when it was ready.
    """

    def __init__(
        self,
        script: str,
        settings: Mapping[str, Any],
        python: str = sys.executable,
        environment: Mapping[str, str] | None = None,
    ):
        self._script = script
        self._errors = tempfile.TemporaryFile()
        try:
            self._process = subprocess.Popen(
                [python, str(PEERS / script), json.dumps(settings)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                env=None if environment is None else dict(environment),
            )
        except OSError as error:
            raise NoInterpreterError(
                f"{script}: cannot run {python}: {error}"
            ) from error
        self.facts = self._answer()

    @property
    def pid(self) -> int:
        """The id of the side's process."""
        return self._process.pid

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Sends a request; returns the reply with seconds, cpu_seconds."""
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise SideError(self._last_words()) from error
        return self._answer()

    def close(self) -> None:
        """Ends the side."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            raise SideError(self._last_words())
        return json.loads(line)

    def _last_words(self) -> str:
        status = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").splitlines()
        tail = "\n".join(lines[-15:])
        if status == -signal.SIGKILL:  # it had no last words of its own
            tail = (
                "killed: by the system, unless by you, as memory for all sides "
                "at once is short; take --peers=few, or smaller batches"
            )
        return f"{self._script} ended with status {status}\n{tail}"


@contextlib.contextmanager
def started(
    sides: Mapping[str, tuple[str, Mapping[str, Any], str]],
    environment: Mapping[str, str] | None = None,
    missing: dict[str, str] | None = None,
) -> Iterator[dict[str, Worker]]:
    """Starts sides one after another: name -> (script, settings, python).

    Args:
      sides: the sides to start.
      environment: of their processes.
      missing: if given, a peer (a side whose script is not one of ours) that
        cannot start is left out, and this receives name -> reason.
    """
    workers: dict[str, Worker] = {}
    try:
        for name, (script, settings, python) in sides.items():
            print(f"starting {name} ...", file=sys.stderr, flush=True)
            try:
                workers[name] = Worker(script, settings, python, environment)
            except NoInterpreterError:
                raise
            except SideError as error:
                if missing is None or script.startswith("ours_"):
                    raise
                print(f"left out: {name}: {error}", file=sys.stderr, flush=True)
                missing[name] = str(error).splitlines()[-1]
        yield workers
    finally:
        for worker in workers.values():
            worker.close()


def interleave(
    workers: Mapping[str, Worker], requests: Sequence[Mapping], rounds: int
) -> dict[str, list[dict[str, Any]]]:
    """Sends every worker its request in turn, `rounds` times.

    Args:
      workers: name -> side.
      requests: one for each worker, in their order.
      rounds: the number of repetitions.

    Returns:
      name -> the replies, one a round.
    """
    replies: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
    for i in range(rounds):
        for (name, worker), request in zip(workers.items(), requests):
            replies[name].append(worker.ask(request))
            seconds = replies[name][-1]["seconds"]
            print(
                f"round {i + 1}/{rounds} {name}: {seconds:.3f} s",
                file=sys.stderr,
                flush=True,
            )
    return replies
