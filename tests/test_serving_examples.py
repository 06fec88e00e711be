"""Tests of signatures that read `tf.Example`s, by Classify and Regress."""

import base64
import json

import pytest
import serving_toy
import tensorflow as tf
from serving_toy import ask, predict

pytest.importorskip("uvicorn")

PREFIX = "tensorflow/serving/"
FEATURES = {
    "text": tf.io.FixedLenFeature([], tf.string),
    "weight": tf.io.FixedLenFeature([], tf.float32, 1.0),
    "times": tf.io.FixedLenFeature([], tf.int64, 1),
}


class OfExamples(tf.Module):
    """Computes sizes of texts, times an optional weight and count."""

    def _sizes(self, inputs):
        found = tf.io.parse_example(inputs, FEATURES)
        sizes = tf.cast(tf.strings.length(found["text"]), tf.float32)
        return sizes * found["weight"] * tf.cast(found["times"], tf.float32)

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name="inputs")],
        autograph=False,
    )
    def classification(self, inputs):
        share = tf.minimum(self._sizes(inputs) / 10.0, 1.0)
        names = tf.constant([["long", "short"]])
        return {
            "classes": tf.tile(names, [tf.size(share), 1]),
            "scores": tf.stack([share, 1.0 - share], axis=1),
        }

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name="inputs")],
        autograph=False,
    )
    def regression(self, inputs):
        return {"outputs": self._sizes(inputs)}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    path = tmp_path_factory.mktemp("examples") / "toy"
    module = OfExamples()
    tf.saved_model.save(
        module,
        str(path / "1"),
        signatures={
            "classification": module.classification,
            "regression": module.regression,
        },
    )
    updater = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(
        str(path / "1")
    )
    updater.replace_method_name("classification", f"{PREFIX}classify")
    updater.replace_method_name("regression", f"{PREFIX}regress")
    updater.save()
    # The server warms up on the examples of the description.
    extra = path / "1" / "assets.extra"
    extra.mkdir()
    about = {"task": "regression", "examples": [{"text": "one two"}]}
    (extra / "electra_tf.json").write_text(json.dumps(about))
    pytest.importorskip("tensorflow_serving.apis")
    with serving_toy.served({"toy": path}, grpc_port=0) as found:
        yield found


def asked(server, method, signature, examples, **more):
    body = {"signature_name": signature, "examples": examples, **more}
    path = f"/v1/models/toy:{method}"
    status, _, content = ask(server, "POST", path, body)
    return status, json.loads(content)


def test_by_rest(server):
    examples = [{"text": "ab"}, {"text": ["x" * 20]}]
    assert asked(server, "classify", "classification", examples) == (
        200,
        {"results": [
            [["long", 0.2], ["short", 0.8]], [["long", 1.0], ["short", 0.0]],
        ]},
    )  # fmt: skip
    data = base64.b64encode(b"\xff\x00\xfe").decode()
    examples = [
        {}, {"text": "ab", "weight": 0.5}, {"text": "a", "times": [3]},
        {"text": {"b64": data}},
    ]  # fmt: skip
    assert asked(
        server, "regress", "regression", examples, context={"text": "abcd"}
    ) == (200, {"results": [4.0, 1.0, 3.0, 3.0]})


@pytest.mark.parametrize(
    ("method", "signature", "examples", "message"),
    [
        ("regress", "regression", [{"text": 1}], "Key: text"),
        ("regress", "regression", [{"weight": 1.0}], "Feature: text"),
        ("regress", "regression", [{"text": ["a", 1]}],
         "Example 0, feature 'text': JSON Value: 1 Type: Number"),
        ("regress", "regression", [{"text": "a"}, {"text": {"b64": "!"}}],
         "Example 1, feature 'text': Unable to base64"),
        ("regress", "regression", [{"times": 2**70}], "expected type: int64"),
        ("regress", "regression", [{"text": None}], "Null"),
        ("regress", "regression", [{"text": "a", "\ud800": "b"}],
         "surrogate pair in string is invalid"),
        ("regress", "regression", [{"text": []}], "text"),
        ("regress", "classification", [{"text": "a"}],
         "Was: tensorflow/serving/classify"),
        ("classify", "regression", [{"text": "a"}],
         "Was: tensorflow/serving/regress"),
        ("classify", "none", [{"text": "a"}], '"none" not found'),
    ],
)  # fmt: skip
def test_wrong_examples(server, method, signature, examples, message):
    status, answer = asked(server, method, signature, examples)
    assert status == 400
    assert message in answer["error"]


def test_by_predict(server):
    """Predict takes serialized examples, as TensorFlow Serving does."""
    example = tf.train.Example()
    example.features.feature["text"].bytes_list.value.append(b"abc")
    data = base64.b64encode(example.SerializeToString()).decode()
    body = {"signature_name": "regression", "instances": [{"b64": data}]}
    assert predict(server, body) == (200, {"predictions": [3.0]})
    status, answer = predict(server, body | {"instances": ["no example"]})
    assert status == 400 and "parse example" in answer["error"]


def test_by_grpc(server):
    import grpc
    from tensorflow_serving.apis import (
        classification_pb2,
        inference_pb2,
        prediction_service_pb2_grpc,
        regression_pb2,
    )

    def request_of(kind, *texts, signature):
        request = kind()
        request.model_spec.name = "toy"
        request.model_spec.signature_name = signature
        given = request.input.example_list_with_context
        feature = given.context.features.feature["weight"]
        feature.float_list.value.append(2.0)
        for text in texts:
            example = given.examples.add()
            example.features.feature["text"].bytes_list.value.append(text)
        return request

    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        request = request_of(
            classification_pb2.ClassificationRequest, b"a", b"\xff" * 9,
            signature="classification",
        )  # fmt: skip
        rows = stub.Classify(request, timeout=20).result.classifications
        assert [
            [(c.label, pytest.approx(c.score)) for c in row.classes]
            for row in rows
        ] == [[("long", 0.2), ("short", 0.8)], [("long", 1), ("short", 0)]]
        request = request_of(
            regression_pb2.RegressionRequest, b"ab", b"", signature="regression"
        )
        rows = stub.Regress(request, timeout=20).result.regressions
        assert [row.value for row in rows] == [4.0, 0.0]
        several = inference_pb2.MultiInferenceRequest()
        several.input.CopyFrom(request.input)
        for signature in ("classification", "regression"):
            verb = {"classification": "classify"}.get(signature, "regress")
            task = several.tasks.add(method_name=PREFIX + verb)
            task.model_spec.name = "toy"
            task.model_spec.signature_name = signature
        first, second = stub.MultiInference(several, timeout=20).results
        assert len(first.classification_result.classifications) == 2
        assert second.regression_result.regressions[0].value == 4.0
        with pytest.raises(grpc.RpcError) as caught:
            request = request_of(
                regression_pb2.RegressionRequest, b"a",
                signature="classification",
            )  # fmt: skip
            stub.Regress(request, timeout=20)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
