"""Makes signatures without a task: replaced tokens, filled masks, vectors."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from electra_tf.exporting.graphs import inputs
from electra_tf.exporting.graphs.inputs import Signatures, Tensors
from electra_tf.exporting.graphs.word_splitting import cut_spans, places
from electra_tf.models.networks import Discriminator
from electra_tf.models.rows import Rows
from electra_tf.text import masks
from electra_tf.text import rows as text_rows
from electra_tf.text.tokenizer import Tokenizer
from electra_tf.text.truncation import first_tokens

_ANSWERS = 5  # tokens for each mask
_MASKS = 64  # masks in a batch: each takes as much memory as the vocabulary


def signatures(network: Any) -> Signatures:
    """Makes `serving_default` for a network from `hub.pretrained`.

    Both kinds take `text` string [B], and read as much of it as the model has
    positions for. W is the most tokens, M the most masks, that a text of the
    request has in it.

    A discriminator returns, for each token but the special ones:

    - `tokens` string [B, W]: its bytes in the text; padding "";
    - `replaced_probability` float32 [B, W]; padding 0;
    - `start_bytes`, `end_bytes`, `start_chars`, `end_chars` int64 [B, W]:
      where it stands (see `text.tokenizer.Offsets`); padding -1;
    - `num_tokens` int32 [B].

    A generator returns, for each "[MASK]" in the text:

    - `tokens` string [B, M, 5]: the likeliest WordPieces; padding "";
    - `probabilities` float32 [B, M, 5]; padding 0;
    - `num_masks` int32 [B];
    - `unread_masks` int32 [B]: masks beyond the part that the model reads,
      which get no prediction.

    Args:
      network: a network with its `tokenizer`.
    """
    make = _fill
    if isinstance(network, Discriminator):
        make = _discriminate
    function = inputs.signature(make(network, network.tokenizer), "text")
    return {"serving_default": function}


def _discriminate(
    network: Any, tokenizer: Tokenizer
) -> Callable[[tf.Tensor], Tensors]:
    room = network.config.max_positions - 2

    def discriminate(text: tf.Tensor) -> Tensors:
        found = tokenizer.tokenize_with_offsets(text)
        counts = tf.minimum(found.ids.row_lengths(), room)
        found = type(found)(*(first_tokens(x, counts) for x in found))
        rows = text_rows.single_rows(tokenizer, found.ids)
        width = tf.cast(tf.reduce_max(counts), tf.int32)
        width = tf.maximum(width, 0)  # the minimum of no counts

        def forward(
            input_ids: tf.Tensor, input_mask: tf.Tensor, segment_ids: tf.Tensor
        ) -> Tensors:
            logits = network(
                input_ids, input_mask, segment_ids, training=False
            ).logits
            # Without [CLS], and all parts as wide as the longest.
            logits = tf.pad(logits[:, 1:], [[0, 0], [0, width]])
            return {"logits": logits[:, :width]}

        logits = inputs.over_rows(
            forward, rows, {"logits": tf.TensorSpec([None, None])}
        )["logits"]
        real = tf.sequence_mask(counts, width, tf.float32)
        return {
            "tokens": cut_spans(
                text, found.start_bytes, found.end_bytes
            ).to_tensor(""),
            "replaced_probability": tf.sigmoid(logits) * real,
            **places(found),
            "num_tokens": tf.cast(counts, tf.int32),
        }

    return discriminate


def _fill(network: Any, tokenizer: Tokenizer) -> Callable[[tf.Tensor], Tensors]:
    vocab, config = tokenizer.vocab, network.config
    # The table may have more rows than the vocabulary has tokens.
    unnamed = config.vocab_size - len(vocab)
    names = [*vocab.tokens, *([""] * unnamed)]
    answers = min(_ANSWERS, config.vocab_size)

    def best(hidden: tf.Tensor) -> Tensors:
        """Returns probabilities and tokens [N, 5] for states at masks [N,
        H].
        """

        def some(start: tf.Tensor, end: tf.Tensor) -> Tensors:
            logits = network.head(hidden[start:end], training=False)
            values, indices = tf.math.top_k(tf.nn.softmax(logits), answers)
            missing = [[0, 0], [0, _ANSWERS - answers]]
            return {
                "probabilities": tf.pad(values, missing),
                "indices": tf.pad(indices, missing, constant_values=-1),
            }

        return inputs.in_parts(
            some,
            tf.shape(hidden)[0],
            _MASKS,
            {
                "probabilities": tf.TensorSpec([None, _ANSWERS]),
                "indices": tf.TensorSpec([None, _ANSWERS], tf.int32),
            },
        )

    def fill(text: tf.Tensor) -> Tensors:
        ids = masks.masked_tokens(tokenizer, text)
        written = tf.reduce_sum(tf.cast(ids == vocab.mask_id, tf.int32), axis=1)
        room = tf.constant(config.max_positions - 2, tf.int64)
        ids = first_tokens(ids, tf.minimum(ids.row_lengths(), room))
        rows = text_rows.single_rows(tokenizer, ids)
        is_mask = rows.input_ids == vocab.mask_id
        counts = tf.math.count_nonzero(is_mask, axis=1, dtype=tf.int32)
        most = tf.maximum(tf.reduce_max(counts), 0)

        def forward(
            input_ids: tf.Tensor, input_mask: tf.Tensor, segment_ids: tf.Tensor
        ) -> Tensors:
            hidden, _ = network.hidden_at(
                Rows(input_ids, input_mask, segment_ids)
            )
            # Rows of the part, and the mask of each.
            here = input_ids == vocab.mask_id
            at = tf.where(here)
            number = tf.cumsum(tf.cast(here, tf.int64), axis=1) - 1
            place = tf.stack([at[:, 0], tf.gather_nd(number, at)], axis=1)
            shape = tf.stack([tf.shape(input_ids)[0], most, _ANSWERS])
            found = best(tf.gather_nd(hidden, at))
            return {
                "probabilities": tf.scatter_nd(
                    place, found["probabilities"], tf.cast(shape, tf.int64)
                ),
                # Tokens are counted from 1, so that 0 means none.
                "indices": tf.scatter_nd(
                    place, found["indices"] + 1, tf.cast(shape, tf.int64)
                ),
            }

        found = inputs.over_rows(
            forward,
            rows,
            {
                "probabilities": tf.TensorSpec([None, None, _ANSWERS]),
                "indices": tf.TensorSpec([None, None, _ANSWERS], tf.int32),
            },
        )
        return {
            "tokens": tf.gather(tf.constant(["", *names]), found["indices"]),
            "probabilities": found["probabilities"],
            "num_masks": counts,
            "unread_masks": written - counts,
        }

    return fill


def embedding_signatures(
    network: Any, tokenizer: Tokenizer, max_length: int
) -> Signatures:
    """Makes `embed`, the mean over positions, and `embed_first`, the first.

    Both map `text` string [B] to `embedding` float32 [B, H], from the last
    hidden states; special tokens are part of the mean, padding is not. The
    width is 2 H for a two-tower model.

    Args:
      network: any of `models.networks`, `two_tower` or `task_networks`.
      tokenizer: the model's tokenizer.
      max_length: tokens in a row, special ones included; longer texts are
        truncated.
    """

    def mean(hidden: tf.Tensor, input_mask: tf.Tensor) -> tf.Tensor:
        real = tf.cast(input_mask, hidden.dtype)[:, :, tf.newaxis]
        # At least one real position, if there is a row.
        return tf.reduce_sum(hidden * real, 1) / tf.reduce_sum(real, 1)

    def first(hidden: tf.Tensor, input_mask: tf.Tensor) -> tf.Tensor:
        return hidden[:, 0]

    return {
        "embed": _embed(network, tokenizer, max_length, mean),
        "embed_first": _embed(network, tokenizer, max_length, first),
    }


def _embed(
    network: Any, tokenizer: Tokenizer, max_length: int, pool: Callable
) -> Callable:
    def forward(
        input_ids: tf.Tensor, input_mask: tf.Tensor, segment_ids: tf.Tensor
    ) -> Tensors:
        if hasattr(network, "hidden_at"):  # it is a generator
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

    def embed(text: tf.Tensor) -> Tensors:
        rows = text_rows.text_rows(tokenizer, text, max_length)
        return inputs.over_rows(
            forward, rows, {"embedding": tf.TensorSpec([None, width])}
        )

    return inputs.signature(embed, "text")
