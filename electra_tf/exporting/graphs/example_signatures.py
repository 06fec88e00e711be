"""Makes signatures for TensorFlow Serving's Classify and Regress.

These methods require one form: an input `inputs`, serialized `tf.Example`s, and
the outputs `classes` and `scores`, or `outputs`. An example's features are the
texts that `serving_default` takes, by the same names, and the predictions are
those of `serving_default`.
"""

from collections.abc import Mapping

import tensorflow as tf

from electra_tf.exporting.graphs.inputs import Signatures, Tensors, signature

SOURCE = "serving_default"
INPUT = "inputs"
# Signature -> its method, as a SavedModel names it.
METHODS = {
    "classification": "tensorflow/serving/classify",
    "regression": "tensorflow/serving/regress",
}


def signatures(name: str, functions: Signatures) -> Signatures:
    """Makes the signature of a name in `METHODS`.

    Its input is `inputs`, serialized examples, string [B]. Its outputs are

    - for "classification", `classes` string [B, K], the labels, and `scores`
      float32 [B, K], their probabilities;
    - for "regression", `outputs` float32 [B], the score.

    Args:
      name: name of the signature.
      functions: functions with `serving_default`, which it calls.
    """
    answer = functions[SOURCE]
    features = {
        spec.name: tf.io.FixedLenFeature([], tf.string)
        for spec in answer.input_signature
    }

    def of_examples(inputs: tf.Tensor) -> Tensors:
        found = tf.io.parse_example(inputs, features)
        said = answer(*(found[feature] for feature in features))
        if name == "regression":
            return {"outputs": said["score"]}
        return {"classes": said["labels"], "scores": said["probabilities"]}

    return {name: signature(of_examples, INPUT)}


def serialized(row: Mapping[str, str]) -> bytes:
    """Returns a `tf.Example` with a text for each feature."""
    example = tf.train.Example()
    for name, text in row.items():
        values = example.features.feature[name].bytes_list.value
        values.append(text.encode("utf-8"))
    return example.SerializeToString()
