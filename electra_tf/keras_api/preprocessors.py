"""Layers that make strings into what the networks read."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from electra_tf.keras_api.tokenizer import Tokenizer


@keras.saving.register_keras_serializable(package="electra_tf")
class TextPreprocessor(keras.layers.Layer):
    """Turns texts, or pairs of texts, into padded rows of token ids.

        classifier.preprocessor(["good", "very good"])["input_ids"]

    Works on lists, string tensors and Keras' symbolic ones, so in functional
    models and in `tf.data.Dataset.map` as well. Rows are as long as the
    longest of the batch, which `Tokenizer` alone does not truncate.

    Args:
      tokenizer: the model's, or its config.
      max_length: tokens of a row, special ones included; longer texts are
        truncated.
      name: of the layer.
      **kwargs: `keras.layers.Layer`'s `dtype` and `trainable`.
    """

    def __init__(
        self,
        tokenizer: Tokenizer | dict[str, Any],
        max_length: int,
        name: str | None = "preprocessor",
        **kwargs: Any,
    ):
        super().__init__(name=name, **kwargs)
        if isinstance(tokenizer, dict):
            tokenizer = keras.saving.deserialize_keras_object(tokenizer)
        self.tokenizer: Tokenizer = tokenizer
        self.max_length = max_length
        self.built = True

    def __call__(self, texts: Any, **named: Any) -> Any:
        """See `call`; Python's strings become tensors first."""
        return super().__call__(as_tensors(texts), **named)

    def call(self, texts: Any) -> dict[str, tf.Tensor]:
        """Tokenizes texts.

        Args:
          texts: strings [batch], or a tuple of two such for pairs.

        Returns:
          `input_ids`, `input_mask` and `segment_ids`, int32 [batch, length];
          the length is that of the longest row.
        """
        first, second = texts if isinstance(texts, tuple) else (texts, None)
        rows = self.tokenizer.encode(first, second, max_length=self.max_length)
        length = tf.reduce_max(tf.reduce_sum(rows["input_mask"], axis=1))
        return {name: value[:, :length] for name, value in rows.items()}

    def compute_output_spec(self, texts: Any) -> dict[str, keras.KerasTensor]:
        """Tells shapes and types without tokenizing."""
        first = texts[0] if isinstance(texts, tuple) else texts
        shape = (first.shape[0], None)
        names = ("input_ids", "input_mask", "segment_ids")
        return {name: keras.KerasTensor(shape, "int32") for name in names}

    def get_config(self) -> dict[str, Any]:
        """Tells what the layer is made of, vocabulary included."""
        return {
            **super().get_config(),
            "tokenizer": keras.saving.serialize_keras_object(self.tokenizer),
            "max_length": self.max_length,
        }


def as_tensors(x: Any) -> Any:
    """Returns string tensors for Python's strings; all else as it is."""
    if isinstance(x, tuple) and x and not isinstance(x[0], str | bytes):
        return tuple(as_tensors(part) for part in x)
    if isinstance(x, str | bytes) or (
        isinstance(x, Sequence) and x and isinstance(x[0], str | bytes)
    ):
        return tf.convert_to_tensor(x, tf.string)
    return x
