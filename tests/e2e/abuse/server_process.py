"""`electra-tf serve` as a process, and what Linux tells of it."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from electra_tf.errors import UserError

_START_SECONDS = 600.0


class ServerProcess:
    """A server that can be started, killed and started again.

    Args:
      models: as `--model` takes them.
      log: the file to which it writes what it says, of all its lives.
      flags: further ones.

    Attributes:
      host: where it listens.
      port: where it listens; the same in all its lives.
      grpc_port: the same for gRPC, where it is asked for.
      starts: how often it was started.
    """

    host = "127.0.0.1"

    def __init__(
        self, models: Sequence[str], log: pathlib.Path, flags: Sequence[str]
    ) -> None:
        self.port = 0
        self.grpc_port: int | None = None
        self.starts = 0
        self._models = models
        self._log = log
        self._flags = flags
        self._process: subprocess.Popen[bytes] | None = None

    def launch(self) -> None:
        """Starts it; `listening` tells when it is ready."""
        with open(self._log, "ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                [
                    sys.executable, "-m", "electra_tf", "serve",
                    *(f"--model={model}" for model in self._models),
                    f"--port={self.port}", *self._flags,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )  # fmt: skip
        self.starts += 1
        self._deadline = time.monotonic() + _START_SECONDS

    def listening(self) -> bool:
        """Returns whether the log says that it listens.

        Raises:
          UserError: it has ended instead.
        """
        text = self._log.read_bytes()[self._log_start :].decode(
            errors="replace"
        )
        if self._process and self._process.poll() is not None:
            raise UserError(f"the server has ended: {text[-500:].strip()}")
        if time.monotonic() > self._deadline:
            raise UserError(f"the server does not start: {text[-500:].strip()}")
        for line in text.split("\n")[:-1]:
            if line.startswith("gRPC on port "):
                self.grpc_port = int(line.rpartition(" ")[2])
            if line.startswith("listening on "):
                self.port = int(line.rpartition(":")[2])
                return True
        return False

    def start(self) -> None:
        """Starts it, and waits until it listens."""
        self.launch()
        while not self.listening():
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process
        return self._process.pid

    def ended(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._process.poll() if self._process else None

    def kill(self) -> None:
        """SIGKILL, and waits."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def terminate(self) -> None:
        """SIGTERM."""
        assert self._process
        self._process.send_signal(signal.SIGTERM)

    def tracebacks(self) -> list[str]:
        """The last lines of tracebacks in what it has said."""
        found, inside = [], False
        text = self._log.read_text(encoding="utf-8", errors="replace")
        for line in text.split("\n"):
            if line.startswith("Traceback "):
                inside = True
            elif inside and not line.startswith(" "):
                found.append(line)
                inside = False
        return found


@contextlib.contextmanager
def running(process: ServerProcess) -> Iterator[ServerProcess]:
    """Starts it; kills it at the end, if it still runs."""
    try:
        process.start()
        yield process
    finally:
        process.kill()


def usage(pid: int) -> dict[str, float]:
    """`rss_mb` (10^6 bytes), `threads` and `fds` of a process.

    Raises:
      UserError: it is not there, or not ours to look at.
    """
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        fds = len(os.listdir(f"/proc/{pid}/fd"))
    except OSError as error:
        raise UserError(f"process {pid}: {error.strerror}") from error
    lines = dict(
        line.split(":", 1) for line in status.split("\n") if ":" in line
    )
    rss = int(lines.get("VmRSS", "0 kB").split()[0]) * 1024 / 1e6
    return {"rss_mb": rss, "threads": int(lines["Threads"]), "fds": fds}
