"""Limits what a connection may do before and after a request.

uvicorn closes a connection that idles between two requests. This module also
closes one whose headers do not come or whose response is not read, and limits
the number of connections.
"""

import asyncio
import json
import sys
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from electra_tf.serving.server.limits import Limits
from electra_tf.serving.server.metrics import Metrics

# Characters of an HTTP error that are reported.
_SHOWN = 200


def _last_answer(status: HTTPStatus, message: str, *headers: str) -> bytes:
    """Makes an error response, after which the connection is closed."""
    body = json.dumps({"error": message}).encode()
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Content-Type: application/json",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


_FULL_ANSWER = _last_answer(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "The server has too many connections",
    "Retry-After: 1",
)


class Guard:
    """Tracks the connections of one server.

    The application reports the beginning and end of requests, so that a
    connection that must still send its headers is known.
    """

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self.limits = limits
        self.metrics = metrics
        self._open: dict[Any, GuardedProtocol] = {}

    def protocol(self) -> Any:
        """Returns a factory of protocols for connections, for uvicorn's
        `http`.
        """

        def make(*arguments: Any, **words: Any) -> asyncio.Protocol:
            return GuardedProtocol(self, *arguments, **words)

        return make

    def opened(self, peer: Any, protocol: "GuardedProtocol") -> bool:
        """Notes a connection; returns False if there are too many."""
        if len(self._open) >= self.limits.connections:
            return False
        self._open[peer] = protocol
        self.metrics.connections.set(len(self._open))
        return True

    def lost(self, peer: Any, protocol: "GuardedProtocol") -> None:
        """Forgets a connection."""
        if self._open.get(peer) is protocol:
            del self._open[peer]
            self.metrics.connections.set(len(self._open))

    def request_began(self, client: Any) -> None:
        """Notes that a request's headers have arrived."""
        protocol = self._open.get(_key(client))
        if protocol:
            protocol.owes_headers(False)

    def request_ended(self, client: Any) -> None:
        """Notes that a request is answered, and headers may follow."""
        protocol = self._open.get(_key(client))
        if protocol:
            protocol.answered()


class GuardedProtocol(H11Protocol):
    """Adds to uvicorn's HTTP/1.1 timeouts for headers and unread responses."""

    def __init__(self, guard: Guard, *arguments: Any, **words: Any) -> None:
        super().__init__(*arguments, **words)
        self._guard = guard
        self._peer: Any = None
        self._in_request = False
        self._header_clock: asyncio.TimerHandle | None = None
        self._write_clock: asyncio.TimerHandle | None = None

    def connection_made(  # type: ignore[override]
        self, transport: asyncio.Transport
    ) -> None:
        """Handles a new client."""
        super().connection_made(transport)
        self._peer = _key(transport.get_extra_info("peername"))
        # So that any unread data is reported.
        transport.set_write_buffer_limits(high=0)
        if self._guard.opened(self._peer, self):
            self.owes_headers(True)
        else:
            self._guard.metrics.closed_connections.labels("too_many").inc()
            transport.write(_FULL_ANSWER)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Handles the end of a connection."""
        self._guard.lost(self._peer, self)
        self._stop_clocks()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Handles bytes of a request."""
        if self.transport.is_closing():
            return
        if not self._in_request and self._header_clock is None:
            self.owes_headers(True)
        if not self._in_request and self.conn.their_state is h11.IDLE:
            # An empty line before a request is ignored (RFC 9112, 2.2).
            if not self.conn.trailing_data[0]:
                data = data.lstrip(b"\r\n")
                if not data:
                    return
        try:
            super().data_received(data)
        except (UnicodeDecodeError, h11.ProtocolError):
            # Path bytes that are not text, or garbage after a request.
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Refuses data that is not HTTP, in the form of all errors."""
        self._guard.metrics.closed_connections.labels("malformed").inc()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            error = sys.exc_info()[1]
            status = getattr(error, "error_status_hint", 400)
            # h11's message may quote everything that was sent.
            problem = str(error or msg)[:_SHOWN]
            self.transport.write(
                _last_answer(HTTPStatus(status), f"Malformed HTTP: {problem}")
            )
        if self.cycle and not self.cycle.response_complete:
            # A reader of the body learns that no more comes.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def pause_writing(self) -> None:
        """Starts the timeout: the client does not read."""
        super().pause_writing()
        if self._write_clock is None:
            self._write_clock = asyncio.get_running_loop().call_later(
                self._guard.limits.write_seconds, self._abort, "unread"
            )

    def resume_writing(self) -> None:
        """Stops the timeout: the client reads again."""
        super().resume_writing()
        if self._write_clock:
            self._write_clock.cancel()
            self._write_clock = None

    def owes_headers(self, owes: bool) -> None:
        """Starts or stops the timeout for headers."""
        if self._header_clock:
            self._header_clock.cancel()
            self._header_clock = None
        self._in_request = not owes
        if owes:
            self._header_clock = asyncio.get_running_loop().call_later(
                self._guard.limits.header_seconds, self._abort, "headers"
            )

    def answered(self) -> None:
        """Lets the timeout start with the next bytes; until then it idles."""
        self._in_request = False

    def _abort(self, reason: str) -> None:
        self._guard.metrics.closed_connections.labels(reason).inc()
        self.transport.abort()

    def _stop_clocks(self) -> None:
        for clock in (self._header_clock, self._write_clock):
            if clock:
                clock.cancel()


def _key(peer: Any) -> Any:
    """Returns the address and port that identify a connection."""
    return tuple(peer[:2]) if peer else None
