"""Texts and pairs of texts -> model inputs, as the original makes them."""

from collections.abc import Sequence

import numpy as np

from electra_tf.errors import UserError
from electra_tf.tasks.features import INPUTS, Features
from electra_tf.text.tokenizer import Tokenizer

_CHUNK = 8192  # texts tokenized at once: bounds memory


def pair_rows(
    tokenizer: Tokenizer,
    first: Sequence[str],
    second: Sequence[str] | None,
    max_length: int,
) -> Features:
    """`[CLS] first [SEP]`, or `[CLS] first [SEP] second [SEP]`.

    Too long a pair loses tokens at the end of its longer text, one by one,
    the second's where both are equally long. A second text without tokens is
    no second text, and gets no [SEP].

    Args:
      tokenizer: the model's.
      first: N texts.
      second: N texts; None where there are none.
      max_length: tokens a row, specials included, at most.

    Returns:
      N rows, `input_ids` padded with [PAD].

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
    vocab = tokenizer.vocab
    a, a_length = _tokens(tokenizer, first)
    b, b_length = np.zeros([0], "int32"), np.zeros_like(a_length)
    if second is not None:
        b, b_length = _tokens(tokenizer, second)
    paired = b_length > 0
    a_kept, b_kept = _kept(a_length, b_length, max_length - 2 - paired)

    splits = np.zeros([len(first) + 1], "int64")
    np.cumsum(a_kept + b_kept + 2 + paired, out=splits[1:])
    starts, ends = splits[:-1], splits[1:]
    b_starts = starts + a_kept + 2
    # What is neither text's is [SEP], the first of each row aside.
    ids = np.full([splits[-1]], vocab.sep_id, "int32")
    ids[starts] = vocab.cls_id
    _fill(ids, a, a_length, a_kept, starts + 1)
    _fill(ids, b, b_length, b_kept, b_starts)
    segments = np.arange(len(ids)) >= np.repeat(b_starts, ends - starts)
    return Features(
        splits,
        {"input_ids": ids, "segment_ids": segments.astype("int32")},
        padding={"input_ids": vocab.pad_id},
    )


def pair_features(
    tokenizer: Tokenizer,
    first: Sequence[str],
    second: Sequence[str] | None,
    max_length: int,
) -> dict[str, np.ndarray]:
    """`pair_rows`, padded to `max_length`.

    Returns:
      `input_ids`, `input_mask` and `segment_ids`, each int32 [N, max_length].
    """
    rows = pair_rows(tokenizer, first, second, max_length)
    batch = rows.batch(np.arange(len(rows)), max_length)
    return {name: batch[name] for name in INPUTS}


def _tokens(
    tokenizer: Tokenizer, texts: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """All tokens of all texts, int32, and how many each has, int64 [N]."""
    values, lengths = [np.zeros([0], "int32")], [np.zeros([0], "int64")]
    for start in range(0, len(texts), _CHUNK):
        found = tokenizer(list(texts[start : start + _CHUNK]))
        values.append(found.flat_values.numpy())
        lengths.append(found.row_lengths().numpy())
    return np.concatenate(values), np.concatenate(lengths)


def _kept(
    a_length: np.ndarray, b_length: np.ndarray, room: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How many tokens of each text stay, all int64 [N]."""
    a_kept = np.minimum(a_length, np.maximum(-(-room // 2), room - b_length))
    return a_kept, np.minimum(b_length, room - a_kept)


def _fill(
    target: np.ndarray,
    values: np.ndarray,
    lengths: np.ndarray,
    kept: np.ndarray,
    starts: np.ndarray,
) -> None:
    """Writes the first `kept` values of each text to `starts` and on."""
    within = np.arange(kept.sum()) - np.repeat(np.cumsum(kept) - kept, kept)
    source = np.repeat(np.cumsum(lengths) - lengths, kept) + within
    target[np.repeat(starts, kept) + within] = values[source]
