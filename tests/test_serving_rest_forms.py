"""Tests each form of TensorFlow Serving's REST interface.

The cases are from https://www.tensorflow.org/tfx/serving/api_rest. Where it
leaves a case open, they are from the source, v2.16: util/json_tensor.cc,
model_servers/http_rest_api_util.cc and http_rest_api_handler.cc. Answers are
compared as JSON. Only a part of an error's message is compared where a server
may choose its words.
"""

import json

import pytest
import serving_toy
import tensorflow as tf

pytest.importorskip("uvicorn")


def spec(dtype, *shape, name):
    return tf.TensorSpec([None, *shape], dtype, name=name)


class Documented(tf.Module):
    """The models of the documentation's examples."""

    @tf.function(input_signature=[spec(tf.float32, name="x")], autograph=False)
    def half_plus_three(self, x):
        return {"y": x / 2 + 3}

    @tf.function(
        input_signature=[
            spec(tf.string, name="tag"),
            spec(tf.float32, 5, name="signal"),
            spec(tf.int64, 2, 2, name="sensor"),
        ],
        autograph=False,
    )
    def three(self, tag, signal, sensor):
        return {
            "tag": tf.strings.lower(tag),
            "signal": signal * 2,
            "sensor": sensor[:, 0],
        }

    @tf.function(
        input_signature=[spec(tf.int32, 1, 2, name="x")], autograph=False
    )
    def matrix(self, x):
        return {"y": x + 1}

    @tf.function(
        input_signature=[
            spec(tf.string, name="image"), spec(tf.string, name="caption"),
        ],
        autograph=False,
    )  # fmt: skip
    def pictures(self, image, caption):
        return {
            "image_bytes": image, "caption": caption, "size_bytes":
            tf.strings.length(image),
        }  # fmt: skip

    @tf.function(
        input_signature=[spec(tf.string, name="image")], autograph=False
    )
    def picture(self, image):
        return {"image_bytes": image}

    @tf.function(
        input_signature=[
            spec(tf.float64, name="a"), spec(tf.bool, name="b"),
        ],
        autograph=False,
    )  # fmt: skip
    def kinds(self, a, b):
        """Returns outputs that are not one for each row."""
        return {"total": tf.reduce_sum(a), "any": tf.reduce_any(b)}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    path = tmp_path_factory.mktemp("forms") / "doc"
    model = Documented()
    signatures = {
        "serving_default": model.half_plus_three,
        "three": model.three,
        "matrix": model.matrix,
        "pictures": model.pictures,
        "picture": model.picture,
        "kinds": model.kinds,
    }
    tf.saved_model.save(model, str(path / "123"), signatures=signatures)
    with serving_toy.served({"doc": path}) as found:
        yield found


ROWS = [
    {"tag": "FOO", "signal": [1, 2, 3, 4, 5], "sensor": [[1, 2], [3, 4]]},
    {"tag": "Bar", "signal": [3, 4, 1, 2, 5], "sensor": [[4, 5], [6, 8]]},
]
COLUMNS = {name: [row[name] for row in ROWS] for name in ROWS[0]}
BINARY = {"b64": "/wD+"}  # ff 00 fe


def named(name, **body):
    return {"signature_name": name, **body}


# Each case has a body for :predict and the whole answer.
ANSWERS = {
    "row, one input": (
        {"instances": [1.0, 2.0, 5.0]},
        {"predictions": [3.5, 4.0, 5.5]},
    ),
    "row, one input by name": (
        {"instances": [{"x": 1.0}, {"x": 2.0}]},
        {"predictions": [3.5, 4.0]},
    ),
    "row, whole and exponent numbers": (
        {"instances": [1, -10, 2e1]},
        {"predictions": [3.5, -2.0, 13.0]},
    ),
    "row, the default signature by name": (
        named("serving_default", instances=[0]), {"predictions": [3.0]},
    ),
    "row, an empty name is the default": (
        named("", instances=[0]), {"predictions": [3.0]},
    ),
    "row, unknown keys beside it": (
        {"instances": [0], "more": 1}, {"predictions": [3.0]},
    ),
    "row, lists": (
        named("matrix", instances=[[[1, 2]], [[3, 4]]]),
        {"predictions": [[[2, 3]], [[4, 5]]]},
    ),
    "row, three inputs": (
        named("three", instances=ROWS),
        {
            "predictions": [
                {"tag": "foo", "signal": [2.0, 4.0, 6.0, 8.0, 10.0],
                 "sensor": [1, 2]},
                {"tag": "bar", "signal": [6.0, 8.0, 2.0, 4.0, 10.0],
                 "sensor": [4, 5]},
            ]
        },
    ),
    "column, one input": (
        {"inputs": [1.0, 2.0, 5.0]}, {"outputs": [3.5, 4.0, 5.5]},
    ),
    "column, one input by name": (
        {"inputs": {"x": [1.0, 2.0]}}, {"outputs": [3.5, 4.0]},
    ),
    "column, no rows": ({"inputs": []}, {"outputs": []}),
    "column, names that are not asked for": (
        {"inputs": {"x": [1.0], "z": "?"}}, {"outputs": [3.5]},
    ),
    "column, three inputs": (
        named("three", inputs=COLUMNS),
        {
            "outputs": {
                "tag": ["foo", "bar"],
                "signal": [[2.0, 4.0, 6.0, 8.0, 10.0],
                           [6.0, 8.0, 2.0, 4.0, 10.0]],
                "sensor": [[1, 2], [4, 5]],
            }
        },
    ),
    "column, inputs of other lengths and outputs of no rows": (
        named("kinds", inputs={"a": [1, 2.5], "b": [True]}),
        {"outputs": {"total": 3.5, "any": True}},
    ),
    "bytes, row": (
        named("pictures", instances=[
            {"image": BINARY, "caption": "seaside"},
            {"image": "text", "caption": {"b64": "bW91bnRhaW5z"}},
        ]),
        {
            "predictions": [
                {"image_bytes": BINARY, "caption": "seaside",
                 "size_bytes": 3},
                {"image_bytes": {"b64": "dGV4dA=="}, "caption": "mountains",
                 "size_bytes": 4},
            ]
        },
    ),
    "bytes, column": (
        named("pictures", inputs={"image": [BINARY], "caption": ["x"]}),
        {"outputs": {"image_bytes": [BINARY], "caption": ["x"],
                     "size_bytes": [3]}},
    ),
    "bytes, bare": (
        named("picture", instances=[BINARY, {"image": BINARY}][:1]),
        {"predictions": [BINARY]},
    ),
    "bytes, by name": (
        named("picture", instances=[{"image": BINARY}]),
        {"predictions": [BINARY]},
    ),
    "bytes, without padding": (
        named("picture", instances=[{"b64": "dGV4dA"}]),
        {"predictions": [{"b64": "dGV4dA=="}]},
    ),
    "bytes, in two lines": (
        named("picture", instances=[{"b64": "dGV4\ndA=="}]),
        {"predictions": [{"b64": "dGV4dA=="}]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ANSWERS)
def test_predict(server, case):
    body, expected = ANSWERS[case]
    path = "/v1/models/doc:predict"
    status, headers, content = serving_toy.ask(server, "POST", path, body)
    assert (status, json.loads(content)) == (200, expected)
    assert headers["content-type"] == "application/json"
    versioned = "/v1/models/doc/versions/123:predict"
    assert serving_toy.ask(server, "POST", versioned, body)[2] == content


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"instances": [NaN, Infinity, -Infinity]}',
         b'{"predictions": [NaN, Infinity, -Infinity]}'),
        (b'{"inputs": [-Infinity, 1e-45, 16777215]}',
         b'{"outputs": [-Infinity, 3.0, 8388610.0]}'),
    ],
)  # fmt: skip
def test_numbers_that_json_has_not(server, body, expected):
    path = "/v1/models/doc:predict"
    status, _, content = serving_toy.ask(server, "POST", path, body)
    assert (status, content) == (200, expected)


# Each case has a path and a body to POST, a status, and a part of "error".
ERRORS = {
    "no such model": (
        "half:predict", {"instances": [1.0]},
        404, "Servable not found for request: Latest(half)",
    ),
    "no such version": (
        "doc/versions/7:predict", {"instances": [1.0]},
        404, "Servable not found for request: Specific(doc, 7)",
    ),
    "no such label": (
        "doc/labels/canary:predict", {"instances": [1.0]},
        400, "Unrecognized servable version label: canary",
    ),
    "no such signature": (
        "doc:predict", named("none", instances=[1.0]),
        400, 'Serving signature name: "none" not found in signature def',
    ),
    "a signature that is no text": (
        "doc:predict", named(None, instances=[1.0]),
        400, "'signature_name' key must be a string value.",
    ),
    "no such verb": (
        "doc:generate", {}, 400,
        "Malformed request: POST /v1/models/doc:generate",
    ),
    "no verb": ("doc", {}, 400, "Malformed request: POST /v1/models/doc"),
    "no body": (
        "doc:predict", b"", 400, "JSON Parse error: The document is empty",
    ),
    "no JSON": ("doc:predict", b"{", 400, "JSON Parse error: "),
    "no object": ("doc:predict", b"[1]", 400, "Is not object"),
    "neither key": (
        "doc:predict", {}, 400, "Missing 'inputs' or 'instances' key",
    ),
    "both keys": (
        "doc:predict", {"inputs": [1], "instances": [1]}, 400,
        "expecting only one of 'inputs' or 'instances' keys to exist",
    ),
    "no list": (
        "doc:predict", {"instances": {"x": 1}}, 400,
        "'instances' to be an list/array",
    ),
    "no values": (
        "doc:predict", {"instances": []}, 400,
        "No values in 'instances' array",
    ),
    "no objects": (
        "doc:predict", named("three", instances=[1]), 400,
        "instances is a plain list, but expecting list of objects as "
        "multiple input tensors required as per tensorinfo_map",
    ),
    "no object of columns": (
        "doc:predict", named("three", inputs=[1]), 400,
        "inputs is a plain value/list, but expecting an object as multiple "
        "input tensors required as per tensorinfo_map",
    ),
    "a key too few": (
        "doc:predict", named("three", instances=[{"tag": "x"}]), 400,
        "keys must be equal to: sensor,signal,tag",
    ),
    "an unnamed row": (
        "doc:predict", {"instances": [{"x": 1}, 2]}, 400, "at item 1",
    ),
    "a column too few": (
        "doc:predict", named("three", inputs={"tag": ["x"]}), 400,
        "in 'inputs' object.",
    ),
    "columns of other lengths": (
        "doc:predict",
        named("pictures", inputs={"image": ["a"], "caption": ["b", "c"]}),
        400, "Input tensors must have equal 0th-dimension size, but they "
        "have caption: 2, image: 1",
    ),
    "text for a number": (
        "doc:predict", {"instances": ["1"]}, 400,
        'JSON Value: "1" Type: String is not of expected type: float',
    ),
    "a decimal for a whole number": (
        "doc:predict", named("matrix", instances=[[[1, 2.0]]]), 400,
        "JSON Value: 2.0 Type: Number is not of expected type: int32",
    ),
    "too large a number": (
        "doc:predict", {"instances": [3.5e38]}, 400,
        "Cannot convert JSON value: 3.5e+38 to float without loss of "
        "precision.",
    ),
    "too many digits": (
        "doc:predict", {"instances": [16777216]}, 400,
        "Cannot convert JSON value: 16777216 to float without loss of "
        "precision.",
    ),
    "a list of another size": (
        "doc:predict", named("matrix", inputs=[[[1, 2]], [[1]]]), 400,
        "Encountered list at unexpected size: 1 at level: 2 expected size: 2",
    ),
    "no base64": (
        "doc:predict", named("picture", instances=[{"b64": "?"}]), 400,
        "Unable to base64 decode",
    ),
    "no object of base64": (
        "doc:predict", named("picture", inputs=[{"b64": "eA==", "x": 1}]),
        400, "not formatted correctly for base64 data",
    ),
    "rows that the model does not take": (
        "doc:predict", {"inputs": [[1.0]]}, 400, "",
    ),
    "outputs that are no rows": (
        "doc:predict",
        named("kinds", instances=[{"a": 1.0, "b": True}]), 400, "",
    ),
    # These are for signatures that take tf.Example; this model has none.
    "classify": (
        "doc:classify", {"examples": [{"x": 1.0}]}, 400,
        "Expected classification signature method_name to be "
        "tensorflow/serving/classify. Was: tensorflow/serving/predict",
    ),
    "regress": (
        "doc:regress", {"examples": [{"x": 1.0}]}, 400,
        "Expected regression signature method_name to be "
        "tensorflow/serving/regress. Was: tensorflow/serving/predict",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_errors(server, case):
    path, body, expected, message = ERRORS[case]
    status, headers, content = serving_toy.ask(
        server, "POST", f"/v1/models/{path}", body
    )
    assert status == expected
    assert headers["content-type"] == "application/json"
    answer = json.loads(content)
    assert list(answer) == ["error"]
    assert message in answer["error"]


STATUS = {
    "model_version_status": [
        {
            "version": "123",
            "state": "AVAILABLE",
            "status": {"error_code": "OK", "error_message": ""},
        }
    ]
}


@pytest.mark.parametrize(
    ("path", "status", "expected"),
    [
        ("doc", 200, STATUS),
        ("doc/versions/123", 200, STATUS),
        ("none", 404,
         {"error": "Could not find any versions of model none"}),
        ("doc/versions/7", 404,
         {"error": "Could not find version 7 of model doc"}),
        ("none/metadata", 404,
         {"error": "Servable not found for request: Latest(none)"}),
        ("doc/versions/7/metadata", 404,
         {"error": "Servable not found for request: Specific(doc, 7)"}),
        ("doc/versions/99999999999999999999", 400,
         {"error":
          "Failed to convert version: 99999999999999999999 to numeric."}),
        ("doc:predict", 400,
         {"error": "Malformed request: GET /v1/models/doc:predict"}),
        ("doc/versions", 400,
         {"error": "Malformed request: GET /v1/models/doc/versions"}),
    ],
)  # fmt: skip
def test_what_is_asked_for(server, path, status, expected):
    got, headers, content = serving_toy.ask(server, "GET", f"/v1/models/{path}")
    assert (got, json.loads(content)) == (status, expected)
    assert headers["content-type"] == "application/json"


def test_metadata_is_the_protocol_buffers_own_form(server):
    """Metadata equals ToJsonString: every field, with unchanged names."""
    from google.protobuf import json_format
    from tensorflow.core.protobuf import meta_graph_pb2

    tensor = meta_graph_pb2.TensorInfo
    pictures = meta_graph_pb2.SignatureDef(
        method_name="tensorflow/serving/predict"
    )
    for side, name, dtype, graph in (
        ("inputs", "image", "DT_STRING", "pictures_image:0"),
        ("inputs", "caption", "DT_STRING", "pictures_caption:0"),
        ("outputs", "image_bytes", "DT_STRING", None),
        ("outputs", "caption", "DT_STRING", None),
        ("outputs", "size_bytes", "DT_INT32", None),
    ):
        info = tensor(name=graph or "", dtype=dtype)
        info.tensor_shape.dim.add(size=-1)
        getattr(pictures, side)[name].CopyFrom(info)
    form = json_format.MessageToDict(
        pictures,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )
    _, _, content = serving_toy.ask(server, "GET", "/v1/models/doc/metadata")
    found = json.loads(content)
    assert list(found) == ["model_spec", "metadata"]
    assert found["model_spec"] == {
        "name": "doc", "signature_name": "", "version": "123",
    }  # fmt: skip
    assert list(found["metadata"]) == ["signature_def"]
    signatures = found["metadata"]["signature_def"]["signature_def"]
    described = signatures["pictures"]
    for info in described["outputs"].values():  # TensorFlow chooses these
        assert "PartitionedCall" in info["name"]
        info["name"] = ""
    assert described == form
    scalar = signatures["kinds"]["outputs"]["total"]["tensor_shape"]
    assert scalar == {"dim": [], "unknown_rank": False}
