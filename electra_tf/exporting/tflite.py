"""A classifier for TensorFlow Lite: token ids in, probabilities out.

The operations that the tokenizer is made of are not TensorFlow Lite's own, so
the file holds the network alone. It takes one row at a time, padded to the
model's length: `input_ids` with [PAD], `input_mask` and `segment_ids` with 0.
"""

import math
import warnings
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.exporting.servable import Servable
from electra_tf.models import layers, packed_encoder
from electra_tf.models.encoder import ElectraEncoder, EncoderOutput
from electra_tf.models.rows import as_rows
from electra_tf.tasks.texts.task import TextTask

FILE = "model.tflite"
INPUTS = ("input_ids", "input_mask", "segment_ids")

_ROWS = 32  # on which it is compared with the model
_TOLERANCE = 1e-4  # of probabilities


def classifier(servable: Servable) -> TextTask:
    """Returns the task of a classifier.

    Raises:
      UserError: it is none.
    """
    if servable.kind not in ("classification", "multilabel"):
        raise UserError(
            f"--tflite: is of classifiers, and this is a {servable.kind} "
            "model; leave it out"
        )
    assert servable.predictor is not None
    task = servable.predictor.task
    assert isinstance(task, TextTask)
    return task


def write(servable: Servable, path: str) -> dict[str, Any]:
    """Writes the file, and compares its answers with the model's.

    Args:
      servable: a classifier.
      path: of the file.

    Returns:
      What electra_tf.json says of it.

    Raises:
      UserError: no classifier, or its labels are not those of the model.
    """
    task, length = classifier(servable), servable.max_seq_length
    network = servable.network
    constants = [tf.constant(v.numpy()) for v in network.weights]

    @tf.function(
        autograph=False,
        input_signature=[
            tf.TensorSpec([1, length], tf.int32, name) for name in INPUTS
        ],
    )
    def classify(
        input_ids: tf.Tensor, input_mask: tf.Tensor, segment_ids: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        with (
            keras.StatelessScope(list(zip(network.weights, constants))),
            packed_encoder.installed(network, _LiteEncoder),
        ):
            found = network(input_ids, input_mask, segment_ids, training=False)
            return task.outputs(found)

    # The signature keeps the inputs' names.
    module = tf.Module()
    module.classify = classify
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [classify.get_concrete_function()], module
    )
    content = converter.convert()
    _compare(servable, content)
    files.write_bytes(path, content)
    return {
        "file": FILE,
        "inputs": {
            name: {"dtype": "int32", "shape": [1, length]} for name in INPUTS
        },
        "outputs": {
            "probabilities": {
                "dtype": "float",
                "shape": [1, task.target.num_outputs],
            }
        },
    }


def _compare(servable: Servable, content: bytes) -> None:
    """Same labels and, nearly, probabilities, on rows of random tokens."""
    network, task = servable.network, classifier(servable)
    vocab, length = servable.tokenizer.vocab, servable.max_seq_length
    with warnings.catch_warnings():
        # That it will be a package of its own.
        warnings.simplefilter("ignore")
        interpreter = tf.lite.Interpreter(model_content=content)
    run = interpreter.get_signature_runner()
    rng = np.random.default_rng(0)
    for count in np.linspace(3, length, _ROWS).astype(int):
        row = np.full([1, length], vocab.pad_id, "int32")
        row[0, :count] = rng.integers(0, len(vocab), count)
        row[0, 0], row[0, count - 1] = vocab.cls_id, vocab.sep_id
        mask = (np.arange(length) < count).astype("int32")[None]
        segments = np.zeros_like(mask)
        if servable.pair:
            segments[0, count // 2 : count] = 1
        batch = dict(zip(INPUTS, (row, mask, segments)))
        found = run(**batch)["probabilities"]
        output = network(**{k: tf.constant(v) for k, v in batch.items()})
        wanted = task.outputs(output)["probabilities"].numpy()
        near = np.abs(found - wanted).max() <= _TOLERANCE
        same = _label(task, found) == _label(task, wanted)
        if not (near and same):
            raise UserError(
                "--tflite: the converted model answers otherwise than the "
                f"model itself, by {np.abs(found - wanted).max():.1g}; leave "
                "the flag out, and tell the authors"
            )


def _label(task: TextTask, probabilities: np.ndarray) -> Any:
    said = task.target.prediction({"probabilities": probabilities[0]})
    return said.get("label", said.get("labels"))


class _LiteEncoder:
    """The encoder without training, in forms that the converter knows.

    The same sums as `models.encoder`: positions of all rows in one matrix, bias
    right behind its matrix product, softmax as one operation.
    """

    def __init__(self, encoder: ElectraEncoder):
        self._encoder = encoder
        self.config = encoder.config

    def __call__(
        self, *parts: Any, training: bool = False, **named: Any
    ) -> EncoderOutput:
        """Called as every `rows.Network`; training is not possible."""
        encoder = self._encoder
        read = as_rows(*parts, **named).filled()
        input_ids, input_mask, segment_ids, *_ = read
        rows = tf.shape(input_ids)  # B, L
        x = encoder.embeddings(input_ids, segment_ids, keys=None)
        x = tf.reshape(x, [-1, self.config.embedding_size])  # [B * L, E]
        if encoder.embeddings_project is not None:
            x = _dense(encoder.embeddings_project, x)
        embedding_output = self._apart(x, rows)
        bias = layers.attention_bias(input_mask, x.dtype)
        all_layers = []
        for block in encoder.blocks:
            x = self._block(block, x, bias, rows)
            all_layers.append(self._apart(x, rows))
        return EncoderOutput(
            all_layers[-1],
            all_layers[-1][:, 0],
            embedding_output,
            tuple(all_layers),
        )

    def _apart(self, x: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """[B * L, H] -> [B, L, H]."""
        size = self.config.hidden_size
        apart = tf.reshape(x, [rows[0], rows[1], size])
        return tf.ensure_shape(apart, [None, None, size])

    def _block(
        self, block: Any, x: tf.Tensor, bias: tf.Tensor, rows: tf.Tensor
    ) -> tf.Tensor:
        """A block of the Transformer, [B * L, H] -> [B * L, H]."""
        attention = block.attention
        attended = self._attend(_dense(attention.qkv, x), bias, rows)
        x = _norm(
            block.attention_norm, _dense(attention.output_dense, attended) + x
        )
        inner = _gelu(_dense(block.intermediate, x), self.config.gelu)
        return _norm(block.output_norm, _dense(block.output_dense, inner) + x)

    def _attend(
        self, qkv: tf.Tensor, bias: tf.Tensor, rows: tf.Tensor
    ) -> tf.Tensor:
        """[B * L, 3 H] -> [B * L, H]."""
        heads = self.config.num_heads
        size = self.config.hidden_size // heads
        qkv = tf.reshape(qkv, [rows[0], rows[1], 3, heads, size])
        query, key, value = tf.unstack(tf.transpose(qkv, [2, 0, 3, 1, 4]))
        scores = tf.matmul(query, key, transpose_b=True) * size**-0.5 + bias
        context = tf.matmul(tf.nn.softmax(scores), value)  # [B, A, L, D]
        return tf.reshape(
            tf.transpose(context, [0, 2, 1, 3]), [-1, heads * size]
        )


def _dense(dense: layers.Dense, x: tf.Tensor) -> tf.Tensor:
    """[N, input] -> [N, units]."""
    return tf.nn.bias_add(
        tf.matmul(x, dense.whole_kernel()),
        tf.convert_to_tensor(dense.bias),
    )


def _gelu(x: tf.Tensor, kind: str) -> tf.Tensor:
    """As the optimiser knows it; `tf.nn.gelu` itself has another form."""
    if kind == "tanh":
        return tf.nn.gelu(x, approximate=True)
    return 0.5 * x * (1.0 + tf.math.erf(x * math.sqrt(0.5)))


def _norm(norm: layers.LayerNorm, x: tf.Tensor) -> tf.Tensor:
    """Layer normalisation, [N, H] -> [N, H]."""
    mean, variance = tf.nn.moments(x, axes=[-1], keepdims=True)
    return tf.nn.batch_normalization(
        x,
        mean,
        variance,
        tf.convert_to_tensor(norm.beta),
        tf.convert_to_tensor(norm.gamma),
        norm.epsilon,
    )
