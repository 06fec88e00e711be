"""Signatures that every model has: a vector for a text."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from electra_tf.exporting.graphs import inputs, parts
from electra_tf.models.rows import Rows
from electra_tf.text.tokenizer import Tokenizer


def signatures(
    network: Any, tokenizer: Tokenizer, max_length: int
) -> dict[str, Callable]:
    """`embed`, the mean over a row's positions; `embed_first`, its first's.

    Both are `text` string [B] -> `embedding` float32 [B, H], of the last
    hidden states; special tokens are part of the mean, padding is not. The
    width is 2 H where the model reads from both sides separately.

    Args:
      network: any of `models.networks`, `two_tower` or `task_networks`.
      tokenizer: the model's.
      max_length: tokens a row, specials included; longer texts are cut.
    """

    def mean(hidden: tf.Tensor, input_mask: tf.Tensor) -> tf.Tensor:
        real = tf.cast(input_mask, hidden.dtype)[:, :, tf.newaxis]
        # One real position at least, but for no row at all.
        return tf.reduce_sum(hidden * real, 1) / tf.reduce_sum(real, 1)

    def first(hidden: tf.Tensor, input_mask: tf.Tensor) -> tf.Tensor:
        return hidden[:, 0]

    return {
        "embed": _function(network, tokenizer, max_length, mean),
        "embed_first": _function(network, tokenizer, max_length, first),
    }


def _function(
    network: Any, tokenizer: Tokenizer, max_length: int, pool: Callable
) -> Callable:
    def forward(
        input_ids: tf.Tensor, input_mask: tf.Tensor, segment_ids: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        if hasattr(network, "hidden_at"):  # a generator
            hidden, _ = network.hidden_at(
                Rows(input_ids, input_mask, segment_ids)
            )
        else:
            hidden = network.encoder(
                input_ids, input_mask, segment_ids, training=False
            ).sequence_output
        return {"embedding": pool(hidden, input_mask)}

    towers = 2 if hasattr(network, "rtl") else 1
    width = towers * network.config.hidden_size

    def embed(text: tf.Tensor) -> dict[str, tf.Tensor]:
        rows = inputs.text_rows(tokenizer, text, max_length)
        return parts.over_rows(
            forward, rows, {"embedding": tf.TensorSpec([None, width])}
        )

    return tf.function(
        embed,
        input_signature=[tf.TensorSpec([None], tf.string, "text")],
        autograph=False,
    )
