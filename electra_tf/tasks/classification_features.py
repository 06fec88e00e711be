"""Texts and pairs of texts -> model inputs, as the original makes them."""

from collections.abc import Sequence

import numpy as np

from electra_tf.errors import UserError
from electra_tf.text.tokenizer import Tokenizer

_NAMES = ("input_ids", "input_mask", "segment_ids")


def pair_features(
    tokenizer: Tokenizer,
    first: Sequence[str],
    second: Sequence[str] | None,
    max_length: int,
) -> dict[str, np.ndarray]:
    """`[CLS] first [SEP]`, or `[CLS] first [SEP] second [SEP]`, padded.

    Too long a pair loses tokens at the end of its longer text, one by one,
    the second's where both are equally long. A second text without tokens is
    no second text, and gets no [SEP].

    Args:
      tokenizer: the model's.
      first: N texts.
      second: N texts; None where there are none.
      max_length: tokens a row, specials included.

    Returns:
      `input_ids`, `input_mask` and `segment_ids`, each int32 [N, max_length].

    Raises:
      UserError: `max_length` leaves no room for the special tokens.
    """
    if second is not None and len(first) != len(second):
        raise ValueError(f"{len(first)} first texts, {len(second)} second ones")
    if max_length < 3:
        raise UserError(
            f"max_length is {max_length}; expected at least 3, the special "
            "tokens of a pair"
        )
    rows, vocab = len(first), tokenizer.vocab
    features = {name: np.zeros([rows, max_length], "int32") for name in _NAMES}
    ids, mask, segments = (features[name] for name in _NAMES)
    ids[:] = vocab.pad_id
    if not rows:
        return features

    a = tokenizer(list(first))
    a_length = a.row_lengths().numpy()
    b_length = np.zeros_like(a_length)
    if second is not None:
        b = tokenizer(list(second))
        b_length = b.row_lengths().numpy()
    paired = b_length > 0
    a_kept, b_kept = _kept(a_length, b_length, max_length - 2 - paired)
    b_start = a_kept + 2

    _fill(ids, a.flat_values.numpy(), a_length, a_kept, np.ones_like(a_kept))
    ids[:, 0] = vocab.cls_id
    ids[np.arange(rows), a_kept + 1] = vocab.sep_id
    length = b_start
    if second is not None:
        _fill(ids, b.flat_values.numpy(), b_length, b_kept, b_start)
        length = b_start + b_kept + paired
        ids[paired, length[paired] - 1] = vocab.sep_id
    columns = np.arange(max_length)[None]
    mask[:] = columns < length[:, None]
    segments[:] = mask * (columns >= b_start[:, None])
    return features


def _kept(
    a_length: np.ndarray, b_length: np.ndarray, room: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How many tokens of each text stay, all int64 [N]."""
    half = np.where(b_length > 0, -(-room // 2), room)
    a_kept = np.minimum(a_length, np.maximum(half, room - b_length))
    return a_kept, np.minimum(b_length, room - a_kept)


def _fill(
    target: np.ndarray,
    values: np.ndarray,
    lengths: np.ndarray,
    kept: np.ndarray,
    starts: np.ndarray,
) -> None:
    """Writes the first `kept` values of each row from column `starts` on."""
    row = np.repeat(np.arange(len(kept)), kept)
    within = np.arange(len(row)) - np.repeat(np.cumsum(kept) - kept, kept)
    source = np.repeat(np.cumsum(lengths) - lengths, kept) + within
    target[row, np.repeat(starts, kept) + within] = values[source]
