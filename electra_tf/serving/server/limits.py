"""How much the server takes on, how long it waits, how it refuses the rest."""

import dataclasses
from http import HTTPStatus

CLIENT_GONE = 499  # nginx's number for it; never sent


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds that keep a server standing, whatever is sent to it.

    Attributes:
      request_bytes: the largest body; more is answered with 413.
      request_rows: the most rows of one request; more is answered with 413.
      text_bytes: the longest texts of one row; a longer row is answered with
        413. One row is one call, however long.
      answer_values: the most numbers and texts of one answer, padding
        included; more is answered with 413.
      pending_rows: rows that wait or run; a request beyond is answered with
        503.
      pending_bytes: of all bodies held at once; beyond, 503.
      connections: open at once; a further one gets 503 and is closed.
      header_seconds: from the first byte, or the connection, to the end of
        the headers; then the connection is closed.
      body_seconds: from the headers to the end of the body; then 408.
      answer_seconds: from the body to the answer; then 504.
      write_seconds: for which a client may leave an answer unread.
      idle_seconds: a kept connection may stay without a request.
      stop_seconds: for requests in flight when the server stops.
    """

    request_bytes: int = 4 * 2**20
    request_rows: int = 4096
    text_bytes: int = 128 * 2**10
    answer_values: int = 4 * 2**20
    pending_rows: int = 16384
    pending_bytes: int = 256 * 2**20
    connections: int = 512
    header_seconds: float = 10.0
    body_seconds: float = 20.0
    answer_seconds: float = 60.0
    write_seconds: float = 30.0
    idle_seconds: int = 30
    stop_seconds: int = 60


@dataclasses.dataclass(frozen=True)
class Batching:
    """How rows of several requests are put into one call.

    Attributes:
      rows: the most in one call.
      padded_bytes: the most text of the rows in one call, each counted as
        long as the longest of them; what is padded grows with it.
      wait_seconds: for which a first row may wait for others while a call
        runs.
      parallel: calls that run at the same time.
      call_seconds: for which a call of several rows is to run at most, by what
        the calls before took.
      long_seconds: a request that is expected to take more is a long one;
        while short ones come, those leave a place free.
      reserve_seconds: for which it is left free after a short request.
      overloaded_seconds: once a short request has waited so long, the server
        says that it is overloaded.
    """

    rows: int = 32
    padded_bytes: int = 2**20
    wait_seconds: float = 0.005
    parallel: int = 2
    call_seconds: float = 0.15
    long_seconds: float = 0.15
    reserve_seconds: float = 2.0
    overloaded_seconds: float = 5.0


@dataclasses.dataclass(frozen=True)
class ModelSettings:
    """What holds for one model in place of the server's settings; see there.

    Attributes:
      rows: the most in one call; None, here and below: as of the server.
      wait_seconds: for which a first row may wait for others.
      parallel: calls of this model that run at the same time.
      pending_rows: rows of this model that wait or run.
      text_bytes: the longest texts of one row.
      answer_seconds: from the body to the answer.
    """

    rows: int | None = None
    wait_seconds: float | None = None
    parallel: int | None = None
    pending_rows: int | None = None
    text_bytes: int | None = None
    answer_seconds: float | None = None


NO_SETTINGS = ModelSettings()


class RequestError(Exception):
    """A request that gets no answer but an error.

    Args:
      status: the HTTP status, 4xx or 5xx.
      message: what was wrong, for whoever sent the request.
      close: end the connection after it, because unread bytes may follow.
    """

    def __init__(
        self, status: HTTPStatus, message: str, close: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.close = close


# gRPC's names for what HTTP has a number for.
_CODE_NAMES = {
    HTTPStatus.OK: "OK",
    HTTPStatus.BAD_REQUEST: "INVALID_ARGUMENT",
    HTTPStatus.NOT_FOUND: "NOT_FOUND",
    HTTPStatus.REQUEST_TIMEOUT: "DEADLINE_EXCEEDED",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "INVALID_ARGUMENT",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "INVALID_ARGUMENT",
    HTTPStatus.TOO_MANY_REQUESTS: "RESOURCE_EXHAUSTED",
    HTTPStatus.INTERNAL_SERVER_ERROR: "INTERNAL",
    HTTPStatus.NOT_IMPLEMENTED: "UNIMPLEMENTED",
    HTTPStatus.SERVICE_UNAVAILABLE: "UNAVAILABLE",
    HTTPStatus.GATEWAY_TIMEOUT: "DEADLINE_EXCEEDED",
    CLIENT_GONE: "CANCELLED",
}


def code_name(status: int) -> str:
    """Returns gRPC's name for a status of HTTP, "INTERNAL" for one that it
    lacks.
    """
    return _CODE_NAMES.get(status, "INTERNAL")


def invalid(message: str) -> RequestError:
    """400: the request itself is at fault."""
    return RequestError(HTTPStatus.BAD_REQUEST, message)


def not_found(message: str) -> RequestError:
    """404: no such model, version or page."""
    return RequestError(HTTPStatus.NOT_FOUND, message)


def overloaded(message: str) -> RequestError:
    """503: come back later."""
    return RequestError(HTTPStatus.SERVICE_UNAVAILABLE, message)
