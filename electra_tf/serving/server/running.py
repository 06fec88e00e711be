"""Puts the server together, listens, and stops in good order."""

import asyncio
import contextlib
import ctypes
import dataclasses
import errno
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import uvicorn

from electra_tf import litert
from electra_tf.errors import UserError
from electra_tf.serving.server.app import App
from electra_tf.serving.server.batching import Batcher, Work
from electra_tf.serving.server.browsers import Browsers
from electra_tf.serving.server.connections import Guard
from electra_tf.serving.server.limits import Batching, Limits
from electra_tf.serving.server.metrics import Metrics
from electra_tf.serving.server.model_versions import ModelVersions, Poller
from electra_tf.serving.server.predicting import Predicting
from electra_tf.serving.server.served import Served

_LOG = logging.getLogger("electra_tf.serving")
# For which a server that stops keeps connections that may bring a request.
_LINGER_SECONDS = 1.0
_OTHER_FILES = 128  # open beside connections: models, libraries, the log
_M_ARENA_MAX = -8  # of glibc's malloc.h
_HINTS = {
    errno.EADDRINUSE: "; --port=0 takes a free port",
    errno.EACCES: "; ports below 1024 need rights, take a higher one",
    errno.EADDRNOTAVAIL: "; it is no address of this machine",
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a server serves, and how.

    Attributes:
      models: name -> what is served of it.
      host: the address to listen on.
      port: 0 takes a free one.
      grpc_port: of TensorFlow Serving's gRPC interface; 0 takes a free one,
        None is none.
      model_config_file: where `models` was read, to read it again when it
        changes.
      poll_seconds: between two looks for new versions; 0 means never.
      limits: sizes and times.
      batching: sizes and times.
      allowed_hosts: see `browsers.Browsers`, and so the next.
      cors_origins: see `browsers.Browsers`.
      engine: what runs the models; see `lite_signatures.of_version`.
    """

    models: Mapping[str, Served]
    host: str = "127.0.0.1"
    port: int = 8501
    grpc_port: int | None = None
    model_config_file: str | None = None
    poll_seconds: float = 1.0
    limits: Limits = dataclasses.field(default_factory=Limits)
    batching: Batching = dataclasses.field(default_factory=Batching)
    allowed_hosts: Sequence[str] = ()
    cors_origins: Sequence[str] = ()
    engine: litert.Engine = "auto"


class ModelServer:
    """A server that can be run once, in the main thread or another.

    Args:
      settings: what to serve.

    Raises:
      UserError: the port is taken, a model cannot be loaded.
    """

    def __init__(self, settings: Settings) -> None:
        limits = settings.limits
        browsers = Browsers(
            settings.host, settings.allowed_hosts, settings.cors_origins
        )
        metrics = Metrics()
        # Bound first, so that a port in use is told before models are loaded;
        # nobody can connect until `run`.
        self._socket = _bound(settings.host, settings.port)
        self.host, self.port = self._socket.getsockname()[:2]
        try:
            if settings.grpc_port:
                _bound(settings.host, settings.grpc_port, "--grpc_port").close()
            self.versions = ModelVersions(
                settings.models, metrics.version_changed, settings.engine
            )
            self.versions.load_all()
        except BaseException:
            self._socket.close()
            raise
        self._poller = Poller(
            self.versions, settings.poll_seconds, settings.model_config_file
        )

        def observe(work: Work, rows: int, seconds: float) -> None:
            model = getattr(work.owner, "name", "")
            metrics.call_rows.labels(model).observe(rows)
            metrics.call_seconds.labels(model).observe(seconds)

        self._batcher = batcher = Batcher(settings.batching, limits, observe)
        metrics.pending_rows.set_function(lambda: batcher.pending_rows)
        guard = Guard(limits, metrics)
        predicting = Predicting(self.versions, self._batcher, limits, metrics)
        self._app = App(self.versions, predicting, metrics, guard, browsers)
        # What it would print of malformed requests is counted instead.
        logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
        self._server = _Server(
            uvicorn.Config(
                self._app,
                loop="asyncio",
                http=guard.protocol(),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=limits.idle_seconds,
                timeout_graceful_shutdown=limits.stop_seconds,
                h11_max_incomplete_event_size=64 * 1024,
            ),
            self._app,
        )
        if settings.grpc_port is not None:
            # Its packages are needed where it is asked for alone.
            from electra_tf.serving.server.grpc_service import GrpcServer

            self._server.grpc = GrpcServer(
                f"{_bracketed(self.host)}:{settings.grpc_port}",
                self.versions, predicting, limits, metrics,
            )  # fmt: skip

    @property
    def grpc_port(self) -> int | None:
        """Where it answers by gRPC, once it listens; None if it does not."""
        return self._server.grpc.port if self._server.grpc else None

    @property
    def url(self) -> str:
        """Where it listens, with the real port."""
        return f"http://{_bracketed(self.host)}:{self.port}"

    def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Serves until SIGTERM, SIGINT or `stop`.

        Then it takes no more connections, finishes what is in flight and
        returns.

        Args:
          ready: called once when clients can connect.
        """
        self._server.ready = ready
        self._poller.start()
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._poller.stop()
            self._batcher.close()

    def stop(self) -> None:
        """Asks `run`, in another thread, to end."""
        self._server.should_exit = True


class _Server(uvicorn.Server):
    """Tells when it listens, and loses no request when it stops."""

    def __init__(self, config: uvicorn.Config, app: App) -> None:
        super().__init__(config)
        self.ready: Callable[[], None] = lambda: None
        self.grpc: Any = None
        self._app = app

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except OSError as error:
            # Another server may have bound the same port, and listened first.
            raise UserError(
                f"--host, --port: cannot listen: {error.strerror}"
                f"{_HINTS.get(error.errno or 0, '')}"
            ) from error
        if self.grpc is not None:
            await self.grpc.start()
        self.ready()

    async def shutdown(
        self, sockets: list[socket.socket] | None = None
    ) -> None:
        # From now on an answer says that it is its connection's last.
        self._app.stopping = True
        ends = asyncio.ensure_future(self._stop_grpc())
        waiting = [c for each in sockets or [] for c in _accepted(each)]
        for server in self.servers:
            server.close()
        for connection in waiting:
            with contextlib.suppress(OSError):
                await asyncio.get_running_loop().connect_accepted_socket(
                    self._protocol, connection
                )
        connections = self.server_state.connections
        _LOG.info("stopping; %d connections are open", len(connections))
        # What is on its way over a kept connection is still answered.
        end = time.monotonic() + _LINGER_SECONDS
        while connections and time.monotonic() < end:
            await asyncio.sleep(0.05)
        # So that what has arrived has been read.
        for _ in range(2):
            await asyncio.sleep(0)
        await super().shutdown(sockets)
        await ends

    async def _stop_grpc(self) -> None:
        if self.grpc is not None:
            seconds = self.config.timeout_graceful_shutdown
            await self.grpc.stop(seconds or 0)

    def _protocol(self) -> asyncio.Protocol:
        make: Any = self.config.http_protocol_class
        return make(
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )


def _accepted(listener: socket.socket) -> list[socket.socket]:
    """Returns the clients that have connected and wait to be taken.

    Closing the listener would throw them out.
    """
    found = []
    with contextlib.suppress(OSError):  # there are no more
        while True:
            connection = listener.accept()[0]
            connection.setblocking(False)
            found.append(connection)
    return found


def in_thread(server: ModelServer) -> threading.Thread:
    """Runs a server in a new thread; returns when clients can connect."""
    ready = threading.Event()
    thread = threading.Thread(
        target=server.run, args=(ready.set,), name="server", daemon=True
    )
    thread.start()
    while not ready.wait(0.05):
        if not thread.is_alive():
            raise RuntimeError("the server has ended before it listened")
    return thread


def _bracketed(host: str) -> str:
    """Returns an address as it stands before a port."""
    return f"[{host}]" if ":" in host else host


def _bound(host: str, port: int, flag: str = "--port") -> socket.socket:
    """Returns a socket with the address, not yet listening."""
    try:
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (socket.gaierror, UnicodeError) as error:
        raise UserError(f"--host: {host}: no such address") from error
    family, kind, protocol, _, address = found[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise UserError(
            f"--host, {flag}: cannot listen on {host}:{port}: "
            f"{error.strerror}{_HINTS.get(error.errno or 0, '')}"
        ) from error
    return bound


def set_threads(intra_op: int, calls: int) -> bool:
    """Sets TensorFlow's threads, in the whole process.

    A call divided among all cores waits at each of its operations for the
    slowest core, and the event loop always keeps one of them slow. Calls that
    each stay on a core of their own answered 540 requests a second where calls
    on all cores answered 430 (`small`, 16 clients, 2 cores), and one client
    alone was answered sooner as well.

    Calls run their operations on threads that all share. There is one for each
    call: with several, calls of 16 clients took turns within each other's
    operations and answered a sixth less. It is enough because no call is long:
    a long text is answered in steps, between which others have their turn.

    Args:
      intra_op: threads that share one operation; 0 leaves it to TensorFlow.
      calls: that run at the same time.

    Returns:
      Whether it is so; False if TensorFlow runs already with other numbers.
    """
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(intra_op)
        tf.config.threading.set_inter_op_parallelism_threads(max(calls, 2))
    except RuntimeError:
        return False
    return True


def switch_often(seconds: float = 0.001) -> None:
    """Has Python's threads take turns so often, in the whole process.

    While a large answer is written, which is work of Python's, each request
    beside it waits for its turn several times: for 5 ms unless this is called.

    Args:
      seconds: for which a thread runs while others wait.
    """
    sys.setswitchinterval(seconds)


def parallel_calls() -> int:
    """Returns the calls that are best run at the same time on this machine."""
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return 2  # one runs while the next is brought there
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def allow_connections(count: int) -> int:
    """Has the system let this process open as many files as connections need.

    Args:
      count: connections at the same time.

    Returns:
      How many of them there is room for; fewer where an administrator's limit
      (`ulimit -Hn`) is lower.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return count
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + _OTHER_FILES
    most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    unbounded = soft == resource.RLIM_INFINITY
    return count if unbounded else min(count, max(1, soft - _OTHER_FILES))


def keep_few_arenas(count: int = 2) -> bool:
    """Has the threads of this process share the C library's heaps.

    glibc gives each of many threads a heap of its own, and each keeps what
    its largest answers took: under mixed requests the server's memory creeps
    up for hours. Call it before there are threads; heaps that exist stay.

    Args:
      count: heaps.

    Returns:
      Whether the C library has this setting; glibc alone does.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return bool(mallopt(_M_ARENA_MAX, count))
