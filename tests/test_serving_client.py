"""Tests of the client against the real server, by REST and by gRPC."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import serving_toy
import tensorflow as tf

import electra_tf
from electra_tf.cli import app
from electra_tf.errors import UserError
from electra_tf.recipes import client as client_recipe
from electra_tf.serving.client import ServingError
from electra_tf.serving.rest_client import RestApi
from electra_tf.serving.server.limits import Limits

pytest.importorskip("uvicorn")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A directory of versions of a model."""
    path = tmp_path_factory.mktemp("client") / "toy"
    serving_toy.save(path / "2")
    return path


@pytest.fixture(scope="module")
def server(models):
    with serving_toy.served({"toy": models}) as found:
        yield found


@pytest.fixture
def client(server):
    with electra_tf.Client(server.url) as found:
        yield found


def test_rows(client):
    first, second = client.predict(["one two", b"\xff"])
    assert first["tokens"] == ["one", "two"]
    assert first["raw_bytes"] == b"one two"
    assert second["raw_bytes"] == b"\xff"
    assert second["num_tokens"] == 1
    assert client.predict(["ab", "c"], signature="size") == [2.0, 1.0]
    assert client.predict([]) == []


def test_columns(client):
    found = client.predict({"text": ["one two", "three"]})
    assert found["tokens"] == [["one", "two"], ["three", ""]]
    assert client.predict({"text": ["ab"]}, signature="size") == [2.0]
    rows = [{"text": "a", "text_pair": "b"}]
    assert client.predict(rows, signature="pair") == [
        {"both": "a|b", "same": False}
    ]


def test_what_the_server_lists(client):
    (model,) = client.models()
    assert (model["name"], model["version"]) == ("toy", "2")
    assert model["description"]["task"] == "tagging"
    assert client.status()[0]["state"] == "AVAILABLE"
    assert client.metadata()["pair"]["inputs"].keys() == {"text", "text_pair"}


def test_versions(server):
    client = electra_tf.Client(server.url, "toy", version=2)
    assert client.predict(["ab"], signature="size") == [2.0]
    with pytest.raises(ServingError, match=r"400 .*version label: x"):
        electra_tf.Client(server.url, "toy", label="x").predict(["ab"])
    client = electra_tf.Client(server.url, "toy", version=7)
    with pytest.raises(
        ServingError, match=r"404 .*Specific\(toy, 7\)"
    ) as error:
        client.predict(["ab"])
    assert error.value.status == 404


def test_refusals(client, server):
    with pytest.raises(ServingError, match=r"400 Bad Request: .*name: .x"):
        client.predict(["a"], signature="x")
    with pytest.raises(ServingError, match="expected type: string"):
        client.predict([1])
    with pytest.raises(ServingError, match="in rows 4 to 5 of the list") as e:
        client.predict(["a"] * 5 + [1], signature="size", batch_size=2)
    assert e.value.status == 400
    with pytest.raises(UserError, match="a list of texts, not one"):
        client.predict("a")
    with pytest.raises(ServingError, match="404"):
        electra_tf.Client(server.url, "other").predict(["a"])


def test_threads_share_a_client(client):
    found = {}

    def go(number):
        texts = ["x" * number, "y" * (number + 1)]
        found[number] = client.predict(texts, signature="size")

    threads = [threading.Thread(target=go, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: [float(n), float(n + 1)] for n in range(20)}


def test_no_tensorflow(server):
    code = (
        "import sys, electra_tf\n"
        f"client = electra_tf.Client({server.url!r})\n"
        "assert client.predict(['ab'], signature='size') == [2.0]\n"
        "from electra_tf.cli import app\n"
        f"status = app.run(['client', '--url={server.url}', '--text=ab',"
        " '--signature=size'])\n"
        "assert status == 0\n"
        "loaded = {'tensorflow', 'keras', 'numpy'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"2.0\n"


def test_command(server, tmp_path, capsys):
    rows = tmp_path / "rows.jsonl"
    texts = ["ab", "", "中"]
    rows.write_text("\n".join(map(json.dumps, texts)) + "\n\n")
    url = f"--url={server.url}"
    size = "--signature=size"
    status = app.run(["client", url, size, f"--input={rows}", "--batch_size=2"])
    assert status == 0
    assert capsys.readouterr().out == "2.0\n0.0\n3.0\n"
    target = tmp_path / "out.jsonl"
    status = app.run(["client", url, "--text=一 二", f"--output={target}"])
    assert status == 0
    answer = json.loads(target.read_text(encoding="utf-8"))
    assert answer["tokens"] == ["一", "二"]
    assert set(answer["raw_bytes"]) == {"b64"}
    assert app.run(["client", url]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "toy"


def test_mistakes_of_the_command(server, tmp_path, capsys):
    def fails(message, *words):
        assert app.run(["client", f"--url={server.url}", *words]) == 2
        printed = capsys.readouterr().err
        assert printed.count("\n") == 1
        assert message in printed

    rows = tmp_path / "rows.jsonl"
    rows.write_text('"a"\n{\n')
    fails("not both", "--text=a", f"--input={rows}")
    fails("line 2 is not JSON", f"--input={rows}")
    missing = tmp_path / "no"
    fails(f"--input: {missing}: No such file", f"--input={missing}")
    with pytest.raises(UserError, match=r"--input: .*No such file"):
        client_recipe.client(server.url, input=str(missing))
    fails(f"--output: {tmp_path}: is a dir", "--text=a", f"--output={tmp_path}")
    packed = tmp_path / "answers.jsonl.gz"
    fails("ends in .jsonl", "--text=a", f"--output={packed}")
    assert not packed.exists()
    fails("404 Not Found", "--model=x", "--text=a")
    remote = "gs://bucket/rows.jsonl"
    fails(f"--input: {remote}: this command has local", f"--input={remote}")
    fails(f"--output: {remote}: ", "--text=a", f"--output={remote}")


@pytest.fixture
def asks(server, capsys):
    """Runs the command on the server; returns its status and error."""

    def run(*words):
        status = app.run(["client", f"--url={server.url}", *words])
        return status, capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["", '"a"', "", '"b"', "null"], "FILE: line 5: .*got None\n$"),
        (['"a"', '"b"', '"\\ud800"'], "FILE: line 3: character 0 is half a"),
        (['"a"', "", '"b"', '"c"', '"fail"'], r"\(lines 4 to 5 of FILE\)\n$"),
        (['"a"', '"b"', "1"], r"\(line 3 of FILE\)\n$"),
    ],
)
def test_a_wrong_row_is_named_by_its_line(asks, tmp_path, lines, message):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(lines))
    found = asks("--signature=size", f"--input={rows}", "--batch_size=2")
    assert found[0] == 2
    assert re.search(message.replace("FILE", re.escape(str(rows))), found[1])
    assert found[1].count("\n") == 1


def test_texts_of_a_second_request_are_named(asks):
    texts = [f"--text={text}" for text in ("a", "b", "c", "fail")]
    status, error = asks("--signature=size", "--batch_size=2", *texts)
    assert status == 2 and error.endswith("(texts 3 to 4 of --text)\n")
    _, error = asks("--signature=size", *texts)
    assert "of --text" not in error


def test_an_output_is_there_once_all_is_written(asks, tmp_path):
    rows, target = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    rows.write_text('"ab"\n"fail"\n')
    target.write_text("kept")
    words = ["--signature=size", "--batch_size=1", f"--output={target}"]
    assert asks(*words, f"--input={rows}")[0] == 2
    assert asks(*words, f"--input={tmp_path / 'none'}")[0] == 2
    assert asks("--url=http://127.0.0.1:1", *words, "--text=a")[0] == 2
    assert target.read_text() == "kept"
    assert sorted(tmp_path.iterdir()) == [target, rows]
    # Even in the place of what is asked about.
    rows.write_text('"ab"\n"c"\n')
    target.unlink()
    target.symlink_to(rows)
    assert asks(*words, f"--input={rows}") == (0, "")
    assert target.is_symlink() and rows.read_text() == "2.0\n1.0\n"
    reader, writer = os.pipe()
    assert asks(*words, "--text=ab", f"--output=/dev/fd/{writer}") == (0, "")
    assert os.read(reader, 99) == b"2.0\n"
    os.close(reader)
    os.close(writer)
    status, error = asks("--text=a", f"--output={tmp_path / 'no' / 'x.jsonl'}")
    assert status == 2 and "x.jsonl: No such file" in error


def test_requests_have_the_rows_that_are_asked_for(asks, tmp_path, monkeypatch):
    rows, sizes = tmp_path / "rows.jsonl", []
    rows.write_text('"a"\n' * 700)
    whole = RestApi.predict

    def predict(self, target, signature, data):
        sizes.append(len(data))
        return whole(self, target, signature, data)

    monkeypatch.setattr(RestApi, "predict", predict)
    words = ["--signature=size", f"--input={rows}", "--batch_size=600"]
    assert asks(*words)[0] == 0
    assert sizes == [600, 100]


def test_a_timeout_of_years(server):
    with electra_tf.Client(server.url, timeout=1e12) as client:
        assert client.predict(["ab"], signature="size") == [2.0]


@pytest.fixture(scope="module")
def grpc_url(models):
    """The gRPC interface of a server of the same model."""
    pytest.importorskip("tensorflow_serving.apis.predict_pb2")
    with serving_toy.served({"toy": models}, grpc_port=0) as found:
        yield f"grpc://127.0.0.1:{found.grpc_port}"


def test_grpc_gives_the_numbers_and_order_of_rest(grpc_url, client):
    other = electra_tf.Client(grpc_url, "toy")
    (row,) = other.predict(["abc"], signature="classes")
    assert row == {"labels": ["long", "short"], "probabilities": [0.3, 0.7]}
    assert client.predict(["abc"], signature="classes") == [row]
    (row,) = other.predict(["abc def"])
    assert list(row) == sorted(row) == list(client.predict(["abc def"])[0])
    assert other.predict([], signature="size") == []
    empty = {"text": []}
    for signature in ("classes", "size"):
        assert other.predict(empty, signature=signature) == client.predict(
            empty, signature=signature
        )


def test_grpc_follows_a_version_with_other_inputs(models, tmp_path):
    toy = serving_toy.Toy(1.0)
    tf.saved_model.save(
        toy, str(tmp_path / "2"), signatures={"serving_default": toy.pair}
    )
    serving_toy.add_version(models / "2", tmp_path / "toy" / "1")
    with serving_toy.served({"toy": tmp_path / "toy"}, grpc_port=0) as found:
        client = electra_tf.Client(f"grpc://127.0.0.1:{found.grpc_port}", "toy")
        row = {"text": "a", "text_pair": "b"}
        assert client.predict(["a"])[0]["tokens"] == ["a"]
        with pytest.raises(ServingError, match="row 0: expected"):
            client.predict([row])
        (tmp_path / "2").rename(tmp_path / "toy" / "2")
        deadline = time.monotonic() + 20
        while client.models()[0]["version"] != "2":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert client.predict([row]) == [{"both": "a|b", "same": False}]
        assert client.predict({"text": ["a"], "text_pair": ["a"]}) == {
            "both": ["a|a"], "same": [True],
        }  # fmt: skip
        with pytest.raises(ServingError, match="expected the inputs"):
            client.predict(["a"])


def test_grpc_tells_the_status_of_rest(models, grpc_url):
    limits = Limits(answer_seconds=0.1)
    with serving_toy.served(
        {"toy": models}, grpc_port=0, limits=limits
    ) as found:
        for url in (found.url, f"grpc://127.0.0.1:{found.grpc_port}"):
            with pytest.raises(ServingError, match=r"0\.1 seconds") as error:
                electra_tf.Client(url, "toy").predict(["a"], signature="slow")
            assert error.value.status == 504


def test_grpc(grpc_url, client):
    other = electra_tf.Client(grpc_url, "toy")
    texts = ["one two", b"\xff", ""]
    assert other.predict(texts) == client.predict(texts)
    columns = {"text": ["one two", "three"]}
    assert other.predict(columns) == client.predict(columns)
    assert other.predict(["ab"], signature="size") == [2.0]
    rows = [{"text": "a", "text_pair": "b"}]
    assert other.predict(rows, signature="pair") == [
        {"both": "a|b", "same": False}
    ]
    assert other.metadata() == client.metadata()
    assert other.status() == client.status()
    kinds = [bytearray(b"ab"), np.array(["c"])[0]]
    assert other.predict(kinds, signature="size") == [2.0, 1.0]
    many = ["x" * (n % 5) for n in range(600)]
    assert other.predict(iter(many), signature="size") == [
        float(len(text)) for text in many
    ]
    assert electra_tf.Client(grpc_url, "toy", version=2).predict(
        ["ab"], signature="size"
    ) == [2.0]
    assert other.models()[0]["version"] == "2"
    with pytest.raises(ServingError, match="has no signature 'x'"):
        other.predict(["a"], signature="x")
    with pytest.raises(ServingError, match="input 'text'"):
        other.predict([1.5])
    for rows in (["a", {"text": "b"}], [{"text": "b"}, "a"]):
        with pytest.raises(ServingError, match="toy: row 1: expected"):
            other.predict(rows, signature="size")
    with pytest.raises(ServingError, match="other: NOT_FOUND") as error:
        electra_tf.Client(grpc_url, "other").predict(["a"])
    assert (error.value.status, error.value.model) == (404, "other")
    with pytest.raises(ServingError, match="version label: x"):
        electra_tf.Client(grpc_url, "toy", label="x").predict(["a"])
    with pytest.raises(ServingError, match="no answer within"):
        electra_tf.Client(grpc_url, "toy", timeout=0.05).predict(
            ["a"], signature="slow"
        )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ServingError, match="UNAVAILABLE") as error:
        electra_tf.Client(f"grpc://127.0.0.1:{port}", "toy", retries=1).predict(
            ["a"]
        )
    assert error.value.status == 503
    for url in (
        "grpc://", "grpc://me:secret@x", "grpc://x/y", "grpc://[x", "grpc://x",
        "grpc://x:99999", "grpc://x:y", "grpc://x:1?a=b", "grpc://x:1#a",
    ):  # fmt: skip
        with pytest.raises(UserError, match="url") as wrong:
            electra_tf.Client(url)
        assert "secret" not in str(wrong.value)
    electra_tf.Client("grpcs://x").close()
    with pytest.raises(UserError, match="headers: x: a character at 1"):
        electra_tf.Client(grpc_url, headers={"x": "h\xe9"})
    with pytest.raises(UserError, match="name one"):
        electra_tf.Client(grpc_url).predict(["a"])
    other.close()
