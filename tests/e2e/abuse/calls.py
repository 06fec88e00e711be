"""Calls by gRPC, good and wrong, with tensorflow-serving-api's messages."""

import base64
import dataclasses
import json
import random
import time
from typing import Any

from abuse.attacks import Outcome
from abuse.world import Good, World, compare
from electra_tf.errors import UserError

_SECONDS = 180.0
_METHODS = "/tensorflow.serving.PredictionService/"
# Kind of a good request by HTTP -> the method for it.
_KINDS = {
    "predict row": "Predict", "classify": "Classify", "regress": "Regress",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Call:
    """A call of a method.

    Attributes:
      kind: for the counts.
      data: the message's bytes.
      method: Predict, Classify or Regress.
      codes: gRPC's names of what may be answered, of a wrong one.
      wanted: what each kind of version answers, of a good one.
    """

    kind: str
    data: bytes
    codes: tuple[str, ...] = ()
    method: str = "Predict"
    wanted: tuple[Any, ...] = ()

    @property
    def good(self) -> bool:
        """Whether there is a right answer."""
        return bool(self.wanted)


class Calls:
    """Makes calls and judges their answers.

    Args:
      world: of the server; its good requests are asked by gRPC as well.
      port: of gRPC.

    Raises:
      UserError: the packages for it are not there.
    """

    def __init__(self, world: World, port: int) -> None:
        try:
            import grpc.aio
            import tensorflow as tf
            from tensorflow_serving.apis import (
                classification_pb2,
                predict_pb2,
                regression_pb2,
            )
        except ImportError as error:
            raise UserError(f"gRPC needs more packages: {error}") from error
        self._grpc, self._tf, self._messages = grpc, tf, predict_pb2
        self._by_examples = {
            "Classify": (
                classification_pb2.ClassificationRequest,
                classification_pb2.ClassificationResponse,
            ),
            "Regress": (
                regression_pb2.RegressionRequest,
                regression_pb2.RegressionResponse,
            ),
        }
        self._world = world
        # Bytes as they are: what is no message can be sent as well.
        self._channel = grpc.aio.insecure_channel(
            f"{world.host}:{port}",
            options=[("grpc.max_receive_message_length", -1)],
        )
        self._methods = {
            name: self._channel.unary_unary(_METHODS + name)
            for name in _KINDS.values()
        }
        self._goods: list[Call] = []

    async def look(self) -> None:
        """Asks in peace, for the answers of one more version.

        Raises:
          UserError: an answer is not the one by HTTP.
        """
        first = not self._goods
        goods = [g for g in self._world.goods if g.kind in _KINDS]
        for number, good in enumerate(goods):
            if first:
                self._goods.append(self._call_of(good))
            call = self._goods[number]
            answer = await self._methods[call.method](call.data)
            answer = self._answer(call.method, answer)
            by_http = (good.wanted, *good.others)[len(call.wanted)]
            if call.method == "Predict":
                difference = _differs(answer, by_http["predictions"])
            else:
                difference = compare(answer, by_http["results"], 1e-5)
            if difference:
                raise UserError(
                    f"answers by gRPC differ from those by HTTP: {difference}"
                )
            wanted = (*call.wanted, answer)
            self._goods[number] = dataclasses.replace(call, wanted=wanted)

    async def close(self) -> None:
        """Ends the connection."""
        await self._channel.close()

    def call(self, draw: random.Random, good: bool) -> Call:
        """One of the good calls, or a wrong one."""
        if good:
            return draw.choice(self._goods)
        known = [call for call in self._goods if call.method == "Predict"]
        return self._wrong(draw, draw.choice(known))

    async def carry_out(
        self, call: Call, world: World, tolerance: float
    ) -> Outcome:
        """Sends a call and judges the answer."""
        outcome, began = Outcome(), time.monotonic()
        try:
            method = self._methods[call.method]
            answer = await method(call.data, timeout=_SECONDS)
        except self._grpc.RpcError as error:
            name = error.code().name
            outcome.statuses.append(error.code().value[0])
            if name not in call.codes:
                outcome.problems.append(f"{name}: {error.details()[:200]}")
                outcome.unanswered += call.good
            return outcome
        outcome.statuses.append(200)
        if not call.good:
            if "OK" not in call.codes:
                outcome.problems.append("answered as if it were right")
            return outcome
        found = self._answer(call.method, answer)
        differences = [
            compare(found, call.wanted[kind], tolerance)
            for kind in sorted(world.serving.since(began))
        ]
        if "" not in differences:
            outcome.problems.append(differences[-1])
            outcome.wrong += 1
        return outcome

    def _call_of(self, good: Good) -> Call:
        """The call that asks what a request by HTTP asks."""
        method = _KINDS[good.kind]
        document = json.loads(good.data.partition(b"\r\n\r\n")[2])
        if method == "Predict":
            request = self._message(document)
        else:
            request = self._by_examples[method][0]()
            request.model_spec.name = self._world.model
            request.model_spec.signature_name = document["signature_name"]
            for row in document["examples"]:
                example = request.input.example_list.examples.add()
                for name, text in row.items():
                    feature = example.features.feature[name]
                    feature.bytes_list.value.append(text.encode())
        data = request.SerializeToString()
        return Call(f"gRPC {method.lower()}", data, method=method)

    def _message(self, document: dict[str, Any]) -> Any:
        """The PredictRequest of a request by HTTP."""
        name = document.get("signature_name", "serving_default")
        rows = document["instances"]
        request = self._messages.PredictRequest()
        request.model_spec.name = self._world.model
        request.model_spec.signature_name = name
        for key in self._world.signatures[name]:
            column = [
                row[key] if isinstance(row, dict) else row for row in rows
            ]
            request.inputs[key].CopyFrom(
                self._tf.make_tensor_proto([text.encode() for text in column])
            )
        return request

    def _answer(self, method: str, data: bytes) -> Any:
        """An answer's outputs as lists; of examples, as by HTTP."""
        if method == "Classify":
            answer = self._by_examples[method][1].FromString(data)
            return [
                [[each.label, float(each.score)] for each in row.classes]
                for row in answer.result.classifications
            ]
        if method == "Regress":
            answer = self._by_examples[method][1].FromString(data)
            return [each.value for each in answer.result.regressions]
        answer = self._messages.PredictResponse.FromString(data)
        found = {}
        for name, tensor in answer.outputs.items():
            values = self._tf.make_ndarray(tensor).tolist()
            found[name] = _plain(values, name.endswith("_bytes"))
        return found

    def _wrong(self, draw: random.Random, known: Call) -> Call:
        request = self._messages.PredictRequest.FromString(known.data)
        key = min(request.inputs)
        bad = ("INVALID_ARGUMENT",)
        kind = draw.choice(
            ["bytes", "cut", "model", "version", "signature", "input", "type",
             "shape", "lengths", "huge"]
        )  # fmt: skip
        # Or it is one all the same, of no model.
        no_message = ("INTERNAL", "UNKNOWN", "NOT_FOUND")
        codes = bad
        if kind == "bytes":
            data = draw.randbytes(draw.randrange(1, 300))
            return Call("gRPC bytes", data, (*no_message, *bad))
        if kind == "cut":
            data = known.data[: draw.randrange(1, len(known.data))]
            return Call("gRPC cut", data, (*no_message, "OK", *bad))
        if kind == "model":
            request.model_spec.name += "x"
            codes = ("NOT_FOUND",)
        elif kind == "version":
            request.model_spec.version.value = 2**62
            codes = ("NOT_FOUND",)
        elif kind == "signature":
            request.model_spec.signature_name = "none"
        elif kind == "input":
            request.inputs["none"].CopyFrom(request.inputs[key])
        elif kind == "type":
            request.inputs[key].CopyFrom(self._tf.make_tensor_proto([1.0]))
        elif kind == "shape":
            request.inputs[key].CopyFrom(self._tf.make_tensor_proto([["a"]]))
        elif kind == "lengths":
            request.inputs[key].tensor_shape.dim[0].size = draw.choice(
                [-1, 5000, 2**40]
            )
        else:
            request.inputs[key].CopyFrom(
                self._tf.make_tensor_proto(["x" * 5_000_000])
            )
            codes = ("RESOURCE_EXHAUSTED",)
        return Call(f"gRPC {kind}", request.SerializeToString(), codes)


def _differs(columns: dict[str, Any], rows: list[Any]) -> str:
    """How outputs by gRPC differ from predictions by HTTP."""
    if len(columns) == 1:
        return compare(next(iter(columns.values())), rows, 1e-5)
    found = [dict(zip(columns, row)) for row in zip(*columns.values())]
    return compare(found, rows, 1e-5)


def _plain(value: Any, binary: bool) -> Any:
    """Bytes as JSON has them, text or base64."""
    if isinstance(value, list):
        return [_plain(each, binary) for each in value]
    if not isinstance(value, bytes):
        return value
    if binary:
        return {"b64": base64.b64encode(value).decode("ascii")}
    return value.decode("utf-8", errors="replace")
