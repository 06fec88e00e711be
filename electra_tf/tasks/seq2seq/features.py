"""Pairs of texts as rows of tokens, and rows of tokens as texts.

A source is `[CLS] text [SEP]`, and so is a target; of one that was cut the
last [SEP] is missing, lest the model learn to stop there.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from electra_tf.tasks.features import Features, Sequences
from electra_tf.tasks.ragged import Pieces, pieces, ranges
from electra_tf.text.tokenizer import Tokenizer
from electra_tf.text.vocab import Vocab


def source_rows(
    tokenizer: Tokenizer, texts: Sequence[str], max_length: int
) -> Features:
    """A row for each source, cut to `max_length` tokens."""
    found = pieces(tokenizer, texts)
    counts = np.minimum(found.count, max_length - 2)
    tokens, splits = _framed(
        tokenizer.vocab, found, counts, np.ones(len(texts))
    )
    return Features(
        splits, {"input_ids": tokens, "segment_ids": np.zeros_like(tokens)}
    )


def target_rows(
    tokenizer: Tokenizer, texts: Sequence[str], max_length: int
) -> Sequences:
    """A row for each target, of `max_length` tokens beside [CLS] and [SEP]."""
    found = pieces(tokenizer, texts)
    whole = found.count <= max_length
    counts = np.minimum(found.count, max_length)
    tokens, splits = _framed(tokenizer.vocab, found, counts, whole)
    return Sequences(splits, tokens)


def _framed(
    vocab: Vocab, found: Pieces, counts: np.ndarray, closed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The first `counts` pieces of each row in [CLS] and, if closed, [SEP]."""
    closed = closed.astype("int64")
    splits = np.concatenate([[0], np.cumsum(counts + 1 + closed)])
    tokens = np.full(splits[-1], vocab.sep_id, "int32")
    tokens[splits[:-1]] = vocab.cls_id
    source, row = ranges(found.start, found.start + counts)
    within = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    tokens[splits[row] + 1 + within] = found.table[source]
    return tokens, splits.astype("int64")


def specials(vocab: Vocab) -> dict[str, Any]:
    """What a search must know of a vocabulary, as JSON has it.

    `start`, `end`: the tokens a target is between; `banned`: those that are
    never written; `size`: tokens in all.
    """
    return {
        "start": vocab.cls_id,
        "end": vocab.sep_id,
        "banned": sorted(set(vocab.special_ids) - {vocab.sep_id}),
        "size": len(vocab),
    }
