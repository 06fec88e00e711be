"""Defines the server's limits, timeouts and errors."""

import dataclasses
from http import HTTPStatus

CLIENT_GONE = 499  # nginx's number for it; never sent


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits that protect a server, whatever is sent to it.

    Attributes:
      request_bytes: largest body; a larger one gets 413.
      request_rows: most rows of one request; more get 413.
      text_bytes: longest texts of one row; a longer row gets 413. One row is
        one call, however long.
      answer_values: most numbers and texts of one response, padding included;
        more get 413.
      pending_rows: most rows that wait or run; a request beyond gets 503.
      pending_bytes: most bytes of all bodies in memory; beyond, 503.
      connections: most open connections; a further one gets 503 and is closed.
      header_seconds: seconds from the first byte, or the connection, to the end
        of the headers; then the connection is closed.
      body_seconds: seconds from the headers to the end of the body; then 408.
      answer_seconds: seconds from the body to the response; then 504.
      write_seconds: seconds for which a client may leave a response unread.
      idle_seconds: seconds for which a connection may be without a request.
      stop_seconds: seconds for running requests when the server stops.
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
    """How rows of several requests are joined in one call.

    Attributes:
      rows: the most in one call.
      padded_bytes: most text of the rows in one call, each counted as long as
        the longest of them, as padding costs too.
      wait_seconds: seconds for which a first row may wait for others while a
        call runs.
      parallel: number of calls that run at the same time.
      call_seconds: longest duration of a call of several rows, estimated from
        earlier calls.
      long_seconds: a request that is expected to take more is a long one; while
        short ones come, long ones leave a slot free.
      reserve_seconds: seconds for which the slot is left free after a short
        request.
      overloaded_seconds: the server reports overload once a short request has
        waited so long.
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
    """Settings of one model, which override the server's; see `Limits`.

    Attributes:
      rows: most rows in one call; None, here and below, means the server's.
      wait_seconds: seconds for which a first row may wait for others.
      parallel: number of this model's calls that run at the same time.
      pending_rows: most rows of this model that wait or run.
      text_bytes: longest texts of one row.
      answer_seconds: seconds from the body to the response.
    """

    rows: int | None = None
    wait_seconds: float | None = None
    parallel: int | None = None
    pending_rows: int | None = None
    text_bytes: int | None = None
    answer_seconds: float | None = None


NO_SETTINGS = ModelSettings()


class RequestError(Exception):
    """Raised for a request that gets an error as response.

    Args:
      status: HTTP status, 4xx or 5xx.
      message: description of the error, for the client.
      close: whether to close the connection after it, as unread bytes may
        follow.
    """

    def __init__(
        self, status: HTTPStatus, message: str, close: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.close = close


# HTTP status -> gRPC's name.
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
    """Returns gRPC's name for an HTTP status, by default "INTERNAL"."""
    return _CODE_NAMES.get(status, "INTERNAL")


def invalid(message: str) -> RequestError:
    """Makes the error 400: the request itself is at fault."""
    return RequestError(HTTPStatus.BAD_REQUEST, message)


def not_found(message: str) -> RequestError:
    """Makes the error 404: no such model, version or page."""
    return RequestError(HTTPStatus.NOT_FOUND, message)


def overloaded(message: str) -> RequestError:
    """Makes the error 503: the server is overloaded."""
    return RequestError(HTTPStatus.SERVICE_UNAVAILABLE, message)
