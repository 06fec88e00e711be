"""HTTP/1.1 on bare sockets: whatever bytes go out, and the answers to them.

Libraries for HTTP refuse to send what is wrong. Nothing here does.
"""

import asyncio
import contextlib
import dataclasses
import json
import socket
import struct
import time
from typing import Any

_LINE = 64 * 1024
_SECONDS = 180.0  # for an answer; a busy machine is slow, a hanging one slower


class NoAnswer(Exception):
    """A connection ended, or stayed silent, before an answer was whole.

    Attributes:
      started: whether some of the answer had come.
    """

    def __init__(self, reason: str, started: bool = False) -> None:
        super().__init__(reason)
        self.started = started


@dataclasses.dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
      status: of HTTP.
      headers: their names in lower case.
      body: all of it.
    """

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def last(self) -> bool:
        """Whether the server says that it closes the connection."""
        return self.headers.get("connection", "").lower() == "close"

    def json(self) -> Any:
        """The body; raises ValueError if it is no JSON."""
        return json.loads(self.body)


class Connection:
    """One connection.

    Attributes:
      answers: how many have come whole.
      opened: when it was made, of `time.monotonic`.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._started = False
        self.answers = 0
        self.opened = time.monotonic()

    @classmethod
    async def open(cls, host: str, port: int) -> "Connection":
        """Connects; raises OSError."""
        connecting = asyncio.open_connection(host, port, limit=_LINE)
        return cls(*await asyncio.wait_for(connecting, _SECONDS))

    @property
    def ended(self) -> bool:
        """Whether the server is known to have closed it."""
        return self._reader.at_eof() or self._writer.is_closing()

    def small_buffer(self) -> None:
        """Takes little of an answer until it is read."""
        self._socket().setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._writer.transport.pause_reading()

    async def send(self, data: bytes) -> bool:
        """Sends; False if the server has closed, which may be right."""
        try:
            self._writer.write(data)
            await asyncio.wait_for(self._writer.drain(), _SECONDS)
        except (ConnectionError, asyncio.TimeoutError):
            return False
        return True

    async def answer(self, head: bool = False) -> Answer:
        """The next answer; `head` if it has no body by its method.

        Raises:
          NoAnswer: there is none, or not all of it.
        """
        self._started = False
        try:
            found = await asyncio.wait_for(self._answer(head), _SECONDS)
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            reason = f"cut: {type(error).__name__}"
            raise NoAnswer(reason, self._started) from error
        except asyncio.TimeoutError as error:
            reason = f"nothing in {_SECONDS:g} s"
            raise NoAnswer(reason, self._started) from error
        except (ValueError, IndexError) as error:
            raise NoAnswer(f"no HTTP: {error}", self._started) from error
        self.answers += 1
        return found

    async def until_closed(self, seconds: float) -> bytes | None:
        """All that comes until the server closes; None if it does not."""
        self._writer.transport.resume_reading()
        found = bytearray()
        try:
            await asyncio.wait_for(self._drain_into(found), seconds)
        except asyncio.TimeoutError:
            return None
        except ConnectionError:
            pass
        return bytes(found)

    async def close(self, reset: bool = False) -> None:
        """Ends it: as one does, or with a reset."""
        if reset:
            linger = struct.pack("ii", 1, 0)
            self._socket().setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, linger
            )
            self._writer.transport.abort()
        self._writer.close()
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            await asyncio.wait_for(self._writer.wait_closed(), 5)

    async def _answer(self, head: bool) -> Answer:
        line = await self._reader.readline()
        self._started = bool(line)
        while line.startswith(b"HTTP/1.1 100 "):
            await self._reader.readuntil(b"\r\n")
            line = await self._reader.readline()
        if not line:
            raise ConnectionError("closed")
        status = int(line.split(b" ", 2)[1])
        headers = await self._headers()
        body = b"" if head else await self._body(headers)
        return Answer(status, headers, body)

    async def _drain_into(self, found: bytearray) -> None:
        while data := await self._reader.read(_LINE):
            found += data

    def _socket(self) -> Any:
        return self._writer.get_extra_info("socket")

    async def _headers(self) -> dict[str, str]:
        headers = {}
        while (line := await self._reader.readline()) not in (b"\r\n", b""):
            name, colon, value = line.decode("latin-1").partition(":")
            if not colon:
                raise ValueError(f"no header: {line[:40]!r}")
            headers[name.strip().lower()] = value.strip()
        return headers

    async def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            found = []
            while size := int(await self._reader.readline(), 16):
                found.append(await self._reader.readexactly(size))
                await self._reader.readline()
            await self._reader.readline()
            return b"".join(found)
        if "content-length" in headers:
            length = int(headers["content-length"])
            return await self._reader.readexactly(length)
        return await self._reader.read()


def request(
    method: str, path: str, body: bytes | None = None, *headers: str
) -> bytes:
    """The bytes of a request as it should be."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")
