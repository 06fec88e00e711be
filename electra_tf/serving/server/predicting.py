"""Handles a request, from path and bytes to its response."""

import asyncio
import contextlib
import dataclasses
import functools
import re
import zlib
from collections.abc import Callable, Coroutine, Iterator
from http import HTTPStatus
from typing import Any

from starlette.requests import ClientDisconnect, Request

from electra_tf.serving.server import classify_json, predict_json
from electra_tf.serving.server.batching import Batcher, Work
from electra_tf.serving.server.limits import (
    Limits,
    RequestError,
    invalid,
    overloaded,
)
from electra_tf.serving.server.loaded_model import LoadedModel
from electra_tf.serving.server.metrics import Metrics
from electra_tf.serving.server.model_versions import (
    LARGEST_VERSION,
    ModelVersions,
)
from electra_tf.serving.server.predict_json import PredictRequest
from electra_tf.serving.server.signatures import Arrays

# The paths of TensorFlow Serving's REST interface.
PREFIX = "/v1/"
_MODEL = r"/v1/models/(?P<model>[^/:]+)"
_VERSION = r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_VERB = re.compile(
    _MODEL + _VERSION + r":(?P<verb>classify|regress|predict)", re.IGNORECASE
)
_READ = re.compile(_MODEL + _VERSION + r"(?P<verb>/metadata)?", re.IGNORECASE)
_LIST = re.compile(r"/v1/models/?", re.IGNORECASE)
# A body that is too large is still read up to this many times the limit: a
# client that gets the response before it has sent everything may miss it.
_DRAINED = 8
_PIECE = 4096  # bytes of a gzip body, decompressed at a time
_GZIP = ("gzip", "x-gzip")
# Larger bodies and responses are handled outside the event loop.
_LARGE = 32 * 1024
Goes = Callable[[], Coroutine[Any, Any, None]]
# verb -> functions that read its body and write its response.
_FORMS: dict[
    str, tuple[Callable[..., PredictRequest], Callable[..., bytes]]
] = {
    "predict": (predict_json.parse, predict_json.answer),
    "classify": (classify_json.parse, classify_json.classifications),
    "regress": (
        functools.partial(classify_json.parse, method="regress"),
        classify_json.regressions,
    ),
}


@dataclasses.dataclass(frozen=True)
class Target:
    """The target of a path.

    Attributes:
      verb: "models", "status", "metadata", "predict", "classify", "regress".
      model: its name; "" with "models".
      version: number of the version; None means the newest.
      label: label of the version, in place of its number.
    """

    verb: str
    model: str = ""
    version: int | None = None
    label: str | None = None


def parse_path(method: str, path: str) -> Target:
    """Parses a path.

    Args:
      method: HTTP method; HEAD is like GET.
      path: decoded path, which begins with `/v1/`.

    Raises:
      RequestError: 400, as TensorFlow Serving for unknown paths under this
        prefix.
    """
    if method == "POST":
        found = _VERB.fullmatch(path)
    elif method in ("GET", "HEAD"):
        if _LIST.fullmatch(path):
            return Target("models")
        found = _READ.fullmatch(path)
    else:
        found = None
    if not found:
        raise invalid(f"Malformed request: {method} {path[:200]}")
    version = None
    if found["version"] is not None:
        # Checked as text first, as Python refuses numbers of very many digits.
        digits = found["version"].lstrip("0")
        if len(digits) > 19 or int(digits or "0") > LARGEST_VERSION:
            raise invalid(
                f"Failed to convert version: {digits[:40]} to numeric."
            )
        version = int(digits or "0")
    verb = (found["verb"] or "status").lower().removeprefix("/")
    return Target(verb, found["model"], version, found["label"])


class Holding:
    """The bytes in memory for one request."""

    def __init__(self) -> None:
        self.size = 0


class BodyReader:
    """Reads bodies, and limits their total size in memory."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held = 0

    @contextlib.contextmanager
    def holding(self) -> Iterator[Holding]:
        """Counts a request's bytes as in memory, while entered."""
        holding = Holding()
        try:
            yield holding
        finally:
            self._held -= holding.size

    async def read(self, request: Request, holding: Holding) -> bytes:
        """Reads the whole body.

        Args:
          request: a request whose body is unread.
          holding: bytes of this request.

        Raises:
          RequestError: 408, too slow; 413, too large; 400 or 415, headers
            contradict; 503, too much is in memory.
          starlette.requests.ClientDisconnect: the client is gone.
        """
        self._check_headers(request)
        try:
            body = await asyncio.wait_for(
                self._read(request, holding), self._limits.body_seconds
            )
        except asyncio.TimeoutError as error:
            raise RequestError(
                HTTPStatus.REQUEST_TIMEOUT,
                "The request did not come within "
                f"{self._limits.body_seconds:g} seconds",
                close=True,
            ) from error
        if request.headers.get("content-encoding", "").lower() in _GZIP:
            body = await asyncio.to_thread(self._unpacked, body)
        return body

    def _unpacked(self, body: bytes) -> bytes:
        """Decompresses a gzip body, with the same size limit."""
        limit = self._limits.request_bytes
        found = bytearray()
        # A gzip file is a sequence of streams, possibly empty ones: the rest
        # after a stream is copied, so it is passed in pieces.
        stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            for start in range(0, len(body), _PIECE):
                piece = body[start : start + _PIECE]
                while piece:
                    if stream.eof:
                        stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
                    found += stream.decompress(piece, limit + 1 - len(found))
                    if len(found) > limit:
                        raise self._too_large(close=False)
                    piece = stream.unused_data
        except zlib.error as error:
            raise invalid(f"The body is not gzip: {error}") from error
        if body and not stream.eof:
            raise invalid("The gzip body is cut short")
        return bytes(found)

    def _check_headers(self, request: Request) -> None:
        coding = request.headers.get("content-encoding", "identity")
        if coding.lower() not in ("identity", *_GZIP):
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

    async def _read(self, request: Request, holding: Holding) -> bytes:
        limit = self._limits.request_bytes
        chunks: list[bytes] = []
        size = 0
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


class Predicting:
    """Handles `:predict`, `:classify` and `:regress`.

    Args:
      versions: the models.
      batcher: runs the models.
      limits: sizes and timeouts.
      metrics: counters.
    """

    def __init__(
        self,
        versions: ModelVersions,
        batcher: Batcher,
        limits: Limits,
        metrics: Metrics,
    ) -> None:
        self._versions = versions
        self._batcher = batcher
        self._limits = limits
        self._metrics = metrics
        self._bodies = BodyReader(limits)

    @property
    def overloaded(self) -> bool:
        """Whether requests are refused or wait for very long."""
        return self._batcher.overloaded

    async def answer(self, request: Request, target: Target) -> bytes:
        """Returns the body of the response.

        Raises:
          RequestError: the request is wrong, or the server cannot handle it.
          ClientDisconnect: the client is gone.
        """
        with self._bodies.holding() as holding:
            body = await self._bodies.read(request, holding)
            model = self._versions.get(
                target.model, target.version, target.label
            )
            large = len(body) > _LARGE
            read, write = _FORMS[target.verb]
            parse = functools.partial(
                read, body, model.find_signature, self._limits.request_rows
            )
            asked = await asyncio.to_thread(parse) if large else parse()
            del body, parse
            outputs = await self.run(
                model,
                asked.signature,
                asked.inputs,
                lambda: _disconnected(request),
            )
            if large or _bytes(outputs) > _LARGE:
                return await asyncio.to_thread(write, outputs, asked.by_row)
            return write(outputs, asked.by_row)

    async def run(
        self,
        model: LoadedModel,
        signature: str,
        inputs: Arrays,
        client_goes: Goes | None = None,
    ) -> Arrays:
        """Runs a signature, for any protocol.

        Args:
          model: a loaded version.
          signature: name of one of its signatures.
          inputs: arrays that fit the signature.
          client_goes: returns when the client is gone; None where such a call
            is cancelled anyway.

        Raises:
          RequestError: the inputs are wrong, or the server cannot handle them.
          ClientDisconnect: `client_goes` returned.
        """
        info = model.signatures[signature]
        rows = max(
            (len(x) if x.ndim else 1 for x in inputs.values()), default=1
        )
        work = Work(
            model,
            signature,
            info,
            functools.partial(model.run, signature),
            model.settings,
            model.steps_of(signature),
        )
        outputs = await self._run(work, inputs, client_goes)
        self._metrics.rows.labels(model.name, signature).inc(rows)
        return outputs

    async def _run(
        self,
        work: Work,
        inputs: Arrays,
        client_goes: Goes | None,
    ) -> Arrays:
        """Returns the outputs, unless the client leaves or the time is over."""
        seconds = work.settings.answer_seconds or self._limits.answer_seconds
        answer = asyncio.ensure_future(self._batcher.submit(work, inputs))
        gone = client_goes and asyncio.ensure_future(client_goes())
        try:
            await asyncio.wait(
                {answer, gone} if gone else {answer},
                timeout=seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if answer.done():
                return answer.result()
            if gone and gone.done():
                raise ClientDisconnect
            raise RequestError(
                HTTPStatus.GATEWAY_TIMEOUT,
                f"No answer within {seconds:g} seconds",
            )
        finally:
            answer.cancel()
            if gone:
                gone.cancel()


async def _disconnected(request: Request) -> None:
    """Waits until the client closes the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _bytes(outputs: Arrays) -> int:
    """Estimates the size of the outputs as text."""
    return sum(8 * array.size for array in outputs.values())
