"""A classifier for TensorFlow Lite: token ids in, probabilities out.

The operations that the tokenizer is made of are not TensorFlow Lite's own, so
the file holds the network alone. It takes one row at a time, padded to the
model's length: `input_ids` with [PAD], `input_mask` and `segment_ids` with 0.
"""

import warnings
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.exporting.lite_encoder import LiteEncoder
from electra_tf.exporting.servable import Servable
from electra_tf.models import packed_encoder

FILE = "model.tflite"
INPUTS = ("input_ids", "input_mask", "segment_ids")

_ROWS = 32  # on which it is compared with the model
_TOLERANCE = 1e-4  # of probabilities


def check_kind(servable: Servable) -> None:
    """Refuses what is no classifier.

    Raises:
      UserError: it is none.
    """
    if servable.kind not in ("classification", "multilabel"):
        raise UserError(
            f"--tflite: is of classifiers, and this is a {servable.kind} "
            "model; leave it out"
        )


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
    check_kind(servable)
    length = servable.max_seq_length
    network, task = servable.network, servable.predictor.task
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
            packed_encoder.installed(network, LiteEncoder),
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
    network, task = servable.network, servable.predictor.task
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
        same = _label(servable, found) == _label(servable, wanted)
        if not (near and same):
            raise UserError(
                "--tflite: the converted model answers otherwise than the "
                f"model itself, by {np.abs(found - wanted).max():.1g}; leave "
                "the flag out, and tell the authors"
            )


def _label(servable: Servable, probabilities: np.ndarray) -> Any:
    said = servable.predictor.task.target.prediction(
        {"probabilities": probabilities[0]}
    )
    return said.get("label", said.get("labels"))
