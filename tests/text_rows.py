"""Makes rows of texts, all padded to one length."""

import numpy as np

from electra_tf.tasks.features import INPUTS, Features
from electra_tf.tasks.texts.task import pair_rows


def pair_features(tokenizer, first, second, max_length):
    """Returns model inputs of texts or pairs, each int32 [N, max_length]."""
    rows = pair_rows(tokenizer, first, second, max_length)
    batch = rows.batch(np.arange(len(rows)), max_length)
    return {name: batch[name] for name in INPUTS}


def from_rows(rows, /, names=("input_ids", "segment_ids"), **others):
    """Returns `Features` of one mapping of token arrays for each row.

    Args:
      rows: N mappings; the arrays of a row have one length.
      names: the token arrays.
      **others: the other attributes of `Features`.
    """
    lengths = [len(row[names[0]]) for row in rows]
    tokens = {
        name: np.concatenate(
            [np.asarray(row[name], "int32") for row in rows]
            or [np.zeros([0], "int32")]
        )
        for name in names
    }
    splits = np.concatenate([[0], np.cumsum(lengths)]).astype("int64")
    return Features(splits, tokens, **others)
