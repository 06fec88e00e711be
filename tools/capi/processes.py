"""Runs an export, or the model it was made of, in other processes."""

import importlib.util
import os
import pathlib
import pickle
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

HERE = pathlib.Path(__file__).resolve().parent

# A signature, and its inputs: name -> bytes of each row.
Request = tuple[str, Mapping[str, Sequence[bytes]]]
_LAST_WORDS = 15  # lines


class ProcessError(Exception):
    """A process died; the message ends with its last output."""


class Answers(NamedTuple):
    """Holds what one process answered.

    Attributes:
      facts: what it reported about itself.
      outputs: for each request name -> array, or an error's message. Fewer
        than the requests if it died.
      death: how it died; None if it did not.
    """

    facts: dict[str, Any]
    outputs: list[Any]
    death: str | None


def run_capi(path: str, requests: Sequence[Request], folder: str) -> Answers:
    """Runs the requests on the export through the C API.

    Args:
      path: the folder with saved_model.pb.
      requests: in order.
      folder: for the files exchanged with the process.

    Raises:
      ProcessError: the process died before the first request.
    """
    command = [sys.executable, "-m", "capi.capi_process"]
    return _run(command, (str(path), list(requests)), folder, "capi")


def run_plain(path: str, requests: Sequence[Request], folder: str) -> Answers:
    """Runs the requests in Python with no package but TensorFlow's.

    Arguments and errors are those of `run_capi`.
    """
    package = importlib.util.find_spec("tensorflow")
    site = pathlib.Path(package.submodule_search_locations[0]).parent
    script = HERE / "plain_process.py"
    command = [sys.executable, "-I", "-S", str(script), str(site)]
    return _run(command, (str(path), list(requests)), folder, "plain")


def run_model(question: Mapping[str, Any], folder: str) -> Answers:
    """Runs the model that the export was made of.

    Args:
      question: see `python_model`.
      folder: for the files exchanged with the process.
    """
    command = [sys.executable, "-m", "capi.python_model"]
    return _run(command, question, folder, "model")


def _run(
    command: Sequence[str], question: Any, folder: str, name: str
) -> Answers:
    source = pathlib.Path(folder) / f"{name}_requests"
    target = pathlib.Path(folder) / f"{name}_answers"
    source.write_bytes(pickle.dumps(question))
    target.unlink(missing_ok=True)
    environment = {
        # Models are compared on the CPU; errors reach us as exceptions.
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        **os.environ,
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")])
        ),
    }
    done = subprocess.run(
        [*command, str(source), str(target)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
    )
    death = None
    if done.returncode:
        death = _death(done.returncode, done.stdout)
    found = _read(target)
    if not found:
        raise ProcessError(death or "it answered nothing")
    return Answers(found[0], found[1:], death)


def _read(path: pathlib.Path) -> list[Any]:
    found = []
    if path.exists():
        with open(path, "rb") as file:
            try:
                while True:
                    found.append(pickle.load(file))
            except (EOFError, pickle.UnpicklingError):
                pass  # the end, or truncated there
    return found


def _death(status: int, output: bytes) -> str:
    how = f"ended with status {status}"
    if status < 0:
        how = f"was ended by {signal.Signals(-status).name}"
    lines = output.decode("utf-8", "replace").splitlines()
    return "\n".join([how, *lines[-_LAST_WORDS:]])
