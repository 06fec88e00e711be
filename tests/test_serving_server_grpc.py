"""Tests of the gRPC interface with the stubs of tensorflow-serving-api."""

import socket
import threading
import time

import numpy as np
import pytest
import serving_toy
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.serving.server import limits

grpc = pytest.importorskip("grpc")
apis = pytest.importorskip("tensorflow_serving.apis")
pytest.importorskip("uvicorn")

from tensorflow_serving.apis import (  # noqa: E402
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "toy"
    serving_toy.save(path / "3")
    bounds = limits.Limits(request_rows=100)
    with serving_toy.served({"toy": path}, grpc_port=0, limits=bounds) as found:
        yield found


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as found:
        yield found


@pytest.fixture(scope="module")
def predictions(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def request_of(kind, signature="", model="toy", **tensors):
    request = kind()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    for name, value in tensors.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def fails(code, message, method, request):
    with pytest.raises(grpc.RpcError) as caught:
        method(request, timeout=20)
    assert caught.value.code() == code
    assert message in caught.value.details()


def test_predict(predictions):
    request = request_of(
        predict_pb2.PredictRequest, text=[b"one two", b"", b"\xff"]
    )
    answer = predictions.Predict(request, timeout=20)
    assert answer.model_spec.name == "toy"
    assert answer.model_spec.version.value == 3
    assert answer.model_spec.signature_name == "serving_default"
    arrays = {k: tf.make_ndarray(v) for k, v in answer.outputs.items()}
    assert arrays["tokens"].tolist() == [
        [b"one", b"two"], [b"", b""], [b"\xff", b""],
    ]  # fmt: skip
    assert arrays["score"].dtype == np.float32
    assert arrays["score"].tolist() == [7.0, 0.0, 1.0]
    request.output_filter.append("score")
    assert list(predictions.Predict(request, timeout=20).outputs) == ["score"]


def test_numbers_of_a_version(predictions):
    request = request_of(
        predict_pb2.PredictRequest,
        "numbers",
        x=np.float32([[1, 2], [3, 4]]),
        n=np.int32([10, 20]),
    )
    request.model_spec.version.value = 3
    answer = predictions.Predict(request, timeout=20)
    assert tf.make_ndarray(answer.outputs["sum"]).tolist() == [13.0, 27.0]


def examples(kind, texts, signature=""):
    request = kind()
    request.model_spec.name = "toy"
    request.model_spec.signature_name = signature
    for text in texts:
        example = request.input.example_list.examples.add()
        example.features.feature["text"].bytes_list.value.append(text)
    return request


def test_classify_and_regress(predictions):
    kind = classification_pb2.ClassificationRequest
    answer = predictions.Classify(examples(kind, [b"ab"], "classes"))
    (row,) = answer.result.classifications
    assert [c.label for c in row.classes] == ["long", "short"]
    assert [c.score for c in row.classes] == pytest.approx([0.2, 0.8])
    kind = regression_pb2.RegressionRequest
    answer = predictions.Regress(examples(kind, [b"ab", b"abc"]))
    assert [r.value for r in answer.result.regressions] == [2.0, 3.0]
    # Features that all examples share.
    request = kind()
    request.model_spec.name = "toy"
    given = request.input.example_list_with_context
    given.context.features.feature["text"].bytes_list.value.append(b"abcd")
    given.examples.add()
    answer = predictions.Regress(request)
    assert [r.value for r in answer.result.regressions] == [4.0]


def multi_inference(*tasks, texts=(b"ab", b"abc")):
    request = inference_pb2.MultiInferenceRequest()
    for model, signature, method in tasks:
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name = model
        task.model_spec.signature_name = signature
    for text in texts:
        example = request.input.example_list.examples.add()
        example.features.feature["text"].bytes_list.value.append(text)
    return request


def test_several_signatures_at_once(predictions):
    request = multi_inference(
        ("toy", "classes", "classify"), ("toy", "size", "regress")
    )
    with pytest.raises(grpc.RpcError) as caught:
        predictions.MultiInference(request)
    assert "outputs to be score" in caught.value.details()
    request.tasks[1].model_spec.signature_name = "serving_default"
    first, second = predictions.MultiInference(request).results
    assert first.model_spec.signature_name == "classes"
    assert first.model_spec.version.value == 3
    labels = [
        [c.label for c in row.classes]
        for row in first.classification_result.classifications
    ]
    assert labels == [["long", "short"]] * 2
    values = [r.value for r in second.regression_result.regressions]
    assert values == [2.0, 3.0]


@pytest.mark.parametrize(
    ("code", "message", "tasks"),
    [
        ("INVALID_ARGUMENT", "must have tasks", []),
        ("INVALID_ARGUMENT", "all of one model", [
            ("toy", "classes", "classify"), ("x", "", "regress")]),
        ("INVALID_ARGUMENT", "Duplicate", [("toy", "", "regress")] * 2),
        ("UNIMPLEMENTED", "method_name: tensorflow/serving/predict", [
            ("toy", "", "predict")]),
        ("NOT_FOUND", "Servable not found", [("x", "", "regress")]),
    ],
)  # fmt: skip
def test_wrong_requests_for_several_signatures(
    predictions, code, message, tasks
):
    code = getattr(grpc.StatusCode, code)
    request = multi_inference(*tasks)
    fails(code, message, predictions.MultiInference, request)


def test_models_are_not_changed_by_requests(channel):
    """A client may not change which models are served."""
    models = model_service_pb2_grpc.ModelServiceStub(channel)
    request = model_management_pb2.ReloadConfigRequest()
    unknown = grpc.StatusCode.UNIMPLEMENTED
    fails(unknown, "", models.HandleReloadConfigRequest, request)


def test_a_mistake_of_ours_is_reported_without_its_words(
    server, predictions, monkeypatch
):
    model = server.versions.get("toy")
    monkeypatch.setattr(type(model), "run", lambda *_: 1 / 0)
    request = request_of(predict_pb2.PredictRequest, text=["a"])
    with pytest.raises(grpc.RpcError) as caught:
        predictions.Predict(request, timeout=20)
    assert caught.value.code() == grpc.StatusCode.INTERNAL
    assert caught.value.details() == "The server failed; see its log"


def test_metadata_and_status(predictions, channel):
    request = request_of(get_model_metadata_pb2.GetModelMetadataRequest)
    request.metadata_field.append("signature_def")
    answer = predictions.GetModelMetadata(request)
    found = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(found)
    info = found.signature_def["numbers"].inputs["x"]
    assert info.dtype == tf.float32.as_datatype_enum
    assert [dim.size for dim in info.tensor_shape.dim] == [-1, 2]
    models = model_service_pb2_grpc.ModelServiceStub(channel)
    request = request_of(get_model_status_pb2.GetModelStatusRequest)
    (state,) = models.GetModelStatus(request).model_version_status
    assert (state.version, state.state) == (3, 30)
    assert state.status.error_code == 0


@pytest.mark.parametrize(
    ("code", "message", "request_"),
    [
        ("NOT_FOUND", "Servable not found", {"model": "x", "text": ["a"]}),
        ("INVALID_ARGUMENT", "not found in signature def",
         {"signature": "x", "text": ["a"]}),
        ("INVALID_ARGUMENT", "expected the inputs {text}", {"txt": ["a"]}),
        ("INVALID_ARGUMENT", "expected DT_STRING, got DT_FLOAT",
         {"text": [1.0]}),
        ("INVALID_ARGUMENT", "expected the shape", {"text": "a"}),
        ("INVALID_ARGUMENT", "at most 100", {"text": ["a"] * 101}),
        ("INVALID_ARGUMENT", "a row says fail",
         {"signature": "size", "text": ["fail"]}),
        ("INVALID_ARGUMENT", "0th-dimension",
         {"signature": "pair", "text": ["a"], "text_pair": ["a", "b"]}),
        ("INVALID_ARGUMENT", "--max_text_bytes", {"text": ["a" * 131_073]}),
    ],
)  # fmt: skip
def test_wrong_requests(predictions, code, message, request_):
    fails(
        getattr(grpc.StatusCode, code),
        message,
        predictions.Predict,
        request_of(predict_pb2.PredictRequest, **request_),
    )


def test_other_wrong_requests(predictions):
    wrong = grpc.StatusCode.INVALID_ARGUMENT
    request = request_of(predict_pb2.PredictRequest, text=["a"])
    request.output_filter.append("none")
    fails(wrong, "none", predictions.Predict, request)
    # A tensor of one value, whose shape would take all memory.
    tensor = tf.make_tensor_proto([1.0])
    tensor.tensor_shape.dim[0].size = 100
    tensor.tensor_shape.dim.add(size=2**40)
    request = request_of(predict_pb2.PredictRequest, "numbers", n=np.int32([1]))
    request.inputs["x"].CopyFrom(tensor)
    fails(wrong, "expected the shape", predictions.Predict, request)
    kind = classification_pb2.ClassificationRequest
    fails(
        wrong, "Was: tensorflow", predictions.Classify, examples(kind, [b"a"])
    )
    fails(wrong, "Input is empty", predictions.Classify,
          examples(kind, [], "classes"))  # fmt: skip
    request = request_of(predict_pb2.PredictRequest, text=["a"])
    request.model_spec.version_label = "stable"
    fails(wrong, "version label: stable", predictions.Predict, request)
    request = request_of(get_model_metadata_pb2.GetModelMetadataRequest)
    fails(wrong, "metadata_field", predictions.GetModelMetadata, request)


def test_bytes_that_are_no_message(channel, predictions, caplog):
    method = "/tensorflow.serving.PredictionService/Predict"
    send = channel.unary_unary(method)
    for data in (b"\xff" * 20, b"nonsense", b"\x0a\x7f"):
        with pytest.raises(grpc.RpcError) as caught:
            send(data, timeout=20)
        code = caught.value.code()
        assert code in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)
    assert not caplog.records
    request = request_of(predict_pb2.PredictRequest, text=["a"])
    assert predictions.Predict(request, timeout=20).outputs


def test_a_call_that_is_given_up_is_not_computed(predictions, server):
    request = request_of(predict_pb2.PredictRequest, "slow", text=["a"])
    waiting = [predictions.Predict.future(request) for _ in range(12)]
    time.sleep(0.2)
    for each in waiting:
        each.cancel()
    deadline = time.monotonic() + 20
    line = b"electra_tf_pending_rows 0.0"
    while line not in serving_toy.ask(server, "GET", "/metrics")[2]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert all(each.cancelled() for each in waiting)


def test_a_port_that_is_taken(server, tmp_path):
    serving_toy.save(tmp_path / "toy" / "1")
    with pytest.raises(UserError, match=f"--grpc_port.*{server.grpc_port}"):
        with serving_toy.served(
            {"toy": tmp_path / "toy"}, grpc_port=server.grpc_port
        ):
            pass


@pytest.mark.slow
def test_one_port_for_both_is_reported_before_models_are_loaded(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(UserError, match=f"both are {port}"):
        with serving_toy.served(
            {"toy": tmp_path / "none"}, port=port, grpc_port=port
        ):
            pass


def test_a_stop_answers_what_runs(tmp_path):
    serving_toy.save(tmp_path / "toy" / "1")
    with serving_toy.served({"toy": tmp_path / "toy"}, grpc_port=0) as server:
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            request = request_of(
                predict_pb2.PredictRequest, "slow", text=["abc"]
            )
            answer = stub.Predict.future(request)
            time.sleep(0.3)
            threading.Thread(target=server.stop).start()
            found = tf.make_ndarray(answer.result(20).outputs["size"])
    assert found.tolist() == [3.0]
