"""Reading a request's body: not too much of it, and not for ever."""

import asyncio
import contextlib
from collections.abc import Iterator
from http import HTTPStatus

from starlette.requests import Request

from electra_tf.serving.server.limits import Limits
from electra_tf.serving.server.request_error import (
    RequestError,
    invalid,
    overloaded,
)

# A body that is too large is still read up to this many times the limit: a
# client that is told before it has sent everything may miss the answer.
_DRAINED = 8


class BodyReader:
    """Reads bodies, and knows how much of them is held in memory."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held = 0

    @contextlib.contextmanager
    def holding(self) -> Iterator["Holding"]:
        """While entered, a request's bytes count as held."""
        holding = Holding()
        try:
            yield holding
        finally:
            self._held -= holding.size

    async def read(self, request: Request, holding: "Holding") -> bytes:
        """The whole body.

        Args:
          request: one whose body nobody has read.
          holding: of this request.

        Raises:
          RequestError: 408 too slow, 413 too large, 400 or 415 headers that
            say something else, 503 too much is held already.
          starlette.requests.ClientDisconnect: the client has gone.
        """
        self._check_headers(request)
        try:
            return await asyncio.wait_for(
                self._read(request, holding), self._limits.body_seconds
            )
        except asyncio.TimeoutError as error:
            raise RequestError(
                HTTPStatus.REQUEST_TIMEOUT,
                "The request did not come within "
                f"{self._limits.body_seconds:g} seconds",
                close=True,
            ) from error

    def _check_headers(self, request: Request) -> None:
        coding = request.headers.get("content-encoding", "identity")
        if coding.lower() != "identity":
            raise RequestError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                f"Content-Encoding {coding[:40]} is not understood",
                close=True,
            )
        length = request.headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()) or len(length) > 18:
            error = invalid("Content-Length is not a number")
            error.close = True
            raise error
        limit = self._limits.request_bytes
        waits = request.headers.get("expect", "").lower() == "100-continue"
        if int(length) > (limit if waits else limit * _DRAINED):
            raise self._too_large(close=True)

    async def _read(self, request: Request, holding: "Holding") -> bytes:
        limit = self._limits.request_bytes
        chunks, size = [], 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                self._held -= holding.size
                holding.size = 0
                chunks.clear()
                if size > limit * _DRAINED:
                    raise self._too_large(close=True)
                continue
            if self._held + len(chunk) > self._limits.pending_bytes:
                error = overloaded("The server is busy; try again later")
                error.close = True
                raise error
            holding.size += len(chunk)
            self._held += len(chunk)
            chunks.append(chunk)
        if size > limit:
            raise self._too_large(close=False)
        return b"".join(chunks)

    def _too_large(self, close: bool) -> RequestError:
        return RequestError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"The request has more than {self._limits.request_bytes} bytes",
            close=close,
        )


class Holding:
    """The bytes that one request holds."""

    def __init__(self) -> None:
        self.size = 0
