"""Assembles the server, listens, and stops gracefully."""

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
# Seconds for which a stopping server keeps connections that may bring a
# request.
_LINGER_SECONDS = 1.0
_OTHER_FILES = 128  # open files besides connections: models, libraries, the log
_M_ARENA_MAX = -8  # from glibc's malloc.h
_HINTS = {
    errno.EADDRINUSE: "; --port=0 takes a free port",
    errno.EACCES: "; ports below 1024 need special rights, choose a higher one",
    errno.EADDRNOTAVAIL: "; it is not an address of this machine",
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings of a server.

    Attributes:
      models: name -> directory and versions.
      host: the address to listen on.
      port: port to listen on; 0 takes a free one.
      grpc_port: port of TensorFlow Serving's gRPC interface; 0 takes a free
        one, None is none.
      model_config_file: file of `models`, which is read again when it changes.
      poll_seconds: interval of checks for new versions; 0 means never.
      limits: sizes and timeouts.
      batching: settings of batching.
      allowed_hosts: see `browsers.Browsers`.
      cors_origins: see `browsers.Browsers`.
      engine: see `lite_signatures.of_version`.
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
      settings: settings of the server.

    Raises:
      UserError: the port is taken, or a model cannot be loaded.
    """

    def __init__(self, settings: Settings) -> None:
        limits = settings.limits
        browsers = Browsers(
            settings.host, settings.allowed_hosts, settings.cors_origins
        )
        metrics = Metrics()
        # Bound first, so that a port in use is reported before models are
        # loaded; nobody can connect until `run`.
        self._socket = _bound(settings.host, settings.port)
        self.host, self.port = self._socket.getsockname()[:2]
        try:
            if settings.grpc_port == self.port:
                raise UserError(
                    f"--port, --grpc_port: both are {self.port}; give another "
                    "one for one of them"
                )
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
        # Malformed requests are counted instead of logged.
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
            # Its packages are only needed if it is asked for.
            from electra_tf.serving.server.grpc_service import GrpcServer

            self._server.grpc = GrpcServer(
                f"{_bracketed(self.host)}:{settings.grpc_port}",
                self.versions, predicting, limits, metrics,
            )  # fmt: skip

    @property
    def grpc_port(self) -> int | None:
        """The port of gRPC, once it listens; None without gRPC."""
        return self._server.grpc.port if self._server.grpc else None

    @property
    def url(self) -> str:
        """The address, with the real port."""
        return f"http://{_bracketed(self.host)}:{self.port}"

    def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Serves until SIGTERM, SIGINT or `stop`.

        Then it accepts no more connections, finishes running requests and
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
        """Stops `run` from another thread."""
        self._server.should_exit = True


class _Server(uvicorn.Server):
    """Adds to uvicorn a notice when it listens, and a stop without lost
    requests.
    """

    def __init__(self, config: uvicorn.Config, app: App) -> None:
        super().__init__(config)
        self.ready: Callable[[], None] = lambda: None
        self.grpc: Any = None
        self._app = app

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except OSError as error:
            # Another server may have bound the same port and listened first.
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
        # From now on responses close their connections.
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
        # Requests on their way over kept connections are still handled.
        end = time.monotonic() + _LINGER_SECONDS
        while connections and time.monotonic() < end:
            await asyncio.sleep(0.05)
        # So that data that has arrived is read.
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
    """Accepts the clients that are waiting in the listener's queue.

    Closing the listener would drop them.
    """
    found = []
    with contextlib.suppress(OSError):  # the queue is empty
        while True:
            connection = listener.accept()[0]
            connection.setblocking(False)
            found.append(connection)
    return found


def in_thread(server: ModelServer) -> threading.Thread:
    """Runs a server in a new thread; returns when it accepts clients."""
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
    """Formats an address to precede a port, with brackets for IPv6."""
    return f"[{host}]" if ":" in host else host


def _bound(host: str, port: int, flag: str = "--port") -> socket.socket:
    """Binds a socket to the address, without listening."""
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
    """Sets TensorFlow's threads for the whole process.

    A call divided among all cores waits at each of its operations for the
    slowest core, and the event loop always keeps one of them slow. Calls that
    each stay on a core of their own answered 540 requests a second where calls
    on all cores answered 430 (`small`, 16 clients, 2 cores), and one client
    alone had a lower latency too.

    Calls run their operations on threads that all share. There is one for each
    call: with several, calls of 16 clients took turns within each other's
    operations and answered a sixth less. It is enough because calls are short:
    a long text is computed in steps, between which others have their turn.

    Args:
      intra_op: threads that share one operation; 0 is TensorFlow's default.
      calls: number of calls that run at the same time.

    Returns:
      Whether it is set; False if TensorFlow already runs with other numbers.
    """
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(intra_op)
        tf.config.threading.set_inter_op_parallelism_threads(max(calls, 2))
    except RuntimeError:
        return False
    return True


def switch_often(seconds: float = 0.001) -> None:
    """Sets how often Python's threads take turns, for the whole process.

    While a large response is written by Python code, each other request waits
    for its turn several times, by default for 5 ms each.

    Args:
      seconds: seconds that a thread runs while others wait.
    """
    sys.setswitchinterval(seconds)


def parallel_calls() -> int:
    """Returns the best number of concurrent calls on this machine."""
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return 2  # one runs while the next is transferred
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def allow_connections(count: int) -> int:
    """Raises this process' limit of open files for connections.

    Args:
      count: number of connections.

    Returns:
      The possible number; fewer where the hard limit (`ulimit -Hn`) is lower.
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
    """Limits the heaps of the C library, which threads then share.

    glibc gives threads separate heaps, and each keeps the memory of its largest
    responses: under mixed requests the server's memory grows for hours. Call it
    before there are threads, as existing heaps remain.

    Args:
      count: number of heaps.

    Returns:
      Whether the C library has this setting; only glibc does.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return bool(mallopt(_M_ARENA_MAX, count))
