"""What a predictor without context would score: figures to beat."""

import numpy as np
import tensorflow as tf

from electra_tf.pretraining.masking import SpecialIds


def unigram_entropy(
    dataset: tf.data.Dataset, vocab_size: int, special: SpecialIds
) -> float:
    """Entropy in nats of the tokens that masking may choose.

    The lowest cross-entropy a predictor that ignores the context can reach on
    these very examples, so a generator's `mlm_loss` has to come out below.

    Args:
      dataset: finite, of batches with input_ids and input_mask, [B, L].
      vocab_size: V.
      special: ids that are never masked.
    """
    counts = np.zeros(vocab_size, np.int64)
    for batch in dataset.as_numpy_iterator():
        ids = batch["input_ids"][batch["input_mask"] == 1]
        counts += np.bincount(ids, minlength=vocab_size)
    counts[[special.cls_id, special.sep_id]] = 0
    if not counts.sum():
        return 0.0
    shares = counts[counts > 0] / counts.sum()
    return float(-np.sum(shares * np.log(shares)))
