"""Provides layers that turn strings into inputs of the networks."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from electra_tf.keras_api.tokenizer import Tokenizer, flat
from electra_tf.registration import registered
from electra_tf.text import masks
from electra_tf.text import rows as text_rows
from electra_tf.text.truncation import first_tokens, fitting


@registered
class TextPreprocessor(keras.layers.Layer):
    """Turns texts, or pairs of texts, into padded rows of token ids.

        classifier.preprocessor(["good", "very good"])["input_ids"]

    It works on lists, string tensors and Keras' symbolic ones, so also in
    functional models and in `tf.data.Dataset.map`. Rows are as long as the
    longest of the batch, truncated to `max_length`, as the tasks make them: a
    second text without tokens is none.

    Args:
      tokenizer: the model's tokenizer, or its config.
      max_length: most tokens of a row, special ones included; longer texts are
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
        self.tokenizer: Any = tokenizer
        self.max_length = max_length
        self.built = True

    def __call__(self, texts: Any, **named: Any) -> Any:
        """See `call`; Python's strings become tensors first."""
        return super().__call__(as_tensors(texts), **named)

    def call(self, texts: Any) -> dict[str, tf.Tensor]:
        """Tokenizes texts.

        Args:
          texts: strings [batch] or [batch, 1], or a tuple of two such for
            pairs.

        Returns:
          `input_ids`, `input_mask` and `segment_ids`, int32 [batch, length];
          the length is that of the longest row.
        """
        first, second = texts if isinstance(texts, tuple) else (texts, None)
        first = flat(tf.convert_to_tensor(first))
        if second is None:
            ids = self.tokens(first)
            kept = fitting([ids], self.max_length - 2)
            rows = text_rows.single_rows(
                self.tokenizer.graph_tokenizer, first_tokens(ids, *kept)
            )
        else:
            rows = self.rows_of_pairs(first, flat(tf.convert_to_tensor(second)))
        width = tf.shape(rows.input_ids)[1]
        return {
            "input_ids": rows.input_ids,
            "input_mask": tf.sequence_mask(rows.lengths, width, tf.int32),
            "segment_ids": rows.segment_ids,
        }

    def tokens(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Tokenizes single texts, int32 [batch, (tokens)].

        Args:
          texts: strings [batch].
        """
        return self.tokenizer.tokenize(texts)

    def rows_of_pairs(
        self, first: tf.Tensor, second: tf.Tensor
    ) -> text_rows.Rows:
        """Makes the rows of pairs.

        Args:
          first: strings [batch].
          second: strings [batch].
        """
        return text_rows.pair_rows(
            self.tokenizer.graph_tokenizer, first, second, self.max_length
        )

    def compute_output_spec(self, texts: Any) -> dict[str, keras.KerasTensor]:
        """Returns shapes and types without tokenizing."""
        first = texts[0] if isinstance(texts, tuple) else texts
        shape = (first.shape[0], None)
        names = ("input_ids", "input_mask", "segment_ids")
        return {name: keras.KerasTensor(shape, "int32") for name in names}

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, vocabulary included."""
        return {
            **super().get_config(),
            "tokenizer": keras.saving.serialize_keras_object(self.tokenizer),
            "max_length": self.max_length,
        }


@registered
class MaskPreprocessor(TextPreprocessor):
    """Turns texts with blanks into padded rows of token ids.

        masked_lm.preprocessor(["the [MASK] sat"])["input_ids"]

    "[MASK]" is the token; other special tokens in a text are plain text.
    Arguments are those of `TextPreprocessor`.
    """

    def tokens(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """See `TextPreprocessor.tokens`."""
        return masks.masked_tokens(self.tokenizer.graph_tokenizer, texts)


@registered
class QueryPreprocessor(TextPreprocessor):
    """Turns queries with passages into padded rows of token ids.

        ranker.preprocessor((["which cat"], ["the cat sat"]))["input_ids"]

    The query is truncated to its length, the passage to the rest of the row: of
    a question with a long context it is the first window.

    Args:
      tokenizer: see `TextPreprocessor`.
      max_length: see `TextPreprocessor`.
      max_query_length: most tokens of a query.
      name: of the layer.
      **kwargs: see `TextPreprocessor`.
    """

    def __init__(
        self,
        tokenizer: Tokenizer | dict[str, Any],
        max_length: int,
        max_query_length: int,
        name: str | None = "preprocessor",
        **kwargs: Any,
    ):
        super().__init__(tokenizer, max_length, name=name, **kwargs)
        self.max_query_length = max_query_length

    def rows_of_pairs(
        self, first: tf.Tensor, second: tf.Tensor
    ) -> text_rows.Rows:
        """See `TextPreprocessor.rows_of_pairs`."""
        return text_rows.query_rows(
            self.tokenizer.graph_tokenizer, first, second,
            self.max_length, self.max_query_length,
        )  # fmt: skip

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, vocabulary included."""
        return {
            **super().get_config(),
            "max_query_length": self.max_query_length,
        }


@registered
class WordPreprocessor(TextPreprocessor):
    """Turns sentences that are lists of words into padded rows of token ids.

        tagger.preprocessor([["a", "good", "cat"], ["dogs"]])["word_ids"]

    Arguments are those of `TextPreprocessor`. Longer sentences are truncated.
    """

    def __call__(self, texts: Any, **named: Any) -> Any:
        """See `call`; Python's lists become ragged tensors first."""
        if isinstance(texts, list | tuple):
            texts = tf.ragged.constant(texts, tf.string, ragged_rank=1)
        return super().__call__(texts, **named)

    def call(self, texts: Any) -> dict[str, tf.Tensor]:
        """Tokenizes words.

        Args:
          texts: strings, a ragged tensor [batch, (words)] or a dense one.

        Returns:
          `input_ids`, `input_mask` and `segment_ids`, int32 [batch, length],
          and `word_ids`, the number of each token's word, -1 for special tokens
          and padding.
        """
        if not isinstance(texts, tf.RaggedTensor):
            texts = tf.RaggedTensor.from_tensor(texts)
        pieces = self.tokenizer.tokenize(texts.flat_values)
        numbers = tf.ragged.range(texts.row_lengths()).flat_values
        words = tf.repeat(tf.cast(numbers, tf.int32), pieces.row_lengths())
        ids, words = (
            texts.with_flat_values(pieces.with_flat_values(values)).merge_dims(
                1, 2
            )[:, : self.max_length - 2]
            for values in (pieces.flat_values, words)
        )
        vocab = self.tokenizer.vocab
        one = [texts.nrows(), 1]
        ends = tf.fill(one, vocab.cls_id), tf.fill(one, vocab.sep_id)
        ids = tf.concat([ends[0], ids, ends[1]], axis=1)
        none = tf.fill(one, -1)
        words = tf.concat([none, words, none], axis=1)
        return {
            "input_ids": ids.to_tensor(vocab.pad_id),
            "input_mask": tf.ones_like(ids).to_tensor(0),
            "segment_ids": tf.zeros_like(ids).to_tensor(0),
            "word_ids": words.to_tensor(-1),
        }

    def compute_output_spec(self, texts: Any) -> dict[str, keras.KerasTensor]:
        """Returns shapes and types without tokenizing."""
        found = super().compute_output_spec(texts)
        return found | {"word_ids": found["input_ids"]}


def as_tensors(x: Any) -> Any:
    """Converts Python's strings to tensors; anything else is unchanged."""
    if isinstance(x, tuple) and x and not isinstance(x[0], str | bytes):
        return tuple(as_tensors(part) for part in x)
    if isinstance(x, str | bytes) or (
        isinstance(x, Sequence) and x and isinstance(x[0], str | bytes)
    ):
        return tf.convert_to_tensor(x, tf.string)
    return x
