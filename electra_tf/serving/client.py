"""Clients for `electra-tf serve` and for TensorFlow Serving.

They need only Python's standard library: no TensorFlow, no NumPy. For an
address that begins with grpc:// they use gRPC, which needs the extra `serving`;
see `electra_tf.serving.grpc_client`.
"""

import asyncio
import concurrent.futures
import contextvars
import functools
import math
from collections.abc import (
    AsyncIterable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from typing import Any, TypeVar

from electra_tf.errors import UserError
from electra_tf.serving import rows as of
from electra_tf.serving.api import ABORT, Abort, Api, ServingError, Target
from electra_tf.serving.rest_client import RestApi, encoded

__all__ = ["AsyncClient", "Client", "ServingError", "encoded"]

_T = TypeVar("_T")
# Servers accept 4 MiB by default, including names and quotes.
_REQUEST_BYTES = 2 * 2**20
_REQUEST_ROWS = 256


class Client:
    """Requests predictions from a server. Threads may share one client.

        from electra_tf import Client

        client = Client("http://127.0.0.1:8501", "sst2")
        client.predict(["a fine film", "a dull one"])
        client.predict([{"text": "a fine film"}, {"text": "a dull one"}])
        client.predict({"text": ["a fine film", "a dull one"]})

    A model of questions takes `{"question": ..., "context": ...}` for each.

    Args:
      url: http://HOST:PORT, https://..., unix:///PATH/OF/SOCKET, or
        grpc://HOST:PORT for the other port (grpcs:// with TLS).
      model: its name on the server; optional if there is only one and the
        server lists models (TensorFlow Serving does not).
      version: a number; None is the newest.
      label: label of a version, such as "stable", instead of its number.
      timeout: seconds for the whole response to a request, including further
        attempts; None for no limit.
      retries: how often a request is repeated after a safe failure: no
        connection, a broken connection, an overloaded server (429, 503), whose
        Retry-After is respected.
      headers: headers of each request, such as Authorization.
      compress: whether requests are sent as gzip; responses may be gzip too.
      trust_env: whether HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY,
        SSL_CERT_FILE and SSL_CERT_DIR count.

    Raises:
      UserError: an argument is wrong.
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = 60.0,
        retries: int = 3,
        headers: Mapping[str, str] | None = None,
        compress: bool = False,
        trust_env: bool = True,
    ) -> None:
        if not isinstance(url, str):
            raise UserError(f"url: expected a text, got {url!r:.40}")
        for name, value in (("model", model), ("label", label)):
            if value is not None and (not isinstance(value, str) or not value):
                raise UserError(f"{name}: expected a name, got {value!r:.40}")
        if version is not None and label is not None:
            raise UserError("give a version or a label, not both")
        if version is not None:
            _check_number("version", version)
        _check_number("retries", retries)
        _check_timeout(timeout)
        if headers is not None and not isinstance(headers, Mapping):
            raise UserError("headers: expected a mapping of name -> value")
        self.url = url
        self._model = model
        self._version = version
        self._label = label
        self._api: Api
        if url.lower().startswith(("grpc:", "grpcs:")):
            from electra_tf.serving.grpc_client import GrpcApi

            self._api = GrpcApi(url, timeout, retries, headers or {}, compress)
        else:
            self._api = RestApi(
                url, timeout, retries, headers or {}, trust_env, compress
            )

    def predict(
        self,
        data: Iterable[Any] | Mapping[str, Iterable[Any]],
        *,
        signature: str | None = None,
        batch_size: int = _REQUEST_ROWS,
        progress: Callable[[int], object] | None = None,
    ) -> Any:
        """Requests predictions for rows or columns.

        Args:
          data: rows, each a text, or a mapping of input name -> value: a
            list, a generator, an array of NumPy, a table of pandas, Polars or
            Arrow; or columns, a mapping of input name -> list. `bytes` are
            sent unchanged, whether they are UTF-8 or not. Rows are sent in as
            many requests as needed, one after another; columns in one.
          signature: a signature, such as "embed"; None is the model's main one.
          batch_size: most rows of one request.
          progress: called with the number of rows done, after each request.

        Returns:
          For rows a list with an answer for each: a value if the signature
          has one output, else output name -> value. For columns a mapping
          output name -> list (a bare list with one output).

        Raises:
          UserError: a row cannot be sent to a model.
          ServingError: the server refused, could not be reached, or returned
            another number of rows.
        """
        if signature is not None and not isinstance(signature, str):
            raise UserError(f"signature: expected a name, got {signature!r}")
        if isinstance(data, Mapping):
            columns = of.plain_columns(data)
            target = self._target()
            answer = self._api.predict(target, signature, columns)
            _check_columns(columns, answer, target)
            return answer
        _check_number("batch_size", batch_size, least=1)
        found: list[Any] = []
        rows = of.plain_rows(data)
        for part in of.parts(rows, batch_size, _REQUEST_BYTES):
            target = self._target()
            try:
                answers = self._api.predict(target, signature, part)
                _check_count(len(part), answers, target)
            except ServingError as error:
                if not found:
                    raise
                # Servers count from the first row of the request.
                last = len(found) + len(part) - 1
                raise ServingError(
                    f"{error} (in rows {len(found)} to {last} of the list)",
                    error.status,
                    model=error.model,
                    said=error.said,
                ) from error
            found += answers
            if progress is not None:
                progress(len(found))
        return found

    def models(self) -> list[dict[str, Any]]:
        """Lists the served models: name, version and description of each.

        TensorFlow Serving does not list its models; then only this client's
        `model` is described.
        """
        found = self._api.models()
        if found is not None:
            return found
        versions = [
            int(each["version"])
            for each in self.status()
            if each["state"] == "AVAILABLE"
        ]
        newest = str(max(versions)) if versions else None
        name = self._target().model
        return [{"name": name, "version": newest, "description": None}]

    def status(self) -> list[dict[str, Any]]:
        """Lists the versions of the model, each with its state."""
        return self._api.status(self._target())

    def metadata(self) -> dict[str, Any]:
        """Returns the signatures: their inputs, outputs and types by name."""
        return self._api.metadata(self._target())

    def close(self) -> None:
        """Closes the connections; with HTTP the client can still be used."""
        self._api.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _target(self) -> Target:
        if self._model is None:
            found = self._api.models()
            if found is None:
                raise UserError(
                    f"{self.url} does not list its models: name one"
                )
            names = [each["name"] for each in found]
            if len(names) != 1:
                raise UserError(
                    f"{self.url} serves {', '.join(names) or 'no model'}: "
                    "name one of them"
                )
            self._model = names[0]
        return Target(self._model, self._version, self._label)


class AsyncClient:
    """Requests predictions like `Client`; its methods are awaited.

        import asyncio

        from electra_tf import AsyncClient

        async def main():
            async with AsyncClient("http://127.0.0.1:8501", "sst2") as client:
                return await asyncio.gather(
                    client.predict(["a fine film"]),
                    client.predict(["a dull one"]),
                )

        asyncio.run(main())

    Cancelling a call, such as by `asyncio.timeout`, aborts its request.

    Args:
      url: see `Client`.
      model: see `Client`.
      connections: most requests at the same time; others wait.
      **options: other arguments of `Client`.

    Raises:
      UserError: an argument is wrong.
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        *,
        connections: int = 16,
        **options: Any,
    ) -> None:
        _check_number("connections", connections, least=1)
        self._client = Client(url, model, **options)
        self.url = url
        self._threads = concurrent.futures.ThreadPoolExecutor(
            connections, thread_name_prefix="electra_tf.AsyncClient"
        )
        self._running: set[Abort] = set()

    async def predict(
        self,
        data: Any,
        *,
        signature: str | None = None,
        batch_size: int = _REQUEST_ROWS,
        progress: Callable[[int], object] | None = None,
    ) -> Any:
        """See `Client.predict`; rows may come from an asynchronous iterator.

        `progress` is called in another thread.
        """
        if isinstance(data, AsyncIterable):
            data = [row async for row in data]
        return await self._run(
            self._client.predict,
            data,
            signature=signature,
            batch_size=batch_size,
            progress=progress,
        )

    async def models(self) -> list[dict[str, Any]]:
        """See `Client.models`."""
        return await self._run(self._client.models)

    async def status(self) -> list[dict[str, Any]]:
        """See `Client.status`."""
        return await self._run(self._client.status)

    async def metadata(self) -> dict[str, Any]:
        """See `Client.metadata`."""
        return await self._run(self._client.metadata)

    async def close(self) -> None:
        """Closes connections and aborts requests; the client cannot be used
        again.
        """
        self._threads.shutdown(wait=False, cancel_futures=True)
        for abort in tuple(self._running):
            abort()
        self._client.close()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def _run(
        self, method: Callable[..., _T], *args: Any, **options: Any
    ) -> _T:
        abort = Abort()
        context = contextvars.copy_context()
        context.run(ABORT.set, abort)
        call = functools.partial(context.run, method, *args, **options)
        loop = asyncio.get_running_loop()
        self._running.add(abort)
        try:
            return await loop.run_in_executor(self._threads, call)
        except asyncio.CancelledError:
            abort()
            raise
        finally:
            self._running.discard(abort)


def _check_number(name: str, value: Any, least: int = 0) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UserError(
            f"{name}: expected a whole number from {least} on, got "
            f"{value!r:.40}"
        )


def _check_timeout(value: Any) -> None:
    good = isinstance(value, int | float) and not isinstance(value, bool)
    if value is None or (good and value > 0 and math.isfinite(value)):
        return
    raise UserError(
        f"timeout: expected seconds above 0, or None, got {value!r:.40}"
    )


def _check_count(asked: int, answers: Any, target: Target) -> None:
    if not isinstance(answers, list) or len(answers) != asked:
        got = len(answers) if isinstance(answers, list) else "no list"
        raise ServingError(
            f"{target}: asked for {asked} answers, got {got}",
            model=target.model,
        )


def _check_columns(
    columns: Mapping[str, Sequence[Any]], answer: Any, target: Target
) -> None:
    """Checks that each output has as many results as the columns have rows."""
    lengths = {len(values) for values in columns.values()}
    outputs = answer.values() if isinstance(answer, dict) else [answer]
    if len(lengths) == 1:
        (asked,) = lengths
        for values in outputs:
            _check_count(asked, values, target)
