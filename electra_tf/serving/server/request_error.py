"""What a request is refused with: an HTTP status and a message."""

from http import HTTPStatus


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


def invalid(message: str) -> RequestError:
    """400: the request itself is at fault."""
    return RequestError(HTTPStatus.BAD_REQUEST, message)


def not_found(message: str) -> RequestError:
    """404: no such model, version or page."""
    return RequestError(HTTPStatus.NOT_FOUND, message)


def overloaded(message: str) -> RequestError:
    """503: come back later."""
    return RequestError(HTTPStatus.SERVICE_UNAVAILABLE, message)
