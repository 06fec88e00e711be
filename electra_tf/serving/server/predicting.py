"""A predict request from its bytes to its answer."""

import asyncio
import functools
from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request

from electra_tf.serving.server import predict_json
from electra_tf.serving.server.batching import Batcher, Work
from electra_tf.serving.server.limits import Limits
from electra_tf.serving.server.metrics import Metrics
from electra_tf.serving.server.model_versions import ModelVersions
from electra_tf.serving.server.padding import Arrays
from electra_tf.serving.server.request_body import BodyReader
from electra_tf.serving.server.request_error import RequestError, invalid
from electra_tf.serving.server.signature_info import PREDICT
from electra_tf.serving.server.urls import Target

# Larger bodies and answers are parsed and written beside the event loop.
_LARGE = 32 * 1024
# What no signature of an export is for, in TensorFlow Serving's words.
_METHODS = {"classify": "classification", "regress": "regression"}


class Predicting:
    """Answers `:predict`.

    Args:
      versions: the models.
      batcher: runs them.
      limits: sizes and times.
      metrics: counts.
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

    async def answer(self, request: Request, target: Target) -> bytes:
        """The body of the answer.

        Raises:
          RequestError: whatever is wrong with the request or the server.
          ClientDisconnect: nobody waits for the answer any more.
        """
        with self._bodies.holding() as holding:
            body = await self._bodies.read(request, holding)
            model = self._versions.get(target.model, target.version)
            if target.verb in _METHODS:
                raise invalid(
                    f"Expected {_METHODS[target.verb]} signature method_name "
                    f"to be tensorflow/serving/{target.verb}. Was: {PREDICT}"
                )
            large = len(body) > _LARGE
            parse = functools.partial(
                predict_json.parse,
                body,
                model.find_signature,
                self._limits.request_rows,
            )
            asked = await asyncio.to_thread(parse) if large else parse()
            del body, parse
            rows = max(
                (len(x) if x.ndim else 1 for x in asked.inputs.values()),
                default=1,
            )
            work = Work(
                model,
                asked.signature,
                model.signatures[asked.signature],
                lambda inputs: model.run(asked.signature, inputs),
            )
            outputs = await self._run(request, work, asked.inputs)
            self._metrics.rows.labels(model.name, asked.signature).inc(rows)
            if large or _bytes(outputs) > _LARGE:
                return await asyncio.to_thread(
                    predict_json.answer, outputs, asked.by_row
                )
            return predict_json.answer(outputs, asked.by_row)

    async def _run(
        self, request: Request, work: Work, inputs: Arrays
    ) -> Arrays:
        """The outputs, unless the client goes or time runs out before."""
        answer = asyncio.ensure_future(self._batcher.submit(work, inputs))
        gone = asyncio.ensure_future(_disconnected(request))
        self._metrics.pending_rows.set(self._batcher.pending_rows)
        try:
            await asyncio.wait(
                {answer, gone},
                timeout=self._limits.answer_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if answer.done():
                return answer.result()
            if gone.done():
                raise ClientDisconnect
            raise RequestError(
                HTTPStatus.GATEWAY_TIMEOUT,
                f"No answer within {self._limits.answer_seconds:g} seconds",
            )
        finally:
            answer.cancel()
            gone.cancel()
            self._metrics.pending_rows.set(self._batcher.pending_rows)


async def _disconnected(request: Request) -> None:
    """Returns when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _bytes(outputs: Arrays) -> int:
    """About how much text the outputs will be."""
    return sum(8 * array.size for array in outputs.values())
