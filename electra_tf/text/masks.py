"""Tokenizes texts with blanks, in graph operations: "[MASK]" is a token."""

import tensorflow as tf

from electra_tf.text.normalize import row_numbers
from electra_tf.text.tokenizer import Offsets, Tokenizer

_MASK = "[MASK]"


def masked_tokens(tokenizer: Tokenizer, text: tf.Tensor) -> tf.RaggedTensor:
    """Tokenizes texts, with the token [MASK] for "[MASK]".

    The text between masks is tokenized separately: a mask ends a word. Other
    special tokens are read as plain text.

    Args:
      tokenizer: the model's tokenizer.
      text: string [B].

    Returns:
      int32 RaggedTensor [B, (tokens)].
    """
    pieces = tf.strings.split(text, _MASK)
    mask = tf.fill([tf.size(pieces.flat_values)], tokenizer.vocab.mask_id)
    return _between_masks(pieces, tokenizer(pieces.flat_values), mask)


def masked_offsets(tokenizer: Tokenizer, text: tf.Tensor) -> Offsets:
    """Tokenizes likewise, and returns the position of each token.

    Args:
      tokenizer: the model's tokenizer.
      text: string [B].
    """
    pieces = tf.strings.split(text, _MASK)
    flat = pieces.flat_values
    found = tokenizer.tokenize_with_offsets(flat)

    def shifted(
        starts: tf.RaggedTensor, ends: tf.RaggedTensor, sizes: tf.Tensor
    ) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
        sizes = tf.cast(sizes, tf.int64)
        after = tf.cumsum(sizes + len(_MASK))
        first = tf.gather(tf.concat([[0], after], axis=0), pieces.row_splits)
        before = after - sizes - len(_MASK)
        before -= tf.gather(first, row_numbers(pieces))
        by = tf.gather(before, row_numbers(starts))
        mask = before + sizes
        return (
            _between_masks(
                pieces, starts.with_values(starts.values + by), mask
            ),
            _between_masks(
                pieces, ends.with_values(ends.values + by), mask + len(_MASK)
            ),
        )

    mask = tf.fill([tf.size(flat)], tokenizer.vocab.mask_id)
    return Offsets(
        _between_masks(pieces, found.ids, mask),
        *shifted(found.start_bytes, found.end_bytes, tf.strings.length(flat)),
        *shifted(
            found.start_chars,
            found.end_chars,
            tf.strings.length(flat, unit="UTF8_CHAR"),
        ),
    )


def _between_masks(
    pieces: tf.RaggedTensor, values: tf.RaggedTensor, mask: tf.Tensor
) -> tf.RaggedTensor:
    """Joins values of the pieces' tokens to values of the texts' tokens.

    Args:
      pieces: [B, (pieces)], texts split at their masks.
      values: [P, (tokens)], values of all pieces' tokens.
      mask: [P], the value of the mask after each piece, where there is one.

    Returns:
      [B, (tokens)].
    """
    # A mask after each piece except the last of its text.
    ends = tf.maximum(pieces.row_splits[1:], 1) - 1
    last = tf.scatter_nd(
        ends[:, tf.newaxis],
        tf.ones_like(ends, tf.int32),
        [tf.size(pieces.flat_values, tf.int64) + 1],
    )[:-1]
    followed = last == 0
    masks = tf.RaggedTensor.from_row_lengths(
        tf.boolean_mask(mask, followed), tf.cast(followed, tf.int64)
    )
    found = tf.concat([values, masks], axis=1)
    return tf.RaggedTensor.from_row_splits(
        found.flat_values, tf.gather(found.row_splits, pieces.row_splits)
    )
