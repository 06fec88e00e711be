"""Runs work on Apache Beam: starts it, watches it, and reports its errors.

A run is composed in a process that has Beam, and works on any runner except
those known to lose data. Errors of its workers become a `UserError`; whatever
Beam's threads do, a run can be interrupted, and ends when a worker of this
machine dies.
"""

import contextlib
import io
import logging
import os
import re
import shlex
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from electra_tf import files
from electra_tf.data.manifest import LostData
from electra_tf.errors import UserError

# Beam's modules for Google's services log at import that these are missing.
logging.disable(logging.WARNING)
try:
    import apache_beam as beam
    import grpc
    from apache_beam.options import pipeline_options
    from apache_beam.runners.portability import fn_api_runner, portable_runner
    from apache_beam.transforms import environments

    from electra_tf.data import beam_workers
    import apache_beam.io.gcp.bigquery  # isort: skip
except ImportError as error:
    raise UserError(
        f"--runner=beam needs the package apache-beam ({error}); install "
        "it: pip install 'electra-tf[beam]'"
    ) from error
finally:
    logging.disable(logging.NOTSET)

REFUSED = {
    "daskrunner": (
        "DaskRunner ends as DONE without some of the outputs (seen with Beam "
        "2.77.0: tagged outputs, all branches but the last, and what a bundle "
        "emits at its end are lost)"
    ),
}
"""Runners that are known to lose data, by their names in lower case."""

# Names of the runner in processes of this machine. `DirectRunner` would first
# try to download a program.
_LOCAL = ("directrunner", "switchingdirectrunner", "fnapirunner")
# Seconds after which a missing worker is reported.
_WORKER_SECONDS = 45.0
_POLL_SECONDS = 0.3
# Seconds for workers to end, and for a runner to accept a cancellation.
_ENDING_SECONDS = 2.0
_USER_ERROR = re.compile(r"UserError: (.*?)(?: \[while running|\\n|\n|$)")
_RPC_DETAILS = re.compile(r'details = "(.*?)"\n')
_NO_JAR = re.compile(r"remote job server jar at (\S+?([^/]+\.jar)): ")
# Errors of a worker whose machine lacks something.
_OF_THE_MACHINE = re.compile(
    r"^(?:\w+\.)*(\w*(?:Import|ModuleNotFound|OS|Memory|FileNotFound|Permission|"
    r"NotFound|ResourceExhausted|Unavailable|Connection|Timeout)\w*Error: .*)$",
    re.MULTILINE,
)


def check(beam_args: str, num_workers: int = 1) -> None:
    """Refuses impossible flags, before anything is created for a run.

    Args:
      beam_args: see `run`.
      num_workers: see `run`.

    Raises:
      UserError: the runner is known to lose data, unknown to Beam, or its
        program is missing; or Beam does not know a flag.
    """
    _Start(beam_args, num_workers)


def compare(
    counts: Mapping[str, tuple[int, int]], where: str, beam_args: str = ""
) -> None:
    """Compares the output of a run with its input.

    Args:
      counts: name -> pair that should be equal: the work to do, and the work
        found done.
      where: folder of the output.
      beam_args: see `run`.

    Raises:
      LostData: the first difference.
    """
    for what, (wanted, found) in counts.items():
        if wanted != found:
            raise LostData(
                f"--beam_args={beam_args}: {found:,} {what} of {wanted:,} "
                "arrived: the runner loses or repeats data; use another. What "
                f"was written is left in {where}"
            )


def run(
    compose: Callable[[beam.Pipeline], None],
    beam_args: str = "",
    num_workers: int = 1,
    folder: str | None = None,
) -> None:
    """Composes a pipeline, runs it, and waits for its end.

    Args:
      compose: adds the transforms.
      beam_args: Beam's own flags, as on a command line. Without --runner the
        pipeline runs in processes of this machine.
      num_workers: number of these processes.
      folder: a folder that workers of other machines and this process can
        write; the first worker leaves a mark there, so that its absence can be
        reported. It is removed again.

    Raises:
      UserError: see `check`; or a worker or the runner failed, or a worker of
        this machine died.
      KeyboardInterrupt: the run is abandoned: workers of this machine are
        ended, and a remote runner is asked to cancel.
    """
    start = _Start(beam_args, num_workers)
    mark = None
    if folder is not None and not start.is_local:
        mark = files.join(folder, ".worker-came")

    def composed() -> beam.Pipeline:
        pipeline = start.pipeline()
        compose(pipeline)
        if mark is not None:
            _ = (
                pipeline
                | "AnyWorker" >> beam.Create([mark])
                | "Came" >> beam.Map(files.write_text, "")
            )
        return pipeline

    with (
        _quiet_environment(),
        _quiet_logs(),
        beam_workers.Workers() as workers,
        start.use(workers.command),
    ):
        watched = _Watched(composed(), workers, mark)
        try:
            state = watched.finish(in_this_thread=start.has_job_server)
        except UserError as error:
            raise UserError(_cut(str(error))) from error
        except Exception as error:  # each runner has its own errors
            explanation = _explained(error, start)
            raise (UserError(explanation) if explanation else error) from error
        finally:
            if mark is not None:
                files.remove(mark)
    if state not in (None, "DONE"):
        raise UserError(
            f"{start.flag}: the pipeline ended as {state}; see its runner's log"
        )


class _Start:
    """The start of a run: its runner and options.

    Attributes:
      flag: the given flag, for messages.
      runner: last word of the runner's name.
      is_local: whether the workers are processes of this machine.
      pools: addresses of worker pools, if these start the workers and this
        process runs the pipeline.
      has_job_server: whether Beam starts a local program for it.
    """

    def __init__(self, beam_args: str, num_workers: int):
        self.flag = f"--beam_args={beam_args}"
        try:
            words = shlex.split(beam_args)
        except ValueError as error:
            raise UserError(f"{self.flag}: {error}") from error
        self._options = self._parsed(words)
        named = self._standard.runner or "FnApiRunner"
        self.runner = named.rpartition(".")[2]
        if why := REFUSED.get(self.runner.lower(), REFUSED.get(
            f"{self.runner.lower()}runner"
        )):  # fmt: skip
            raise UserError(
                f"{self.flag}: {why}; leave --runner out to use processes of "
                "this machine, or choose another"
            )
        self.is_local = self.runner.lower() in _LOCAL
        self.has_job_server = False
        self._runner: Any = None
        portable = self._options.view_as(pipeline_options.PortableOptions)
        self.pools: list[str] = []
        if (
            self.runner == "PortableRunner"
            and portable.job_endpoint == "embed"
            and portable.environment_type == "EXTERNAL"
        ):
            self.pools = (portable.environment_config or "").split(",")
            for address in self.pools:
                if not beam_workers.reachable(address):
                    raise UserError(
                        f"{self.flag}: no worker pool answers at {address!r}; "
                        "start it, or correct --environment_config"
                    )
        if self.is_local or self.pools:
            self._refuse_unknown_flags()
            direct = self._options.view_as(pipeline_options.DirectOptions)
            if "direct_num_workers" not in beam_args:
                direct.direct_num_workers = num_workers
            self._in_processes = (
                self.is_local
                and (
                    direct.direct_running_mode == "multi_processing"
                    or "direct_running_mode" not in beam_args
                )
                and direct.direct_num_workers != 1
            )
            if self._in_processes:
                direct.direct_running_mode = "in_memory"  # see `use`
        else:
            self._check_elsewhere()

    @property
    def _standard(self) -> Any:
        return self._options.view_as(pipeline_options.StandardOptions)

    @contextlib.contextmanager
    def use(self, command: str) -> Iterator[None]:
        """Lets a command, or the worker pools, start the workers."""
        if self.pools:
            # Beam's own job server at "embed" never has more than one worker.
            with beam_workers.in_turn(self.pools) as address:
                self._runner = fn_api_runner.FnApiRunner(
                    environments.ExternalEnvironment(address)
                )
                yield
            return
        if self.is_local:
            environment = None
            if self._in_processes:
                environment = (
                    environments.SubprocessSDKEnvironment.from_command_string(
                        command
                    )
                )
            self._runner = fn_api_runner.FnApiRunner(environment)
        yield

    def pipeline(self) -> beam.Pipeline:
        """Returns an empty pipeline for the runner."""
        try:
            if self._runner is not None:
                return beam.Pipeline(self._runner, self._options)
            return beam.Pipeline(options=self._options)
        except (ValueError, ImportError, AttributeError) as error:
            raise UserError(f"{self.flag}: {_one_line(error)}") from error

    def _parsed(self, words: list[str]) -> pipeline_options.PipelineOptions:
        explanation = io.StringIO()
        try:
            with contextlib.redirect_stderr(explanation):
                options = pipeline_options.PipelineOptions(words)
                options.view_as(pipeline_options.DirectOptions)
                return options
        except (ValueError, SystemExit) as error:
            lines = explanation.getvalue().strip().splitlines() or [str(error)]
            reason = lines[-1].rpartition("error: ")[2]
            raise UserError(f"{self.flag}: {reason}") from error

    def _refuse_unknown_flags(self) -> None:
        """Refuses unknown flags, except with a job server, which may know
        more.
        """
        unknown: list[str] = []

        class Listening(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                if "unparseable" in record.msg and record.args:
                    unknown.append(record.getMessage().partition(": ")[2])

        logger = logging.getLogger("apache_beam.options.pipeline_options")
        handler, level = Listening(), logger.level
        logger.addHandler(handler)
        logger.setLevel(logging.WARNING)
        logger.propagate = False
        try:
            self._options.get_all_options()
        finally:
            logger.propagate = True
            logger.setLevel(level)
            logger.removeHandler(handler)
        if unknown:
            raise UserError(f"{self.flag}: Beam does not know {unknown[0]}")

    def _check_elsewhere(self) -> None:
        portable = self._options.view_as(pipeline_options.PortableOptions)
        endpoint = portable.job_endpoint
        runner = self.pipeline().runner
        if not isinstance(runner, portable_runner.PortableRunner):
            return
        if endpoint and endpoint != "embed":
            if not beam_workers.reachable(endpoint):
                raise UserError(
                    f"{self.flag}: no job server answers at {endpoint}; start "
                    "it, or correct --job_endpoint"
                )
            return
        self.has_job_server = not endpoint
        if not self.has_job_server or self.runner not in (
            "FlinkRunner", "SparkRunner",
        ):  # fmt: skip
            return
        server = self._options.view_as(pipeline_options.JobServerOptions)
        java = server.job_server_java_launcher
        if not shutil.which(java):
            raise UserError(
                f"{self.flag}: {self.runner} starts its job server with Java, "
                f"and there is no program '{java}'; install it, or name a job "
                "server that runs with --job_endpoint=HOST:PORT"
            )


class _Watched:
    """A pipeline that runs in a separate thread, and is watched.

    Beam waits in many places for events that may never come; so its threads are
    left behind when a run is abandoned, and do not keep the process alive.
    """

    def __init__(
        self,
        pipeline: beam.Pipeline,
        workers: beam_workers.Workers,
        mark: str | None,
    ):
        self._pipeline, self._workers, self._mark = pipeline, workers, mark
        self._begin = time.monotonic()
        self._result: Any = None
        self._state: Any = None
        self._error: BaseException | None = None

    def finish(self, in_this_thread: bool) -> Any:
        """Runs the pipeline; returns its final state.

        Args:
          in_this_thread: whether to start it here, as a job server needs.
        """
        if in_this_thread:
            self._result = self._pipeline.run()
        thread = threading.Thread(
            target=self._work, name="beam", daemon=True
        )  # threads that it starts are daemons too
        thread.start()
        try:
            while thread.is_alive():
                thread.join(_POLL_SECONDS)
                self._look()
        except BaseException:
            self._cancel()
            raise
        if self._error is not None:
            raise self._error
        return self._state

    def _work(self) -> None:
        try:
            if self._result is None:
                self._result = self._pipeline.run()
            self._state = self._result.wait_until_finish()
        except BaseException as error:  # raised by `finish`
            self._error = error

    def _look(self) -> None:
        said = self._workers.dead()
        if said is not None and self._error is None:
            raise UserError(
                "a worker process died (killed, or out of memory); nothing "
                "finished was changed: run the command again, with a smaller "
                f"--num_workers if memory was short (its last output: {said})"
            )
        if self._mark is None:
            return
        waited = time.monotonic() - self._begin
        if waited > _WORKER_SECONDS:
            if not files.exists(self._mark):
                print(
                    f"note: no worker has connected in {waited:.0f} s; check "
                    "that the runner has free workers, and that their Python "
                    "(`python` of a worker pool's PATH) has electra-tf[beam] "
                    f"and reaches {os.path.dirname(self._mark)}; still waiting",
                    file=sys.stderr,
                    flush=True,
                )
            self._mark = None

    def _cancel(self) -> None:
        self._workers.stop()
        cancel = getattr(self._result, "cancel", None)
        if cancel is not None:

            def ask() -> None:
                with contextlib.suppress(Exception):
                    cancel()

            asking = threading.Thread(target=ask, daemon=True)
            asking.start()
            asking.join(_ENDING_SECONDS)


@contextlib.contextmanager
def _quiet_environment() -> Iterator[None]:
    """Sets the environment of child processes: modules, no notices, no GPU."""
    ours = {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "GRPC_VERBOSITY": "NONE",
        "CUDA_VISIBLE_DEVICES": "-1",
        "PYTHONPATH": os.pathsep.join(
            os.path.abspath(path) for path in sys.path
        ),
    }
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _quiet_logs() -> Iterator[None]:
    """Suppresses Beam's log, whose content is also in its errors."""
    root, beams = logging.getLogger(), logging.getLogger("apache_beam")

    def is_ours(record: logging.LogRecord) -> bool:
        return "apache_beam" not in record.pathname

    # Beam also logs to the root, and would add a permanent handler.
    handler = None if root.handlers else logging.lastResort
    level = beams.level
    beams.setLevel(logging.CRITICAL + 1)
    root.addFilter(is_ours)
    if handler:
        root.addHandler(handler)
    try:
        yield
        beams.setLevel(level)  # or remaining threads log errors
    finally:
        root.removeFilter(is_ours)
        if handler:
            root.removeHandler(handler)


def _cut(text: str) -> str:
    """Removes Beam's additions from one of our messages."""
    return text.partition(" [while running")[0]


def _one_line(error: object) -> str:
    """Formats an error on one short line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 600 else f"{text[:600]} ..."


def _explained(error: Exception, start: _Start) -> str | None:
    """Converts an error to a message; None for a bug, which is raised."""
    text = str(error)
    if explanation := _USER_ERROR.findall(text):
        return _cut(explanation[-1])
    if jar := _NO_JAR.search(text):
        flag = f"--{start.runner.removesuffix('Runner').lower()}_job_server_jar"
        return (
            f"{start.flag}: {start.runner} needs its job server, {jar[2]}, and "
            f"it cannot be fetched from {jar[1]}; name a copy of it with "
            f"{flag}=FILE, or a job server that runs with "
            "--job_endpoint=HOST:PORT"
        )
    if isinstance(error, grpc.RpcError) or _RPC_DETAILS.search(text):
        details = _RPC_DETAILS.search(text)
        reason = details[1] if details else text
        return f"{start.flag}: a connection failed: {_one_line(reason)}"
    if "'docker'" in text:
        return (
            f"{start.flag}: its workers are Docker containers, and `docker "
            "run` failed; choose others with --environment_type=EXTERNAL "
            "--environment_config=HOST:PORT (a worker pool)"
        )
    if "[while running" not in text and "Traceback" not in text:
        return f"{start.flag}: {start.runner}: {_one_line(text)}"
    if isinstance(error, OSError | ImportError | MemoryError):
        found = [f"{type(error).__name__}: {text}"]
    else:
        found = _OF_THE_MACHINE.findall(text)
    if found:
        return (
            f"{start.flag}: a worker failed: {_one_line(_cut(found[-1]))}; all "
            "workers need this package, and must reach the files by the same "
            "paths"
        )
    return None
