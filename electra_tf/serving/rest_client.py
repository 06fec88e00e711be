"""Speaks the REST interface of TensorFlow Serving, for clients."""

import base64
import binascii
import datetime
import email.utils
import http.client
import json
import ssl
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

from electra_tf.serving.api import Deadline, ServingError, Target, pause
from electra_tf.serving.http_exchange import Exchange, Reply, address_of

_OVERLOADED = (429, 503)
_SHOWN = 200  # characters shown of an invalid response


class RestApi:
    """See `electra_tf.serving.api.Api`.

    All requests of the REST interface only read, so that an interrupted one can
    be repeated.

    Args:
      url: http:// or https://, may have a path before /v1; or unix:///PATH.
      timeout: seconds for an answer, all attempts together; None for no end.
      retries: further attempts after a failure that is safe to repeat.
      headers: sent with each request.
      trust_env: see `Exchange`.
      compress: whether bodies are sent as gzip.
    """

    def __init__(
        self,
        url: str,
        timeout: float | None,
        retries: int,
        headers: Mapping[str, str],
        trust_env: bool,
        compress: bool,
    ) -> None:
        address = address_of(url)
        self._place = address.shown
        self._timeout = timeout
        self._retries = retries
        self._exchange = Exchange(address, headers, trust_env, compress)

    def predict(
        self,
        target: Target,
        signature: str | None,
        data: Sequence[Any] | Mapping[str, Sequence[Any]],
    ) -> Any:
        """See `Api`."""
        by_row = not isinstance(data, Mapping)
        request: dict[str, Any] = {}
        if signature:
            request["signature_name"] = signature
        request["instances" if by_row else "inputs"] = data
        answer = self._request(
            "POST", _path(target) + ":predict", target, request
        )
        key = "predictions" if by_row else "outputs"
        return self._decoded(self._member(answer, key, target), target)

    def models(self) -> list[dict[str, Any]] | None:
        """See `Api`."""
        try:
            answer = self._request("GET", "/v1/models", None)
        except ServingError as error:
            if error.status in (400, 404):  # TensorFlow Serving's response
                return None
            raise
        return self._member(answer, "models", None)

    def status(self, target: Target) -> list[dict[str, Any]]:
        """See `Api`."""
        answer = self._request("GET", _path(target), target)
        return self._member(answer, "model_version_status", target)

    def metadata(self, target: Target) -> dict[str, Any]:
        """See `Api`."""
        answer = self._request("GET", _path(target) + "/metadata", target)
        found = self._member(answer, "metadata", target)
        found = self._member(found, "signature_def", target)
        return self._member(found, "signature_def", target)

    def close(self) -> None:
        """See `Api`."""
        self._exchange.close()

    def _request(
        self, method: str, path: str, target: Target | None, body: Any = None
    ) -> Any:
        """Sends JSON, and returns the response's JSON.

        Raises:
          ServingError: the server reported an error, or there was no response.
        """
        data = None
        if body is not None:
            written = json.dumps(body, ensure_ascii=False, default=encoded)
            data = written.encode()
        deadline = Deadline(self._timeout)
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            try:
                reply = self._exchange.send(method, path, data, deadline)
            except (OSError, http.client.HTTPException) as error:
                problem, again = self._no_answer(error)
                if last or not again or not pause(attempt, None, deadline):
                    raise self._failed(problem, target) from error
                continue
            if reply.status in _OVERLOADED and not last:
                if pause(attempt, _asked_pause(reply), deadline):
                    continue
            return self._read(reply, target)
        raise AssertionError("the last attempt returns or raises")

    def _no_answer(self, error: Exception) -> tuple[str, bool]:
        """Returns a message for a failure, and whether to try again."""
        if isinstance(error, TimeoutError) and error.errno is None:
            # The server may still be working on it: a repetition adds to its
            # load.
            return f"no answer within {self._timeout:g} seconds", False
        if isinstance(error, ssl.SSLCertVerificationError):
            return (
                f"its certificate is not trusted ({error.verify_message}); "
                "name the authority's file in SSL_CERT_FILE"
            ), False
        if isinstance(error, ssl.SSLError) and error.errno != ssl.SSL_ERROR_EOF:
            words = error.reason or str(error)
            return f"no https: {words}; does the server use http://?", False
        if isinstance(error, http.client.IncompleteRead):
            return "the connection broke during the answer", True
        if isinstance(error, OSError):
            reason = getattr(error, "strerror", None) or str(error)
            return f"cannot be reached: {reason or type(error).__name__}", True
        return (
            f"does not answer as a web server does ({type(error).__name__}: "
            f"{str(error)[:_SHOWN]}); is the address right, is it https://?"
        ), False

    def _read(self, reply: Reply, target: Target | None) -> Any:
        status, content = reply.status, reply.content
        try:
            # TensorFlow Serving writes strings unchanged, UTF-8 or not.
            answer = json.loads(content.decode("utf-8", errors="replace"))
        except (ValueError, RecursionError):
            answer = None
        shown = content[: 4 * _SHOWN].decode("utf-8", errors="replace").strip()
        shown = shown[:_SHOWN]
        if status == http.client.OK:
            if answer is None:
                raise self._failed(
                    f"the answer is not JSON, so not a model server's: {shown}",
                    target, status, shown,
                )  # fmt: skip
            return answer
        said = answer.get("error") if isinstance(answer, dict) else None
        if not isinstance(said, str):
            said = shown
        if 300 <= status < 400:
            place = reply.headers.get("location", "nowhere")
            raise self._failed(
                f"{status}: the server sends to {place}; give that address",
                target, status, said,
            )  # fmt: skip
        problem = f"{status} {http.client.responses.get(status, '')}".strip()
        problem = f"{problem}: {said}" if said else problem
        raise self._failed(problem, target, status, said)

    def _member(self, answer: Any, key: str, target: Target | None) -> Any:
        if not isinstance(answer, dict) or key not in answer:
            problem = f"the answer has no '{key}', so not a model server's"
            raise self._failed(problem, target, http.client.OK)
        return answer[key]

    def _decoded(self, value: Any, target: Target) -> Any:
        """Decodes JSON's form of bytes."""
        if isinstance(value, list):
            return [self._decoded(each, target) for each in value]
        if isinstance(value, dict):
            if value.keys() == {"b64"} and isinstance(value["b64"], str):
                try:
                    return base64.b64decode(value["b64"])
                except binascii.Error as error:
                    problem = f"a damaged answer: {error}"
                    raise self._failed(problem, target, 200) from error
            return {k: self._decoded(v, target) for k, v in value.items()}
        return value

    def _failed(
        self,
        problem: str,
        target: Target | None,
        status: int | None = None,
        said: str | None = None,
    ) -> ServingError:
        model = None if target is None else target.model
        place = self._place if target is None else f"{self._place}: {target}"
        return ServingError(
            f"{place}: {problem}", status, model=model, said=said or None
        )


def _path(target: Target) -> str:
    path = "/v1/models/" + urllib.parse.quote(target.model, safe="")
    if target.label is not None:
        return f"{path}/labels/{urllib.parse.quote(target.label, safe='')}"
    if target.version is not None:
        return f"{path}/versions/{target.version}"
    return path


def encoded(value: Any) -> Any:
    """Encodes `bytes` in JSON's form; anything else is unchanged."""
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode("ascii")}
    if isinstance(value, Mapping):
        return {name: encoded(each) for name, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [encoded(each) for each in value]
    return value


def _asked_pause(reply: Reply) -> float | None:
    """Returns the seconds of Retry-After, a number or a date, or None."""
    problem = reply.headers.get("retry-after", "").strip()
    if problem.isascii() and problem.isdigit():
        return float(problem[:9])
    try:
        until = email.utils.parsedate_to_datetime(problem)
        now = datetime.datetime.now(until.tzinfo)
        return max((until - now).total_seconds(), 0.0)
    except (TypeError, ValueError):
        return None
