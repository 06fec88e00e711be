"""A small SavedModel that takes texts, and a server for it, for tests."""

import contextlib
import http.client
import json
import pathlib
import shutil
import socket

import tensorflow as tf

from electra_tf.serving.server import running
from electra_tf.serving.server.served import Served

# The requests that a server warms a version up with.
EXAMPLES = [{"text": "one two"}, {"text": ""}]


class Toy(tf.Module):
    """Computes lengths, words and copies, so that answers are predictable."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = tf.Variable(factor)

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name="text")],
        autograph=False,
    )
    def words(self, text):
        """Returns the words, padded to the longest row of the call."""
        words = tf.strings.split(text)
        lengths = tf.cast(words.row_lengths(), tf.int32)
        tokens = words.to_tensor("")
        places = tf.ragged.range(words.row_lengths()).to_tensor(-1)
        sizes = tf.cast(tf.strings.length(text), tf.float32)
        return {
            "tokens": tokens,
            "places": places,
            "num_tokens": lengths,
            "score": sizes * self.factor,
            "raw_bytes": text,
        }

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name="text")],
        autograph=False,
    )
    def size(self, text):
        """Returns one output; fails if a row is "fail"."""
        bad = tf.reduce_any(tf.equal(text, "fail"))
        guard = tf.debugging.assert_equal(bad, False, "a row says fail")
        with tf.control_dependencies([guard]):
            sizes = tf.cast(tf.strings.length(text), tf.float32)
            return {"size": sizes * self.factor}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, name="text"),
            tf.TensorSpec([None], tf.string, name="text_pair"),
        ],
        autograph=False,
    )
    def pair(self, text, text_pair):
        """Takes two inputs."""
        return {
            "both": tf.strings.join([text, text_pair], "|"),
            "same": tf.equal(text, text_pair),
        }

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 2], tf.float32, name="x"),
            tf.TensorSpec([None], tf.int32, name="n"),
        ],
        autograph=False,
    )
    def numbers(self, x, n):
        """Takes inputs that are not texts."""
        return {"sum": tf.reduce_sum(x, axis=1) + tf.cast(n, tf.float32)}

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name="text")],
        autograph=False,
    )
    def classes(self, text):
        """Classifies texts as long or short, in a classifier's format."""
        share = tf.cast(tf.strings.length(text), tf.float32) / 10.0
        share = tf.minimum(share, 1.0)
        names = tf.constant([["long", "short"]])
        return {
            "labels": tf.tile(names, [tf.shape(text)[0], 1]),
            "probabilities": tf.stack([share, 1.0 - share], axis=1),
        }

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name="text")],
        autograph=False,
    )
    def begin(self, text):
        """Begins `size` in steps: there are three parts."""
        return {"num_parts": tf.constant(3), "kept": text}

    @tf.function(
        input_signature=[
            tf.TensorSpec([], tf.int32, name="first"),
            tf.TensorSpec([], tf.int32, name="after_last"),
        ],
        autograph=False,
    )
    def part(self, first, after_last):
        """Returns the numbers of the parts from `first` on."""
        return {"seen": tf.range(first, after_last)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, name="kept"),
            tf.TensorSpec([None], tf.int32, name="seen"),
        ],
        autograph=False,
    )
    def end(self, kept, seen):
        """Returns the output of `size`; fails if a part is missing."""
        tf.debugging.assert_equal(seen, [0, 1, 2])
        return self.size(kept)

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name="text")],
        autograph=False,
    )
    def slow(self, text):
        """Takes about a second, on any number of cores; warming up is quick."""
        example = tf.reduce_any(tf.equal(text, EXAMPLES[0]["text"]))
        rounds = tf.where(example, 1, 400_000)
        x = tf.ones([2, 2])
        x = tf.while_loop(
            lambda i, _: i < rounds,
            lambda i, y: (i + 1, tf.matmul(y, x) / 2.0),
            [0, x],
        )[1]
        size = tf.cast(tf.strings.length(text), tf.float32)
        return {"size": size * x[0, 0]}


def save(directory: pathlib.Path, factor: float = 1.0) -> None:
    """Writes the SavedModel with a description."""
    toy = Toy(factor)
    tf.saved_model.save(
        toy,
        str(directory),
        signatures={
            "serving_default": toy.words,
            "size": toy.size,
            "size.begin": toy.begin,
            "size.part": toy.part,
            "size.end": toy.end,
            "pair": toy.pair,
            "numbers": toy.numbers,
            "classes": toy.classes,
            "slow": toy.slow,
        },
    )
    extra = directory / "assets.extra"
    extra.mkdir(exist_ok=True)
    description = {
        "format": "electra_tf export",
        "version": 1,
        "name": "toy",
        "task": "tagging",
        "examples": EXAMPLES,
    }
    (extra / "electra_tf.json").write_text(json.dumps(description))


def add_version(source: pathlib.Path, target: pathlib.Path) -> None:
    """Copies a version so that it appears atomically."""
    hidden = target.parent / f".tmp-{target.name}"
    shutil.copytree(source, hidden)
    hidden.rename(target)


@contextlib.contextmanager
def served(models: dict[str, pathlib.Path], newest: int = 1, **settings):
    """Yields a running server on a free port; stops it at the end."""
    server = running.ModelServer(
        running.Settings(
            models={
                name: Served(str(path), newest) for name, path in models.items()
            },
            **{"port": 0, "poll_seconds": 0.1, **settings},
        )
    )
    thread = running.in_thread(server)
    try:
        yield server
    finally:
        server.stop()
        thread.join(30)
        assert not thread.is_alive()


def ask(server, method: str, path: str, body=None, headers=None):
    """Returns (status, headers, content) of a request on a new connection."""
    connection = http.client.HTTPConnection(
        server.host, server.port, timeout=30
    )
    try:
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, dict(response.headers), response.read()
    finally:
        connection.close()


def predict(server, body, model: str = "toy"):
    """Sends a predict request; returns (status, answer as JSON)."""
    status, _, content = ask(
        server, "POST", f"/v1/models/{model}:predict", body
    )
    return status, json.loads(content)


def raw(server, data: bytes, seconds: float = 10.0) -> bytes:
    """Sends raw bytes; returns the response.

    It ends when the server closes the connection or is silent for `seconds`.
    """
    with socket.create_connection((server.host, server.port)) as connection:
        connection.settimeout(seconds)
        connection.sendall(data)
        found = b""
        with contextlib.suppress(TimeoutError, ConnectionError):
            while chunk := connection.recv(65536):
                found += chunk
        return found
