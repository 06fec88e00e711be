"""Masks rows that hold several examples, each as if it had its own row.

The examples are split, masked and packed again. That moves integers alone, and
masks are chosen by the same code, with the same random numbers, as for examples
that have a row each.
"""

from collections.abc import Mapping

import tensorflow as tf

from electra_tf.models import randomness
from electra_tf.pretraining import masking
from electra_tf.pretraining.masking import (
    MaskedBatch,
    MaskingConfig,
    Packed,
    SpecialIds,
)

Batch = Mapping[str, tf.Tensor]


def slots(config: MaskingConfig, length: int, examples: int) -> int:
    """Returns the most predictions in a row of `length` positions.

    Args:
      config: how much is masked.
      length: L.
      examples: E, the most examples in a row.
    """
    alone = config.slots(length)
    if examples == 1:
        return alone
    # Each example rounds its share of its tokens, up by a half at the most;
    # or has one prediction, of three tokens at the least.
    share = config.mask_prob
    up = max(0.5, 1.0 - 3.0 * share)
    most = int(share * length + up * examples + 1e-3)
    return max(1, min(most, examples * alone, length))


def mask(
    batch: Batch, config: MaskingConfig, special: SpecialIds, keys: tf.Tensor
) -> MaskedBatch:
    """Masks a batch as `masking.mask` does, also with several examples a row.

    Args:
      batch: as there, [R, L]; if rows hold several examples, `sequence_ids`,
        int32 [R, L]: which of the row's examples a token belongs to, from 1,
        and 0 for padding.
      config: the unit, and how much is masked.
      special: what masking has to know of the vocabulary.
      keys: [R, E] uint32, one for each example of each row; or [R].

    Returns:
      A batch of rows, with `packed` if they hold several examples.
    """
    if "sequence_ids" not in batch:
        return masking.mask(batch, config, special, keys)
    sequence_ids = batch["sequence_ids"]
    length, examples = sequence_ids.shape[1], keys.shape[1]
    alone, begins = _apart(batch, examples)
    found = masking.mask(alone, config, special, tf.reshape(keys, [-1]))

    each = found.masked_lm_positions.shape[1]  # of an example
    positions = begins[:, :, None] + tf.reshape(
        found.masked_lm_positions, [-1, examples, each]
    )
    used = tf.reshape(found.masked_lm_weights, [-1, examples * each])
    # The used ones, in the order of their examples, then the rest.
    rank = tf.where(used > 0, tf.range(examples * each, 0, -1), 0)
    ranks, draws = tf.math.top_k(rank, k=slots(config, length, examples))

    def there(values: tf.Tensor) -> tf.Tensor:
        values = tf.reshape(values, [-1, examples * each])
        values = tf.gather(values, draws, batch_dims=1)
        return tf.where(ranks > 0, values, tf.zeros([], values.dtype))

    # A token where it stands in the row: example e begins at begins[:, e].
    number = tf.maximum(sequence_ids - 1, 0)
    at = tf.range(length) - tf.gather(begins, number, batch_dims=1)
    masked = tf.gather(
        tf.reshape(found.masked_input_ids, [-1, examples * length]),
        number * length + tf.clip_by_value(at, 0, length - 1),
        batch_dims=1,
    )
    return MaskedBatch(
        batch["input_ids"],
        batch["input_mask"],
        batch["segment_ids"],
        tf.where(sequence_ids > 0, masked, 0),
        there(positions),
        there(found.masked_lm_ids),
        there(found.masked_lm_weights),
        Packed(sequence_ids, draws),
    )


def _apart(batch: Batch, examples: int) -> tuple[Batch, tf.Tensor]:
    """Returns each example in a row of its own: what is [R, L] as [R * E, L].

    And [R, E] int32, where they begin.
    """
    sequence_ids = batch["sequence_ids"]
    length = sequence_ids.shape[1]
    numbers = tf.range(1, examples + 1)
    belongs = sequence_ids[:, None, :] == numbers[None, :, None]  # [R, E, L]
    lengths = tf.reduce_sum(tf.cast(belongs, tf.int32), axis=-1)
    begins = tf.cumsum(lengths, axis=1, exclusive=True)
    column = tf.range(length)
    real = column < lengths[:, :, None]  # [R, E, L]
    source = tf.minimum(begins[:, :, None] + column, length - 1)
    alone = {
        name: tf.reshape(
            tf.where(real, tf.gather(values, source, batch_dims=1), 0),
            [-1, length],
        )
        for name, values in batch.items()
        if name not in ("sequence_ids", "example_id")
    }
    return alone, begins


def uniform(
    keys: tf.Tensor, count: int | tf.Tensor, packed: Packed | None
) -> tf.Tensor:
    """Returns a number in [0, 1) for each prediction, [B, N] or [R, N] float32.

    Args:
      keys: [B] or [R, E] uint32.
      count: how many predictions an example may have.
      packed: of the masked batch.
    """
    numbers = randomness.uniform(keys, count)
    if packed is None:
        return numbers
    numbers = tf.reshape(numbers, [-1, keys.shape[1] * count])
    return tf.gather(numbers, packed.draws, batch_dims=1)
