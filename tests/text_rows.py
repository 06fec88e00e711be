"""Rows of texts, all padded to one length."""

import numpy as np

from electra_tf.tasks.features import INPUTS
from electra_tf.tasks.texts.task import pair_rows


def pair_features(tokenizer, first, second, max_length):
    """Model inputs of texts or pairs, each int32 [N, max_length]."""
    rows = pair_rows(tokenizer, first, second, max_length)
    batch = rows.batch(np.arange(len(rows)), max_length)
    return {name: batch[name] for name in INPUTS}
