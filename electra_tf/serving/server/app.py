"""Defines the server's application: paths, errors, headers."""

import asyncio
import gzip
import json
import logging
import pathlib
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from electra_tf.serving.server import metrics as counting
from electra_tf.serving.server.browsers import Browsers, target_path
from electra_tf.serving.server.connections import Guard
from electra_tf.serving.server.limits import (
    CLIENT_GONE,
    RequestError,
    invalid,
    not_found,
)
from electra_tf.serving.server.model_versions import ModelVersions
from electra_tf.serving.server.predicting import (
    PREFIX,
    Predicting,
    Target,
    parse_path,
)

PAGE = pathlib.Path(__file__).resolve().parent.parent / "page"
_LOG = logging.getLogger("electra_tf.serving")
_RETRY_SECONDS = 1
_WORTH_PACKING = 1024  # bytes of a response, for a client that accepts gzip
_MONITORING = "/monitoring/prometheus/metrics"  # TensorFlow Serving's path

# The page may only load its own files and contact this server.
_PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; "
        "img-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


class App:
    """The ASGI application.

    Args:
      versions: the models.
      predicting: handles predict requests.
      metrics: counters.
      guard: guard of the connections.
      browsers: the allowed hosts and origins.
      page: directory of the page's files.
    """

    def __init__(
        self,
        versions: ModelVersions,
        predicting: Predicting,
        metrics: counting.Metrics,
        guard: Guard,
        browsers: Browsers,
        page: pathlib.Path = PAGE,
    ) -> None:
        self.stopping = False
        self._versions = versions
        self._predicting = predicting
        self._metrics = metrics
        self._guard = guard
        self._browsers = browsers
        self._page = page
        self._active = 0
        static = _PageFiles(directory=page, check_dir=False)
        self._router = Starlette(
            routes=[
                Route("/", self._index, methods=["GET"]),
                Route("/healthz", self._health, methods=["GET"]),
                Route("/metrics", self._numbers, methods=["GET"]),
                Route(_MONITORING, self._numbers, methods=["GET"]),
                Mount("/static", static),
            ],
            exception_handlers={
                HTTPException: _http_error,
                Exception: _failure,
            },
        )
        # A redirection would contain the client's name of this server.
        self._router.router.redirect_slashes = False

    async def __call__(
        self, scope: Scope, receive: Receive, send_plain: Send
    ) -> None:
        """Handles one request, or the start and end of the server."""
        if scope["type"] != "http":
            await self._router(scope, receive, send_plain)
            return

        more: dict[str, str] = {}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = _with_headers(message, more)
                if self.stopping or _is_ambiguous(scope["headers"]):
                    message = _last(message)
            await send_plain(message)

        self._guard.request_began(scope["client"])
        self._active += 1
        self._metrics.active_requests.set(self._active)
        try:
            if not scope["http_version"].startswith("1."):
                status = HTTPStatus.HTTP_VERSION_NOT_SUPPORTED
                raise RequestError(status, "This server speaks HTTP/1.1", True)
            scope = _with_plain_target(scope)
            headers = {k.decode("latin-1"): v.decode("latin-1")
                       for k, v in scope["headers"]}  # fmt: skip
            more |= self._browsers.check(scope["method"], headers)
            await self._answer(scope, receive, send, bool(more))
        except RequestError as error:
            await error_response(error)(scope, receive, send)
        finally:
            self._active -= 1
            self._metrics.active_requests.set(self._active)
            self._guard.request_ended(scope["client"])

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send, from_page: bool
    ) -> None:
        """Handles a request whose host and origin are allowed."""
        path = scope["path"]
        if scope["method"] == "OPTIONS" and from_page:
            await Response(status_code=204)(scope, receive, send)
        elif path.lower().startswith(PREFIX):
            response = await self._rest(Request(scope, receive))
            await response(scope, receive, send)
        elif "\0" in path:
            raise invalid("Malformed path")
        else:
            await self._router(scope, receive, send)

    async def _rest(self, request: Request) -> Response:
        """Handles everything under /v1/."""
        began = time.monotonic()
        model, verb = "", ""
        response: Response
        try:
            target = parse_path(request.method, request.scope["path"])
            verb = target.verb
            if target.model in self._versions.names:
                model = target.model
            if verb in ("predict", "classify", "regress"):
                body = await self._predicting.answer(request, target)
                response = _json_response(body)
                if _takes_gzip(request) and len(body) >= _WORTH_PACKING:
                    packed = await asyncio.to_thread(gzip.compress, body, 1)
                    response = _json_response(packed)
                    response.headers["Content-Encoding"] = "gzip"
                    response.headers["Vary"] = "Accept-Encoding"
            else:
                response = _json_response(self._information(target))
            status = response.status_code
        except RequestError as error:
            status = error.status
            response = error_response(error)
        except ClientDisconnect:
            status = CLIENT_GONE
            response = Response(status_code=HTTPStatus.BAD_REQUEST)
        except asyncio.CancelledError:
            raise
        except Exception:
            response = await _failure(request)
            status = response.status_code
        seconds = time.monotonic() - began
        self._metrics.answered(model, verb, "REST", int(status), seconds)
        return response

    def _information(self, target: Target) -> bytes:
        """Returns the information for requests that only read."""
        if target.verb == "models":
            return _encoded({"models": self._listed()})
        if target.verb == "status":
            version = target.version
            if target.label is not None:
                version = self._versions.labelled(target.model, target.label)
            states = self._versions.status(target.model, version)
            return _encoded({"model_version_status": states})
        model = self._versions.get(target.model, target.version, target.label)
        signatures = {k: v.as_json() for k, v in model.signatures.items()}
        return _encoded(
            {
                "model_spec": {
                    "name": model.name,
                    "signature_name": "",
                    "version": str(model.version),
                },
                "metadata": {"signature_def": {"signature_def": signatures}},
            }
        )

    def _listed(self) -> list[dict[str, Any]]:
        """Lists the newest version of each model, with its older ones."""
        found = []
        for name in self._versions.names:
            loaded = [
                {
                    "version": str(model.version),
                    "description": model.description,
                }
                for model in self._versions.loaded(name)
            ]
            if not loaded:
                continue
            newest: dict[str, Any] = {"name": name, **loaded[0]}
            if loaded[1:]:
                newest["older"] = loaded[1:]
            labels = self._versions.labels(name)
            if labels:
                newest["labels"] = {k: str(v) for k, v in labels.items()}
            found.append(newest)
        return found

    async def _index(self, request: Request) -> Response:
        path = self._page / "index.html"
        if not path.is_file():
            return error_response(not_found("This server has no page"))
        return Response(
            path.read_bytes(),
            media_type="text/html",
            headers=_PAGE_HEADERS,
        )

    async def _health(self, request: Request) -> Response:
        missing = [
            name
            for name in self._versions.names
            if not self._versions.loaded(name)
        ]
        if self.stopping:
            state = "stopping"
        elif missing:
            state = f"no version of {', '.join(missing)}"
        elif self._predicting.overloaded:
            state = "overloaded"
        else:
            state = "ok"
        status = (
            HTTPStatus.OK if state == "ok" else HTTPStatus.SERVICE_UNAVAILABLE
        )
        return _json_response(_encoded({"status": state}), status)

    async def _numbers(self, request: Request) -> Response:
        return Response(
            self._metrics.page(request.scope["path"] == _MONITORING),
            headers={"Content-Type": counting.CONTENT_TYPE},
        )


class _PageFiles(StaticFiles):
    """The page's files, with the page's headers."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers.update(_PAGE_HEADERS)
        return response


def error_response(error: RequestError) -> Response:
    """Makes an error response in TensorFlow Serving's form."""
    response = _json_response(_encoded({"error": error.message}), error.status)
    if error.close:
        response.headers["Connection"] = "close"
    if error.status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = str(_RETRY_SECONDS)
    return response


def _json_response(body: bytes, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(
        body,
        status_code=status,
        media_type="application/json",
        headers={
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
        },
    )


def _encoded(document: dict[str, Any]) -> bytes:
    # Text that cannot be encoded came from a client, and is only echoed.
    text = json.dumps(document, ensure_ascii=False)
    return text.encode("utf-8", errors="replace")


async def _http_error(request: Request, error: Exception) -> Response:
    """Handles errors of the router: unknown paths and methods."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    path = request.scope["path"][:200]
    response = error_response(RequestError(status, f"{status.phrase}: {path}"))
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    return response


async def _failure(
    request: Request, error: Exception | None = None
) -> Response:
    """Handles an internal error."""
    _LOG.exception("%s %s", request.method, request.scope["path"][:200])
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    return error_response(
        RequestError(status, "The server failed; see its log")
    )


def _takes_gzip(request: Request) -> bool:
    """Returns whether the client accepts gzip (RFC 9110, 12.5.3)."""
    for part in request.headers.get("accept-encoding", "").split(","):
        coding, _, quality = part.partition(";")
        if coding.strip().lower() == "gzip":
            return quality.replace(" ", "").lower() not in (
                "q=0", "q=0.0", "q=0.00", "q=0.000",
            )  # fmt: skip
    return False


def _with_plain_target(scope: Scope) -> Scope:
    """Converts a request in absolute form to the usual form."""
    raw = scope.get("raw_path", b"").decode("latin-1")
    path, host = target_path(raw or scope["path"])
    if host is None:
        return scope
    headers = [(k, v) for k, v in scope["headers"] if k != b"host"]
    return {
        **scope,
        "path": unquote(path),
        "raw_path": path.encode("latin-1"),
        "headers": [(b"host", host.encode("latin-1")), *headers],
    }


def _is_ambiguous(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Returns whether two headers give the body's length (RFC 9112, 6.1)."""
    return {b"content-length", b"transfer-encoding"} <= {k for k, _ in headers}


def _with_headers(message: Any, more: Mapping[str, str]) -> Any:
    if not more:
        return message
    added = [(k.lower().encode(), v.encode("latin-1")) for k, v in more.items()]
    return {**message, "headers": [*message.get("headers", []), *added]}


def _last(message: Any) -> Any:
    """Marks a response as the last of its connection."""
    headers = [
        (name, value)
        for name, value in message.get("headers", [])
        if name.lower() != b"connection"
    ]
    return {**message, "headers": [*headers, (b"connection", b"close")]}
